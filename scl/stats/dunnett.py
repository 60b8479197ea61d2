"""Dunnett's distribution: the largest of several t statistics that share a baseline and an error.

Dunnett (1955). In a randomised complete block design all correlations between the contrasts are 1/2; with missing
trials the design determines them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from scl.stats.intervals import LEVEL, Array, t_critical, t_p

DRAWS = 20_000
MOST_EXACT = 200  # p values that are computed one by one
MOST_NUMBERS = 20_000_000  # drawn at once, so that thousands of arms get fewer draws


@dataclass(frozen=True)
class MaxT:
    """max|T| of a central multivariate t: the distribution behind simultaneous intervals.

    largest: the largest |component| of each of DRAWS normal vectors, with this design's correlations and, from the same
    draws, with correlations of 1/2. None for a complete design, where all correlations are 1/2.
    """

    df: float
    contrasts: int
    largest: tuple[Array, Array] | None = None

    def cdf(self, t: float) -> float:
        """P(max|T| ≤ t). Given the normal vector Z, that is P(σ̂/σ ≥ max|Z|/t).

        With missing trials, the exact value of the complete design is corrected by the mean difference between the two
        designs over the draws. The difference is small, so the error is near 1e-4. The draws are always the same.
        """
        exact = _equicorrelated(t, self.contrasts, self.df)
        if self.largest is None:
            return exact
        here, complete = (special.chdtrc(self.df, self.df * (m / t) ** 2) for m in self.largest)
        return exact + float(np.mean(here - complete))

    def critical(self, level: float = LEVEL) -> float:
        """The t with P(max|T| ≤ t) = level; it lies between the single test's critical value and Bonferroni's."""
        low = t_critical(self.df, level)
        if self.contrasts == 1:
            return low
        high = t_critical(self.df, 1 - (1 - level) / self.contrasts)
        return float(optimize.brentq(lambda t: self.cdf(t) - level, 0.99 * low, 1.01 * high, xtol=1e-6))

    def p(self, t: float) -> float:
        """P(max|T| ≥ |t|), kept between the p of the single test and Bonferroni's."""
        return self._bounded(1 - self.cdf(abs(t)), t)

    def ps(self, t: Array) -> Array:
        """`p` of each; NaN stays NaN. Those of many are interpolated, within 0.1 %."""
        if len(t) <= MOST_EXACT:
            return np.array([self.p(x) if math.isfinite(x) else math.nan for x in t])
        size = np.abs(t[np.isfinite(t)])
        grid = np.linspace(size.min(initial=0.0), size.max(initial=0.0), MOST_EXACT)
        known = np.log([max(1 - self.cdf(x), 1e-16) for x in grid])
        between = np.exp(np.interp(np.abs(t), grid, known))
        return np.array(
            [self._bounded(p, x) if math.isfinite(x) else math.nan for p, x in zip(between, t, strict=True)]
        )

    def _bounded(self, p: float, t: float) -> float:
        single = t_p(t, self.df)
        return min(max(p, single), self.contrasts * single, 1.0)


def incomplete_design(df: float, correlation: Array) -> MaxT:
    """The distribution for a design with missing trials; correlation: of its contrasts, (contrasts, contrasts)."""
    k = len(correlation)
    normal = np.random.default_rng(0).standard_normal((min(DRAWS, MOST_NUMBERS // k), k))
    halves = np.full((k, k), 0.5) + 0.5 * np.eye(k)
    here, complete = (
        np.abs(normal @ np.linalg.cholesky(r + 1e-12 * np.eye(k)).T).max(axis=1) for r in (correlation, halves)
    )
    return MaxT(df, k, (here, complete))


def _equicorrelated(t: float, contrasts: int, df: float) -> float:
    """P(max|T| ≤ t) with all correlations 1/2, by quadrature over the baseline's error and the scale.

    Given the baseline's error z and the scale s = σ̂/σ, the contrasts are independent (Dunnett 1955, eq. 7):
    each lies within ±t with probability Φ(z + √2·t·s) − Φ(z − √2·t·s).
    """
    z = np.linspace(-8.5, 8.5, 171)
    z_weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    s, s_weight = error_scale(df)
    reach = math.sqrt(2) * t * s[:, None]
    inside = special.ndtr(z + reach) - special.ndtr(z - reach)
    return float(min(s_weight @ (inside**contrasts) @ z_weight, 1.0))


@functools.lru_cache(maxsize=256)
def error_scale(df: float) -> tuple[Array, Array]:
    """Gauss–Legendre nodes and probabilities of σ̂/σ, the square root of χ²(df)/df."""
    node, weight = _nodes()
    low = math.sqrt(2 * special.gammaincinv(df / 2, 1e-16) / df)
    high = math.sqrt(special.chdtri(df, 1e-16) / df)
    s = low + (high - low) * (node + 1) / 2
    log_density = math.log(2) + df / 2 * math.log(df / 2) - special.gammaln(df / 2) + (df - 1) * np.log(s)
    return s, np.exp(log_density - df * s**2 / 2) * weight * (high - low) / 2


@functools.cache
def _nodes() -> tuple[Array, Array]:
    """Gauss–Legendre nodes and weights on [−1, 1]."""
    return np.polynomial.legendre.leggauss(160)
