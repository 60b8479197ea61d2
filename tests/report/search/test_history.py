"""The history of a search, beside Optuna's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from scl.report.facts import Facts, gather
from scl.report.results import Results
from scl.report.search.history import draw_history, history, history_plot
from tests.support.synthetic import START, gathered, make_search_store


def ended(facts: Facts, seconds: list[float | None]) -> Facts:
    """The same search, whose trials ended so many seconds after its start."""
    times = [pd.NaT if s is None else START + pd.Timedelta(s, unit="s") for s in seconds]
    return replace(facts, searched=facts.searched.assign(ended=times))


def in_optuna(facts: Facts) -> optuna.Study:
    """The search as Optuna would hold it, its trials in the order of suggestion."""
    aims: dict[str, str] = facts.study["objectives"]
    study = optuna.create_study(directions=list(aims.values()))
    for row in facts.searched.sort_values("number").to_dict("records"):
        state = {"completed": "COMPLETE", "infeasible": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[row["state"]]
        values = [float(row[name]) for name in aims] if state == "COMPLETE" else None
        trial = optuna.trial.create_trial(state=optuna.trial.TrialState[state], values=values)
        study.add_trial(trial)
    return study


def test_best_so_far_is_the_running_maximum_of_completed_trials(searched: Facts) -> None:
    shown = history(searched)
    assert shown is not None
    best, expected = -math.inf, {}
    for row in searched.searched.sort_values("number").to_dict("records"):
        if row["state"] == "completed":
            best = max(best, 100 * row["val_acc"])
        expected[row["number"]] = best if math.isfinite(best) else math.nan
    assert shown.frame.set_index("number")["best"].to_dict() == pytest.approx(expected, nan_ok=True)
    assert (shown.frame["state"] == "failed").sum() == (searched.searched["state"] == "failed").sum() > 0


def test_it_ends_at_the_best_value_of_optuna(searched: Facts) -> None:
    shown = history(searched)
    assert shown is not None
    assert shown.frame["best"].iloc[-1] == pytest.approx(100 * in_optuna(searched).best_value)


def test_trials_stand_in_the_order_in_which_they_ended(searched: Facts) -> None:
    n = len(searched.searched)
    order = np.random.default_rng(0).permutation(n)
    shown = history(ended(searched, [float(at) for at in order]))
    assert shown is not None
    assert shown.by_end
    numbers = searched.searched["number"].to_numpy()[np.argsort(order)]
    assert list(shown.frame["number"]) == list(numbers)
    assert list(shown.frame["at"]) == list(range(1, n + 1))
    done = shown.frame["value"].where(shown.frame["state"] == "completed")
    assert shown.frame["best"].dropna().tolist() == done.cummax().ffill().dropna().tolist()
    assert draw_history(shown)["layout"]["xaxis"]["title"]["text"] == "trials that have ended"


@pytest.mark.parametrize("lost", [slice(0, 1), slice(None)])
def test_a_store_that_does_not_say_when_trials_ended_has_the_order_of_suggestion(searched: Facts, lost: slice) -> None:
    times: list[float | None] = [float(-i) for i in range(len(searched.searched))]
    times[lost] = [None] * len(times[lost])
    shown = history(ended(searched, times))
    assert shown is not None
    assert not shown.by_end
    assert shown.frame["number"].is_monotonic_increasing
    assert "in the order of suggestion" in history_plot(searched, shown).caption
    without = history(replace(searched, searched=searched.searched.drop(columns="ended")))
    assert without is not None
    assert without.frame.equals(shown.frame)


def test_marks_beyond_the_axis_stand_at_its_edge_with_their_value(searched: Facts) -> None:
    shown = history(searched)
    assert shown is not None
    assert shown.span is not None
    drawn = {trace["name"]: trace for trace in draw_history(shown)["data"]}
    assert set(drawn) == {"completed", "pruned", "failed", "best so far"}
    low = round(shown.span[0], 3)
    assert set(drawn["failed"]["y"]) == {low}
    assert {about[1] for about in drawn["failed"]["customdata"]} == {"no value"}
    assert set(drawn["pruned"]["y"]) == {low}  # 5 points below
    values = searched.searched[searched.searched["state"] == "pruned"].set_index("number")["val_acc"]
    assert {n: float(v) for n, v in drawn["pruned"]["customdata"]} == pytest.approx((100 * values).to_dict(), abs=0.006)


@pytest.mark.parametrize(("direction", "best"), [("maximize", "max"), ("minimize", "min")])
def test_the_direction_decides_what_is_best(tmp_path: Path, direction: str, best: str) -> None:
    facts = gathered(make_search_store(tmp_path, 30))
    study: dict[str, Any] = {**facts.study, "objectives": {"macs": direction}}
    again = gather(Results(facts.results.trials, facts.results.epochs, study))
    shown = history(again)
    assert shown is not None
    done = again.searched[again.searched["state"] == "completed"]["macs"]
    assert shown.frame["best"].iloc[-1] == done.agg(best)


def test_what_breaks_a_constraint_is_never_the_best(searched: Facts) -> None:
    study = {**searched.study, "search": {"constraints": {"macs": 2_050_000}}}
    again = gather(Results(searched.results.trials, searched.results.epochs, study))
    shown = history(again)
    assert shown is not None
    kept = again.searched[(again.searched["state"] == "completed") & (again.searched["macs"] <= 2_050_000)]
    assert shown.frame["best"].iloc[-1] == pytest.approx(100 * kept["val_acc"].max())
    assert "beyond a constraint" in {trace["name"] for trace in draw_history(shown)["data"]}
    assert "best completed trial that keeps every constraint" in history_plot(again, shown).caption


def test_test_accuracy_plays_no_part(searched: Facts) -> None:
    changed = replace(searched, searched=searched.searched.assign(test_acc=0.0))
    one, other = history(searched), history(changed)
    assert one is not None
    assert other is not None
    assert draw_history(one) == draw_history(other)
