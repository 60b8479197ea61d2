"""Settings of the process are put back: mode, environment, random state, threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import pytest
import torch

from scl.data.batches import SplitData
from scl.models.settings import settings_restored
from scl.store.files import open_folder
from scl.train.loop import train_cohort
from scl.train.process import (
    TrainingSettings,
    deterministic,
    environment,
    freed_memory_kept,
    threads,
)
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec
from tests.support.studies import CPU
from tests.support.training import ARMS

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(params=[False, True], ids=["free", "deterministic"])
def caller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """A caller with a mode, and with a random state."""
    monkeypatch.delenv(CUBLAS, raising=False)
    torch.manual_seed(7)
    torch.use_deterministic_algorithms(request.param, warn_only=True)
    yield request.param
    torch.use_deterministic_algorithms(False)


def settings() -> tuple[object, ...]:
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return *mode, os.environ.get(CUBLAS), torch.get_num_threads(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("mode", [False, True])
def test_the_mode_and_the_environment_are_put_back(caller: bool, mode: bool) -> None:
    before = settings()
    with deterministic(mode):
        assert torch.are_deterministic_algorithms_enabled() == mode
        assert (CUBLAS in os.environ) == mode
    assert settings() == before
    os.environ[CUBLAS] = ":16:8"
    with deterministic(mode):
        assert os.environ[CUBLAS] == ":16:8"
    assert os.environ[CUBLAS] == ":16:8"


@pytest.mark.parametrize(
    ("device", "asked", "whole"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
@pytest.mark.parametrize("caller", ["", "high", "tf32"])
def test_float32_is_whole_where_it_is_asked_for(device: str, asked: bool, whole: bool, caller: str) -> None:
    def precision() -> tuple[str, str]:
        return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision

    with settings_restored():
        if caller == "high":
            torch.set_float32_matmul_precision("high")
        if caller == "tf32":
            torch.backends.fp32_precision = "tf32"
        before = precision()
        settings = TrainingSettings(torch.device(device), False, asked)
        settings.gpus = []  # there may be none here
        with settings:
            assert (precision() == ("ieee", "ieee")) == whole
            with settings.suspended():
                assert precision() == before
            assert (precision() == ("ieee", "ieee")) == whole
        assert precision() == before


def test_the_random_state_and_the_threads_are_put_back(caller: bool) -> None:
    before = settings()
    with TrainingSettings(CPU, mode=caller), threads(2):
        torch.manual_seed(1)
        torch.rand(3)
        assert torch.get_num_threads() == 2
    assert settings() == before
    with pytest.raises(ZeroDivisionError), TrainingSettings(CPU, mode=caller), threads(2):
        torch.rand(3) / (1 // 0)
    assert settings() == before


def test_suspended_settings_are_those_of_the_caller(caller: bool) -> None:
    before = settings()
    with TrainingSettings(CPU, mode=not caller) as mine:
        torch.rand(3)
        with mine.suspended():
            assert settings() == before
            torch.rand(1)  # a caller that draws goes on from there
            after = settings()
        assert torch.are_deterministic_algorithms_enabled() != caller
        torch.rand(3)
    assert settings() == after != before


@pytest.mark.parametrize("mode", [False, True])
def test_training_leaves_the_process_as_it_was_whenever_the_caller_runs(
    tiny: SplitData, teacher: Teacher, caller: bool, mode: bool
) -> None:
    before, seen = settings(), []

    def stop() -> bool:
        seen.append(settings())
        return False

    def prune(*_: object) -> bool:
        seen.append(settings())
        return False

    trials = [TrialSpec(name, ARMS[name], 0) for name in ("baseline", "scl")]
    events = 0
    for _ in train_cohort(trials, tiny, teacher, CPU, mode, stop, prune):
        events += 1
        seen.append(settings())
    assert events == 8
    assert len(seen) > 3 * 3 + 4 + events
    assert all(found == before for found in [*seen, settings()])


def test_a_generator_that_is_abandoned_leaves_the_process_as_it_was(
    tiny: SplitData, teacher: Teacher, caller: bool
) -> None:
    before = settings()
    events = train_cohort([TrialSpec("scl", ARMS["scl"], 0)], tiny, teacher, CPU, not caller)
    next(events)
    assert settings() == before
    events.close()  # type: ignore[attr-defined]
    assert settings() == before


def test_a_caller_that_draws_between_events_changes_no_number(
    tiny: SplitData, teacher: Teacher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def rows(draws: int) -> list[object]:
        files = open_folder(str(tmp_path_factory.mktemp("files")))
        found = []
        for event in train_cohort([TrialSpec("scl", ARMS["scl"], 0, files)], tiny, teacher, CPU):
            torch.rand(draws)
            found.append(getattr(event, "row", None))
        return found

    assert rows(0) == rows(5)


def test_freed_memory_stays_and_no_number_moves() -> None:
    x = torch.rand(64, 64)
    before = x @ x
    with freed_memory_kept():
        assert torch.equal(before, x @ x)
    assert torch.equal(before, x @ x)


def test_every_variable_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCL_A", "a")
    monkeypatch.setenv("SCL_B", "b")
    monkeypatch.delenv("SCL_C", raising=False)
    before = dict(os.environ)
    with suppress(KeyError), environment({"SCL_A": "1"}, defaults={"SCL_B": "2", "SCL_C": "3"}):
        assert [os.environ[name] for name in ("SCL_A", "SCL_B", "SCL_C")] == ["1", "b", "3"]
        os.environ["SCL_D"] = "a library set it"
        del os.environ["SCL_B"]
        raise KeyError
    assert dict(os.environ) == before
