"""The arms that a figure draws, and the words for those that it does not."""

from __future__ import annotations

from collections.abc import Sequence

from scl.report.facts import Facts
from scl.report.formatting import listing, plural

MOST_ARMS_DRAWN = 50


def highest(facts: Facts, arms: Sequence[str]) -> list[str]:
    """The MOST_ARMS_DRAWN arms with the best means, best first; the baseline is always among them."""
    means = facts.learnt_scores.mean().reindex(list(arms)).fillna(facts.scores[list(arms)].mean())
    means = facts.best_first(means)
    drawn = set(means.index[:MOST_ARMS_DRAWN])
    if len(means) > MOST_ARMS_DRAWN and facts.baseline in means.index[MOST_ARMS_DRAWN:]:
        drawn = set(means.index[: MOST_ARMS_DRAWN - 1]) | {facts.baseline}
    return [str(arm) for arm in means.index if arm in drawn]


def not_drawn(facts: Facts) -> str:
    """For a caption: the arms and trials that did not learn and would stretch the axis."""
    missing = [arm for arm in facts.scores.columns if arm not in facts.drawn]
    text = f" Not drawn, because it would squeeze all others: {listing(missing)}." if missing else ""
    partly = [arm for arm in facts.collapsed if arm in facts.drawn and arm not in facts.left_out]
    return text + (f" Trials that collapsed are left out: of {listing(partly)}." if partly else "")


def beyond(arms: int) -> str:
    """For a caption: the number of arms below the highest MOST_ARMS_DRAWN."""
    return f" The figure leaves out {plural(arms, 'lower arm')}; the main table lists every arm." if arms else ""
