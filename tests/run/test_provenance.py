"""The record of a run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd

from scl.run.provenance import git_state
from scl.study.designs import grid
from scl.study.study import Study
from tests.support.plans import SHORT, STUDY
from tests.support.studies import run_study


def test_code_that_git_does_not_know_is_dirty(tmp_path: Path) -> None:

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def dirty() -> bool:
        state = git_state(str(study))
        assert state is not None
        return bool(state["dirty"])

    study = tmp_path / "studies" / "mine.py"
    study.parent.mkdir()
    git("init")
    lock = tmp_path / ".git" / "index.lock"
    (tmp_path / ".gitignore").write_text("results/\n")
    git("add", ".")
    git("commit", "-m", "a")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert not dirty()
    study.write_text("x = 1\n")
    assert dirty()
    git("add", ".")
    git("commit", "-m", "b")
    assert not dirty()
    study.write_text("x = 2\n")
    assert dirty()
    seen = (tmp_path / ".git" / "index").stat()
    study.touch()  # `git status` would write the index anew, under its lock
    assert dirty()
    assert (tmp_path / ".git" / "index").stat() == seen
    lock.touch()  # of a commit that runs at this time
    assert dirty()


def test_factors_reach_the_store(tmp_path: Path) -> None:
    study = Study("tiny", "?", {"baseline": {}} | grid({"lr": [0.01, 0.02], "self_taught": [0, 4]}), base=STUDY.base,
                  teacher=STUDY.teacher)  # fmt: skip
    assert run_study(study, "--out", str(tmp_path), *SHORT, "--seeds", "1") == 0
    record = json.loads((tmp_path / "tiny" / "study.json").read_text())
    assert record["design"] == "full factorial"
    assert record["factors"] == {"lr": {"levels": [0.01, 0.02]}, "self_taught": {"levels": [0, 4]}}
    assert record["arm_levels"]["lr=0.02/self_taught=4"] == {"lr": 0.02, "self_taught": 4}
    trials = pd.read_parquet(tmp_path / "tiny" / "trials.parquet")
    assert trials["number"].isna().all()
