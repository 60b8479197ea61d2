"""Dunnett's distribution against scipy.stats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from scl.stats.dunnett import MaxT
from tests.support.scores import scores


@pytest.mark.parametrize(("contrasts", "df"), [(2, 2), (3, 6), (7, 14), (12, 48)])
def test_the_probability_agrees_with_scipys_multivariate_t(contrasts: int, df: int) -> None:
    shape = np.full((contrasts, contrasts), 0.5) + 0.5 * np.eye(contrasts)
    for t in (1.0, 2.5, 4.0):
        edge = np.full(contrasts, t)
        theirs = reference.multivariate_t.cdf(
            edge, shape=shape, df=df, lower_limit=-edge, maxpts=200_000, random_state=1
        )
        assert MaxT(df, contrasts).cdf(t) == pytest.approx(theirs, abs=3e-4)


def test_critical_value_holds_its_level_to_six_digits() -> None:
    critical = MaxT(12, 3).critical(0.95)
    edge, shape = np.full(3, critical), np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    inside = reference.multivariate_t.cdf(edge, shape=shape, df=12, lower_limit=-edge, maxpts=2_000_000, random_state=0)
    assert inside == pytest.approx(0.95, abs=1e-6)


def test_adjusted_p_is_scipys_dunnett_in_the_one_way_analogue() -> None:
    """scipy.stats.dunnett has df = A(n − 1); our distribution with that df must give its p."""
    x = scores(4, 6, draw=3).to_numpy()
    theirs = reference.dunnett(*x[:, 1:].T, control=x[:, 0], random_state=np.random.default_rng(0))
    max_t = MaxT(4 * 5, 3)
    assert [max_t.p(t) for t in theirs.statistic] == pytest.approx(list(theirs.pvalue), abs=2e-3)


def test_many_p_values_are_those_of_each() -> None:
    t = np.concatenate([np.linspace(-9, 9, 260), [math.nan]])
    exact = np.array([MaxT(7.5, 12).p(x) for x in t[:-1]])
    np.testing.assert_allclose(MaxT(7.5, 12).ps(t)[:-1], exact, rtol=2e-3, atol=1e-12)
    assert math.isnan(MaxT(7.5, 12).ps(t)[-1])
