"""The confusions of the best arm beside the baseline's, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scl import stats
from scl.report.facts import Facts
from scl.report.flips import predictions_of, shown_arm
from scl.report.per_image import class_names
from scl.store.predictions import LABELS

MOST_PAIRS = 30  # of classes that are named
MOST_MATRIX = 2000  # classes of a matrix in memory


@dataclass(frozen=True)
class Confusions:
    """arm: whose they are. seeds: shared with the baseline, or all of the arm. names: of the classes, by number.

    ours, theirs: images of each class (rows) that are taken for each class, mean over seeds; theirs: None without a
    baseline. pairs: the most frequent confusions, and those that differ most: the columns of `stats.pair_differences`;
    without a baseline `label`, `predicted`, `images`, `ours` alone. tested: how many pairs the correction is over.
    """

    arm: str
    seeds: int
    names: Mapping[int, str]
    ours: stats.Array
    theirs: stats.Array | None
    pairs: pd.DataFrame
    tested: int

    @property
    def classes(self) -> list[int]:
        """The classes of the figure: those that the test part has."""
        return list(self.names)


def confusions(facts: Facts) -> Confusions | None:
    """The confusions of the arm that the page shows; None without its predictions, or with too many classes."""
    arm = shown_arm(facts)
    own, base = (predictions_of(facts, a) if a else {} for a in (arm, facts.baseline))
    paired = bool(base) and arm != facts.baseline
    seeds = sorted(own.keys() & base.keys()) if paired else sorted(own)
    if not seeds:
        return None
    truth = facts.results.predictions[LABELS]
    size = int(truth.max()) + 1
    if size > MOST_MATRIX:
        return None
    mine = np.stack([own[seed] for seed in seeds])
    ours = stats.confusion(mine, truth, size)
    names = class_names(facts, truth)
    if not paired:
        return Confusions(arm, len(seeds), names, ours, None, _frequent(ours, truth), 0)
    other = np.stack([base[seed] for seed in seeds])
    theirs = stats.confusion(other, truth, size)
    change = np.abs(ours - theirs)
    picked = list(dict.fromkeys([*_largest(ours, MOST_PAIRS // 2), *_largest(change, MOST_PAIRS // 2)]))
    tested = len(names) * (len(names) - 1)
    pairs = stats.pair_differences(mine, other, truth, picked, tested)
    return Confusions(arm, len(seeds), names, ours, theirs, pairs, tested)


def _largest(counts: stats.Array, most: int) -> list[tuple[int, int]]:
    """The largest cells beside the diagonal, as (class, taken for), without empty ones."""
    off = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-off, axis=None, kind="stable")[:most]
    return [(int(i // len(counts)), int(i % len(counts))) for i in order if off.flat[i] > 0]


def _frequent(ours: stats.Array, truth: stats.Array) -> pd.DataFrame:
    images = np.bincount(truth, minlength=len(ours))
    rows = [(a, b, images[a], ours[a, b] / images[a]) for a, b in _largest(ours, MOST_PAIRS)]
    return pd.DataFrame(rows, columns=["label", "predicted", "images", "ours"])
