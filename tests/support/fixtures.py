"""Fixtures that tests share: one thread, a tiny data set, a teacher for it, results of a small study."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scl.data.batches import SplitData
from scl.study.config import Config
from scl.train.loop import train_cohort
from scl.train.teacher import Teacher
from scl.train.types import TrialEnded, TrialSpec
from tests.support.studies import CPU, RECIPE, SMALL, run_study, write_images
from tests.support.training import few_digits


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """A flush shows only after a power cut, which no test makes, and the suite would wait for thousands. A test of
    flushes puts a function of its own in this place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SplitData:
    """104 digits to train on, which are three batches of RECIPE and a smaller one, and not as many of each class; 50 to
    validate, 100 to test."""
    return few_digits(tmp_path_factory.mktemp("cache"), train=104, val=50, test=100)


@pytest.fixture(scope="session")
def teacher(tiny: SplitData) -> Teacher:
    config = Config(model="plain11", width=0.125, **RECIPE)
    ended = [e for e in train_cohort([TrialSpec("t", config, 0)], tiny, None, CPU) if isinstance(e, TrialEnded)]
    assert ended[0].test_logits is not None
    return Teacher(config, ended[0].weights, ended[0].test_logits)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of SMALL on a folder of 12×12 grey images in 3 classes."""
    out = tmp_path_factory.mktemp("small")
    data = write_images(out / "images", classes=3, size=12, grey=True)
    assert run_study(SMALL, "--out", str(out / "results"), "--data", str(data)) == 0
    return out / "results" / "small"
