"""A cohort from the plan to the store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scl.run import execute as module
from scl.run.execute import execute
from scl.store.results import load
from scl.study.config import Config
from scl.train import student as of_student
from scl.train.types import TrialEnded, TrialSpec
from tests.support.commands import here

STUDY = """
import torch
from scl.cli.main import main
from scl.study.config import Config
from scl.study.study import Study
from scl.study.term import Term

def raises(student, teacher):
    raise ERROR

main(Study(
    name="own", question="q", seeds=1,
    base=Config(model="plain3", width=0.05, epochs=2, batch_size=32),
    teacher=Config(model="plain5", width=0.05, batch_size=32),
    arms={"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 1.0}},
          "raises": {"losses": {"mine": Term(0.5, loss=raises)}}},
))
"""
NO_MEMORY = 'torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8.00 GiB")'
ILLEGAL = 'RuntimeError("CUDA error: an illegal memory access was encountered")'


def written(folder: Path, error: str) -> Path:
    """The study's file; its last arm raises this."""
    (folder / "own.py").write_text(STUDY.replace("ERROR", error))
    return folder / "own.py"


@pytest.mark.parametrize("where", ["--inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_cohort_that_does_not_fit_is_halved(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_fittings", {})
    script = written(tmp_path, NO_MEMORY)
    flags = ["--limit", "60", "--cohort-size", "4", "--out", str(tmp_path / "all")]
    if where == "--inline":
        run = here("--inline", *flags, script=str(script))
    else:
        run = subprocess.run([sys.executable, str(script), *flags], capture_output=True, text=True, timeout=300)
    assert run.returncode == 1, run.stderr
    trials = load(str(tmp_path / "all" / "own")).trials.set_index("arm")
    assert trials["state"].to_dict() == {
        "baseline": "completed",
        "kd": "completed",
        "at": "completed",
        "raises": "failed",
    }
    assert "Tried to allocate 20.00 GiB" in trials.loc["raises", "error"]
    assert "lower batch_size" in trials.loc["raises", "error"]
    if where == "--inline":
        assert "a cohort of 4 does not fit" in run.stderr
        calm = ["--arms", "kd,at", "--inline", "--limit", "60", "--out", str(tmp_path / "calm")]
        assert here(*calm, script=str(script)).returncode == 0
        undisturbed = load(str(tmp_path / "calm" / "own")).trials.set_index("arm")
        for arm in ("baseline", "kd", "at"):
            assert trials.loc[arm, "test_loss"] == undisturbed.loc[arm, "test_loss"]


def test_a_gpu_that_is_lost_ends_the_run_and_not_trial_after_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_student, "concerns_cohort", lambda error, device: "illegal memory" in str(error))
    monkeypatch.setattr(module, "is_broken", lambda device: True)  # as CUDA answers each later call of the process
    flags = ["--limit", "60", "--cohort-size", "1", "--arms", "kd,raises", "--inline", "--out", str(tmp_path / "all")]
    run = here(*flags, script=str(written(tmp_path, ILLEGAL)))
    assert run.returncode == 1, run.stderr
    assert "stopping: the GPU can compute no more in this process (CUDA error: an illegal memory access" in run.stderr
    assert "Traceback" not in run.stderr
    states = load(str(tmp_path / "all" / "own")).trials.set_index("arm")["state"].to_dict()
    assert states == {"baseline": "completed", "kd": "completed"}  # what had ended is kept, and nothing has failed


@pytest.mark.parametrize("fits", [1, 2, 3, 4, 8])
def test_later_cohorts_start_at_the_size_that_fitted(fits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def train_cohort(cohort: Any, *_: Any) -> Iterator[TrialEnded]:
        ran.append(len(cohort))
        if len(cohort) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        for trial in cohort:
            yield TrialEnded(trial.id, {"state": "completed"}, [])

    def load(context: Any, job_ids: Any) -> Any:
        return [SimpleNamespace(id=i, config=Config(lr=0.1 + n / 100)) for n, i in enumerate(job_ids)], None

    monkeypatch.setattr(module, "train_cohort", train_cohort)
    monkeypatch.setattr(module, "_load", load)
    monkeypatch.setattr(module, "_store_result", lambda context, event: event)
    monkeypatch.setattr(module, "data_of", lambda context: None)
    monkeypatch.setattr(module, "_free_memory", lambda device: None)
    monkeypatch.setattr(module, "_fittings", {})
    context: Any = SimpleNamespace(
        device="cpu", fingerprint="", threads=1, deterministic=False, checkpoint_every=0.0, sharing=""
    )
    heard: list[list[str]] = []
    for jobs in ("abcdefgh", "ijklmnop"):
        before = len(ran)
        ended = [event.trial_id for event in execute(context, jobs, crowded=heard.append)]
        assert "".join(ended) == jobs
    assert heard == [list("abcdefgh"[:n]) for n in (8, 4, 2) if n > fits]
    assert max(ran[before:]) <= fits  # what was learnt holds
    other: Any = SimpleNamespace(**{**vars(context), "fingerprint": "other images"})
    list(execute(other, "abcdefgh"))
    assert max(ran) == 8
    assert ran.count(8) == (2 if fits < 8 else 3)


def test_cohorts_of_a_process_share_a_teacher_that_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def load_teacher(context: Any, teacher_id: str, config: Any) -> Any:
        read.append(teacher_id)
        return object(), {}

    monkeypatch.setattr(module, "load_teacher", load_teacher)
    monkeypatch.setattr(module, "_last", [])
    jobs = {name: SimpleNamespace(config=None) for name in "ab"}
    run, other = (SimpleNamespace(images={}, jobs=jobs) for _ in range(2))
    first, again = (module._teacher_of(context, "a") for context in (run, SimpleNamespace(**vars(run))))  # type: ignore[arg-type]
    assert first is again
    assert read == ["a"]
    for context, teacher_id in ((run, "b"), (other, "b"), (run, "b")):  # another run may have other weights by then
        module._teacher_of(context, teacher_id)  # type: ignore[arg-type]
    assert read == ["a", "b", "b", "b"]


KD = Config(batch_size=64, losses={"kd": 1.0})


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"config": KD.replace(lr=0.3, losses={"dist": 1.0}, width=0.5)}, True),  # another student, the same batches
        ({"config": KD.replace(shared_batches=True)}, False),
        ({"config": KD.replace(batch_size=32)}, False),
        ({"config": KD.replace(augment="crop")}, False),
        ({"config": KD.replace(sampling="balanced")}, False),
        ({"config": KD.replace(precision="bf16")}, False),
        ({"seed": 1}, False),
        ({"teacher": "other"}, False),
        ({"run": "other"}, False),
    ],
)
def test_cohorts_share_what_one_teacher_gives_for_the_same_batches(
    changed: dict[str, Any], same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)

    def kept(run: str = "run", teacher: str = "teacher", seed: int = 0, config: Config = KD) -> Any:
        context: Any = SimpleNamespace(sharing=run, jobs={"a": SimpleNamespace(teacher_id=teacher)})
        return module._kept(context, [TrialSpec("a", config, seed)], torch.device("cpu"))

    assert (kept(**changed) == kept()) is same
    assert kept(run="") is None
    assert kept(teacher=None) is None  # type: ignore[arg-type]
