"""Outputs are new or regular files, and an existing one is replaced only if that is asked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.store.output import output_file


def test_a_new_file_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert output_file(tmp_path / "new", force=False) == tmp_path / "new"
    (tmp_path / "to new").symlink_to(tmp_path / "absent")
    assert output_file(tmp_path / "to new", force=False) == tmp_path / "absent"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_file("~/new", force=False) == tmp_path / "new"


def test_an_existing_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    for path in (tmp_path / "old", tmp_path / "link"):
        with pytest.raises(UserError, match="the file exists; --force replaces it"):
            output_file(path, force=False)
        assert output_file(path, force=True) == tmp_path / "old"  # a link stays a link


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "folder", "/dev/null", "loop", "a\0b"])
def test_anything_else_is_refused(kind: str, force: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe").symlink_to(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="name a file that can be written"):
        output_file(tmp_path / kind, force)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
