"""What the cohorts of a run share."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scl.plan import context as module
from scl.plan.context import Job, RunContext, data_of
from scl.store.files import open_folder
from scl.study.config import Config


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 1, 3, 3), dtype=np.uint8)


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    parts = ("train", "val", "test")
    return RunContext(
        images={part: images(i) for i, part in enumerate(parts)},
        labels={part: np.arange(4) % 2 for part in parts},
        mean=np.array([0.5], dtype=np.float32),
        std=np.array([0.25], dtype=np.float32),
        classes=2,
        class_names=("a", "b"),
        flip=True,
        fingerprint=f"fingerprint of {tmp_path}",
        jobs={"t": Job(Config(), 0), "s": Job(Config(), 0, "t", columns={"arm": "kd"})},
        out=open_folder(str(tmp_path)),
        study="mine",
        device="cpu",
        threads=1,
        deterministic=False,
    )


def test_files_of_trials_and_of_teachers_lie_apart_and_damaged_ones_together(
    context: RunContext, tmp_path: Path
) -> None:
    assert context.store.path == f"{tmp_path}/mine"
    assert context.files("s").path == f"{tmp_path}/mine/checkpoints/s"
    assert context.files("t") == context.teacher_files("t")
    assert context.files("t").path == f"{tmp_path}/teachers/t"  # studies share their teachers
    assert {context.files(i).aside for i in ("s", "t")} == {f"{tmp_path}/mine/damaged"}


def test_tensors_have_the_values_of_the_arrays(context: RunContext) -> None:
    data = data_of(context)
    for part in ("train", "val", "test"):
        assert np.array_equal(getattr(data, part).images.numpy(), context.images[part])
        assert np.array_equal(getattr(data, part).labels.numpy(), context.labels[part])
    assert (data.mean.tolist(), data.std.tolist(), data.classes, data.flip) == ([0.5], [0.25], 2, True)


def test_tensors_are_made_once_for_a_data_set_and_the_last_is_held(context: RunContext) -> None:
    first = data_of(context)
    assert data_of(replace(context, study="another", images={})) is first
    other = data_of(replace(context, fingerprint="other", images={p: images(9) for p in context.images}))
    assert other is not first
    assert list(module._tensors) == ["other"]
    assert data_of(context) is not first


def test_arrays_that_ray_shares_stay_read_only_and_raise_no_warning(context: RunContext) -> None:
    shared = {part: array.copy() for part, array in context.images.items()}
    for array in shared.values():
        array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = data_of(replace(context, images=shared, fingerprint="shared"))
    before = shared["train"].copy()
    data.train.images.fill_(7)
    assert np.array_equal(shared["train"], before)
    own = data_of(context)
    assert own.train.images.data_ptr() == torch.from_numpy(context.images["train"]).data_ptr()  # no copy without need
