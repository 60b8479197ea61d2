"""A store that one may only read: another user's, an archive, a live run's. Every command that reads works there."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import scl
from scl.cli.command import main
from scl.errors import UserError
from scl.store import tables
from scl.store.files import open_folder
from scl.store.locks import locked
from scl.store.parts import write_part
from tests.support.studies import SMALL, run_study

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@contextmanager
def as_another_user(store: Path) -> Iterator[None]:
    """Nothing in the folder of results may be written to. Root may write anywhere, so it takes another user's place."""
    for path in [store.parent, *store.parent.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        with pytest.raises(OSError, match="denied"):
            (store / "x").write_bytes(b"")
        yield
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
        for path in [store.parent, *(p for p in store.parent.rglob("*") if p.is_dir())]:
            path.chmod(0o755)


@contextmanager
def beside_a_live_run(store: Path) -> Iterator[None]:
    with locked(open_folder(str(store)), command="study.py"):
        yield


@pytest.fixture(scope="module")
def store(small: Path) -> Iterator[Path]:
    """A copy that any user may read, with a part that is not in the tables yet. pytest's own folders are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(small.parent.parent, f"{folder}/all")
        Path(folder, "all").chmod(0o755)
        yield Path(folder, "all", "results", "small")


@pytest.fixture
def here(store: Path) -> Iterator[Path]:
    """The present folder, which any user may write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        with chdir(folder):
            yield Path(folder)


def script(name: str, *arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "reports" / name), run_name="__main__")
    return int(end.value.code or 0)


def run(store: Path, command: str) -> int:
    """One of the commands below; STORE, OUT and DATA are the folders."""
    for name, path in (("STORE", store), ("OUT", store.parent), ("DATA", store.parent.parent / "images")):
        command = command.replace(name, str(path))
    program, *arguments = command.split()
    if program == "study":
        return run_study(SMALL, *arguments)
    if program == "scl":
        return main(arguments)
    if program == "load":
        scl.load(arguments[0]).summary()
        scl.load_student(arguments[0], "baseline/0")
        return 0
    return script(program, *arguments)


COMMANDS = {
    "scl report STORE --page page.html": "page.html",
    "study --out OUT --report-only --page sub/page.html": "sub/page.html",
    "study --out OUT --data DATA --plan": None,
    "study --out OUT --data DATA --plan --teacher FILE": None,
    "scl show OUT baseline/0": None,
    "scl results OUT": None,
    "scl export STORE baseline/0 --out a.safetensors": "a.safetensors",
    "load STORE": None,
    "table.py STORE --format csv --out a.csv": "a.csv",
    "compare.py STORE STORE --out compare.html": "compare.html",
    "own_page.py STORE own.html": "own.html",
}


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_reads_needs_neither_lock_nor_write(command: str, store: Path, here: Path) -> None:
    made = COMMANDS[command]
    if "FILE" in command:
        (teacher,) = (store.parent / "teachers").glob("*/teacher.safetensors")
        weights = load_file(teacher)
        weights.pop("test_logits")
        save_file(weights, here / "teacher.safetensors")
        (here / "teacher.safetensors").chmod(0o444)
        command = command.replace("FILE", str(here / "teacher.safetensors"))
    before = tree(store.parent.parent)
    assert run(store, command) == 0  # what it imports late, another user may not be able to read
    assert tree(store.parent.parent) == before
    for way in (as_another_user, beside_a_live_run):
        if made:
            Path(made).unlink()
            shutil.rmtree("sub", ignore_errors=True)
        with way(store):
            before = tree(store.parent.parent)
            assert run(store, command) == 0, way
            assert tree(store.parent.parent) == before, way
        assert made is None or (here / made).stat().st_size > 100


def test_a_page_that_cannot_go_into_its_store_goes_here(
    store: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with as_another_user(store):
        before = tree(store)
        assert main(["report", str(store)]) == 0
        assert tree(store) == before
    assert "may only be read" in capsys.readouterr().err
    assert (here / "small-report.html").stat().st_size > 1000
    with beside_a_live_run(store):
        assert main(["report", str(store)]) == 0
    assert f"page: {store / 'report.html'}" in capsys.readouterr().err


@pytest.mark.parametrize("page", ["folder", "folder/", "/dev/null/page.html"])
def test_a_page_that_cannot_be_written_is_refused(
    page: str, store: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "folder").mkdir()
    assert main(["report", str(store), "--page", page]) == 2
    assert f"error: --page {page}: " in capsys.readouterr().err
    with pytest.raises(UserError, match="--page goes with --report-only"):
        run_study(SMALL, "--out", str(here / "out"), "--page", "x")


def test_a_damaged_file_of_another_run_stays_where_it_is(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "small"
    shutil.copytree(small, store)
    (store / "epochs.parquet").write_bytes(b"damaged")
    before = tree(store)
    assert len(scl.load(str(store)).epochs) > 0  # from the copy
    assert tree(store) == before
    assert "epochs.parquet: it is cut off; its copy is used" in capsys.readouterr().err


def test_rows_that_a_live_run_moves_meanwhile_are_not_lost(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_folder(str(tmp_path / "small"))
    shutil.copytree(small, store.path)
    study = scl.load(store.path).study
    write_part(store, {"trial_id": "late", "state": "completed", "arm": "kd", "seed": 9}, [], None)
    read_part, moved = tables.read_part, []

    def slowly(folder, name):  # type: ignore[no-untyped-def]
        """The run moves its parts after the tables were read, and before this part is."""
        if not moved:
            moved.append(name)
            tables.compact(store, study)
        return read_part(folder, name)

    monkeypatch.setattr(tables, "read_part", slowly)
    assert "late" in set(tables.read_trials(store)["trial_id"])
    assert moved
