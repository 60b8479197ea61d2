"""Looks: the level of the intervals at each analysis of a study that grows, so that all looks together keep theirs.

A look costs error. Planned looks share the 5 % by the seeds that each adds: a linear spending function (Lan & DeMets,
Biometrika 70, 1983). Without a plan, the first look takes all 5 %, and all later ones share 0.3 %, each half of what is
left. By the union bound, a false finding at any look then has a probability of at most 5 % or 5.3 %.
"""

from __future__ import annotations

from collections.abc import Sequence

from scl.stats.intervals import LEVEL

LATER = 0.003  # the error of all looks after the last planned one, or after the first


def level_of_look(seeds: Sequence[int], planned: Sequence[int] = ()) -> float:
    """The level of the intervals at the last of these looks.

    Args:
        seeds: the number of seeds at each look so far, in order.
        planned: the numbers of seeds that were declared as looks before the first; empty without a plan.
    """
    alpha, spent, unplanned = 1 - LEVEL, 0.0, 0
    now = alpha
    for i, n in enumerate(seeds):
        share = min(n / planned[-1], 1.0) if planned else 1.0
        if i == 0 or share > spent:
            now, spent = alpha * max(share - spent, 0.0), max(share, spent)
        else:
            unplanned += 1
            now = LATER * 0.5**unplanned
    return 1 - now
