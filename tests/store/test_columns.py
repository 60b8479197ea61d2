"""Columns: those of the schema, whoever wrote the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scl.store.columns import OtherSchema, complete, conformed, joined
from scl.store.schema import SCHEMAS

ROW = {"trial_id": ["t0"], "arm": ["a"], "seed": [0], "state": ["completed"]}


@pytest.mark.parametrize("file", SCHEMAS)
def test_a_table_of_the_schema_stays_as_it_is(file: str) -> None:
    table = SCHEMAS[file].empty_table()
    found, remarks = conformed(table, file)
    assert found.schema == table.schema
    assert remarks == []


@pytest.mark.parametrize(
    ("columns", "name", "wanted"),
    [
        ({"seed": pa.array([1], pa.int8())}, "seed", 1),
        ({"seed": pa.array([1.0])}, "seed", 1),
        ({"seed": pa.array(["1"])}, "seed", 1),
        ({"arm": pa.array(["a"]).dictionary_encode()}, "arm", "a"),
        ({"arm": pa.array(["a"], pa.large_string())}, "arm", "a"),
        ({"test_acc": pa.array([1])}, "test_acc", 1.0),
        ({"test_acc": pa.array([float("nan")])}, "test_acc", None),
        ({"param.lr": pa.array([0.5], pa.float32())}, "param.lr", 0.5),
        ({"param.k": pa.array([3], pa.uint16())}, "param.k", 3),
        ({"param.none": pa.nulls(1)}, "param.none", None),
        ({"mine": pa.array(["x"])}, "mine", "x"),
    ],
)
def test_types_that_hold_the_same_values_are_converted(columns: dict[str, Any], name: str, wanted: Any) -> None:
    found, remarks = conformed(pa.table({**ROW, **columns}), "trials")
    value = found[name][0].as_py()
    assert value == wanted or (wanted is None and value != value)
    assert not [remark for remark in remarks if f"'{name}'" in remark]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"test_acc": ["high"]}, "its column 'test_acc' is of type string, not double, and counts as empty"),
        ({"test_acc": [99.0]}, "1 values of test_acc are no fraction"),
        ({"val_acc": [float("inf")]}, "1 values of val_acc are no fraction"),
        ({"param.lr": [{"a": 1}]}, "its column 'param.lr' is of type struct<a: int64>, not string"),
        ({"mine": [[1]]}, "its column 'mine' of type list<item: int64> is left out"),
    ],
)
def test_what_is_left_out_is_named(columns: dict[str, Any], says: str) -> None:
    found, remarks = conformed(pa.table({**ROW, **columns}), "trials")
    assert any(says in remark for remark in remarks)
    assert set(columns) - set(found.schema.names) or found[next(iter(columns))].null_count == 1


@pytest.mark.parametrize("column", ["trial_id", "arm", "seed", "state"])
def test_a_table_without_what_every_row_needs_is_another(column: str) -> None:
    table = pa.table(ROW)
    with pytest.raises(OtherSchema, match=f"no column '{column}'"):
        conformed(table.drop_columns([column]), "trials")
    twice = pa.Table.from_arrays([*table.columns, table[column]], names=[*table.schema.names, column])
    with pytest.raises(OtherSchema, match=f"'{column}' occurs twice"):
        conformed(twice, "trials")
    empty = table.set_column(table.schema.get_field_index(column), column, pa.nulls(1))
    assert complete(conformed(empty, "trials")[0], "trials").to_pylist() == [False]


def test_a_state_that_scl_does_not_know_is_no_row() -> None:
    table, _ = conformed(pa.table({**ROW, "state": ["done"]}), "trials")
    assert complete(table, "trials").to_pylist() == [False]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("one", "two", "wanted"),
    [
        ([2], [0.5], [2.0, 0.5]),
        ([True], [2], ["true", "2"]),
        ([True], [0.5], ["true", "0.5"]),
        (["null"], [4.0], ["null", "4.0"]),
        ([None], [4], [None, 4]),
        ([2**60 + 1], [0.5], [str(2**60 + 1), "0.5"]),
    ],
)
def test_columns_of_options_have_a_type_that_holds_all(one: list[Any], two: list[Any], wanted: Any, order: int) -> None:
    tables = [pa.table({"param.x": one}), pa.table({"param.x": two})]
    assert joined(tables[::order])["param.x"].to_pylist() == wanted[::order]


def test_many_tables_of_one_type_join_in_their_order() -> None:
    tables = [pa.table({"param.x": [i], "epoch": np.array([i], np.int32)}) for i in range(50)]
    assert joined(tables)["param.x"].to_pylist() == list(range(50))
