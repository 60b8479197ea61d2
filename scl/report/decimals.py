"""How many decimals of a metric its data support."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from scl import stats
from scl.report.formatting import PERCENT, Unit


def decimals_of(
    test_images: int | None, compared: pd.DataFrame, comparison: stats.Comparison | None, unit: Unit
) -> int:
    """The decimals of a study's metric. compared: its scores (seeds, arms)."""
    halves = [c.high - c.estimate for c in comparison.contrasts] if comparison else []
    if not any(map(math.isfinite, halves)):
        means = [stats.mean_interval(compared[arm].to_numpy()) for arm in compared.columns]
        halves = [m.high - m.mean for m in means]
    return decimals_for(halves, test_images, unit)


def decimals_for(halves: Iterable[float], test_images: int | None, unit: Unit = PERCENT) -> int:
    """The decimals that values of a metric support: one test image, if it is a share, and two digits of the median
    half-width.

    halves: half-widths of intervals, as they are stored; those that are not finite and positive do not count.
    """
    shares = test_images and unit is PERCENT
    by_images = max(0, math.ceil(math.log10(test_images / 100))) if shares else unit.decimals  # type: ignore[operator]
    known = [h for h in halves if math.isfinite(h) and h > 0]
    if not known:
        return by_images
    # Two digits of the half-width: 1.7 points allow one decimal, 0.17 two, 17 none.
    by_interval = max(0, 1 - math.floor(math.log10(unit.factor * float(np.median(known)))))
    return min(by_images, by_interval)
