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
