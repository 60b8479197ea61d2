"""The record of a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scl.run.provenance import git_state


def test_code_that_git_does_not_know_is_dirty(tmp_path: Path) -> None:

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def dirty() -> bool:
        state = git_state(str(study))
        assert state is not None
        return bool(state["dirty"])

    study = tmp_path / "studies" / "mine.py"
    study.parent.mkdir()
    git("init")
    (tmp_path / ".gitignore").write_text("results/\n")
    git("add", ".")
    git("commit", "-m", "a")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert not dirty()
    study.write_text("x = 1\n")
    assert dirty()
    git("add", ".")
    git("commit", "-m", "b")
    assert not dirty()
    study.write_text("x = 2\n")
    assert dirty()
