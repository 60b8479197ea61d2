"""The store: parts, compaction, locks, damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scl import results, tables
from scl.config import UserError
from scl.storage import Folder, check_writable, locked, open_folder


def part(store: Folder, trial_id: str, state: str = "completed", accuracy: float = 0.5, epochs: int = 2) -> None:
    row = {
        "trial_id": trial_id, "study": "s", "arm": "a", "config_id": "c", "seed": 0, "state": state,
        "test_acc": accuracy, "ended": results.now(), "param.lr": 0.1, "param.weight.kd": 1.0,
    }  # fmt: skip
    history = [{"trial_id": trial_id, "epoch": e + 1, "lr": 0.1, "term.kd": 1.5} for e in range(epochs)]
    results.write_part(store, row, history, np.arange(5) if state == "completed" else None)


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    folder = open_folder(str(tmp_path / "store"))
    plan = [{"arm": "renamed", "seed": i, "trial_id": f"t{i}"} for i in range(3)]
    results.write_study(folder, {"schema_version": 1, "plan": plan})
    return folder


def test_parts_are_read_with_and_without_compaction(store: Folder) -> None:
    part(store, "t0")
    part(store, "t1", "failed", epochs=1)
    before = results.read(store)
    results.compact(store, before.study)
    after = results.read(store)
    assert (store / "parts").names() == []
    for one in (before, after):
        assert list(one.trials["trial_id"]) == ["t0", "t1"]
        assert len(one.epochs) == 3
        assert list(one.cells()["state"]) == ["completed", "failed", "missing"]
    assert set(after.trials["arm"]) == {"renamed"}
    assert pq.read_schema(Path(store.path) / "epochs.parquet").field("term.kd").type == "float"


def test_a_later_success_replaces_a_failure_and_its_epochs(store: Folder) -> None:
    part(store, "t0", "failed", accuracy=0.1, epochs=1)
    results.compact(store, {})
    part(store, "t0", accuracy=0.9, epochs=3)
    read = results.read(store)
    assert list(read.trials["test_acc"]) == [0.9]
    assert list(read.epochs["epoch"]) == [1, 2, 3]


def test_a_failure_never_replaces_a_success(store: Folder) -> None:
    part(store, "t0", accuracy=0.9)
    results.compact(store, {})
    part(store, "t0", "failed", accuracy=0.1, epochs=1)
    results.compact(store, {})
    read = results.read(store)
    assert list(read.trials["test_acc"]) == [0.9]
    assert len(read.epochs) == 2


def test_compaction_killed_before_it_removed_its_parts_duplicates_nothing(store: Folder) -> None:
    part(store, "t0")
    (name,) = (store / "parts").names()
    content = (store / "parts").read(name)
    results.compact(store, {})
    (store / "parts").write(name, content)
    read = results.read(store)
    assert len(read.trials) == 1
    assert len(read.epochs) == 2
    assert len(results.read_predictions(store)) == 1


def test_a_truncated_part_is_set_aside_and_the_others_are_read(store: Folder) -> None:
    part(store, "t0")
    part(store, "t1")
    parts = store / "parts"
    name = next(n for n in parts.names() if n.startswith("t0"))
    Path(parts.path, name).write_bytes(parts.read(name)[:300])
    assert list(results.read(store).trials["trial_id"]) == ["t1"]
    (kept,) = results.read(store).damaged
    assert kept.endswith(name)


@pytest.mark.parametrize("at", [0, 40, -60, -45, -20, -1])
def test_a_part_with_one_byte_changed_is_set_aside(store: Folder, at: int, capsys: pytest.CaptureFixture[str]) -> None:
    part(store, "t0")
    (name,) = (store / "parts").names()
    content = bytearray((store / "parts").read(name))
    content[at] ^= 0x10
    (store / "parts").write(name, bytes(content))
    assert len(results.read(store).trials) == 0
    assert "damaged: " in capsys.readouterr().err


def test_parts_of_several_kinds_keep_their_order(store: Folder) -> None:
    """Rows come as the parts are named, whatever columns they have; Parquet, as parts once were, joins them."""
    for i, term in enumerate(["kd", "at", "kd", "at", "kd"]):
        row = {"trial_id": f"t{i}", "state": "completed", "ended": results.now(), f"param.{term}": 1.0}
        rows = [{"trial_id": f"t{i}", "epoch": e, f"term.{term}": float(i)} for e in (1, 2)]
        results.write_part(store, row, rows, np.array([i]) if i != 1 else None)
    parts = store / "parts"
    name = parts.names()[2]
    parts.write(name.replace(".arrows.zst", ".parquet"), tables.to_parquet(tables.from_part(parts.read(name))))
    parts.remove(name)
    for _ in range(2):
        read = results.read(store)
        assert list(read.trials["trial_id"]) == [f"t{i}" for i in range(5)]
        assert list(read.epochs["trial_id"]) == [f"t{i}" for i in range(5) for _ in (1, 2)]
        assert read.epochs["term.kd"].dropna().tolist() == [0, 0, 2, 2, 4, 4]
        assert [p.tolist() for p in results.read_predictions(store)["predicted"]] == [[0], [2], [3], [4]]
        results.compact(store, {})


def test_other_programs_read_a_part(store: Folder) -> None:
    part(store, "t0", accuracy=0.25)
    (name,) = (store / "parts").names()
    with pa.input_stream(f"{store.path}/parts/{name}") as stream:
        assert pa.ipc.open_stream(stream).read_all()["test_acc"].to_pylist() == [0.25]


def test_other_columns_of_later_code_join_as_nulls(store: Folder) -> None:
    part(store, "t0")
    results.compact(store, {})
    row = {"trial_id": "t1", "state": "completed", "ended": results.now(), "param.k": 3}
    results.write_part(store, row, [{"trial_id": "t1", "epoch": 1, "term.at": 2.0}], None)
    read = results.read(store)
    assert read.trials["param.k"].isna().tolist() == [True, False]
    assert read.epochs["term.at"].notna().sum() == 1


def test_a_column_that_is_not_in_the_schema_is_an_error(store: Folder) -> None:
    with pytest.raises(ValueError, match="'tset_acc' is not a column"):
        results.write_part(store, {"trial_id": "t", "tset_acc": 1.0}, [], None)


def test_a_write_that_fails_leaves_the_old_file(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("x", b"old")

    def full(self: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        store.write("x", b"new")
    assert store.read("x") == b"old"
    assert [n for n in store.names() if n != "study.json"] == ["x"]


def test_no_store_and_a_broken_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study\.json is not there"):
        results.load(str(tmp_path))
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match="is damaged, it is not JSON"):
        results.load(str(tmp_path))
    (tmp_path / "study.json").write_text('{"schema_version": 99}')
    with pytest.raises(UserError, match="newer scl"):
        results.load(str(tmp_path))


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    code = f"from scl.storage import *\nwith locked(open_folder({str(tmp_path)!r})): pass"
    with locked(open_folder(str(tmp_path))):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "UserError" in other.stderr
        assert "in use by process" in other.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_lease_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "is_local", property(lambda self: False))
    tmp_path.joinpath("s").mkdir()
    folder = open_folder(str(tmp_path / "s"))
    with locked(folder):
        with pytest.raises(UserError, match="in use by process"), locked(folder):
            pass
        monkeypatch.setattr("scl.storage.LEASE_SECONDS", 0.0)  # a holder that died renews no more
        with locked(folder):
            pass


def test_out_that_cannot_be_opened_or_written() -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        open_folder("nonsense://x")
    with pytest.raises(UserError, match="cannot be written"):
        check_writable(open_folder("/proc/nowhere"))
