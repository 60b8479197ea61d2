"""What accuracy costs in a search, beside Optuna's own front."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.report.facts import Facts, gather
from scl.report.results import Results
from scl.report.search.front import draw_front, front_plot, fronts
from tests.report.search.test_history import in_optuna
from tests.support.synthetic import gathered, make_search_store


def with_study(facts: Facts, **study: Any) -> Facts:
    return gather(Results(facts.results.trials, facts.results.epochs, {**facts.study, **study}))


def test_the_front_of_two_objectives_is_that_of_optuna(tmp_path: Path) -> None:
    facts = gathered(make_search_store(tmp_path, 60, multi=True))
    (front,) = fronts(facts)
    assert (front.x.name, front.y.name) == ("macs", "val_acc")
    best = {trial.number for trial in in_optuna(facts).best_trials}
    assert set(front.frame.loc[front.frame["on"], "number"]) == best
    assert len(best) > 1


def test_nothing_on_the_front_is_beaten(tmp_path: Path) -> None:
    (front,) = fronts(gathered(make_search_store(tmp_path, 60, multi=True)))
    points = front.frame[["x", "y"]].to_numpy()
    for (x, y), on in zip(points, front.frame["on"], strict=True):
        assert on != any((a <= x and b >= y) and (a < x or b > y) for a, b in points)


@pytest.mark.parametrize(
    ("constraints", "most", "least"),
    [({"macs": 2_050_000}, 2_050_000, math.nan), ({"macs": 2_050_000, "val_acc": 0.69}, 2_050_000, 69.0)],
)
def test_constraints_are_drawn_and_kept(
    searched: Facts, constraints: dict[str, float], most: float, least: float
) -> None:
    facts = with_study(searched, search={"constraints": constraints})
    (front,) = fronts(facts)
    assert [front.most, front.least] == pytest.approx([most, least], nan_ok=True)
    frame = front.frame
    feasible = (frame["x"] <= most) & ~(frame["y"] < least)
    assert frame["feasible"].equals(feasible.rename("feasible"))
    assert not frame["on"][~feasible].any()
    assert frame["on"].any()
    drawn = draw_front(front)
    assert [trace["name"] for trace in drawn["data"]] == ["breaks a constraint", "beaten", "Pareto front"]
    lines = [shape.get("x0") == most or shape.get("y0") == least for shape in drawn["layout"]["shapes"]]
    assert lines == [True] * (1 + math.isfinite(least))
    caption = front_plot(facts, [front]).caption
    assert "Constraint, the dotted line: macs ≤ 2,050,000" in caption
    assert f"Squares: {(~feasible).sum()} completed trials beyond it" in caption


def test_without_objectives_or_constraints_each_cost_that_differs_has_a_front(searched: Facts) -> None:
    assert [front.x.name for front in fronts(searched)] == ["macs"]  # params and latency are the same in all trials
    same = gather(Results(searched.results.trials.assign(macs=1.0), searched.results.epochs, searched.study))
    assert fronts(same) == []


def test_of_three_objectives_all_count(searched: Facts) -> None:
    rng = np.random.default_rng(0)
    trials = searched.results.trials
    trials = trials.assign(params=rng.integers(1, 50, len(trials)))
    aims = {"val_acc": "maximize", "macs": "minimize", "params": "minimize"}
    facts = gather(Results(trials, searched.results.epochs, {**searched.study, "objectives": aims}))
    shown = fronts(facts)
    assert [front.x.name for front in shown] == ["macs", "params"]
    best = {trial.number for trial in in_optuna(facts).best_trials}
    assert all(set(front.frame.loc[front.frame["on"], "number"]) == best for front in shown)
    assert [trace["mode"] for front in shown for trace in draw_front(front)["data"]] == ["markers"] * 4
    assert "may look beaten" in front_plot(facts, shown).caption
    assert len(front_plot(facts, shown).figures) == 2


def test_accuracy_is_on_the_y_axis_in_whatever_order_objectives_stand(tmp_path: Path) -> None:
    facts = gathered(make_search_store(tmp_path, 60, multi=True))
    turned = with_study(facts, objectives=dict(reversed(facts.study["objectives"].items())))
    assert [(f.x.name, f.y.name) for f in fronts(turned)] == [("macs", "val_acc")]
    assert fronts(turned)[0].frame.equals(fronts(facts)[0].frame)


def test_one_trial_has_no_front(tmp_path: Path) -> None:
    assert fronts(gathered(make_search_store(tmp_path, 1, winners=0, multi=True))) == []
