"""The three tables as files, beside writers that no lock keeps out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from scl.store import lease
from scl.store.files import Folder
from scl.store.lease import LostLease
from scl.store.locks import locked
from scl.store.parts import part_names
from scl.store.tables import compact, mend, read_tables, read_trials, write_reference_predictions
from tests.support.parts import put_part

FILES = ("trials", "epochs", "predictions")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A store in what Arrow takes for an object store: it has no locks, and no file is renamed."""
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    there = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("file", auto_mkdir=True)))
    return Folder(there, str(tmp_path / "store"))


def content(store: Folder) -> dict[str, Any]:
    tables = read_tables(store, part_names(store), *FILES)
    return {file: sorted(table["trial_id"].to_pylist()) for file, table in zip(FILES, tables, strict=True)}


def rows(*trials: str) -> dict[str, list[str]]:
    """What a store of these trials holds, as `put_part` makes them, with the true classes."""
    ids = sorted(trials)
    return {"trials": ids, "epochs": sorted(ids * 2), "predictions": sorted([*ids, "labels"])}


def labels(store: Folder) -> None:
    write_reference_predictions(store, {"labels": np.arange(5)})


class Stopped:
    """Calls `meanwhile` before the n-th change that is made to a folder, as if the process was suspended there."""

    def __init__(self, patch: pytest.MonkeyPatch, n: int, meanwhile: Callable[[], None]) -> None:
        self.n, self.meanwhile, self.count, self.inside = n, meanwhile, 0, False
        for name in ("write", "remove", "set_aside", "read", "names"):
            patch.setattr(Folder, name, self._wrapped(getattr(Folder, name)))

    def _wrapped(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(folder: Folder, *arguments: Any, **more: Any) -> Any:
            if not self.inside:
                self.count += 1
                if self.count == self.n:
                    self.inside = True
                    self.meanwhile()
                    self.inside = False
            return method(folder, *arguments, **more)

        return call


@pytest.mark.parametrize("leased", [True, False], ids=["lease noticed", "too late"])
def test_two_writers_lose_nothing_wherever_one_is_suspended(
    leased: bool, bucket: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is stopped in its compaction; a second takes over, writes and compacts; the first goes on. If it
    notices, it stops; a write that was under way may come too late all the same."""
    n, done = 0, False
    while not done:
        n += 1
        store = Folder(bucket.filesystem, f"{bucket.path}{n}")
        labels(store)
        put_part(store, "old")
        compact(store, {})
        put_part(store, "first", "failed", epochs=1)
        put_part(store, "mine")

        def second(store: Folder = store) -> None:
            mine = lease._leases.pop(str(store))  # the second is another process
            mend(store)
            put_part(store, "first")
            put_part(store, "yours")
            compact(store, {})
            lease._leases[str(store)] = mine
            if leased:
                store.write(".holder", json.dumps({"token": "other", "pid": 1}).encode())

        with monkeypatch.context() as patch, suppress(LostLease), locked(store) as held:
            stopped, elapsed = Stopped(patch, n, second), lease._elapsed
            patch.setattr(lease, "_elapsed", lambda e=elapsed, s=stopped: e() + 1000.0 * (leased and s.count >= s.n))
            compact(store, {})
            stopped.inside = True
            lost = leased and stopped.count >= n
            assert held() != lost
        done = stopped.count < n
        if not done:
            assert content(store) == rows("first", "mine", "old", "yours"), n
            states = read_trials(store)["state"]
            assert set(states) == {"completed"}
            compact(store, {})
            assert content(store) == rows("first", "mine", "old", "yours"), n
            assert sum(name.startswith("trials") for name in (store / "copies").names()) == 1
            assert part_names(store) == []
    assert n > 15


def names(store: Folder) -> list[str]:
    return [name for name in (store / "copies").names() if name.startswith("trials")]


def write_old(store: Folder, *trials: str) -> None:
    """Tables as a version of scl without editions writes them: a copy under the same name."""
    there = Folder(fs.LocalFileSystem(), f"{store.path}-old")
    for trial in trials:
        put_part(there, trial)
    labels(there)
    compact(there, {})
    for file in FILES:
        for place in ("", "/copies"):
            (replace(store, path=store.path + place)).write(f"{file}.parquet", there.read(f"{file}.parquet"))


def test_a_store_of_a_version_without_editions_goes_on(bucket: Folder) -> None:
    write_old(bucket, "old")
    assert content(bucket) == rows("old")
    put_part(bucket, "new")
    compact(bucket, {})
    assert content(bucket) == rows("old", "new")
    assert len((bucket / "copies").names()) == 3
    write_old(bucket, "old", "new", "other")  # that version ran again
    assert content(bucket) == rows("old", "new", "other")
    compact(bucket, {})
    assert content(bucket) == rows("old", "new", "other")
    assert len((bucket / "copies").names()) == 3


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["damaged", "missing", "edited", "copy damaged", "copy missing", "copies missing"])
def test_a_damaged_table_is_read_from_the_other_file(
    damage: str, file: str, bucket: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    labels(bucket)
    put_part(bucket, "t")
    compact(bucket, {})
    copies = bucket / "copies"
    (copy,) = [name for name in copies.names() if name.startswith(file)]
    if damage == "damaged":
        bucket.write(f"{file}.parquet", bucket.read(f"{file}.parquet")[:-9])
    elif damage == "missing":
        bucket.remove(f"{file}.parquet")
    elif damage == "edited":
        buffer = io.BytesIO()
        pq.write_table(
            pq.ParquetFile(io.BytesIO(bucket.read(f"{file}.parquet"))).read().replace_schema_metadata(), buffer
        )
        bucket.write(f"{file}.parquet", buffer.getvalue())
    elif damage == "copy damaged":
        copies.write(copy, b"x")
    elif damage == "copy missing":
        copies.remove(copy)
    else:
        for name in copies.names():
            copies.remove(name)
    assert content(bucket) == rows("t")
    said = capsys.readouterr().err
    assert (f"{file}.parquet: " in said and "its copy is used" in said) == (not damage.startswith("cop")), said
    mend(bucket)
    assert content(bucket) == rows("t")
    compact(bucket, {})
    assert content(bucket) == rows("t")
    assert len(names(bucket)) == 1


def test_an_edition_that_was_never_whole_holds_nothing(bucket: Folder) -> None:
    put_part(bucket, "t")
    compact(bucket, {})
    (name,) = [name for name in (bucket / "copies").names() if name.startswith("epochs")]
    (bucket / "copies").write(f"epochs-{'0' * 16}.parquet", (bucket / "copies").read(name))
    assert len(content(bucket)["epochs"]) == 2


def test_a_reader_beside_a_run_that_compacts_misses_nothing(bucket: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of its requests the run does a whole compaction."""
    for n in range(1, 12):
        store = Folder(bucket.filesystem, f"{bucket.path}{n}")
        labels(store)
        put_part(store, "old")
        compact(store, {})
        put_part(store, "new")
        with monkeypatch.context() as patch:
            Stopped(patch, n, lambda store=store: compact(store, {}))  # type: ignore[misc]
            assert content(store) == rows("old", "new"), n
