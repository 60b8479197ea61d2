"""Student's intervals against scipy.stats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from scl import stats


@pytest.mark.parametrize("n", [2, 3, 10])
def test_mean_interval_is_students(n: int) -> None:
    x = np.random.default_rng(n).normal(0.7, 0.01, n)
    mean = stats.mean_interval(x)
    low, high = reference.t.interval(0.95, n - 1, loc=x.mean(), scale=reference.sem(x))
    assert (mean.low, mean.high) == pytest.approx((low, high), rel=1e-9)
    assert (mean.n, mean.sd) == (n, pytest.approx(np.std(x, ddof=1)))


def test_mean_interval_of_one_none_and_nan() -> None:
    one = stats.mean_interval([0.5, math.nan])
    assert (one.n, one.mean) == (1, 0.5)
    assert all(map(math.isnan, (one.sd, one.low, one.high)))
    none = stats.mean_interval([])
    assert none.n == 0
    assert math.isnan(none.mean)


@pytest.mark.parametrize("df", [1, 4, 30])
def test_critical_values_and_p_are_students(df: int) -> None:
    assert stats.t_critical(df) == pytest.approx(reference.t.ppf(0.975, df))
    assert stats.t_critical(df, 0.9) == pytest.approx(reference.t.ppf(0.95, df))
    for t in (-2.5, 0.0, 1.3):
        assert stats.t_p(t, df) == pytest.approx(2 * reference.t.sf(abs(t), df))
