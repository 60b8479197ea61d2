"""Power: the smallest detectable effect, and the number of seeds that an effect needs, by the rule that decides.

Both are estimates for arms that scatter alike, by simulation of the rule with a fixed random stream. In a real study
they rest on its own standard deviation, which few seeds know badly: `sd_range` says how badly.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import optimize, special

from scl.stats.intervals import LEVEL, POWER, Array
from scl.stats.rule import criticals, differences_spread

STUDIES = 2000  # simulated for each design
MOST_NUMBERS = 2_000_000  # drawn for a design, which gets fewer studies if it is large
MOST_ARMS = 40  # drawn; the spread of more is known about as well, and the critical value is that of all
MOST_SEEDS = 64  # simulated; with more, the effect shrinks with the square root of their number


@functools.lru_cache(maxsize=512)
def _reach(arms: int, seeds: int, level: float) -> Array:
    """The half width of arm 1's interval in each simulated study, in units of the sd of one seed's difference."""
    drawn = min(arms, MOST_ARMS)
    studies = min(MOST_NUMBERS // (drawn * seeds), STUDIES)
    y = np.random.default_rng(0).standard_normal((studies, seeds, drawn)) / math.sqrt(2)
    found = differences_spread(y[..., 1:] - y[..., :1])
    return criticals(found.df, arms - 1, level) * found.se[..., 0]


@functools.lru_cache(maxsize=512)
def smallest_effect(arms: int, seeds: int, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest detectable effect: the true difference that the rule separates from 0 with this power.

    In units of the standard deviation of one seed's difference, for a complete design of `arms` arms (with the
    baseline) and `seeds` seeds. With level = .9 it is the margin that an arm equal to the baseline is shown to keep.
    NaN with fewer than two of either.
    """
    if arms < 2 or seeds < 2:
        return math.nan
    if seeds > MOST_SEEDS:
        return smallest_effect(arms, MOST_SEEDS, level, power) * math.sqrt(MOST_SEEDS / seeds)
    reach = _reach(arms, seeds, level)

    def missed(effect: float) -> float:
        # The mean difference is independent of the variances. The wrong sign has a probability below 1e-5.
        return power - float(np.mean(special.ndtr((effect - reach) * math.sqrt(seeds))))

    return float(optimize.brentq(missed, 0.0, 2 * float(reach.max()) + 10, xtol=1e-8))


def seeds_needed(effect: float, arms: int, level: float = LEVEL, most: int = 1000) -> int | None:
    """The fewest seeds that detect a true `effect`, given in sd of one seed's difference. None if more than `most`."""
    size = abs(effect)
    if not size > 0 or arms < 2 or smallest_effect(arms, most, level) > size:
        return None
    low, high = 1, most  # invariant: `high` is enough, `low` is not
    while high - low > 1:
        middle = min(max(round(math.sqrt(low * high)), low + 1), high - 1)  # by ratios: few seeds are quick to simulate
        low, high = (low, middle) if smallest_effect(arms, middle, level) <= size else (middle, high)
    return high


def sd_range(df: float, level: float = LEVEL) -> tuple[float, float]:
    """The factors by which the true standard deviation may lie below and above an estimate.

    df: degrees of freedom of that estimate. From χ²(df): both factors are 1 for df → ∞.
    """
    tail = (1 - level) / 2
    # chdtri is the inverse of the upper tail.
    return math.sqrt(df / float(special.chdtri(df, tail))), math.sqrt(df / float(special.chdtri(df, 1 - tail)))
