"""Made-up accuracies: frames of shape (seeds, arms)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd


def scores(arms: int, seeds: int, effect: float = 0.004, spread: float = 0.003, draw: int = 0) -> pd.DataFrame:
    """Arms a0 … with equal steps between them, luck shared by a seed's arms, and noise."""
    rng = np.random.default_rng(draw)
    values = 0.7 + effect * np.arange(arms) + rng.normal(0, 0.005, (seeds, 1)) + rng.normal(0, spread, (seeds, arms))
    return pd.DataFrame(values, index=pd.Index(range(seeds), name="seed"), columns=[f"a{i}" for i in range(arms)])


def without(frame: pd.DataFrame, *cells: tuple[int, str]) -> pd.DataFrame:
    out = frame.copy()
    for seed, arm in cells:
        out.loc[seed, arm] = math.nan
    return out


def long(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index().melt("seed", var_name="arm", value_name="y").dropna()
