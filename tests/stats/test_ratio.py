"""The ratio of two means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from scl import stats


def test_the_ends_are_the_ratios_that_a_paired_t_test_just_rejects() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(0.1, 0.02, 6)
    x = 0.4 * y + rng.normal(0, 0.005, 6)
    got = stats.ratio_of_means(x, y)
    assert (got.n, got.value) == (6, pytest.approx(x.mean() / y.mean()))
    for end in (got.low, got.high):
        assert reference.ttest_1samp(x - end * y, 0).pvalue == pytest.approx(0.05)
    assert got.low < got.value < got.high


def test_coverage_with_a_small_denominator() -> None:
    """The ratio is 0.5, the gap 2 standard deviations of a seed; an interval that is not finite holds every ratio."""
    rng = np.random.default_rng(1)
    held = []
    for _ in range(2000):
        y = rng.normal(2.0, 1.0, 5)
        got = stats.ratio_of_means(rng.normal(1.0, 1.0, 5) + 0.5 * (y - 2.0), y)
        held.append(not math.isfinite(got.low) or got.low <= 0.5 <= got.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("x", "y", "n", "value", "finite"),
    [
        ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 3, 0.5, False),  # the gap is too uncertain for any interval
        ([0.1, 0.2, 0.3], [0.9, 1.0, 1.1], 3, 0.2, True),
        ([0.1, 0.2, 0.3], [-0.1, 1.0, 1.2], 3, 0.6 / 2.1, False),  # a negative gap counts
        ([0.1, math.nan, 0.3], [0.9, 1.0, math.nan], 1, 0.1 / 0.9, False),
        ([math.nan], [1.0], 0, math.nan, False),
        ([1.0, -1.0], [1.0, -1.0], 2, math.nan, False),
    ],
)
def test_no_pair_is_left_out_because_of_its_sign(
    x: list[float], y: list[float], n: int, value: float, finite: bool
) -> None:
    got = stats.ratio_of_means(x, y)
    assert got.n == n
    assert got.value == pytest.approx(value, nan_ok=True)
    assert math.isfinite(got.low) == math.isfinite(got.high) == finite
