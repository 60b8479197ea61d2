"""Reading a store."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scl.store.files import Folder
from scl.store.results import fill_params, load, read_results
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


def test_coded_ids_are_the_same_ids_and_not_a_text_for_each_epoch(store: Folder) -> None:
    for trial in ("t0", "t1"):
        put_part(store, trial, epochs=3)
    text, coded = read_results(store).epochs, read_results(store, coded=True).epochs
    assert isinstance(coded["trial_id"].dtype, pd.CategoricalDtype)
    assert not isinstance(text["trial_id"].dtype, pd.CategoricalDtype)
    pd.testing.assert_frame_equal(coded.assign(trial_id=coded["trial_id"].astype(text["trial_id"].dtype)), text)
    assert coded["trial_id"].memory_usage() < text["trial_id"].memory_usage(deep=True)


def test_a_store_without_trials_is_empty_and_has_its_columns(store: Folder) -> None:
    read = read_results(store)
    assert len(read.trials) == len(read.epochs) == len(read.planned()) == 0
    assert read_results(store, coded=True).epochs.empty
    assert {"trial_id", "test_acc"} <= set(read.trials.columns)
    assert read.plan_states()["state"].tolist() == ["missing"] * 3


def test_trials_of_earlier_versions_have_the_defaults_of_newer_fields() -> None:
    """They were trained so. What a trial of this version lacks stays absent."""
    columns: dict[str, list[Any]] = {
        "param.lr": [0.1, 0.2, None],
        "param.optimizer": [None, "adamw", None],
        "param.betas": [None, "0.8/0.9", None],
        "param.accumulate": [None, 2, None],
        "param.decay_norms": [None, False, None],
        "param.dropout": [None, 0.1, None],
        "param.kd.temperature": [4.0, None, None],
    }
    trials = pd.DataFrame(columns)
    fill_params(trials)
    assert trials["param.optimizer"].tolist()[:2] == ["sgd", "adamw"]
    assert trials["param.betas"].tolist()[:2] == ["0.9/0.999", "0.8/0.9"]
    assert trials["param.accumulate"].tolist()[:2] == [1, 2]
    assert trials["param.decay_norms"].tolist()[:2] == [True, False]
    assert trials["param.dropout"].isna().tolist() == [True, False, True]
    assert trials["param.kd.temperature"].isna().tolist() == [False, True, True]
    assert trials.iloc[2].isna().all()
