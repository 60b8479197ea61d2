"""Student's t: critical values, p values, and the interval of a mean; Jeffreys' interval of a share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.95
POWER = 0.8
# A standard deviation of accuracies below this is rounding error: the seeds show no spread.
NO_SPREAD = 1e-10

Array = NDArray[Any]


def t_critical(df: float, level: float = LEVEL) -> float:
    """The two-sided critical value of Student's t."""
    return float(special.stdtrit(df, (1 + level) / 2))


def t_p(t: float, df: float) -> float:
    """The two-sided p of Student's t."""
    return float(2 * special.stdtr(df, -abs(t)))


@dataclass(frozen=True)
class Mean:
    """Mean, standard deviation (n − 1) and Student's t interval of n values; NaN if n is too small."""

    n: int
    mean: float
    sd: float
    low: float
    high: float

    def within(self, least: float, most: float) -> Mean:
        """The same with its interval cut at the ends of what the values can be: 0 and 100 for shares in %."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))


def mean_interval(values: Sequence[float] | Array, level: float = LEVEL) -> Mean:
    """The mean of the finite values, with Student's t interval: mean ± t(n−1) · sd / √n.

    Values without spread give no interval: equal seeds say nothing about how much others would differ.
    """
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    if n < 2:
        return Mean(n, mean, math.nan, math.nan, math.nan)
    sd = float(x.std(ddof=1))
    half = t_critical(n - 1, level) * sd / math.sqrt(n) if sd > NO_SPREAD else math.nan
    return Mean(n, mean, sd, mean - half, mean + half)


def share_interval(share: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Jeffreys' interval of a share of n independent draws, such as the accuracy on n test images.

    It is defined at 0 and 1 too, where it has one side (Brown, Cai & DasGupta, Statistical Science 16, 2001).
    """
    hits, tail = share * n, (1 - level) / 2
    low = 0.0 if hits <= 0 else float(special.betaincinv(hits + 0.5, n - hits + 0.5, tail))
    high = 1.0 if hits >= n else float(special.betaincinv(hits + 0.5, n - hits + 0.5, 1 - tail))
    return low, high
