"""Parts move into the tables while a run goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from scl.errors import RunFailed
from scl.run.ray import folding
from scl.run.ray.folding import Folding
from scl.store.files import Folder, open_folder
from scl.store.lease import LostLease
from scl.store.parts import ended_in_parts, part_names
from scl.store.tables import read_trials
from tests.support.parts import put_part


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return open_folder(str(tmp_path / "store"))


def settled(moving: Folding) -> None:
    if moving.thread:
        moving.thread.join()


def test_parts_of_ended_trials_move_when_they_are_as_many_as_the_rows(
    store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "AT_LEAST", 2)
    moving, left = Folding(), []
    put_part(store, "zombie")  # its end has not been heard
    for i in range(8):
        put_part(store, f"t{i}")
        moving.add(store, f"t{i}")
        settled(moving)
        left.append(len(part_names(store)))
    assert left == [2, 1, 2, 1, 2, 3, 4, 1]  # with 2, 4 and 8 ended trials
    assert ended_in_parts(store, ["zombie", "t0"]) == {"zombie"}
    assert sorted(read_trials(store)["trial_id"]) == [*(f"t{i}" for i in range(8)), "zombie"]


@pytest.mark.parametrize("error", [LostLease("x"), RunFailed("x"), OSError("x")])
def test_what_cannot_move_now_does_so_at_the_end(
    store: Folder, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> int:
        raise error

    monkeypatch.setattr(folding, "AT_LEAST", 1)
    monkeypatch.setattr(folding, "compact", fails)
    moving = Folding()
    moving.add(store, "t0")
    moving.close()
    assert capsys.readouterr().err == ""


def test_one_move_at_a_time(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go, moved = threading.Event(), threading.Event(), []

    def slow(store: Folder, study: Any, of: set[str]) -> int:
        begun.set()
        assert go.wait(20)
        moved.append(of)
        return 0

    monkeypatch.setattr(folding, "AT_LEAST", 1)
    monkeypatch.setattr(folding, "compact", slow)
    moving = Folding()
    moving.add(store, "a")
    assert begun.wait(20)
    moving.add(store, "b")
    moving.add(store, "c")
    go.set()
    settled(moving)
    moving.add(store, "d")
    moving.close()
    moving.add(store, "e")  # of a worker that the run has given up
    settled(moving)
    assert moved == [{"a"}, {"b", "c", "d"}]
