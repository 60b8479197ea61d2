"""Box's degrees of freedom against closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scl.stats.spread import spread


def draw(covariance: np.ndarray, studies: int, seeds: int) -> np.ndarray:
    root = np.linalg.cholesky(covariance)
    return np.random.default_rng(4).standard_normal((studies, seeds, len(covariance))) @ root.T


@pytest.mark.parametrize("name", ["alike", "one noisy baseline", "independent", "one wild arm"])
@pytest.mark.parametrize("seeds", [4, 12])
def test_the_degrees_of_freedom_are_those_of_the_pooled_variance(name: str, seeds: int) -> None:
    """2 (tr Σ)² / tr Σ² · (n − 1) is the df of a χ² with the pooled variance's mean and variance (Satterthwaite)."""
    m = 6
    covariance = {
        "alike": np.eye(m) + 1,
        "one noisy baseline": np.eye(m) + 25,
        "independent": np.eye(m),
        "one wild arm": np.diag([1.0] * (m - 1) + [25.0]) + 1,
    }[name]
    found = spread(draw(covariance, 20_000, seeds), math.inf)
    exact = (seeds - 1) * np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
    assert 2 * found.pooled.mean() ** 2 / found.pooled.var() == pytest.approx(exact, rel=0.05)
    if seeds > 4:  # with few seeds the estimate is capped at n − 1 from below, so its median is too high or too low
        assert np.median(found.df) == pytest.approx(exact, rel=0.25)


def test_the_estimates_behind_them_are_unbiased() -> None:
    """The ratio of the means of (tr Σ)² and tr Σ² over many small studies, since a ratio itself is biased."""
    covariance = np.diag([1.0, 2.0, 3.0]) + 0.5
    y = draw(covariance, 100_000, 4)
    centred = y - y.mean(1, keepdims=True)
    s = np.swapaxes(centred, 1, 2) @ centred / 3
    trace, square = np.trace(s, axis1=1, axis2=2) ** 2, (s**2).sum((1, 2))
    unbiased = 9 / (2 * 5) * (square - trace / 3)
    assert unbiased.mean() == pytest.approx(np.trace(covariance @ covariance), rel=0.02)
    assert (trace - 2 * unbiased / 3).mean() == pytest.approx(np.trace(covariance) ** 2, rel=0.02)


def test_missing_values_that_take_nothing_away_change_nothing() -> None:
    """The way over pairs of contrasts, which missing values need, against the way over seeds."""
    y = draw(np.eye(4) + 1, 1, 7)[0]
    whole = spread(y, 9.0)
    more = spread(np.vstack([y, np.full(4, np.nan)]), 9.0)
    for name in ("n", "mean", "own", "pooled", "df"):
        np.testing.assert_allclose(getattr(more, name), getattr(whole, name), rtol=1e-9)


def test_missing_values_cost_degrees_of_freedom() -> None:
    covariance = np.eye(5) + 1
    y = draw(covariance, 4000, 8)
    y[:, 0, 1] = y[:, 3, 1] = y[:, 5, 4] = np.nan
    pooled = np.array([spread(one, math.inf).pooled for one in y[:4000]], dtype=float)
    df = np.array([spread(one, math.inf).df for one in y[:400]], dtype=float)
    assert np.median(df) == pytest.approx(2 * pooled.mean() ** 2 / pooled.var(), rel=0.25)


@pytest.mark.parametrize(
    ("values", "df"),
    [
        ([[1.0, 2.0], [2.0, 5.0]], 1.0),  # two seeds: nothing is known of the covariance
        ([[1.0, np.nan], [2.0, 5.0]], 1.0),
        ([[1.0], [2.0], [4.0]], 2.0),  # one contrast
        ([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]], 2.0),  # twice the same
        ([[1.0, np.nan], [np.nan, 5.0]], math.nan),
        ([[1.0, 2.0]], math.nan),
    ],
)
def test_designs_with_few_values(values: list[list[float]], df: float) -> None:
    found = spread(np.array(values), 8.0)
    assert float(found.df) == pytest.approx(df, nan_ok=True)
    assert (found.n <= len(values)).all()
