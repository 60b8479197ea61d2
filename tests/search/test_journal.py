"""Optuna's storage: a journal on a disk or in an object store, or a database."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import fsspec
import optuna
import pytest
from pyarrow import fs

from scl.errors import UserError
from scl.search.journal import load_optuna, mend, open_study
from scl.store.files import Folder, open_folder
from scl.store.results import load
from tests.support.searches import known, search


def test_an_incomplete_journal_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"

    def storage() -> optuna.storages.JournalStorage:
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))

    study = optuna.create_study(storage=storage(), study_name="s")
    study.tell(study.ask(), 1.0)
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "work')
    (tmp_path / "optuna.journal.lock").symlink_to(path)
    mend(path)
    again = optuna.load_study(storage=storage(), study_name="s")
    again.tell(again.ask(), 2.0)
    assert [t.value for t in optuna.load_study(storage=storage(), study_name="s").trials] == [1.0, 2.0]


def test_a_database_belongs_to_one_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    assert search(tmp_path / "one", "--storage", url, "--trials", "2") == 0
    assert search(tmp_path / "one", "--storage", url, "--trials", "3") == 0
    assert search(tmp_path / "two", "--storage", url, "--trials", "3") == 2
    assert f"results are in {tmp_path}/one/tiny" in capsys.readouterr().err
    (name,) = optuna.get_all_study_names(url)
    assert len(optuna.load_study(study_name=name, storage=url).trials) == 3


def trained(out: Path) -> dict[str, object]:
    trials = load(str(out / "tiny")).trials
    return dict(zip(trials["trial_id"], trials["ended"], strict=True))


def test_a_database_search_goes_on_in_a_moved_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    assert search(tmp_path / "one", "--storage", url, "--trials", "3") == 0
    before = trained(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    capsys.readouterr()
    assert search(tmp_path / "two", "--storage", url, "--trials", "3") == 0
    told = capsys.readouterr().err
    assert f"its results have moved from {tmp_path}/one/tiny to {tmp_path}/two/tiny" in told
    assert "nothing to train" in told
    assert trained(tmp_path / "two") == before
    (tmp_path / "link").symlink_to(tmp_path / "two")  # another path to the same folder
    assert search(tmp_path / "link", "--storage", url, "--trials", "3") == 0
    assert "moved" not in capsys.readouterr().err
    # A copy beside the original would be a second store of one search.
    shutil.copytree(tmp_path / "two", tmp_path / "copy")
    assert search(tmp_path / "copy", "--storage", url, "--trials", "3") == 2
    assert "rename" in capsys.readouterr().err
    # Results that are lost are named.
    shutil.rmtree(tmp_path / "two")
    (tmp_path / "link").unlink()
    assert search(tmp_path / "new", "--storage", url, "--trials", "3") == 2
    assert "has 0 of the 3 results; give the --out to which that folder was moved" in capsys.readouterr().err
    assert search(tmp_path / "copy", "--storage", url, "--trials", "3") == 0


def test_a_pipe_is_no_journal(tmp_path: Path) -> None:
    """Reading it would never end, so it is moved away."""
    os.mkfifo(tmp_path / "optuna.journal")
    open_study(load_optuna(), open_folder(tmp_path), None)
    assert (tmp_path / "optuna.journal").is_file()
    assert [file.name.partition("-")[0] for file in (tmp_path / "damaged").iterdir()]


def test_a_journal_search_goes_on_in_a_moved_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path / "one", "--trials", "3") == 0
    (tmp_path / "one").rename(tmp_path / "two")
    assert search(tmp_path / "two", "--trials", "3") == 0
    assert "nothing to train" in capsys.readouterr().err
    assert len(known(tmp_path / "two")) == 3


@pytest.mark.parametrize("url", ["mysql+nosuch://u:secret@h/db", "oracle://u:secret@h/db", "nosuch://u:secret@h/db"])
def test_a_database_without_its_driver_is_named(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, "--storage", url) == 2
    told = capsys.readouterr().err
    assert url.replace("secret", "***") in told
    assert "secret" not in told


def test_a_search_needs_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="pip install optuna"):
        load_optuna()


@pytest.mark.slow
def test_the_journal_is_copied_into_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be appended to a file of an object store, so the journal is copied there."""
    there = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("file", auto_mkdir=True)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("scl.run.run.open_folder", lambda place: Folder(there, str(tmp_path / "store" / "out")))
    assert search(tmp_path, "--trials", "3") == 0
    kept = tmp_path / "store" / "out" / "tiny" / "optuna.journal"
    assert kept.exists()
    shutil.rmtree(tmp_path / "home")  # another machine continues
    assert search(tmp_path, "--trials", "5") == 0
    assert len(known(tmp_path / "store" / "out")) == 5
