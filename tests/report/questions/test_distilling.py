"""Agreement, the share of the gap that is closed, calibration."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats as reference

from scl.report.facts import Facts, gather
from scl.report.questions import distilling
from scl.report.results import Results
from tests.support.pages import built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    gathered,
    make_store,
    rewrite_trials,
)


def test_share_of_the_gap_is_by_seed_and_computed_where_it_is_not_stored(taught: Facts, tmp_path: Path) -> None:
    stored = {row.arm: row for row in distilling.gap_closed(taught).rows}
    rows = taught.completed[taught.completed["arm"] == "channel k=8"]
    assert stored["channel k=8"].value == pytest.approx(100 * rows["gap_closed"].mean())
    assert "baseline" not in stored
    facts = gathered(make_store(tmp_path, ARMS, range(4), accuracy(EFFECTS)))
    share = (facts.scores["kd"] - facts.scores["baseline"]) / (0.74 - facts.scores["baseline"])
    low, high = reference.t.interval(0.95, 3, share.mean(), reference.sem(share))
    row = next(r for r in distilling.gap_closed(facts).rows if r.arm == "kd")
    assert (row.value, row.low, row.high) == pytest.approx((100 * share.mean(), 100 * low, 100 * high), rel=1e-9)


def test_no_gap_to_a_teacher_that_is_not_ahead(tmp_path: Path) -> None:
    page, _, study = built(make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS, base=0.8)))
    assert distilling.gap_closed(gather(study)).rows == ()
    assert "The teacher is not better than the baseline" in page.text


def test_calibration_is_the_mean_of_the_stored_errors(taught: Facts) -> None:
    rows = {row.arm: row for row in distilling.calibration(taught).rows}
    x = 100 * taught.completed.loc[taught.completed["arm"] == "baseline", "ece"]
    low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
    assert (rows["baseline"].value, rows["baseline"].low, rows["baseline"].high) == pytest.approx((x.mean(), low, high))
    assert [r.value for r in distilling.calibration(taught).rows] == sorted(r.value for r in rows.values())


def test_epochs_of_older_stores_without_new_columns(tmp_path: Path) -> None:
    """A store of before `ece`, `teacher_kl` and agreement: panels say what they lack."""
    store = rewrite_trials(
        make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS)),
        lambda t: t.drop(columns=["ece", "teacher_kl"]).assign(agreement=None),
    )
    page, _, study = built(store)
    assert isinstance(study, Results)
    assert "The store holds no agreement of a trial with its teacher" in page.text
