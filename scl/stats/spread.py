"""How widely paired differences scatter: each arm's own variance, the pooled one, and what that one is worth.

Arms do not scatter alike: an arm without a teacher varies more than one under its logits, and a noisy baseline is in
every difference. A variance that is pooled over all differences from the baseline holds the baseline's share in full,
whatever it is. Its degrees of freedom are Box's (Ann. Math. Stat. 25, 1954), estimated without bias from the
covariances of the differences: near n − 1 if one noisy baseline makes them all alike, more if each scatters by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scl.stats.intervals import Array

MOST_BY_PAIRS = 1000  # contrasts; the covariance of more is taken from complete seeds alone


@dataclass(frozen=True)
class Spread:
    """The scatter of contrasts over seeds. A batch of studies gives arrays with leading dimensions.

    n, mean, own: (…, contrasts) seeds, mean, and variance of one seed's value (NaN with fewer than two seeds).
    pooled: (…) mean variance, weighted by n − 1. df: (…) its effective degrees of freedom; NaN without any.
    """

    n: Array
    mean: Array
    own: Array
    pooled: Array
    df: Array

    @property
    def variance(self) -> Array:
        """(…, contrasts) what a contrast is judged by: the pooled variance, or its own if that is larger."""
        return np.fmax(self.own, self.pooled[..., None])

    @property
    def se(self) -> Array:
        """(…, contrasts) the standard error of each mean; NaN with fewer than two seeds."""
        return np.where(self.n > 1, np.sqrt(self.variance / np.maximum(self.n, 1)), np.nan)


def spread(values: Array, most_df: float) -> Spread:
    """The scatter of contrasts (…, seeds, contrasts); NaN: a contrast without a value on that seed.

    Args:
        most_df: an upper bound of the effective degrees of freedom, in units of n − 1. With three seeds the estimate
            is noisy, and a lucky one would give intervals that are too narrow.
    """
    values = np.asarray(values, dtype=float)
    there = np.isfinite(values)
    n = there.sum(axis=-2)
    filled = np.where(there, values, 0.0)
    mean = np.where(n > 0, filled.sum(axis=-2) / np.maximum(n, 1), np.nan)
    centred = np.where(there, values - mean[..., None, :], 0.0)
    degrees = np.maximum(n - 1, 0)
    squares = (centred**2).sum(axis=-2)
    own = np.where(n > 1, squares / np.maximum(degrees, 1), np.nan)
    total = degrees.sum(axis=-1)
    pooled = np.where(total > 0, squares.sum(axis=-1) / np.maximum(total, 1), np.nan)
    typical = (degrees**2).sum(axis=-1) / np.maximum(total, 1)  # the df of a contrast; n − 1 if all have n seeds
    ratio = np.ones(())
    if most_df > 1:
        ratio = _complete_ratio(centred, typical) if there.all() else _ratio(values)
    df = np.where(total > 0, typical * np.clip(ratio, 1.0, max(most_df, 1.0)), np.nan)
    return Spread(n, mean, own, pooled, df)


def _complete_ratio(centred: Array, df: Array) -> Array:
    """(tr Σ)² / tr Σ² of the contrasts' covariance Σ, each part estimated without bias.

    For a Wishart matrix S/df: E tr S² = (1 + 1/df) tr Σ² + (tr Σ)²/df and E (tr S)² = (tr Σ)² + 2 tr Σ²/df. The traces
    are those of the Gram matrix between seeds too, so the smaller of the two is computed.
    """
    turned = np.swapaxes(centred, -1, -2)
    gram = centred @ turned if centred.shape[-2] < centred.shape[-1] else turned @ centred
    gram = gram / np.maximum(df, 1)[..., None, None]
    trace = np.trace(gram, axis1=-2, axis2=-1)
    known = df > 1  # with one degree of freedom nothing is known of the ratio: 1
    traces, square = _unbiased(trace**2, (gram**2).sum(axis=(-2, -1)), np.where(known, df, 2.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(square > 0, traces / square, np.inf)
    return np.where(known & np.isfinite(traces), ratio, 1.0)


def _unbiased(product: Array, square: Array, df: Array) -> tuple[Array, Array]:
    """Σᵢᵢ Σⱼⱼ and Σᵢⱼ² without bias, from the products and squares of the estimates S; or sums of both over i and j."""
    squared = df**2 / ((df - 1) * (df + 2)) * (square - product / df)
    return product - 2 * squared / df, squared


def _ratio(values: Array) -> Array:
    """The ratio with missing trials: from the seeds that each two contrasts share, or else from complete seeds."""
    usable = values[:, np.isfinite(values).sum(axis=0) > 1]
    if usable.shape[1] == 0:
        return np.array(1.0)
    if usable.shape[1] > MOST_BY_PAIRS:
        complete = usable[np.isfinite(usable).all(axis=1)]
        if len(complete) < 3:
            return np.array(1.0)
        return _complete_ratio(complete - complete.mean(axis=0), np.array(len(complete) - 1.0))
    there = np.isfinite(usable)
    x, m = np.where(there, usable - np.nanmean(usable, axis=0), 0.0), there.astype(float)
    n = m.T @ m  # seeds that both have
    df = np.maximum(n - 1, 1)
    sums = x.T @ m
    covariance = (x.T @ x - sums * sums.T / np.maximum(n, 1)) / df
    variance = ((x**2).T @ m - sums**2 / np.maximum(n, 1)) / df
    product = variance * variance.T
    known = n > 2
    trace, square = _unbiased(product, covariance**2, np.where(known, df, 2.0))
    # Two shared seeds do not tell a covariance, so the largest one counts; with none, two variances are independent.
    alone = (x**2).sum(axis=0) / np.maximum(np.diag(n) - 1, 1)
    square = np.where(known, square, np.where(n == 2, np.outer(alone, alone), 0.0))
    trace = np.where(known, trace, np.outer(alone, alone))
    own = np.diag(n) - 1
    bottom = float((square * df).sum()) * float((own**2).sum()) / float(own.sum())
    return np.array(float((np.outer(own, own) * trace).sum()) / bottom if bottom > 0 else np.inf)
