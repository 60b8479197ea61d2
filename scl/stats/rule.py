"""The comparison with the baseline: simultaneous intervals and adjusted p values in the arm + seed model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scl.stats.blocks import fit_blocks
from scl.stats.dunnett import MaxT, incomplete_design
from scl.stats.intervals import LEVEL, NO_SPREAD


@dataclass(frozen=True)
class Contrast:
    """arm − other in the arm + seed model. low, high, p: corrected for all contrasts of the comparison."""

    arm: str
    other: str
    estimate: float
    se: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """All arms against the baseline, as one family: simultaneous intervals and adjusted p values.

    seeds: the number of seeds that an arm shares with the baseline; the median over arms.
    df, sigma: residual degrees of freedom and standard deviation of the model. critical: of the largest |t|.
    left_out: arms that cannot be compared, with the reason.
    """

    baseline: str
    contrasts: tuple[Contrast, ...]
    seeds: int
    df: int
    sigma: float
    critical: float
    left_out: dict[str, str]

    @property
    def sd_of_differences(self) -> float:
        """The standard deviation of one seed's difference between two arms, by the model."""
        return math.sqrt(2) * self.sigma


def against_baseline(scores: pd.DataFrame, baseline: str, level: float = LEVEL) -> Comparison:
    """Dunnett's simultaneous intervals of arm − baseline, also with missing trials.

    df = (A − 1)(n − 1) if no trial is missing. With one seed, or without spread, intervals and p are NaN.
    """
    fit = fit_blocks(scores)
    others = [arm for arm in fit.arms if arm != baseline]
    component = dict(zip(fit.arms, fit.component, strict=True))
    estimable = [arm for arm in others if component[arm] == component[baseline]]
    left_out = {arm: "shares no seed with the baseline" for arm in others if arm not in estimable}
    shared = [int((scores[arm].notna() & scores[baseline].notna()).sum()) for arm in estimable]
    seeds = sorted(shared)[len(shared) // 2] if shared else 0
    if not estimable:
        return Comparison(baseline, (), seeds, fit.df, fit.sigma, math.nan, left_out)

    estimates, shape = fit.contrasts(estimable, baseline)
    se = fit.sigma * np.sqrt(np.diag(shape))
    spread = fit.df > 0 and fit.sigma > NO_SPREAD
    critical = math.nan
    p = np.full(len(estimable), math.nan)
    if spread:
        scale = np.sqrt(np.diag(shape))
        correlation = shape / np.outer(scale, scale)
        max_t = MaxT(fit.df, len(estimable)) if fit.complete else incomplete_design(fit.df, correlation)
        critical = max_t.critical(level)
        p = np.array([max_t.p(t) for t in estimates / se])
    half = critical * se
    contrasts = tuple(
        Contrast(arm, baseline, float(e), float(s), float(e - h), float(e + h), float(q))
        for arm, e, s, h, q in zip(estimable, estimates, se, half, p, strict=True)
    )
    return Comparison(baseline, contrasts, seeds, fit.df, fit.sigma, critical, left_out)
