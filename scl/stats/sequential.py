"""Stein's two stages: how many seeds an interval of a given width needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scl.stats.intervals import LEVEL, Array, t_critical


def stein_seeds(differences: Sequence[float] | Array, width: float, level: float = LEVEL) -> tuple[int, float]:
    """The number of seeds with which the interval of a paired difference is at most `width` wide.

    It depends on the n₀ differences of the pilot alone: n = max(n₀, ⌈(2·t·s₀/W)²⌉), with t at n₀−1 degrees of freedom.
    The interval mean ± t·s₀/√n over all n seeds, with the pilot's s₀, keeps its level (Stein, Ann. Math. Stat. 16,
    1945).

    Returns:
        n, and the half width of the interval with n seeds.
    """
    pilot = np.asarray(differences, dtype=float)
    half = t_critical(len(pilot) - 1, level) * float(pilot.std(ddof=1))
    n = max(len(pilot), math.ceil((2 * half / width) ** 2))
    return n, half / math.sqrt(n)
