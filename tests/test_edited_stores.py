"""Stores that others hand in: whatever was edited, no command ends in a traceback, and each names the file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scl.store import faults
from tests.support.edits import EDITS, FIELD_EDITS, commands

READERS = ("load", "show", "results", "export", "table", "own_page", "compare", "--plan")


@pytest.fixture
def edited(small: Path, tmp_path: Path) -> Path:
    """A copy of the results of SMALL."""
    shutil.copytree(small, tmp_path / "results" / "small", ignore=shutil.ignore_patterns("report.html"))
    shutil.copytree(small.parent / "teachers", tmp_path / "results" / "teachers")
    shutil.copytree(small.parent / "cache", tmp_path / "results" / "cache")
    return tmp_path / "results" / "small"


def check(name: str, wanted: tuple[str, ...], small: Path, edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = (EDITS | FIELD_EDITS)[name]
    edit.do(edited)
    before = state(edited)
    todo = commands(edited, small.parent.parent / "images", small, edited.parent.parent)
    for i, reader in enumerate(wanted):
        faults._once.cache_clear()
        capsys.readouterr()
        code = todo[reader]()  # any exception that escapes is a traceback
        said = capsys.readouterr()
        assert code in (0, 1, 2), reader
        assert "Traceback" not in said.err, reader
        if reader in READERS and "rerun" not in wanted[:i]:  # a run mends the store
            assert edit.names in said.err, reader
            assert state(edited) == before, f"{reader} changed the store"


def state(store: Path) -> dict[str, bytes]:
    ignored = (".lock", ".holder")
    return {str(p): p.read_bytes() for p in store.rglob("*") if p.is_file() and p.name not in ignored}


@pytest.mark.parametrize("name", [*list(EDITS)[::7], "trials edited with pandas", "study a pipe"])
def test_an_edit_is_named_and_ends_in_no_traceback(
    name: str, small: Path, edited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, ("load", "show", "results"), small, edited, capsys)


@pytest.mark.parametrize("name", ["trials edited with pandas", "trials empty file", "part of another schema"])
def test_the_page_says_what_is_wrong(name: str, small: Path, edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (edited / "copies" / "trials.parquet").unlink()
    check(name, ("load", "--report-only", "rerun"), small, edited, capsys)
    page = (edited / "report.html").read_text()
    if name != "trials empty file":  # that one was moved, and its trials ran again
        assert "A file of this study is not as scl wrote it. " in page
        assert EDITS[name].names in page
    assert [p.name for p in (edited / "damaged").glob("*trials.parquet")] == [] or name == "trials empty file"


def test_the_list_is_long_enough() -> None:
    assert len(EDITS) > 120
    assert len(FIELD_EDITS) > 150


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITS)
def test_no_command_ends_in_a_traceback(
    name: str, small: Path, edited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, (*READERS, "--report-only", "report", "rerun", "load"), small, edited, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD_EDITS)
def test_no_field_of_another_type_ends_in_a_traceback(
    name: str, small: Path, edited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, ("load", "show", "results", "compare", "--report-only"), small, edited, capsys)
