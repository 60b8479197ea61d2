"""Stein's two stages by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from scl import stats


@pytest.mark.parametrize("width", [0.001, 0.01, 1.0])
def test_the_interval_is_as_narrow_as_asked_with_the_fewest_seeds(width: float) -> None:
    pilot = np.random.default_rng(0).normal(0.01, 0.005, 5)
    n, half = stats.stein_seeds(pilot, width)
    reach = reference.t.ppf(0.975, 4) * pilot.std(ddof=1)
    assert half == pytest.approx(reach / math.sqrt(n))
    assert 2 * half <= width
    assert n == 5 or 2 * reach / math.sqrt(n - 1) > width


def test_steins_rule_by_hand() -> None:
    pilot = np.array([0.01, 0.03, 0.02, 0.05, -0.01])
    n, half = stats.stein_seeds(pilot, 0.02)
    t, s = float(reference.t.ppf(0.975, 4)), float(np.std(pilot, ddof=1))
    assert n == math.ceil((2 * t * s / 0.02) ** 2)
    assert 2 * half <= 0.02
    assert half == pytest.approx(t * s / math.sqrt(n))
    assert stats.stein_seeds(pilot, 1.0)[0] == 5


def test_steins_interval_covers_what_it_says() -> None:
    """2,000 simulated studies; a two-stage interval at 95 % misses about 100 of them."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        pilot = rng.normal(0.3, 1.0, 5)
        n, half = stats.stein_seeds(pilot, 1.5)
        mean = np.concatenate([pilot, rng.normal(0.3, 1.0, n - 5)]).mean()
        covered += abs(mean - 0.3) <= half
    assert 0.935 <= covered / 2000 <= 0.965
