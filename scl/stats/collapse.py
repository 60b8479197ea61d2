"""Trials that did not learn: one of them would dominate the variance of all arms."""

from __future__ import annotations

import math

import pandas as pd

CLEAR = 4.0  # standard errors above chance that a trial must reach to have learnt anything


def collapse_floor(scores: pd.DataFrame, baseline: str, chance: float, error: float = math.nan) -> float:
    """The accuracy below which a trial counts as collapsed: halfway between chance and the baseline's median seed.

    At the least it is 4 standard errors above chance (a twentieth of the way from chance to 1 if `error` is NaN), so
    that a baseline that learnt nothing counts as collapsed.

    Args:
        chance, error: what guessing reaches on the test images, and its standard error.
    """
    typical = float(scores[baseline].median()) if baseline in scores else math.nan
    least = CLEAR * error if math.isfinite(error) else (1 - chance) / 20
    return chance + max(least, (typical - chance) / 2 if math.isfinite(typical) else least)


def learnt(scores: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """The scores with NaN for collapsed trials. kept: whether a trial did not collapse, (seeds, arms)."""
    return scores.where(kept)


def collapsed(scores: pd.DataFrame, kept: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    """Arm → its collapsed seeds, for arms that have any."""
    found = {str(arm): tuple(map(int, scores.index[scores[arm].notna() & ~kept[arm]])) for arm in scores.columns}
    return {arm: seeds for arm, seeds in found.items() if seeds}
