"""Agreement, the share of the gap that is closed, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy import stats as reference

from scl.report.blocks import Plot
from scl.report.facts import Facts, gather
from scl.report.questions import distilling
from scl.report.results import Results
from scl.store.study_file import read_study, write_study
from tests.support.pages import built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    gathered,
    make_store,
    rewrite_trials,
    with_params,
)


def test_share_of_the_gap_is_the_ratio_of_means_over_shared_seeds(tmp_path: Path) -> None:
    facts = gathered(make_store(tmp_path, ARMS, range(4), accuracy(EFFECTS), {("kd", 2): "failed"}))
    seeds = [0, 1, 3]
    gain = (facts.scores["kd"] - facts.scores["baseline"])[seeds]
    gap = (0.74 - facts.scores["baseline"])[seeds]
    share = distilling.gap_closed(facts).shares["kd"]
    assert (share.n, share.value) == (3, pytest.approx(gain.mean() / gap.mean()))
    for end in (share.low, share.high):
        assert reference.ttest_1samp(gain - end * gap, 0).pvalue == pytest.approx(0.05)
    assert "baseline" not in distilling.gap_closed(facts).shares


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ([0.70, 0.70, 0.75, 0.69], "over 4 seeds"),  # above its teacher once
        ([0.70, 0.79, 0.60, 0.86], "so any share is possible."),
        ([0.80, 0.79, 0.76, 0.81], "The teacher is 5.0 points below the baseline over 4 seeds, so there is no gap"),
    ],
)
def test_a_seed_with_a_baseline_above_its_teacher_is_counted(tmp_path: Path, base: list[float], said: str) -> None:
    """The stored column has no value for such a seed, so its mean over seeds would leave it out in silence."""
    values = {"baseline": base, "kd": [b + 0.01 for b in base]}
    page, _, results = built(make_store(tmp_path, list(values), range(4), lambda arm, seed: values[arm][seed]))
    shown = distilling.gap_closed(gather(results))
    assert said in page.text
    assert shown.whole.n == 4
    if shown.shares:
        assert shown.shares["kd"].n == 4
        assert shown.shares["kd"].value == pytest.approx(0.01 / (0.74 - sum(base) / 4))


@pytest.mark.parametrize(
    ("arms", "weights", "said"),
    [
        ({"baseline": {}, "kd": {}}, None, ", which was trained without the teacher."),
        ({"baseline": {"losses": {"kd": {"weight": 0.9}}}, "kd": {}}, None, ", which is itself distilled."),
        ({"baseline": {"losses": {"kd": {"weight": 0.0}}}, "kd": {}}, None, ", which was trained without the teacher."),
        ({}, None, ")."),
        ({}, {"baseline": {"weight.kd": 0.9}, "kd": {"weight.kd": 0.9}}, ", which is itself distilled."),
        ({}, {"baseline": {}, "kd": {"weight.kd": 0.9}}, ", which was trained without the teacher."),
    ],
    ids=str,
)
def test_what_is_said_of_the_baseline_is_true_of_it(
    tmp_path: Path, arms: dict[str, Any], weights: dict[str, Any] | None, said: str
) -> None:
    store = make_store(tmp_path, ["baseline", "kd"], range(3), accuracy(EFFECTS))
    write_study(store, {**read_study(store), "arms": arms})
    facts = gathered(with_params(store, weights) if weights else store)
    answer = distilling.panel(facts).answer
    assert answer.endswith(said)
    assert "never saw" not in answer


@pytest.mark.parametrize(("spread", "mechanical"), [(0.0, True), (0.1, False)])
def test_agreement_that_follows_accuracy_is_called_mechanical(tmp_path: Path, spread: float, mechanical: bool) -> None:
    shift = dict(zip(ARMS, (2, -1, 1, 2, -2), strict=True))
    store = rewrite_trials(
        make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS)),
        lambda t: t.assign(agreement=t["test_acc"] + spread * t["arm"].map(shift)),
    )
    answer = distilling.panel(gathered(store)).answer
    assert "It differs from accuracy only by the images that the teacher gets wrong (26.0 %)" in answer
    assert ("which is mechanical" in answer) == mechanical


def test_the_floor_of_the_calibration_error_is_drawn_if_all_trials_have_one(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS))
    floors = {"kd": 0.03, "baseline": 0.02, "channel": 0.01}
    store = rewrite_trials(
        store,
        lambda t: t.assign(
            ece=0.02 + 0.001 * t["seed"],
            ece_floor=t["arm"].map(floors).where((t["arm"] != "channel") | (t["seed"] > 0)),
        ),
    )
    facts = gathered(store)
    assert distilling.calibration_floors(facts) == pytest.approx({"kd": 3.0, "baseline": 2.0})
    (plot,) = [b for b in distilling.panel(facts).blocks if isinstance(b, Plot) and b.id == "calibration"]
    ticks = [trace for trace in plot.figures[0]["data"] if trace.get("marker", {}).get("symbol") == "line-ns"]
    assert sorted(ticks[0]["x"]) == [2.0, 3.0]
    assert "Not shown to be above the floor: " in plot.caption
    assert "“kd”" in plot.caption
    old = distilling.panel(gathered(rewrite_trials(store, lambda t: t.drop(columns="ece_floor"))))
    (plot,) = [b for b in old.blocks if isinstance(b, Plot) and b.id == "calibration"]
    assert "how much, the trials of this store do not say" in plot.caption


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
