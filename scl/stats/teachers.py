"""Differences between arms under several teachers: the teacher as a random effect.

The difference of an arm from the baseline on a seed is modelled as μ + t + e. t belongs to the seed's teacher and has
the standard deviation τ over the teachers that a recipe can give; e belongs to the seed and has the standard deviation
σ. μ is the mean over all such teachers and seeds. Seeds are nested: each learns from one teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special

from scl.stats.intervals import LEVEL, NO_SPREAD, Array, Mean, mean_interval, t_critical, t_p

UNKNOWN = math.nan


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its standard error, degrees of freedom, Student's t interval and two-sided p."""

    value: float
    se: float
    df: int
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class TeacherEffect:
    """A difference from the baseline under several teachers, each of which counts the same. NaN where the data do not
    support a number.

    by_teacher: teacher → the differences of its seeds. these: the mean over exactly these teachers, with the error that
    seeds cause; its degrees of freedom are the seeds beyond the first of each teacher. others: μ, with the error that
    teachers and seeds cause; one degree of freedom less than there are teachers.
    between, within: τ and σ, from the analysis of variance; τ is 0 if seeds explain all that teachers differ by.
    share: τ² / (τ² + σ²). share_low, share_high: its 95 % interval; NaN if the teachers' means lie closer together than
    any share makes likely. p: of the F test of τ = 0.
    """

    arm: str
    by_teacher: dict[str, Mean]
    these: Estimate
    others: Estimate
    between: float
    within: float
    share: float
    share_low: float
    share_high: float
    p: float

    @property
    def confounded(self) -> bool:
        """Whether each of several teachers has one seed: only τ² + σ² can be estimated, and `others` needs no more."""
        return len(self.by_teacher) > 1 and all(mean.n == 1 for mean in self.by_teacher.values())


def teacher_effects(scores: pd.DataFrame, baseline: str, teachers: pd.Series) -> tuple[TeacherEffect, ...]:
    """Every other arm against the baseline. teachers: the teacher of each seed; seeds without one are left out."""
    of_seed = teachers.reindex(scores.index)
    return tuple(
        teacher_effect((scores[arm] - scores[baseline]).to_numpy(dtype=float), of_seed.to_list(), str(arm))
        for arm in scores.columns
        if arm != baseline
    )


def teacher_effect(differences: Array, teachers: Sequence[object], arm: str = "") -> TeacherEffect:
    """One difference; values that are not finite, and those of no teacher, are left out.

    `others` is Student's t over the teachers' means. It is exact if all teachers have as many seeds. Otherwise the
    means have unequal variances, and the interval is conservative at 95 % (Bakirov & Székely 2005; Ibragimov & Müller,
    JBES 2010). With one seed for each teacher it is the paired t over seeds. The share has the interval of Wald (1940),
    which is exact in both cases.
    """
    groups: dict[str, list[float]] = {}
    for value, teacher in zip(differences, teachers, strict=True):
        if math.isfinite(value) and not pd.isna(teacher):
            groups.setdefault(str(teacher), []).append(float(value))
    by_teacher = {teacher: mean_interval(values) for teacher, values in groups.items()}
    n = np.array([mean.n for mean in by_teacher.values()], dtype=float)
    means = np.array([mean.mean for mean in by_teacher.values()])
    m, seeds = len(n), int(n.sum())
    if m == 0:
        nothing = _estimate(UNKNOWN, UNKNOWN, 0)
        return TeacherEffect(arm, {}, nothing, nothing, *[UNKNOWN] * 6)
    within = _pooled(groups, seeds - m)
    these = _estimate(means.mean(), within * math.sqrt((1 / n).sum()) / m, seeds - m)
    others = _estimate(means.mean(), means.std(ddof=1) / math.sqrt(m) if m > 1 else UNKNOWN, m - 1)
    if m < 2 or not within > NO_SPREAD:
        return TeacherEffect(arm, by_teacher, these, others, UNKNOWN, within, *[UNKNOWN] * 4)
    ratio = _ratio_of_variances(n, means, within)
    f = ratio(0.0)
    # The expected mean square between teachers is σ² + size · τ².
    size = (seeds - (n**2).sum() / seeds) / (m - 1)
    between = within * math.sqrt(max(f - 1, 0.0) / size)
    low, high = (_share_at(ratio, float(special.fdtri(m - 1, seeds - m, (1 + way * LEVEL) / 2))) for way in (1, -1))
    low = 0.0 if math.isnan(low) and math.isfinite(high) else low
    share = between**2 / (between**2 + within**2)
    p = float(special.fdtrc(m - 1, seeds - m, f))
    return TeacherEffect(arm, by_teacher, these, others, between, within, share, low, high, p)


def _pooled(groups: dict[str, list[float]], df: int) -> float:
    """The standard deviation of seeds within their teachers."""
    squares = sum(float(((np.array(values) - np.mean(values)) ** 2).sum()) for values in groups.values())
    return math.sqrt(squares / df) if df else UNKNOWN


def _estimate(value: float, se: float, df: int) -> Estimate:
    if df < 1 or not se > NO_SPREAD:
        return Estimate(float(value), UNKNOWN, df, UNKNOWN, UNKNOWN, UNKNOWN)
    half = t_critical(df) * se
    return Estimate(float(value), float(se), df, float(value - half), float(value + half), t_p(value / se, df))


def _ratio_of_variances(n: Array, means: Array, within: float) -> Callable[[float], float]:
    """τ²/σ² → Wald's F: the mean square of the teachers' means, each weighted by the inverse of its variance under
    this ratio, over the mean square of the seeds. It falls with the ratio. At the true one it is F distributed."""

    def f(ratio: float) -> float:
        weight = n / (1 + n * ratio)
        centre = (weight * means).sum() / weight.sum()
        return float((weight * (means - centre) ** 2).sum() / (len(n) - 1) / within**2)

    return f


def _share_at(f: Callable[[float], float], quantile: float) -> float:
    """The share of variance, τ²/σ² over itself plus 1, at which f equals a quantile; NaN if f starts below it."""
    most = 1 - 1e-12
    if f(0.0) < quantile:
        return UNKNOWN
    if f(most / (1 - most)) > quantile:
        return 1.0
    return float(optimize.brentq(lambda share: f(share / (1 - share)) - quantile, 0.0, most, xtol=1e-9))


# With one teacher


def half_if_teachers_differ(differences: Mean, ratio: float = 1.0) -> float:
    """Half the 95 % interval for other teachers from the seeds of one teacher, *if* τ = ratio · σ.

    One teacher shows nothing of τ. Under this assumption the variance of the mean is σ² (1/n + ratio²), and its t has
    n − 1 degrees of freedom, so the interval is exact. NaN with one seed.
    """
    n = differences.n
    return t_critical(n - 1) * differences.sd * math.sqrt(1 / n + ratio**2) if n > 1 else UNKNOWN


def tolerated_spread(differences: Mean) -> float:
    """The τ up to which that interval for other teachers excludes 0; NaN if it includes 0 even with τ = 0."""
    n, sd = differences.n, differences.sd
    if n < 2 or not sd > NO_SPREAD:
        return UNKNOWN
    squared = (differences.mean / t_critical(n - 1)) ** 2 - sd**2 / n
    return math.sqrt(squared) if squared > 0 else UNKNOWN
