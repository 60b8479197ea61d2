"""The comparison with the baseline in the linear model accuracy ~ arm + seed: Dunnett's, for arms that scatter alike.

It pools one variance over all arms, which gives it more power than `rule.py`, and too many false findings where arms
scatter differently. The page shows it beside the rule that decides.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from scl.stats.blocks import fit_blocks
from scl.stats.dunnett import MaxT, incomplete_design
from scl.stats.intervals import LEVEL, NO_SPREAD
from scl.stats.rule import Comparison, Contrast


def in_the_model(scores: pd.DataFrame, baseline: str, level: float = LEVEL) -> Comparison:
    """Dunnett's simultaneous intervals of arm − baseline in the model, also with missing trials.

    df = (A − 1)(n − 1) if no trial is missing; `sd` is √2 times the model's residual standard deviation. With one seed,
    or without spread, intervals and p are NaN.
    """
    fit = fit_blocks(scores)
    others = [arm for arm in fit.arms if arm != baseline]
    component = dict(zip(fit.arms, fit.component, strict=True))
    estimable = [arm for arm in others if component[arm] == component[baseline]]
    left_out = {arm: "shares no seed with the baseline" for arm in others if arm not in estimable}
    shared = [int((scores[arm].notna() & scores[baseline].notna()).sum()) for arm in estimable]
    seeds, sd = sorted(shared)[len(shared) // 2] if shared else 0, math.sqrt(2) * fit.sigma
    if not estimable:
        return Comparison(baseline, (), seeds, fit.df, sd, math.nan, left_out, level)

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
        p = max_t.ps(estimates / se)
    half = critical * se
    contrasts = tuple(
        Contrast(arm, baseline, n, float(e), float(s), float(e - h), float(e + h), float(q))
        for arm, n, e, s, h, q in zip(estimable, shared, estimates, se, half, p, strict=True)
    )
    return Comparison(baseline, contrasts, seeds, fit.df, sd, critical, left_out, level)
