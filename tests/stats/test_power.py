"""Power against closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from scl import stats
from scl.stats.rule import criticals, differences_spread
from tests.support.scores import scores


@pytest.mark.parametrize(("seeds", "units"), [(3, 3.26), (5, 1.68), (10, 1.0)])
def test_smallest_effect_of_two_arms_is_the_paired_t_tests(seeds: int, units: float) -> None:
    assert stats.smallest_effect(2, seeds) == pytest.approx(units, rel=0.02)


def lower_ends(arms: int, seeds: int, level: float = 0.95) -> np.ndarray:
    """Of the simultaneous interval of `a1`, which is as good as the baseline, in 1000 studies at once.

    A batch gives what `against_baseline` gives for each study: test_rule.py.
    """
    y = np.stack([scores(arms, seeds, effect=0.0, draw=10_000 + draw).to_numpy() for draw in range(1000)])
    differences = y[..., 1:] - y[..., :1]
    spread = differences_spread(differences)
    return differences[..., 0].mean(1) - criticals(spread.df, arms - 1, level) * spread.se[:, 0]


@pytest.mark.parametrize(("arms", "seeds"), [(4, 4), (8, 5)])
def test_smallest_effect_has_its_power_in_simulated_studies(arms: int, seeds: int) -> None:
    size = stats.smallest_effect(arms, seeds) * math.sqrt(2) * 0.003
    assert 0.77 <= (lower_ends(arms, seeds) + size > 0).mean() <= 0.83


def test_a_margin_that_an_equal_arm_keeps() -> None:
    """No worse is a one-sided test at 5 %: the lower end of the usual 90 % interval."""
    margin = stats.smallest_effect(4, 5, 0.9) * math.sqrt(2) * 0.003
    assert 0.77 <= (lower_ends(4, 5, 0.9) > -margin).mean() <= 0.83


def test_seeds_needed_is_the_first_that_suffices() -> None:
    needed = stats.seeds_needed(-0.9, 6)
    assert needed is not None
    assert stats.smallest_effect(6, needed) <= 0.9 < stats.smallest_effect(6, needed - 1)
    assert stats.seeds_needed(0.001, 6) is None
    assert stats.seeds_needed(math.nan, 6) is None
    assert stats.seeds_needed(0.0, 6) is None
    assert math.isnan(stats.smallest_effect(1, 5))
    assert math.isnan(stats.smallest_effect(5, 1))


def test_later_looks_detect_less() -> None:
    assert stats.smallest_effect(4, 5, 0.9985) > 1.3 * stats.smallest_effect(4, 5)


@pytest.mark.parametrize("df", [1.0, 5.6, 40.0])
def test_the_range_of_a_standard_deviation(df: float) -> None:
    low, high = stats.sd_range(df)
    assert low == pytest.approx(math.sqrt(df / reference.chi2.ppf(0.975, df)))
    assert high == pytest.approx(math.sqrt(df / reference.chi2.ppf(0.025, df)))
