"""Tables in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.layouts import Make, change, cut, end_cut, refused, two_saved

pytestmark = pytest.mark.usefixtures("silent")


REFUSED: dict[str, tuple[Make, str]] = {
    "a cut Arrow file": (
        change(two_saved, cut("train/data-00000-of-00002.arrow")),
        "cannot be read as Arrow .*cut off",
    ),
    "an Arrow file without its end": (
        change(two_saved, end_cut("train/data-00000-of-00002.arrow", 8)),
        "cannot be read as Arrow .*cut off",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)
