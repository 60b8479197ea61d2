"""Parts: written whole, checked when read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from scl.store.files import Folder
from scl.store.parts import ended_in_parts, read_part, write_part
from scl.store.results import read_results
from tests.support.parts import put_part


def test_a_truncated_part_is_set_aside_and_the_others_are_read(store: Folder) -> None:
    put_part(store, "t0")
    put_part(store, "t1")
    parts = store / "parts"
    name = next(n for n in parts.names() if n.startswith("t0"))
    Path(parts.path, name).write_bytes(parts.read(name)[:300])
    assert list(read_results(store).trials["trial_id"]) == ["t1"]
    (kept,) = read_results(store).damaged
    assert kept.endswith(name)


@pytest.mark.parametrize("at", [0, 40, -60, -45, -20, -1])
def test_a_part_with_one_byte_changed_is_set_aside(store: Folder, at: int, capsys: pytest.CaptureFixture[str]) -> None:
    put_part(store, "t0")
    (name,) = (store / "parts").names()
    content = bytearray((store / "parts").read(name))
    content[at] ^= 0x10
    (store / "parts").write(name, bytes(content))
    assert len(read_results(store).trials) == 0
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
