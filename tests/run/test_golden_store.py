"""Stores that an earlier version wrote: their trials are found again by id, and nothing is trained again.

`tests/golden` holds the tables of `ablation.py` with its defaults and of a short `search.py`, as written before
packages and field names changed.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from scl.store.files import open_folder
from scl.store.results import read_results
from scl.study.study import Study
from tests.support.studies import planned, run_study

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
SEARCH = ("--trials", "4", "--epochs", "2", "--limit", "100", "--teacher-epochs", "1", "--seeds", "1")


def study(name: str) -> Study:
    spec = importlib.util.spec_from_file_location(f"golden_{name}", ROOT / "studies" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.STUDY
    assert isinstance(found, Study)
    return found


def test_the_default_study_finds_every_trial_of_an_old_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(GOLDEN / "ablation", tmp_path / "ablation")
    before = pd.read_parquet(GOLDEN / "ablation" / "trials.parquet")
    assert run_study(study("ablation"), "--out", str(tmp_path)) == 0
    said = capsys.readouterr()
    assert "24 trials, 24 done, 0 to train" in said.err
    assert "nothing to train" in said.err
    assert (tmp_path / "ablation" / "report.html").stat().st_size > 1_000_000
    after = read_results(open_folder(str(tmp_path / "ablation")))
    assert set(after.trials["trial_id"]) == set(before["trial_id"])
    pd.testing.assert_frame_equal(
        after.trials.set_index("trial_id").sort_index()[sorted(before.columns.drop("trial_id"))],
        before.set_index("trial_id").sort_index()[sorted(before.columns.drop("trial_id"))],
        check_dtype=False,
    )
    record = json.loads((tmp_path / "ablation" / "study.json").read_text())
    old = json.loads((GOLDEN / "ablation" / "study.json").read_text())
    record["data"].pop("note"), old["data"].pop("note")  # prose
    for field in ("plan_id", "arms", "data", "git", "hardware", "versions", "started", "ended", "wall_seconds"):
        assert record[field] == old[field], field


def test_an_old_search_goes_on_under_its_name_with_its_ids(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "search", tmp_path / "search")
    old = json.loads((GOLDEN / "search" / "study.json").read_text())
    plan = planned(study("search"), tmp_path, *SEARCH)
    from scl.search.driver import SearchDriver

    searcher = SearchDriver(plan, lambda reason: None)
    assert searcher.study_name == old["search"]["optuna_study"]
    assert [trial.trial_id for trial in searcher.configurations.in_order()] == old["search"]["tried"]
    assert searcher.to_go == 0
    searched = [row["trial_id"] for row in old["plan"] if row["arm"] == "search"]
    assert searched == old["search"]["tried"]
    assert {t.trial_id for t in plan.trials} <= {row["trial_id"] for row in old["plan"]}
