"""A cohort from the plan to the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scl.store.results import load

GREEDY = """
import torch
from scl.cli.main import main
from scl.study.config import Config
from scl.study.study import Study
from scl.study.term import Term

def greedy(student, teacher):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8.00 GiB")

main(Study(
    name="own", question="q", seeds=1,
    base=Config(model="plain3", width=0.05, epochs=2, batch_size=32),
    teacher=Config(model="plain5", width=0.05, batch_size=32),
    arms={"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 1.0}},
          "greedy": {"losses": {"mine": Term(0.5, loss=greedy)}}},
))
"""


@pytest.mark.parametrize("where", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_cohort_that_does_not_fit_is_halved(tmp_path: Path, where: str) -> None:
    (tmp_path / "own.py").write_text(GREEDY)
    flags = ["--limit", "60", "--cohort-size", "4", *(["--inline"] if where == "inline" else [])]
    run = subprocess.run(
        [sys.executable, str(tmp_path / "own.py"), *flags, "--out", str(tmp_path / "all")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    trials = load(str(tmp_path / "all" / "own")).trials.set_index("arm")
    assert trials["state"].to_dict() == {
        "baseline": "completed",
        "kd": "completed",
        "at": "completed",
        "greedy": "failed",
    }
    assert "Tried to allocate 20.00 GiB" in trials.loc["greedy", "error"]
    assert "lower batch_size" in trials.loc["greedy", "error"]
    if where == "inline":
        assert "a cohort of 4 does not fit" in run.stderr
        calm = ["--arms", "kd,at", "--inline", "--limit", "60", "--out", str(tmp_path / "calm")]
        subprocess.run([sys.executable, str(tmp_path / "own.py"), *calm], capture_output=True, timeout=300, check=True)
        undisturbed = load(str(tmp_path / "calm" / "own")).trials.set_index("arm")
        for arm in ("baseline", "kd", "at"):
            assert trials.loc[arm, "test_loss"] == undisturbed.loc[arm, "test_loss"]


BROKEN = """
import scl.run.execute, scl.train.student
from scl.cli.main import main
from scl.study.config import Config
from scl.study.study import Study
from scl.study.term import Term

def broken(student, teacher):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")

def concerns_cohort(error, device):
    return "illegal memory" in str(error)

scl.train.student.concerns_cohort = concerns_cohort
scl.run.execute.is_broken = lambda device: True  # as CUDA answers each later call of the process

main(Study(
    name="own", question="q", seeds=1,
    base=Config(model="plain3", width=0.05, epochs=2, batch_size=32),
    teacher=Config(model="plain5", width=0.05, batch_size=32),
    arms={"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "broken": {"losses": {"mine": Term(0.5, loss=broken)}}},
))
"""


def test_a_gpu_that_is_lost_ends_the_run_and_not_trial_after_trial(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(BROKEN)
    flags = ["--limit", "60", "--cohort-size", "1", "--inline", "--out", str(tmp_path / "all")]
    run = subprocess.run(
        [sys.executable, str(tmp_path / "own.py"), *flags], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 1, run.stderr
    assert "stopping: the GPU can compute no more in this process (CUDA error: an illegal memory access" in run.stderr
    assert "Traceback" not in run.stderr
    states = load(str(tmp_path / "all" / "own")).trials.set_index("arm")["state"].to_dict()
    assert states == {"baseline": "completed", "kd": "completed"}  # what had ended is kept, and nothing has failed
