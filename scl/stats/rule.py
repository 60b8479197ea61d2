"""The rule that decides: simultaneous intervals of all arms minus the baseline, valid where arms scatter differently.

The estimate is the mean of an arm's paired differences. Its variance is the pooled variance of all paired differences,
or the arm's own where that is larger; degrees of freedom are Box's (`spread`); critical values are Dunnett's. Chosen by
simulation: docs/statistics.md has the table, benchmarks/statistics.py prints it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scl.stats.dunnett import MaxT
from scl.stats.intervals import LEVEL, NO_SPREAD, Array
from scl.stats.spread import Spread, spread


@dataclass(frozen=True)
class Contrast:
    """arm − other, from their paired differences. low, high, p: corrected for all contrasts of the comparison.

    n: seeds that both have. se, low, high, p: NaN with fewer than two of them, or without spread. lower, upper: the
    90 % interval that tests of equivalence use, corrected alike.
    """

    arm: str
    other: str
    n: int
    estimate: float
    se: float
    low: float
    high: float
    p: float
    lower: float = math.nan
    upper: float = math.nan

    @property
    def shown(self) -> int:
        """1 if the arm is shown to be above the other, −1 if below, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    def no_worse(self, margin: float) -> bool:
        """Whether the arm is shown to be worse than the other by no more than the margin (one-sided test at 5 %)."""
        return self.lower > -margin

    def equivalent(self, margin: float) -> bool:
        """Whether the difference is shown to lie within ± margin (two one-sided tests at 5 % each; Schuirmann 1987)."""
        return self.lower > -margin and self.upper < margin


@dataclass(frozen=True)
class Comparison:
    """All arms against the baseline, as one family: simultaneous intervals and adjusted p values.

    seeds: the number of seeds that an arm shares with the baseline; the median over arms. df: Box's degrees of freedom
    of the pooled variance. sd: the standard deviation of one seed's difference, pooled. critical: of the largest |t|,
    NaN without an interval. left_out: arms that cannot be compared, with the reason. level: of the intervals.
    """

    baseline: str
    contrasts: tuple[Contrast, ...]
    seeds: int
    df: float
    sd: float
    critical: float
    left_out: dict[str, str]
    level: float = LEVEL

    @property
    def tested(self) -> int:
        """The number of contrasts with an interval: the family that is corrected for."""
        return sum(math.isfinite(c.p) for c in self.contrasts)


def most_df(contrasts: int) -> float:
    """The bound of the effective degrees of freedom, in units of n − 1: twice those of arms that scatter alike.

    If baseline and arms scatter alike, all correlations are 1/2 and (tr Σ)²/tr Σ² = 4m/(m + 3).
    """
    return 8 * contrasts / (contrasts + 3)


def paired_differences(scores: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """(seeds, other arms): arm − baseline on each seed; NaN where one of them has no result."""
    return scores.drop(columns=baseline).sub(scores[baseline], axis=0)


def differences_spread(differences: Array) -> Spread:
    """The scatter of paired differences (…, seeds, arms)."""
    return spread(differences, most_df(np.asarray(differences).shape[-1]))


def against_baseline(scores: pd.DataFrame, baseline: str, level: float = LEVEL) -> Comparison:
    """Simultaneous intervals of arm − baseline, also with missing trials.

    An arm needs two seeds in common with the baseline for an interval. With one seed, or without spread, intervals and
    p are NaN.
    """
    apart = paired_differences(scores, baseline)
    shared = apart.notna().sum()
    left_out = dict.fromkeys(map(str, shared.index[shared == 0]), "shares no seed with the baseline")
    apart = apart.loc[:, shared > 0]
    if apart.empty:
        return Comparison(baseline, (), 0, math.nan, math.nan, math.nan, left_out, level)
    found = differences_spread(apart.to_numpy(dtype=float))
    seeds = int(np.sort(found.n)[len(found.n) // 2])
    sd, df, tested = math.sqrt(float(found.pooled)), float(found.df), int((found.n > 1).sum())
    nan = np.full(len(found.n), math.nan)
    critical, se, p, half, inner = math.nan, nan, nan, nan, nan
    if sd > NO_SPREAD:
        max_t = MaxT(df, tested)
        critical, se = max_t.critical(level), found.se
        p = max_t.ps(found.mean / se)
        half, inner = critical * se, max_t.critical(2 * level - 1) * se
    contrasts = tuple(
        Contrast(str(arm), baseline, int(n), *map(float, row))
        for arm, n, *row in zip(
            apart.columns, found.n, found.mean, se, found.mean - half, found.mean + half, p, found.mean - inner,
            found.mean + inner, strict=True,
        )
    )  # fmt: skip
    return Comparison(baseline, contrasts, seeds, df, sd, critical, left_out, level)


DFS = np.array([1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50, 100, 1000])


@functools.lru_cache(maxsize=64)
def _criticals(contrasts: int, level: float) -> Array:
    return np.array([MaxT(float(df), contrasts).critical(level) for df in DFS])


def criticals(df: Array, contrasts: int, level: float = LEVEL) -> Array:
    """Critical values of many studies at once: of max|T|, interpolated over the degrees of freedom (within 0.2 %)."""
    known = np.log(_criticals(contrasts, level))
    return np.exp(np.interp(1 / np.clip(df, DFS[0], DFS[-1]), 1 / DFS[::-1], known[::-1]))
