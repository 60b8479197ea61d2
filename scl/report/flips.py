"""Test images that an arm turns: wrong in most seeds of the baseline and right in most of the arm, and the reverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scl import stats
from scl.report.decision import decide
from scl.report.facts import Facts
from scl.report.findings import leading
from scl.store.predictions import LABELS

MOST = 6  # pictures in each direction
MOST_ARMS = 4  # whose images a run keeps pictures of: the best ones may change places


@dataclass(frozen=True)
class Flip:
    """image: its number in the test part, from 0. label: its class. ours, theirs: the shares of seeds of the arm and
    of the baseline in which it is right. said: the class that the wrong side predicts most often."""

    image: int
    label: int
    ours: float
    theirs: float
    said: int


@dataclass(frozen=True)
class Flips:
    """gained, lost: the clearest images of each direction; all_gained, all_lost: how many there are. seeds: shared."""

    gained: tuple[Flip, ...]
    lost: tuple[Flip, ...]
    all_gained: int
    all_lost: int
    seeds: int


def predictions_of(facts: Facts, arm: str) -> dict[int, stats.Array]:
    """Seed → predicted classes (images,) of an arm's trials that learnt, as far as they fit the labels."""
    predicted = facts.results.predictions
    labels = predicted.get(LABELS)
    if labels is None or not len(labels):
        return {}
    rows = facts.learnt[facts.learnt["arm"] == arm]
    found = {int(s): predicted.get(str(i)) for s, i in zip(rows["seed"], rows["trial_id"], strict=True)}
    return {seed: of for seed, of in found.items() if of is not None and len(of) == len(labels)}


def flips(facts: Facts, arm: str) -> Flips | None:
    """The images that an arm turns; None without predictions of it and the baseline on a common seed."""
    ours, theirs = predictions_of(facts, arm), predictions_of(facts, facts.baseline)
    seeds = sorted(ours.keys() & theirs.keys())
    if arm == facts.baseline or not seeds:
        return None
    labels = facts.results.predictions[LABELS]
    mine, base = (np.stack([of[seed] for seed in seeds]) for of in (ours, theirs))
    right, before = (mine == labels).mean(axis=0), (base == labels).mean(axis=0)

    def turned(up: stats.Array, down: stats.Array, wrong: stats.Array) -> tuple[tuple[Flip, ...], int]:
        at = np.flatnonzero((up > 0.5) & (down < 0.5))
        order = at[np.lexsort((at, -(up - down)[at]))]
        shown = (
            Flip(int(i), int(labels[i]), float(right[i]), float(before[i]), _most_often(wrong[:, i], int(labels[i])))
            for i in order[:MOST]
        )
        return tuple(shown), len(at)

    gained, all_gained = turned(right, before, base)
    lost, all_lost = turned(before, right, mine)
    return Flips(gained, lost, all_gained, all_lost, len(seeds))


def _most_often(predicted: stats.Array, label: int) -> int:
    """The wrong class that is predicted most often; of equals the first."""
    counts = np.bincount(predicted.astype(np.int64))
    counts[label : label + 1] = 0
    return int(counts.argmax())


def shown_arm(facts: Facts) -> str:
    """The arm whose images and confusions the page shows: the one to use if that is another than the baseline, else
    that of the verdict; "" without a result."""
    decision = decide(facts)
    if decision is None:
        return ""
    return decision.arm if decision.arm and decision.arm != facts.baseline else leading(facts)


def worth_a_picture(facts: Facts) -> Sequence[int]:
    """The numbers of the test images that the page shows, and that it would show if another arm were the best."""
    if facts.scores.mean().empty:
        return []
    ahead = sorted(facts.contrasts, key=lambda arm: -facts.ahead(facts.contrasts[arm].estimate))
    found: dict[int, None] = {}
    for arm in list(dict.fromkeys([shown_arm(facts), *ahead]))[:MOST_ARMS]:
        turned = flips(facts, arm)
        if turned is not None:
            found |= dict.fromkeys(flip.image for flip in (*turned.gained, *turned.lost))
    return sorted(found)
