"""A data set before it is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from scl.data.encoded import IMAGE_SUFFIXES, require_same_labels, visible_entries
from scl.data.preprocessing import FORMATS
from scl.errors import UserError


def test_every_suffix_is_one_of_the_formats_that_are_read() -> None:
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in IMAGE_SUFFIXES} - {"MPO", "JPEG"} <= set(FORMATS)


def test_hidden_entries_are_not_seen(tmp_path: Path) -> None:
    for name in ("b", ".hidden", "a"):
        (tmp_path / name).touch()
    assert [entry.name for entry in visible_entries(tmp_path)] == ["a", "b"]


def test_both_parts_need_the_same_labels(tmp_path: Path) -> None:
    require_same_labels(tmp_path, {"a", "b"}, {"a", "b"})
    with pytest.raises(UserError, match="test lacks labels that train has: b"):
        require_same_labels(tmp_path, {"a", "b"}, {"a"})
