"""The ratio of two means, with Fieller's interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scl.stats.intervals import LEVEL, Array, t_critical


@dataclass(frozen=True)
class Ratio:
    """value: mean of the numerator / mean of the denominator, over n pairs. low, high: its interval.

    NaN without pairs or with a denominator of 0. The interval is NaN with one pair, and if it would not be finite:
    the denominator's own interval contains 0, so that the ratio may have any size.
    """

    n: int
    value: float
    low: float
    high: float


def ratio_of_means(
    numerator: Sequence[float] | Array, denominator: Sequence[float] | Array, level: float = LEVEL
) -> Ratio:
    """The ratio of means over pairs of which both values are finite.

    Fieller (1954): the ratios r that a paired t test of numerator − r · denominator against 0 does not reject. No pair
    is left out because of its sign, as a mean of ratios would have to.
    """
    x, y = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    there = np.isfinite(x) & np.isfinite(y)
    x, y, n = x[there], y[there], int(there.sum())
    if not n or y.mean() == 0:
        return Ratio(n, math.nan, math.nan, math.nan)
    a, b = float(x.mean()), float(y.mean())
    if n < 2:
        return Ratio(n, a / b, math.nan, math.nan)
    t = t_critical(n - 1, level)
    (vx, vxy), (_, vy) = t**2 * np.cov(x, y) / n
    square, half, rest = b**2 - vy, a * b - vxy, a**2 - vx  # square · r² − 2 half · r + rest ≤ 0
    if square <= 0:
        return Ratio(n, a / b, math.nan, math.nan)
    width = math.sqrt(max(half**2 - square * rest, 0.0))
    return Ratio(n, a / b, (half - width) / square, (half + width) / square)
