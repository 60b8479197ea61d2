"""Comparisons of two arms: paired t tests, all pairs of arms, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from scl.stats.intervals import NO_SPREAD, Array, Mean, mean_interval, t_p
from scl.stats.spread import Spread, spread

MOST_PAIRS = 250_000  # whose differences are in memory at once


@dataclass(frozen=True)
class Paired:
    """Differences arm − baseline on shared seeds. d_z: their mean divided by their standard deviation."""

    arm: str
    differences: Mean
    d_z: float
    p: float
    p_holm: float


def holm(p: Sequence[float] | Array) -> Array:
    """Holm's step-down adjustment of p values. NaN stays NaN and does not count as a test."""
    raw = np.asarray(p, dtype=float)
    adjusted = np.full(raw.shape, math.nan)
    order = np.flatnonzero(np.isfinite(raw))
    order = order[np.argsort(raw[order], kind="stable")]
    steps = raw[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def paired(scores: pd.DataFrame, baseline: str) -> tuple[Paired, ...]:
    """Paired t tests of every other arm against the baseline over shared seeds, with Holm's correction."""
    arms = [arm for arm in scores.columns if arm != baseline]
    means = [mean_interval((scores[arm] - scores[baseline]).to_numpy()) for arm in arms]
    effects = [m.mean / m.sd if m.n > 1 and m.sd > NO_SPREAD else math.nan for m in means]
    p = [t_p(d * math.sqrt(m.n), m.n - 1) if m.n > 1 else math.nan for m, d in zip(means, effects, strict=True)]
    return tuple(
        Paired(str(arm), m, d, raw, float(adjusted))
        for arm, m, d, raw, adjusted in zip(arms, means, effects, p, holm(p), strict=True)
    )


@dataclass(frozen=True)
class Pairs:
    """Pairs of arms. Arrays have one entry per pair: first − second are indices into `arms`.

    n: seeds that both have. estimate: the mean of their paired differences. p: two-sided, with Holm's correction over
    all pairs; NaN with fewer than two shared seeds.
    """

    arms: tuple[str, ...]
    first: Array
    second: Array
    n: Array
    estimate: Array
    se: Array
    p: Array

    def of(self, arm: str) -> list[tuple[str, float]]:
        """The other arm and Holm's p of each pair that contains this arm."""
        i = self.arms.index(arm)
        mine = np.flatnonzero((self.first == i) | (self.second == i))
        others = np.where(self.first[mine] == i, self.second[mine], self.first[mine])
        return [(self.arms[j], float(p)) for j, p in zip(others, self.p[mine], strict=True)]


def _residual_df(there: Array) -> int:
    """The residual degrees of freedom of the model accuracy ~ arm + seed, whose arms are linked by seeds.

    there: bool (seeds, arms). With missing trials they bound what is known of the common variance.
    """
    return int(there.sum()) - int(there.any(axis=0).sum()) - len(there) + 1


def _spread_of_pairs(y: Array) -> tuple[Array, Array, Spread]:
    """The pairs of columns that share a row, and the scatter of their differences; MOST_PAIRS at a time, since
    thousands of arms have millions of pairs."""
    first, second = (index.astype(np.int32) for index in np.triu_indices(y.shape[1], 1))
    there = np.isfinite(y)
    linked, found = [], []
    for start in range(0, max(len(first), 1), MOST_PAIRS):
        i, j = first[start : start + MOST_PAIRS], second[start : start + MOST_PAIRS]
        linked.append((there[:, i] & there[:, j]).any(axis=0))
        found.append(spread(y[:, i[linked[-1]]] - y[:, j[linked[-1]]], 1.0))
    kept = np.concatenate(linked)
    first, second = first[kept], second[kept]
    if len(found) == 1:
        return first, second, found[0]
    n, mean, own = (np.concatenate([getattr(part, name) for part in found]) for name in ("n", "mean", "own"))
    degrees = np.maximum(n - 1, 0)
    total = degrees.sum()
    pooled = np.array(np.nansum(own * degrees) / total if total else math.nan)
    return first, second, Spread(n, mean, own, pooled, np.array(math.nan))


def all_pairs(scores: pd.DataFrame) -> Pairs:
    """Every pair of arms that share a seed, by the rule that decides about the baseline.

    A pair's variance is the pooled variance of all pairs, or its own where that is larger. Degrees of freedom are Box's
    for that pooled variance, which is twice the residual variance of the model accuracy ~ arm + seed.
    """
    y = scores.to_numpy(dtype=float)
    y = y[np.isfinite(y).sum(axis=1) > 1]  # a seed that one arm has alone says nothing about a pair
    arms = tuple(map(str, scores.columns))
    first, second, found = _spread_of_pairs(y)
    raw, se = np.full(len(first), math.nan), np.full(len(first), math.nan)
    if len(first) and math.sqrt(float(found.pooled)) > NO_SPREAD:
        se = found.se
        # The pairs have the degrees of freedom of the arms' deviations from the mean of their seed.
        df = float(spread(y - np.nanmean(y, axis=1, keepdims=True), len(arms) - 1.0).df)
        df = min(df, max(_residual_df(np.isfinite(y)), 1))
        raw = 2 * special.stdtr(df, -np.abs(found.mean / se))
    return Pairs(arms, first, second, found.n, found.mean, se, holm(raw))
