"""Power: the smallest detectable effect, and the number of seeds that an effect needs."""

from __future__ import annotations

import functools
import math

from scipy import optimize, special

from scl.stats.dunnett import MaxT, error_scale
from scl.stats.intervals import LEVEL, POWER


@functools.cache
def smallest_effect(arms: int, seeds: int, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest detectable effect: the true difference that Dunnett's intervals separate from 0 with this power.

    In units of the standard deviation of one seed's difference, for a complete design of `arms` arms (with the
    baseline) and `seeds` seeds. NaN with fewer than two of either.
    """
    if arms < 2 or seeds < 2:
        return math.nan
    df = (arms - 1) * (seeds - 1)
    critical = MaxT(df, arms - 1).critical(level)
    s, probability = error_scale(df)

    def missed(shift: float) -> float:
        # The probability of significance with the wrong sign is below 1e-5 and left out.
        return power - float(probability @ special.ndtr(shift - critical * s))

    return float(optimize.brentq(missed, 0.0, 10 + 3 * critical, xtol=1e-10)) / math.sqrt(seeds)


def seeds_needed(effect: float, arms: int, most: int = 1000) -> int | None:
    """The fewest seeds that detect a true `effect`, given in sd of one seed's difference. None if more than `most`."""
    size = abs(effect)
    if not math.isfinite(size) or arms < 2 or smallest_effect(arms, most) > size:
        return None
    low, high = 1, most  # invariant: `high` is enough, `low` is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if smallest_effect(arms, middle) <= size else (middle, high)
    return high
