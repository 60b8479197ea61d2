"""Outputs are new or regular files, and an existing one is replaced only if that is asked for."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.store.output import file_name, is_page_of, output_file, signed


def test_a_new_file_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert output_file(tmp_path / "new", force=False) == tmp_path / "new"
    (tmp_path / "to new").symlink_to(tmp_path / "absent")
    assert output_file(tmp_path / "to new", force=False) == tmp_path / "absent"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_file("~/new", force=False) == tmp_path / "new"
    monkeypatch.chdir(tmp_path)
    assert output_file("~nobody-of-this-name/new", force=False) == tmp_path / "~nobody-of-this-name" / "new"


def test_an_existing_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    for path in (tmp_path / "old", tmp_path / "link"):
        with pytest.raises(UserError, match="the file exists; --force replaces it"):
            output_file(path, force=False)
        assert output_file(path, force=True) == tmp_path / "old"  # a link stays a link


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "folder", "new folder/", "/dev/null", "loop", "a\0b"])
def test_anything_else_is_refused(kind: str, force: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe").symlink_to(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="name a file that can be written"):
        output_file(f"{tmp_path}/{kind}" if kind != "/dev/null" else kind, force)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


STORE = {"study": "small", "looks": [{"when": "2026-01-01T00:00:00", "seeds": [0]}], "seeds": [0]}
LATER = {**STORE, "looks": [*STORE["looks"], {"when": "2026-02-01T00:00:00", "seeds": [0, 1]}], "seeds": [0, 1]}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "own"),
    [
        (signed("<p>é</p>\n", STORE), True),
        (signed("", STORE), True),
        (signed("<p>", LATER), True),  # the same store, grown
        (signed("<p>", {**STORE, "study": "other"}), False),
        (signed("<p>", {**STORE, "looks": LATER["looks"][1:]}), False),  # the same study elsewhere
        (signed("<p>", {**STORE, "merged": [{}]}), False),
        (signed("<p>a", STORE).replace(b"a", b"b"), False),  # somebody has changed it
        (signed("<p>", STORE) + b"a note\n", False),
        (b"", False),
        (b"<html>", False),
    ],
)
def test_an_unchanged_page_of_the_same_store_may_be_replaced(content: bytes, own: bool, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(content)
    assert is_page_of(STORE, content) == own
    if own:
        assert output_file(tmp_path / "page", False, partial(is_page_of, STORE)) == tmp_path / "page"
    else:
        with pytest.raises(UserError, match="the file exists; --force replaces it"):
            output_file(tmp_path / "page", False, partial(is_page_of, STORE))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("channel+spatial", "channel+spatial"),
        ("../../x", "_.._x"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a/b\\c:d\0e\nf", "a_b_c_d_e_f"),
        ("教师", "_"),
        ("--", "_"),
        ("é" * 300, "_"),
        ("a" * 300, "a" * 100),
    ],
)
def test_any_text_gives_a_file_s_name(text: str, name: str, tmp_path: Path) -> None:
    assert file_name(text) == name
    (tmp_path / name).touch()
