"""The arm + seed model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.formula.api import ols

from scl import stats
from scl.stats import blocks
from tests.support.scores import long, scores, without


def test_correlation_is_the_intraclass_correlation_of_the_anova() -> None:
    frame = scores(4, 6, effect=0.002)
    table = sm.stats.anova_lm(ols("y ~ C(arm) + C(seed)", long(frame)).fit())
    seed, error = table.loc["C(seed)", "mean_sq"], table.loc["Residual", "mean_sq"]
    assert stats.correlation(frame) == pytest.approx((seed - error) / (seed + 3 * error))
    assert math.isnan(stats.correlation(scores(4, 1)))


def test_the_fit_is_least_squares_with_missing_trials() -> None:
    frame = without(scores(4, 5), (0, "a1"), (3, "a2"))
    fit = blocks.fit_blocks(frame)
    theirs = ols("y ~ C(arm) + C(seed)", long(frame)).fit()
    estimates, shape = fit.contrasts(["a1", "a2", "a3"], "a0")
    names = [f"C(arm)[T.{arm}]" for arm in ("a1", "a2", "a3")]
    np.testing.assert_allclose(estimates, theirs.params[names], rtol=1e-8)
    np.testing.assert_allclose(fit.sigma**2 * shape, theirs.cov_params().loc[names, names], rtol=1e-8)
    assert (fit.df, fit.complete) == (theirs.df_resid, False)


def test_arms_without_a_chain_of_shared_seeds_are_in_other_components() -> None:
    frame = without(scores(4, 2), (0, "a0"), (0, "a1"), (1, "a2"), (1, "a3"))
    component = blocks.fit_blocks(frame).component
    assert component[0] == component[1] != component[2] == component[3]
