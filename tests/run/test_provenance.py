"""The record of a run."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from scl.run.provenance import asked_for, git_state, script_in_git, study_record
from scl.study.designs import grid
from scl.study.search import Search
from scl.study.space import Choice
from scl.study.study import Study
from tests.support.plans import SEARCHING, SHORT, STUDY, tiny_plan
from tests.support.studies import planned, run_study


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


@pytest.mark.parametrize(
    ("study", "recorded"),
    [
        (STUDY, False),
        (replace(STUDY, arms={**STUDY.arms, "fused": {"kernels": "fused"}}), True),
        (replace(STUDY, base=STUDY.base.replace(kernels="fused")), True),
        (SEARCHING, False),
        (replace(SEARCHING, base=STUDY.base.replace(kernels="fused")), True),
        (replace(SEARCHING, search=Search({"kernels": Choice(("torch", "fused"))}, trials=7)), True),
    ],
)
def test_the_version_of_triton_is_recorded_where_it_compiles_kernels(
    study: Study, recorded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scl.models.networks.unavailable", lambda device: "")  # as on a GPU: nothing is trained here
    versions = study_record(tiny_plan(tmp_path, study=study))["versions"]
    assert ("triton" in versions) == recorded
    assert {"python", "torch", "numpy"} <= versions.keys()


NOTHING = {"margin": None, "planned_looks": None}


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ((), {"seeds": ["3"], "val": ["0.1"]}),
        (("--seed-list", "4-6", "--val", "0"), {"seed_list": ["4-6"], "val": ["0.0"]}),
        (("--out", "s3-is-no-matter", "--track", "wandb", "--cohort-size", "2"), {"seeds": ["3"], "val": ["0.1"]}),
        (("--cpus-per-trial", "2", "--device", "cpu"), {"seeds": ["3"], "val": ["0.1"]}),  # they stand elsewhere
    ],
)
def test_what_was_asked_for_is_told_with_the_defaults_that_may_change(
    flags: tuple[str, ...], options: dict[str, list[str]], tmp_path: Path
) -> None:
    found = asked_for(planned(STUDY, tmp_path, *flags), NOTHING)
    always = {"data": ["digits"], "split_seed": ["0"]}
    assert found["options"] == {**always, **options}
    assert (found["script"], found["in_git"], found["by"], found["lacking"]) == ("study.py", False, "flags", [])


def test_what_the_store_declared_before_is_asked_for_too(tmp_path: Path) -> None:
    found = asked_for(planned(STUDY, tmp_path), {"margin": 0.01, "planned_looks": [3, 5]})["options"]
    assert (found["margin"], found["looks"]) == (["0.01"], ["3,5"])


def test_the_file_of_a_study_is_told_with_its_folders_if_the_commit_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(__file__)
    assert script_in_git(str(here)) == "tests/run/test_provenance.py"
    assert script_in_git(str(tmp_path / "mine.py")) == ""
    assert script_in_git("") == ""
    monkeypatch.chdir(here.parents[2])  # a study in Python has no file: the present folder counts
    assert git_state("") == git_state(str(here))
