"""A data set before it is decoded."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from scl.data.encoded import IMAGE_SUFFIXES, visible_entries
from scl.data.preprocessing import FORMATS


def test_every_suffix_is_one_of_the_formats_that_are_read() -> None:
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in IMAGE_SUFFIXES} - {"MPO", "JPEG"} <= set(FORMATS)


def test_hidden_entries_are_not_seen(tmp_path: Path) -> None:
    for name in ("b", ".hidden", "a"):
        (tmp_path / name).touch()
    assert [entry.name for entry in visible_entries(tmp_path)] == ["a", "b"]
