"""Files that hide modules: refused at once and by name, in a script, in `scl run`, and for Ray's workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scl.cli.command import main
from scl.cli.exits import exit_code
from scl.cli.main import run_flags
from scl.shadows import hiding
from tests.support.commands import ROOT
from tests.support.studies import SMALL

STUDY = """
from scl.cli import main
from scl import Study
main(Study(name="s", question="?", arms={"baseline": {}}))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
NAMED = "{} hides Python's own module '{}' from all libraries, so rename it"


def run(script: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), "--limit", "60", "--out", str(script.parent / "out"), *flags]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


@pytest.mark.parametrize("name", ["random.py", "json.py", "queue.py", "platform.py", "copy.py", "csv/__init__.py"])
def test_a_file_that_hides_a_module_of_python_is_refused(name: str, tmp_path: Path) -> None:
    module = name.partition(".")[0].partition("/")[0]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(STUDY)
    (tmp_path / "mine.py").write_text(STUDY)
    ran = run(tmp_path / "mine.py", "--plan")
    path = tmp_path / name.partition("/")[0]
    assert (ran.returncode, ran.stderr) == (2, f"error: {NAMED.format(path, module)}\n")


def test_a_study_may_not_be_named_as_a_module(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("import torch\n" + STUDY)  # torch imports queue, and so the study
    ran = run(tmp_path / "queue.py", "--plan")
    assert (ran.returncode, ran.stderr) == (2, f"error: {NAMED.format(tmp_path / 'queue.py', 'queue')}\n")


@pytest.mark.parametrize("name", ["torch", "numpy", "yaml", "optuna", "PIL", "ray"])
def test_modules_that_scl_needs_are_not_hidden_either(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    message = hiding([str(tmp_path)])
    assert message is not None
    assert message.startswith(f"{tmp_path}/{name}.py hides the installed module '{name}' (")


@pytest.mark.parametrize(
    "name",
    ["test.py", "io.py", "sys.py", "benchmark.py", "mine.py", "pytest.py", "random.txt", "json/notes.md", "scl.py"],
)
def test_what_hides_nothing_may_be_there(name: str, tmp_path: Path) -> None:
    """Files of other kinds, built-in and frozen modules, modules that no library imports, and the user's own."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    assert hiding([str(tmp_path), str(tmp_path / "nowhere")]) is None


def test_scl_run_refuses_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "statistics.py").write_text("")
    (tmp_path / "mine.py").write_text(STUDY)
    assert main(["run", str(tmp_path / "mine.py")]) == 2
    assert NAMED.format(tmp_path / "statistics.py", "statistics") in capsys.readouterr().err


def test_without_a_script_it_is_an_error_of_the_import(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("")
    ran = subprocess.run(
        [sys.executable, "-c", "import scl"], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT
    )
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1] == f"ImportError: {NAMED.format('queue.py', 'queue')}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scl/__init__.py", "scl hides the scl that runs here"),
        ("scl.py", "scl.py hides the scl that runs here"),
        ("queue.py", "queue.py hides Python's own module 'queue'"),
    ],
)
def test_the_current_folder_hides_nothing_from_workers(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray's workers search it first: a stale copy of scl there would train with other code. Nothing has started."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise RuntimeError('hidden')")
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: run_flags(SMALL, "small.py", ["--out", str(tmp_path / "out"), "--limit", "60"])) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: Ray's workers search the current folder first, and there {tmp_path}/{message}")
    assert not (tmp_path / "out" / "teachers").exists()
    assert exit_code(lambda: run_flags(SMALL, "s.py", ["--inline", "--plan", "--limit", "60", "--out", "o"])) == 0
