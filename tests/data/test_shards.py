"""Files of many shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.data.named import load_dataset
from scl.errors import UserError
from tests.support.layouts import (
    TRAIN,
    Make,
    parquet,
    refused,
    samples,
    table,
    tar,
)

pytestmark = pytest.mark.usefixtures("silent")


SHARDS = {f"train-0000{i}-of-00003.parquet": table(f"cat{i} dog{i}") for i in range(3)}


def test_a_shard_of_three_alone_is_refused(tmp_path: Path, cache: Path) -> None:
    parquet(tmp_path, SHARDS)
    with pytest.raises(UserError, match=r"only 1 of the 3 train-. files"):
        load_dataset(str(tmp_path / "train-00000-of-00003.parquet"), cache)


REFUSED: dict[str, tuple[Make, str]] = {
    "a missing shard of three": (
        lambda p: parquet(p, {k: v for k, v in SHARDS.items() if "-00001-" not in k}),
        "only 2 of the 3 train-. files are present; missing: train-00001; add",
    ),
    "shards of two versions": (
        lambda p: parquet(p, SHARDS | {"train-00000-of-00002.parquet": table(TRAIN)}),
        "files of several versions",
    ),
    "a missing tar": (
        lambda p: [tar(p / f"x-00{i}.tar", samples(TRAIN)) for i in (0, 2)],
        "only 2 of the 3 x-. files .*missing: x-001",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)
