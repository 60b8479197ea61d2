"""The model accuracy ~ arm + seed, with the seed as a block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scl.stats.intervals import NO_SPREAD, Array


def correlation(scores: pd.DataFrame) -> float:
    """The correlation between arms across seeds, which is what pairing gains from: mean covariance / mean variance.

    Only seeds that every arm has are used. This is the intraclass correlation of the arm + seed model.
    """
    complete = scores.dropna()
    arms = complete.shape[1]
    if len(complete) < 2 or arms < 2:
        return math.nan
    covariance = np.cov(complete.to_numpy(), rowvar=False)
    variance = float(np.trace(covariance)) / arms
    if variance < NO_SPREAD**2:
        return math.nan
    return float((covariance.sum() - np.trace(covariance)) / (arms * (arms - 1)) / variance)


@dataclass(frozen=True)
class Fit:
    """Least squares of accuracy ~ arm + seed, by a generalised inverse of the normal equations.

    component: a number per arm. Arms with the same number are linked by shared seeds, directly or through other arms.
    Only differences between linked arms can be estimated.
    df, sigma: residual degrees of freedom and standard deviation. complete: no trial is missing.
    """

    arms: tuple[str, ...]
    coefficients: Array  # (arms + seeds,)
    inverse: Array  # (arms, arms): the arms' block of the generalised inverse
    component: Array  # (arms,)
    df: int
    sigma: float
    complete: bool

    def contrasts(self, arms: Sequence[str], other: str) -> tuple[Array, Array]:
        """The estimates of arm − other, (arms,), and their covariance in units of sigma², (arms, arms)."""
        index = {arm: i for i, arm in enumerate(self.arms)}
        i, j = np.array([index[arm] for arm in arms]), index[other]
        to_other = self.inverse[i, j]
        covariance = self.inverse[np.ix_(i, i)] - to_other[:, None] - to_other[None, :] + self.inverse[j, j]
        return self.coefficients[i] - self.coefficients[j], covariance


def fit_blocks(scores: pd.DataFrame) -> Fit:
    """Fit the model. Arms are eliminated first: the matrix to invert is (seeds, seeds), however many arms there are."""
    y_all = scores.to_numpy(dtype=float)
    there = np.isfinite(y_all).astype(float)  # (seeds, arms)
    arms = there.shape[1]
    centre = float(np.nanmean(y_all)) if there.any() else 0.0
    y = np.where(there > 0, y_all - centre, 0.0)
    per_arm = there.sum(axis=0)
    share = there / np.maximum(per_arm, 1)  # weights of each arm's observations, which sum to 1
    schur = np.diag(there.sum(axis=1)) - share @ there.T
    by_seed = np.linalg.pinv(schur, rcond=1e-10, hermitian=True)
    seed_effect = by_seed @ (y.sum(axis=1) - share @ y.sum(axis=0))
    arm_effect = (y.sum(axis=0) - there.T @ seed_effect) / np.maximum(per_arm, 1)
    inverse = np.diag(1 / np.maximum(per_arm, 1)) + share.T @ by_seed @ share
    linked = csgraph.connected_components(
        sparse.bmat([[None, sparse.csr_matrix(there.T)], [sparse.csr_matrix(there), None]]), directed=False
    )
    used = np.concatenate([per_arm > 0, there.any(axis=1)])
    components = len(set(linked[1][used]))
    df = int(there.sum()) - (int(used.sum()) - components)
    residual = np.where(there > 0, y - seed_effect[:, None] - arm_effect[None, :], 0.0)
    sigma = math.sqrt(float((residual**2).sum()) / df) if df > 0 else math.nan
    coefficients = np.concatenate([arm_effect, seed_effect])
    names = tuple(str(arm) for arm in scores.columns)
    return Fit(names, coefficients, inverse, linked[1][:arms], df, sigma, bool(there.all()))
