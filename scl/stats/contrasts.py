"""Contrasts that a study declares before it runs: one paired t test each, corrected for their number alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from scl.stats.intervals import LEVEL, NO_SPREAD, Array, Mean, mean_interval, t_p


@dataclass(frozen=True)
class Declared:
    """A difference that was declared before the run.

    differences: the mean over seeds, with Student's interval at the declared level. p: two-sided, of the paired t test,
    corrected for the number of declared contrasts (Bonferroni); NaN without spread. lower, upper: the interval of two
    one-sided tests at the same error, for margins.
    """

    differences: Mean
    p: float
    lower: float = math.nan
    upper: float = math.nan

    @property
    def answer(self) -> str:
        """`yes` if the whole interval lies above 0, `no` if it lies below 0, else `not shown`."""
        m = self.differences
        if not (math.isfinite(self.p) and math.isfinite(m.low)):
            return "not shown"
        return "yes" if m.low > 0 else "no" if m.high < 0 else "not shown"

    def absent(self, margin: float) -> bool:
        """Whether the difference is shown to lie within ± margin (two one-sided tests; Schuirmann 1987)."""
        return math.isfinite(self.p) and self.lower > -margin and self.upper < margin

    def no_worse(self, margin: float) -> bool:
        """Whether the difference is shown to be above −margin (a one-sided test)."""
        return math.isfinite(self.p) and self.lower > -margin


def declared(differences: Sequence[float] | Array, level: float = LEVEL, family: int = 1) -> Declared:
    """The declared difference from paired differences; values that are not finite are left out.

    Args:
        level: of the whole family of `family` declared differences.
    """
    alpha = (1 - level) / family
    m = mean_interval(differences, 1 - alpha)
    if not (m.n > 1 and m.sd > NO_SPREAD):
        return Declared(m, math.nan)
    inner = mean_interval(differences, 1 - 2 * alpha)
    p = min(family * t_p(m.mean / m.sd * math.sqrt(m.n), m.n - 1), 1.0)
    return Declared(m, p, inner.low, inner.high)


def weighted(scores: pd.DataFrame, weights: Mapping[str, float]) -> pd.Series:
    """Σ weight · score of each seed on which all arms of the contrast have one; weights sum to 0."""
    arms = [arm for arm in weights if arm in scores.columns]
    if len(arms) < len(weights):
        return pd.Series(dtype=float)
    return (scores[arms] * pd.Series(weights)[arms]).dropna().sum(axis=1)
