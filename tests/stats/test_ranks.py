"""Ranks, and the Pareto front by brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scl import stats


def test_ranks_without_each_seed() -> None:
    frame = pd.DataFrame({"a": [0.9, 0.1, 0.5], "b": [0.4, 0.5, 0.5]}, index=[0, 1, 7])
    ranks = stats.ranks_without_a_seed(frame)
    assert ranks.loc["a"].to_dict() == {"all": 1, 0: 2, 1: 1, 7: 1}
    assert ranks.loc["b"].to_dict() == {"all": 2, 0: 1, 1: 2, 7: 2}


def test_pareto_front_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    cost, value = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 40).astype(float)
    front = stats.pareto(-cost, value)
    points = set(zip(cost, value, strict=True))
    for i, (c, v) in enumerate(zip(cost, value, strict=True)):
        beaten = any((a <= c and b >= v) and (a < c or b > v) for a, b in points)
        assert front[i] == (not beaten)  # equal points are on the front together


def test_pareto_front_of_three_objectives_and_of_none() -> None:
    rng = np.random.default_rng(1)
    points = rng.integers(0, 5, (60, 3)).astype(float)
    beaten = [((points >= p).all(1) & (points > p).any(1)).any() for p in points]
    assert (stats.pareto(*points.T) == ~np.array(beaten)).all()
    assert stats.pareto(np.empty(0), np.empty(0)).tolist() == []
