"""Ranks of arms, and the Pareto front of cost and accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scl.stats.intervals import Array


def ranks_without_a_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """The rank of each arm by its mean (1 is the best): over all seeds, then with each seed left out.

    Returns a frame of shape (arms, 1 + seeds) with the columns `all` and the seeds.
    """
    columns = {"all": scores.mean()} | {seed: scores.drop(index=seed).mean() for seed in scores.index}
    return pd.DataFrame(columns).rank(ascending=False, method="min")


def pareto(*objectives: Array) -> NDArray[np.bool_]:
    """True for the points on the Pareto front: no other point is as good in every objective and better in one.

    objectives: (points,) each; more is better, so pass costs with a minus. Equal points are on the front together.
    """
    points = np.column_stack([np.asarray(objective, dtype=float) for objective in objectives])
    left = np.arange(len(points))
    i = 0
    while i < len(left):
        point = points[left[i]]
        better = (points[left] > point).any(1) | (points[left] == point).all(1)  # in some objective, or the same
        i = int(better[:i].sum()) + 1
        left = left[better]
    front = np.zeros(len(points), dtype=bool)
    front[left] = True
    return front
