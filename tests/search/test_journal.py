"""Optuna's storage: a journal on a disk or in an object store, or a database."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import fsspec
import optuna
import pytest
from pyarrow import fs

from scl.errors import UserError
from scl.search.journal import load_optuna, mend
from scl.store.files import Folder
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


def test_a_search_needs_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="pip install optuna"):
        load_optuna()


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
