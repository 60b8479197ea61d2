"""A store that is moved or removed while a run writes to it."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from scl.errors import RunFailed, UserError
from scl.run import execute
from scl.store.files import Folder, Moved, explain, not_writable, open_folder
from scl.store.locks import locked
from scl.store.moves import pinned
from scl.store.results import load
from tests.support.studies import SMALL, run_study

FLAGS = ["--limit", "100", "--arms", "scl", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1"]
ON_LINUX = sys.platform.startswith("linux")


def moved(out: Path) -> None:
    out.rename(out.parent / "new")


def renamed(out: Path) -> None:
    (out / "s").rename(out / "t")


def removed(out: Path) -> None:
    shutil.rmtree(out)


def replaced(out: Path) -> None:
    """And a second run has begun at the old place."""
    moved(out)
    with locked(open_folder(out / "s")):
        shutil.copytree(out / "s", out / "copy")
    shutil.rmtree(out / "s")
    (out / "copy").rename(out / "s")


def made_a_file(out: Path) -> None:
    moved(out)
    out.write_text("")


@pytest.mark.parametrize(
    ("change", "now"),
    [
        (moved, "was moved to OUT/../new/s during the run; finished trials are safe there, and --out OUT/../new"),
        (replaced, "was moved to OUT/../new/s during the run; finished trials are safe there"),
        (renamed, "was moved to OUT/t during the run; finished trials are safe there, and move it back to OUT/s"),
        (removed, "was removed during the run"),
        (made_a_file, "was moved to OUT/../new/s during the run"),
    ],
)
def test_after_a_move_nothing_is_written_and_the_new_place_is_named(change, now: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    store = open_folder(out) / "s"

    def run() -> None:
        with locked(store), pinned(open_folder(out), store) as (guarded, gone):
            files: Folder = pickle.loads(pickle.dumps(guarded / "s"))  # as a worker gets it
            files.write("kept", b"1")
            assert gone() == ""
            change(out)
            before = sorted(tmp_path.rglob("*"))
            for write in (partial(files.write, "a", b""), partial((files / "parts").write, "a", b"")):
                with pytest.raises(Moved) as error:
                    write()
                assert not_writable(error.value)
                assert explain(error.value) == "the folder of results was moved or removed during the run"
            with pytest.raises(Moved):
                files.remove("kept")
            assert sorted(tmp_path.rglob("*")) == before
            assert gone()
            raise UserError("a teacher is missing")  # whatever fails then

    with pytest.raises(RunFailed) as failed:
        run()
    if ON_LINUX:
        assert now.replace("OUT/..", str(tmp_path)).replace("OUT", str(out)) in str(failed.value)
    if change is replaced:  # the record of the second run stays
        assert (out / "s" / ".holder").exists()


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    out, store = open_folder(tmp_path), open_folder(tmp_path) / "s"
    with locked(store), pytest.raises(UserError, match="a mistake"), pinned(out, store):
        raise UserError("a mistake")


def test_new_numbers_of_a_folder_are_no_move(tmp_path: Path) -> None:
    """As of some network file systems."""
    store = open_folder(tmp_path) / "s"
    with locked(store), pinned(open_folder(tmp_path), store) as (guarded, _):
        assert guarded.guard is not None
        assert replace(guarded.guard, inode=1).in_place()
        assert not replace(guarded.guard, inode=1, token="another").in_place()


def test_a_run_whose_folder_is_moved_ends_and_goes_on_at_the_new_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store_result, ended = execute._store_result, []

    def store_and_move(*given):  # type: ignore[no-untyped-def]
        event = store_result(*given)
        ended.append(given)
        if len(ended) == 2:  # the teacher and a student
            os.rename(tmp_path / "out", tmp_path / "new")
        return event

    monkeypatch.setattr(execute, "_store_result", store_and_move)
    with pytest.raises(RunFailed, match="moved"):
        run_study(SMALL, "--out", str(tmp_path / "out"), *FLAGS)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert run_study(SMALL, "--out", str(tmp_path / "new"), *FLAGS) == 0
    assert "2 trials, 1 done, 1 to train" in capsys.readouterr().err
    assert set(load(str(tmp_path / "new" / "small")).trials["state"]) == {"completed"}
