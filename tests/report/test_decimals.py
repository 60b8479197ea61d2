"""How many decimals a study's numbers support."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from scl.report.decimals import decimals_for
from scl.report.formatting import NATS, PERCENT
from tests.support.synthetic import ARMS, EFFECTS, accuracy, gathered, make_store


@pytest.mark.parametrize(
    ("images", "spread", "decimals"), [(360, 0.004, 1), (10_000, 0.004, 2), (10_000, 0.03, 1), (100_000, 0.3, 0)]
)
def test_no_more_digits_than_images_and_interval_support(
    tmp_path: Path, images: int, spread: float, decimals: int
) -> None:
    store = make_store(tmp_path, ARMS[:3], range(3), accuracy(EFFECTS, base=0.6, spread=spread), data={"test": images})
    facts = gathered(store)
    assert facts.decimals == decimals
    assert facts.comparison is not None
    half = np.median([100 * (c.high - c.estimate) for c in facts.comparison.contrasts])
    assert facts.decimals <= max(0, 1 - math.floor(math.log10(half)))


@pytest.mark.parametrize(
    ("halves", "images", "decimals"),
    [
        ([0.017], 10_000, 1),  # 1.7 points
        ([0.0017], 10_000, 2),
        ([0.17], 10_000, 0),
        ([0.0017], 300, 1),  # one image is 0.3 points
        ([0.017, 0.0017, math.nan, math.inf, 0.0, 0.0017], 10_000, 2),  # the median of those that are numbers
        ([], 10_000, 2),
        ([math.nan], None, PERCENT.decimals),
    ],
)
def test_two_digits_of_the_half_width_and_one_image(halves: list[float], images: int | None, decimals: int) -> None:
    assert decimals_for(halves, images) == decimals


def test_images_say_nothing_of_what_is_no_share() -> None:
    assert decimals_for([], 100, NATS) == NATS.decimals
