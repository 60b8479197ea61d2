"""All trials with their states and reasons."""

from __future__ import annotations

from scl.report.results import Results
from tests.support.pages import Page


def test_failed_and_pruned_trials_are_listed_and_never_averaged(plain: tuple[Page, str, Results]) -> None:
    page, _, study = plain
    assert (study.trials.loc[study.trials["state"] != "completed", "test_acc"] == 0.999).all()
    assert "22 of 25 planned trials completed, 1 pruned, 1 failed, 1 missing" in page.text
    first = page.tables["all-trials"][0]
    assert first["state"][0] == "failed"
    assert "loss term 'kd' became nan" in first["error"][0]
    assert len(page.tables["all-trials"]) == 25
    assert max(float(str(r["test_acc_mean"][1])) for r in page.tables["main-table"]) < 0.75
