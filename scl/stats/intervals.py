"""Student's t: critical values, p values, and the interval of a mean."""

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
    """The mean of the finite values, with Student's t interval: mean ± t(n−1) · sd / √n."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    if n < 2:
        return Mean(n, mean, math.nan, math.nan, math.nan)
    sd = float(x.std(ddof=1))
    half = t_critical(n - 1, level) * sd / math.sqrt(n)
    return Mean(n, mean, sd, mean - half, mean + half)
