"""Configurations of a search as the page counts them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from scl.report.searched import INFEASIBLE, searched
from scl.store.results import Results

SPACE = {
    "method": {"choices": ["kd", "at", "none", "fast"], "sets": {"fast": {"epochs": 9}}},
    "weight.kd": {"low": 0, "high": 1, "log": False, "if": {"method": ["kd"]}},
    "kd.temperature": {"low": 1, "high": 8, "log": False, "if": {"method": ["kd"]}},
    "weight.at": {"low": 0, "high": 1, "log": False, "if": {"method": ["at"]}},
}


def results(rows: list[dict[str, Any]], search: dict[str, Any], space: dict[str, Any] | None = None) -> Results:
    frame = pd.DataFrame([{"trial_id": f"t{i}", "arm": "search", "seed": 0, **row} for i, row in enumerate(rows)])
    epochs = pd.DataFrame(
        {"trial_id": frame["trial_id"], "epoch": 3, "val_loss": [0.1 * (i + 1) for i in range(len(frame))]}
    )
    return Results(frame.astype({"number": "Int64"}), epochs, {"search_space": space or {"lr": {}}, "search": search})


def test_one_seed_has_a_row_for_each_trial_with_the_metrics_of_its_last_epoch() -> None:
    rows = [{"number": 1, "state": "completed", "val_acc": 0.5}, {"number": 0, "state": "pruned", "val_acc": 0.4}]
    found = searched(results(rows, {}))
    assert list(found["number"]) == [0, 1]
    assert list(found["val_loss"]) == pytest.approx([0.2, 0.1])
    assert list(found["state"]) == ["pruned", "completed"]


@pytest.mark.parametrize(
    ("pruner", "states"),
    [("halving", {0: "completed", 1: "pruned", 3: "failed"}),
     ("wilcoxon", {0: "completed", 1: "pruned", 2: "pruned", 3: "failed"})],
)  # fmt: skip
def test_several_seeds_are_one_configuration(pruner: str, states: dict[int, str]) -> None:
    rows = [
        {"number": 0, "seed": 0, "state": "completed", "val_acc": 0.5, "ended": 5},
        {"number": 0, "seed": 1, "state": "completed", "val_acc": 0.7, "ended": 9},
        {"number": 1, "seed": 0, "state": "pruned", "val_acc": 0.4},
        {"number": 2, "seed": 0, "state": "completed", "val_acc": 0.4},  # its later seed was skipped, or is to come
        {"number": 3, "seed": 0, "state": "completed", "val_acc": 0.5},
        {"number": 3, "seed": 1, "state": "failed", "val_acc": None},
    ]
    found = searched(results(rows, {"seeds": 2, "pruner": {"name": pruner}}))
    assert dict(zip(found["number"], found["state"], strict=True)) == states
    assert found["val_acc"].iloc[0] == pytest.approx(0.6)
    assert found["ended"].iloc[0] == 9  # with its last seed
    assert found["val_loss"].iloc[0] == pytest.approx(0.15)


def test_what_breaks_a_constraint_is_not_completed() -> None:
    rows = [
        {"number": 0, "state": "completed", "val_acc": 0.9, "params": 10},
        {"number": 1, "state": "completed", "val_acc": 0.9, "params": 20},
        {"number": 2, "state": "pruned", "val_acc": 0.9, "params": 20},
        {"number": 3, "state": "completed", "val_acc": 0.5, "params": 10},
        {"number": 4, "state": "completed", "val_acc": 0.9, "params": None},
    ]
    found = searched(results(rows, {"constraints": {"params": 15.0, "val_acc": 0.8}}))
    assert list(found["state"]) == ["completed", INFEASIBLE, "pruned", INFEASIBLE, INFEASIBLE]


def test_a_label_is_the_branch_whose_parameters_a_row_has() -> None:
    each = {"state": "completed", "val_acc": 0.5, "param.epochs": 3}
    rows = [
        {**each, "number": 0, "param.weight.kd": 1.0, "param.kd.temperature": 2.0},
        {**each, "number": 1, "param.weight.at": 1.0},
        {**each, "number": 2},
        {**each, "number": 3, "param.epochs": 9},
    ]
    found = searched(results(rows, {}, SPACE))
    assert list(found["param.method"]) == ["kd", "at", "none", "fast"]


def test_arms_alone_are_no_search() -> None:
    frame = pd.DataFrame({"trial_id": ["a"], "arm": ["kd"], "number": [None]})
    assert searched(Results(frame, pd.DataFrame(), {})).empty
