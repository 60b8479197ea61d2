"""Checksums: every changed byte is noticed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scl.errors import Damaged
from scl.store.checksums import (
    MARK,
    ROWS_OF_LISTS,
    from_parquet,
    from_part,
    is_checked,
    remarks_of,
    to_parquet,
    to_part,
)

TABLE = pa.table({"a": [1, 2, 3], "text": ["x", None, "z"]})


@pytest.mark.parametrize(("write", "read"), [(to_parquet, from_parquet), (to_part, from_part)], ids=["table", "part"])
def test_every_changed_or_missing_byte_is_noticed(write: Any, read: Any) -> None:
    content = write(TABLE)
    assert read(content).equals(TABLE)
    assert write(TABLE) == content
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 0x10
        with pytest.raises(Damaged):
            read(bytes(changed))
        with pytest.raises(Damaged):
            read(content[:at])


def test_any_reader_of_parquet_reads_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(to_parquet(TABLE))
    assert pd.read_parquet(tmp_path / "t.parquet")["a"].tolist() == [1, 2, 3]


def test_a_table_of_another_writer_needs_no_checksum_but_ours_does() -> None:
    buffer = io.BytesIO()
    pq.write_table(TABLE, buffer)
    assert from_parquet(buffer.getvalue()).equals(TABLE)
    content = to_parquet(TABLE)
    at = content.index(MARK)
    with pytest.raises(Damaged, match="its checksum is missing"):
        from_parquet(content[:at] + content[at + len(MARK) + 32 :])


@pytest.mark.parametrize("rows", [0, 1, ROWS_OF_LISTS, 2 * ROWS_OF_LISTS + 1])
def test_lists_that_are_read_in_turn_are_one_table(rows: int) -> None:
    lists = [[i] * (i % 3) if i % 5 else None for i in range(rows)]
    table = pa.table(
        {"name": pa.array(map(str, range(rows)), pa.string()), "n": pa.array(lists, pa.list_(pa.uint16()))}
    )
    read = from_parquet(to_parquet(table, ["a remark"]))
    assert read.equals(table)
    assert is_checked(read)
    assert remarks_of(read) == ["a remark"]
