"""Parts: written whole, checked when read."""

from __future__ import annotations

import pyarrow as pa
import pytest

from scl.store.files import Folder
from scl.store.parts import ended_in_parts, read_part, write_part
from scl.store.results import read_results
from scl.store.tables import compact
from tests.support.parts import put_part


@pytest.mark.parametrize("at", [0, 40, -60, -45, -20, -1, "cut"])
def test_a_damaged_part_is_named_by_readers_and_moved_by_writers(
    store: Folder, at: int | str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only writers move anything. The other parts are read."""
    put_part(store, "t0")
    put_part(store, "t1")
    parts = store / "parts"
    name = next(n for n in parts.names() if n.startswith("t0"))
    content = bytearray(parts.read(name))
    if isinstance(at, int):
        content[at] ^= 0x10
    parts.write(name, bytes(content[:300] if at == "cut" else content))
    read = read_results(store)
    assert list(read.trials["trial_id"]) == ["t1"]
    assert ended_in_parts(store, ["t0", "t1"]) == {"t1"}
    (remark,) = read.remarks
    assert remark.startswith(f"parts/{name}: ")
    assert remark in capsys.readouterr().err
    assert name in parts.names()
    compact(store, {})
    assert list(read_results(store).trials["trial_id"]) == ["t1"]
    (kept,) = read_results(store).damaged
    assert kept.endswith(name)
    assert "damaged: " in capsys.readouterr().err


def test_other_programs_read_a_part(store: Folder) -> None:
    put_part(store, "t0", accuracy=0.25)
    (name,) = (store / "parts").names()
    with pa.input_stream(f"{store.path}/parts/{name}") as stream:
        assert pa.ipc.open_stream(stream).read_all()["test_acc"].to_pylist() == [0.25]


def test_a_column_that_is_not_in_the_schema_is_an_error(store: Folder) -> None:
    with pytest.raises(ValueError, match="'tset_acc' is not a column"):
        write_part(store, {"trial_id": "t", "tset_acc": 1.0}, [], None)


def test_ended_trials_are_those_completed_or_pruned(store: Folder) -> None:
    for trial, state in (("t0", "completed"), ("t1", "failed"), ("t2", "pruned"), ("t3", "completed")):
        put_part(store, trial, state)
    assert ended_in_parts(store, ["t0", "t1", "t2", "t9"]) == {"t0", "t2"}


def test_a_part_that_a_live_run_has_moved_is_none(store: Folder) -> None:
    assert read_part(store, "t0-00000000.arrows.zst") is None
