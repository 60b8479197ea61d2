"""Tables and parts together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from scl.store.files import Folder
from scl.store.parts import write_part
from scl.store.results import read_results
from scl.store.schema import now
from scl.store.tables import compact, read_trials, write_reference_predictions
from tests.support.parts import put_part, read_predictions


def test_parts_are_read_with_and_without_compaction(store: Folder) -> None:
    put_part(store, "t0")
    put_part(store, "t1", "failed", epochs=1)
    before = read_results(store)
    compact(store, before.study)
    after = read_results(store)
    assert (store / "parts").names() == []
    for one in (before, after):
        assert list(one.trials["trial_id"]) == ["t0", "t1"]
        assert len(one.epochs) == 3
        assert list(one.plan_states()["state"]) == ["completed", "failed", "missing"]
    assert set(after.trials["arm"]) == {"renamed"}
    assert pq.read_schema(Path(store.path) / "epochs.parquet").field("term.kd").type == "float"


def test_a_later_success_replaces_a_failure_and_its_epochs(store: Folder) -> None:
    put_part(store, "t0", "failed", accuracy=0.1, epochs=1)
    compact(store, {})
    put_part(store, "t0", accuracy=0.9, epochs=3)
    read = read_results(store)
    assert list(read.trials["test_acc"]) == [0.9]
    assert list(read.epochs["epoch"]) == [1, 2, 3]


def test_a_failure_never_replaces_a_success(store: Folder) -> None:
    put_part(store, "t0", accuracy=0.9)
    compact(store, {})
    put_part(store, "t0", "failed", accuracy=0.1, epochs=1)
    compact(store, {})
    read = read_results(store)
    assert list(read.trials["test_acc"]) == [0.9]
    assert len(read.epochs) == 2


def test_compaction_killed_before_it_removed_its_parts_duplicates_nothing(store: Folder) -> None:
    put_part(store, "t0")
    (name,) = (store / "parts").names()
    content = (store / "parts").read(name)
    compact(store, {})
    (store / "parts").write(name, content)
    read = read_results(store)
    assert len(read.trials) == 1
    assert len(read.epochs) == 2
    assert len(read_predictions(store)) == 1


def test_parts_of_several_kinds_keep_their_order(store: Folder) -> None:
    """Rows come in the order of the names of the parts, whatever columns they have."""
    for i, term in enumerate(["kd", "at", "kd", "at", "kd"]):
        row = {"trial_id": f"t{i}", "state": "completed", "ended": now(), f"param.{term}": 1.0}
        rows = [{"trial_id": f"t{i}", "epoch": e, f"term.{term}": float(i)} for e in (1, 2)]
        write_part(store, row, rows, np.array([i]) if i != 1 else None)
    for _ in range(2):
        read = read_results(store)
        assert list(read.trials["trial_id"]) == [f"t{i}" for i in range(5)]
        assert list(read.epochs["trial_id"]) == [f"t{i}" for i in range(5) for _ in (1, 2)]
        assert read.epochs["term.kd"].dropna().tolist() == [0, 0, 2, 2, 4, 4]
        assert [p.tolist() for p in read_predictions(store)["predicted"]] == [[0], [2], [3], [4]]
        compact(store, {})


def test_other_columns_of_later_code_join_as_nulls(store: Folder) -> None:
    put_part(store, "t0")
    compact(store, {})
    row = {"trial_id": "t1", "state": "completed", "ended": now(), "param.k": 3}
    write_part(store, row, [{"trial_id": "t1", "epoch": 1, "term.at": 2.0}], None)
    read = read_results(store)
    assert read.trials["param.k"].isna().tolist() == [True, False]
    assert read.epochs["term.at"].notna().sum() == 1


def test_a_damaged_table_is_restored_from_its_copy(store: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    put_part(store, "t0")
    compact(store, {})
    content = store.read("trials.parquet")
    store.write("trials.parquet", content[:-1] + b"x")
    assert read_trials(store)["trial_id"].tolist() == ["t0"]
    assert store.read("trials.parquet") == content
    assert "trials.parquet: restored from its copy" in capsys.readouterr().err
    assert len((store / "damaged").names()) == 1


def test_the_gap_closed_is_counted_from_the_same_seeds_baseline(store: Folder) -> None:
    accuracies = {("base", 0): 0.5, ("kd", 0): 0.6, ("base", 1): 0.7, ("kd", 1): 0.65, ("base", 2): 0.9, ("kd", 2): 1.0}
    plan = []
    for (arm, seed), accuracy in accuracies.items():
        row = {"trial_id": f"{arm}{seed}", "arm": arm, "seed": seed, "state": "completed", "ended": now()}
        write_part(store, {**row, "test_acc": accuracy, "teacher_test_acc": 0.8}, [], None)
        plan.append({"arm": arm, "seed": seed, "trial_id": f"{arm}{seed}"})
    for _ in range(2):
        compact(store, {"plan": plan, "baseline": "base"})
        closed = read_trials(store).set_index("trial_id")["gap_closed"]
        assert closed[["kd0", "kd1"]].tolist() == pytest.approx([1 / 3, -0.5])
        assert closed[["base0", "base1", "base2", "kd2"]].isna().all()  # at seed 2 the teacher is below the baseline
    compact(store, {"plan": plan[:2], "baseline": "base"})
    assert read_trials(store).set_index("trial_id")["gap_closed"]["kd1"] == pytest.approx(-0.5)  # left as it was


def test_reference_predictions_are_added_and_replaced(store: Folder) -> None:
    put_part(store, "t0")
    write_reference_predictions(store, {"labels": np.arange(3), "teacher": np.arange(4)})
    write_reference_predictions(store, {"labels": np.arange(5)})
    found = read_predictions(store).set_index("trial_id")["predicted"]
    assert sorted(found.index) == ["labels", "t0", "teacher"]
    assert found["labels"].tolist() == [0, 1, 2, 3, 4]
