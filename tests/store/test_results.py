"""Reading a store."""

from __future__ import annotations

from scl.store.files import Folder
from scl.store.results import load, read_results
from tests.support.parts import put_part


def test_planned_rows_come_in_the_order_of_the_plan(store: Folder) -> None:
    for trial in ("other", "t2", "t0"):
        put_part(store, trial)
    read = read_results(store)
    assert read.planned()["trial_id"].tolist() == ["t0", "t2"]
    assert read.plan_states()["state"].tolist() == ["completed", "missing", "completed"]


def test_a_store_is_loaded_from_its_path(store: Folder) -> None:
    put_part(store, "t0", epochs=3)
    loaded = load(store.path)
    assert loaded.trials["test_acc"].tolist() == [0.5]
    assert loaded.epochs["epoch"].tolist() == [1, 2, 3]
    assert loaded.study["schema_version"] == 1
    assert loaded.damaged == ()


def test_a_store_without_trials_is_empty_and_has_its_columns(store: Folder) -> None:
    read = read_results(store)
    assert len(read.trials) == len(read.epochs) == len(read.planned()) == 0
    assert {"trial_id", "test_acc"} <= set(read.trials.columns)
    assert read.plan_states()["state"].tolist() == ["missing"] * 3
