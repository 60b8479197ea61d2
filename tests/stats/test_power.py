"""Power against closed forms and simulation."""

from __future__ import annotations

import math

import pytest
from scipy import stats as reference

from scl import stats
from scl.stats.dunnett import MaxT
from tests.support.scores import scores


@pytest.mark.parametrize(("seeds", "units"), [(3, 3.26), (5, 1.68), (10, 1.0)])
def test_smallest_effect_of_two_arms_is_the_paired_t_tests(seeds: int, units: float) -> None:
    assert stats.smallest_effect(2, seeds) == pytest.approx(units, abs=0.01)


@pytest.mark.parametrize(("arms", "seeds"), [(2, 2), (3, 2), (8, 3), (8, 10)])
def test_smallest_effect_has_its_power_by_the_noncentral_t(arms: int, seeds: int) -> None:
    df = (arms - 1) * (seeds - 1)
    critical = MaxT(df, arms - 1).critical(0.95)
    shift = stats.smallest_effect(arms, seeds) * math.sqrt(seeds)
    assert reference.nct.sf(critical, df, shift) == pytest.approx(0.8, abs=1e-4)


def test_smallest_effect_has_its_power_in_simulated_studies() -> None:
    size = stats.smallest_effect(4, 4) * math.sqrt(2) * 0.003
    seen = 0
    for draw in range(400):
        frame = scores(4, 4, effect=0.0, draw=10_000 + draw)
        frame["a1"] += size
        seen += stats.against_baseline(frame, "a0").contrasts[0].low > 0
    assert 0.74 <= seen / 400 <= 0.86


def test_seeds_needed_is_the_first_that_suffices() -> None:
    needed = stats.seeds_needed(-0.9, 6)
    assert needed is not None
    assert stats.smallest_effect(6, needed) <= 0.9 < stats.smallest_effect(6, needed - 1)
    assert stats.seeds_needed(0.001, 6) is None
    assert stats.seeds_needed(math.nan, 6) is None
    assert math.isnan(stats.smallest_effect(1, 5))
    assert math.isnan(stats.smallest_effect(5, 1))
