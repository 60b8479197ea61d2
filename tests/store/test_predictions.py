"""Predictions as arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from scl.store.checksums import to_parquet
from scl.store.files import Folder
from scl.store.predictions import LABELS, read_predictions
from scl.store.results import read_results
from scl.store.study_file import write_study
from scl.store.tables import compact, write_reference_predictions
from tests.support.parts import put_part


def test_rows_of_the_table_and_of_parts(store: Folder) -> None:
    put_part(store, "a")
    compact(store, {})
    write_reference_predictions(store, {LABELS: np.array([3, 65535])})
    put_part(store, "b")
    put_part(store, "c", state="failed")
    found = read_predictions(store)
    assert {i: row.tolist() for i, row in found.items()} == {
        "a": [0, 1, 2, 3, 4],
        LABELS: [3, 65535],
        "b": [0, 1, 2, 3, 4],
    }
    assert {row.dtype for row in found.values()} == {np.dtype(np.uint16)}
    write_study(store, {})
    results = read_results(store)
    assert results.predictions.keys() == found.keys()
    assert results.predictions is results.predictions


def test_a_row_with_an_empty_value_is_left_out(store: Folder) -> None:
    rows = {"trial_id": ["a", "b", "c", "d"], "predicted": [[1, 2], [None, 2], [], [3, None]]}
    table = pa.table(rows, schema=pa.schema({"trial_id": pa.string(), "predicted": pa.list_(pa.uint16())}))
    store.write("predictions.parquet", to_parquet(table))
    assert {i: row.tolist() for i, row in read_predictions(store).items()} == {"a": [1, 2], "c": []}


def test_no_store_and_an_empty_one_have_none(store: Folder) -> None:
    assert read_predictions(store) == {}
