"""What to use: chosen by validation images, borne out by test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scl.report.decision import decide, validated
from scl.report.decision_box import box
from scl.report.facts import Facts
from tests.support.synthetic import accuracy, gathered, make_search_store, make_store, rewrite_trials

CLEAR = {"baseline": 0.0, "kd": 0.05, "at": 0.0}
NONE = {"baseline": 0.0, "kd": 0.0, "at": 0.0}


def facts_of(
    folder: Path,
    effects: Mapping[str, float],
    seeds: int = 5,
    states: Mapping[tuple[str, int], str] | None = None,
    columns: Mapping[str, Callable[[Mapping[str, Any]], Any]] | None = None,
    **study: Any,
) -> Facts:
    """A study with these effects on test accuracy. columns: of its trials, from their rows."""
    store = make_store(folder, list(effects), range(seeds), accuracy(effects, spread=0.004), states, **study)

    def changed(trials: pd.DataFrame) -> pd.DataFrame:
        rows = trials.to_dict("records")
        return trials.assign(**{name: [value(row) for row in rows] for name, value in (columns or {}).items()})

    return gathered(rewrite_trials(store, changed) if columns else store)


def first_by_validation(arm: str) -> dict[str, Any]:
    return {"val_acc": lambda row: 0.9 if row["arm"] == arm else 0.7}


LOSS = {"metric": "test_loss", "direction": "min"}
NO_VAL = {"val_acc": lambda row: None}
EQUAL = {"macs": lambda row: 5.0, "params": lambda row: 5.0}


@pytest.mark.parametrize(
    ("given", "kind", "arm", "words"),
    [
        ({"effects": CLEAR}, "better", "kd", ["“kd”: validation selects it", "test images show that it beats"]),
        ({"effects": {"baseline": 0, "kd": 0.05}}, "better", "kd", ["it is the only other arm"]),
        ({"effects": NONE}, "cheapest", "baseline", ["No arm is clearly better than the baseline; use the cheapest"]),
        ({"effects": CLEAR, "seeds": 1}, "cheapest", "baseline", ["One seed cannot show that an arm is better"]),
        ({"effects": CLEAR, "seeds": 2, "states": {("baseline", 1): "failed"}}, "cheapest", "baseline",
         ["One seed cannot"]),
        ({"effects": {"baseline": 0, "kd": -0.05, "at": -0.03}}, "worse", "baseline",
         ["The baseline: every other arm"]),
        ({"effects": {"baseline": 0, "kd": -0.05, "at": 0}}, "cheapest", "baseline", ["clearly better"]),
        ({"effects": CLEAR, "columns": first_by_validation("at")}, "unsettled", None,
         ["validation selects “at”, which is not shown to beat the baseline, and test images show that “kd” does"]),
        ({"effects": CLEAR, "columns": first_by_validation("baseline")}, "unsettled", None,
         ["validation selects the baseline, and test images show that “kd” does better"]),
        ({"effects": CLEAR, "columns": NO_VAL}, "unchosen", None, ["no validation images", "baseline: “kd”"]),
        ({"effects": {"baseline": 0, "kd": 0.05}, "columns": NO_VAL}, "better", "kd", ["it is the only other arm"]),
        ({"effects": NONE, "columns": NO_VAL}, "cheapest", "baseline", ["use the cheapest: “baseline”"]),
        # Not shown to be worse, but worse on validation images: cheap is no reason to use it.
        ({"effects": {"baseline": 0, "kd": -0.001, "at": -0.001},
         "columns": {"macs": lambda row: float(row["arm"] != "kd")}},
         "cheapest", "baseline", ["use the cheapest: “baseline”"]),
        ({"effects": NONE, "columns": {
            **first_by_validation("kd"), "macs": lambda row: 1.0 if row["arm"] == "kd" else 2.0}},
         "cheapest", "kd", ["use the cheapest of the 3 that are at least as good on validation images: “kd”"]),
        ({"effects": NONE, "columns": {**EQUAL, **first_by_validation("kd"),
         "train_seconds": lambda row: 9.0 - (row["arm"] == "kd")}}, "cheapest", "kd",
         ["All cost the same in use; it trains fastest"]),
        ({"effects": NONE, "baseline": "none", "columns": first_by_validation("kd")}, "uncompared", "kd",
         ["Validation selects “kd”; the baseline “none” has no result to compare with"]),
        ({"effects": CLEAR, "baseline": ""}, "better", "kd", ["“kd”"]),  # the first arm is the baseline then
        ({"effects": {"baseline": 0}}, "only", "baseline", ["“baseline” is the only arm with results"]),
        ({"effects": {"baseline": 0, "kd": -0.6}}, "only", "baseline", ["every other arm is left out"]),
        ({"effects": CLEAR, "roles": {"kd": "control"}}, "cheapest", "baseline", ["clearly better"]),
        ({"effects": CLEAR, "roles": {"kd": "control", "at": "reference"}}, "cheapest", "baseline", ["clearly better"]),
        ({"effects": CLEAR, "constraints": {"macs": 1.0}}, "unchosen", None, ["No arm may be used"]),
        ({"effects": CLEAR, "constraints": {"macs": 2_010_000.0}}, "cheapest", "baseline", ["clearly better"]),
        ({"effects": NONE, "constraints": {"macs": 1.0}, "columns": {
            **first_by_validation("kd"), "macs": lambda row: 9.0 * (row["arm"] == "baseline")}},
         "cheapest", "kd", ["the baseline, which may not be used itself; validation selects “kd”"]),
        ({"effects": CLEAR, "columns": {"val_loss": lambda row: 1 - row["test_acc"]}, **LOSS}, "better", "kd",
         ["“kd”: val"]),
        ({"effects": CLEAR, "columns": {"val_loss": lambda row: row["test_acc"]}, **LOSS}, "unsettled", None,
         ["Not settled"]),
        ({"effects": CLEAR, "states": {("kd", 0): "failed", ("baseline", 2): "missing"}}, "better", "kd", ["“kd”"]),
        ({"effects": CLEAR, "states": {("kd", s): "failed" for s in range(5)}}, "cheapest", "baseline", ["“baseline”"]),
        ({"effects": CLEAR, "states": {("kd", s): "failed" for s in range(4)}}, "cheapest", "baseline", ["“baseline”"]),
    ],
)  # fmt: skip
def test_what_to_use(given: dict[str, Any], kind: str, arm: str | None, words: list[str], tmp_path: Path) -> None:
    facts = facts_of(tmp_path, **given)
    decision = decide(facts)
    assert decision is not None
    assert (decision.kind, decision.arm) == (kind, arm)
    for text in words:
        assert text in decision.text
    for term, text in box(facts):
        assert text.endswith("."), (term, text)
        assert "nan" not in text.replace("“none”", ""), (term, text)


def test_nothing_is_decided_without_a_result(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, {"baseline": 0.0}, 1, {("baseline", 0): "failed"})
    assert decide(facts) is None
    assert box(facts) == []


def test_a_search_is_decided_by_its_winners(tmp_path: Path) -> None:
    facts = gathered(make_search_store(tmp_path, 20))
    decision = decide(facts)
    assert decision is not None
    assert (decision.kind, str(decision.arm)[:7]) == ("better", "winner-")


def test_validation_is_compared_on_seeds_that_all_arms_have(tmp_path: Path) -> None:
    lucky = {"val_acc": lambda row: 0.9 if row["seed"] == 4 else 0.7 + 0.01 * (row["arm"] == "at")}
    facts = facts_of(tmp_path, CLEAR, states={("at", 4): "failed"}, columns=lucky)
    means = validated(facts, ["baseline", "kd", "at"])
    assert np.allclose(means, [0.7, 0.7, 0.71])
