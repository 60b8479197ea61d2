"""Power against closed forms and simulation."""

from __future__ import annotations

import math

import pytest
from scipy import stats as reference

from scl import stats
from tests.support.scores import scores


@pytest.mark.parametrize(("seeds", "units"), [(3, 3.26), (5, 1.68), (10, 1.0)])
def test_smallest_effect_of_two_arms_is_the_paired_t_tests(seeds: int, units: float) -> None:
    assert stats.smallest_effect(2, seeds) == pytest.approx(units, rel=0.02)


@pytest.mark.parametrize(
    ("arms", "seeds", "draws"),
    [(4, 4, 150), *(pytest.param(*p, 400, marks=pytest.mark.slow) for p in [(4, 4), (8, 5)])],
)
def test_smallest_effect_has_its_power_in_simulated_studies(arms: int, seeds: int, draws: int) -> None:
    size = stats.smallest_effect(arms, seeds) * math.sqrt(2) * 0.003
    seen = 0
    for draw in range(draws):
        frame = scores(arms, seeds, effect=0.0, draw=10_000 + draw)
        frame["a1"] += size
        seen += stats.against_baseline(frame, "a0").contrasts[0].low > 0
    assert 0.74 <= seen / draws <= 0.86


@pytest.mark.slow
def test_a_margin_that_an_equal_arm_keeps() -> None:
    margin = stats.smallest_effect(4, 5, 0.9) * math.sqrt(2) * 0.003
    kept = sum(
        stats.against_baseline(scores(4, 5, effect=0.0, draw=d), "a0").contrasts[0].no_worse(margin) for d in range(400)
    )
    assert 0.74 <= kept / 400 <= 0.86


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
