"""A data set before it is decoded."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from scl.data.encoded import IMAGE_SUFFIXES, visible_entries


def test_every_suffix_is_one_of_an_image() -> None:
    Image.init()
    assert set(IMAGE_SUFFIXES) <= set(Image.EXTENSION)


def test_hidden_entries_are_not_seen(tmp_path: Path) -> None:
    for name in ("b", ".hidden", "a"):
        (tmp_path / name).touch()
    assert [entry.name for entry in visible_entries(tmp_path)] == ["a", "b"]
