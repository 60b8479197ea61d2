"""Comparisons of two arms: paired t tests, pairs within the arm + seed model, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from scl.stats.blocks import fit_blocks
from scl.stats.intervals import NO_SPREAD, Array, Mean, mean_interval, t_p


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
class Declared:
    """One difference that was declared before the run, so that it needs no correction.

    differences: the mean over pairs, with Student's interval. p: two-sided, of the paired t test; NaN without spread.
    """

    differences: Mean
    p: float

    @property
    def answer(self) -> str:
        """`yes` if the whole interval lies above 0, `no` if it lies below 0, else `not shown`."""
        m = self.differences
        if not (math.isfinite(self.p) and math.isfinite(m.low)):
            return "not shown"
        return "yes" if m.low > 0 else "no" if m.high < 0 else "not shown"


def declared(differences: Sequence[float] | Array) -> Declared:
    """The declared difference from paired differences; values that are not finite are left out."""
    m = mean_interval(differences)
    spread = m.n > 1 and m.sd > NO_SPREAD
    return Declared(m, t_p(m.mean / m.sd * math.sqrt(m.n), m.n - 1) if spread else math.nan)


@dataclass(frozen=True)
class Pairs:
    """Pairs of arms in the arm + seed model. Arrays have one entry per pair: first − second are indices into `arms`.

    p: two-sided, with Holm's correction over all pairs.
    """

    arms: tuple[str, ...]
    first: Array
    second: Array
    estimate: Array
    se: Array
    p: Array

    def of(self, arm: str) -> list[tuple[str, float]]:
        """The other arm and Holm's p of each pair that contains this arm."""
        i = self.arms.index(arm)
        mine = np.flatnonzero((self.first == i) | (self.second == i))
        others = np.where(self.first[mine] == i, self.second[mine], self.first[mine])
        return [(self.arms[j], float(p)) for j, p in zip(others, self.p[mine], strict=True)]


def all_pairs(scores: pd.DataFrame) -> Pairs:
    """Every pair of arms that shared seeds link, directly or through other arms, in the arm + seed model."""
    fit = fit_blocks(scores)
    first, second = np.triu_indices(len(fit.arms), 1)
    linked = fit.component[first] == fit.component[second]
    first, second = first[linked], second[linked]
    estimate = fit.coefficients[first] - fit.coefficients[second]
    diagonal = np.diag(fit.inverse)
    se = fit.sigma * np.sqrt(diagonal[first] + diagonal[second] - 2 * fit.inverse[first, second])
    raw = np.full(len(se), math.nan)
    if fit.df > 0 and fit.sigma > NO_SPREAD:
        raw = 2 * special.stdtr(fit.df, -np.abs(estimate / se))
    return Pairs(fit.arms, first, second, estimate, se, holm(raw))
