"""Ranks of arms, and the Pareto front of cost and accuracy."""

from __future__ import annotations

import math

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


def pareto(cost: Array, value: Array) -> NDArray[np.bool_]:
    """True for the points that no other point dominates: none is as cheap and as good, and better in one of the two.

    cost, value: (points,). Less cost and more value are better. Of equal points one is on the front.
    """
    order = np.lexsort((-value, cost))
    best, on_front = -math.inf, np.zeros(len(cost), dtype=bool)
    for i in order:
        if value[i] > best:
            best, on_front[i] = value[i], True
    return on_front
