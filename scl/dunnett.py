"""Dunnett's distribution: the largest of several t statistics that share a baseline and an error.

Dunnett (1955), in a randomised complete block design: all correlations between the contrasts are 1/2; with missing
cells they are those of the design. The functions are scipy.special's: scipy.stats takes a second to import.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Array = NDArray[Any]

DRAWS = 20_000
MOST_NUMBERS = 20_000_000  # drawn at once: with thousands of arms there are fewer draws


def t_critical(df: float, level: float = 0.95) -> float:
    """The two-sided critical value of Student's t."""
    return float(special.stdtrit(df, (1 + level) / 2))


def t_p(t: float, df: float) -> float:
    """The two-sided p of Student's t."""
    return float(2 * special.stdtr(df, -abs(t)))


@dataclass(frozen=True)
class Box:
    """max|T| of a central multivariate t: the distribution behind simultaneous intervals.

    largest: of DRAWS normal vectors the largest |component|, with this design's correlations and, from the same
    draws, with 1/2 everywhere; None for a complete design, whose correlations are all 1/2.
    """

    df: int
    contrasts: int
    largest: tuple[Array, Array] | None = None

    def within(self, t: float) -> float:
        """P(max|T| ≤ t). Given the normal vector, that is P(σ̂/σ ≥ max|Z|/t).

        With missing cells the exact value of the complete design is corrected by the mean difference between the
        two over the draws. They differ little, so that the error is near 1e-4, and draws are always the same.
        """
        exact = _equicorrelated(t, self.contrasts, self.df)
        if self.largest is None:
            return exact
        here, complete = (special.chdtrc(self.df, self.df * (m / t) ** 2) for m in self.largest)
        return exact + float(np.mean(here - complete))

    def critical(self, level: float) -> float:
        # Between the critical value of one test and Bonferroni's of all.
        low = t_critical(self.df, level)
        if self.contrasts == 1:
            return low
        high = t_critical(self.df, 1 - (1 - level) / self.contrasts)
        return float(optimize.brentq(lambda t: self.within(t) - level, 0.99 * low, 1.01 * high, xtol=1e-6))

    def p(self, t: float) -> float:
        """P(max|T| ≥ |t|), between the p of the single test and Bonferroni's."""
        single = t_p(t, self.df)
        return min(max(1 - self.within(abs(t)), single), self.contrasts * single, 1.0)


def incomplete(df: int, correlation: Array) -> Box:
    """The box of an incomplete design; correlation: of its contrasts, (contrasts, contrasts)."""
    k = len(correlation)
    normal = np.random.default_rng(0).standard_normal((min(DRAWS, MOST_NUMBERS // k), k))
    halves = np.full((k, k), 0.5) + 0.5 * np.eye(k)
    here, complete = (
        np.abs(normal @ np.linalg.cholesky(r + 1e-12 * np.eye(k)).T).max(axis=1) for r in (correlation, halves)
    )
    return Box(df, k, (here, complete))


def _equicorrelated(t: float, contrasts: int, df: int) -> float:
    """P(max|T| ≤ t) with all correlations 1/2, by quadrature over the shared normal and the shared scale.

    Given the baseline's error z and the scale s = σ̂/σ, the contrasts are independent (Dunnett 1955, eq. 7):
    each lies in the box with probability Φ(z + √2·t·s) − Φ(z − √2·t·s).
    """
    z = np.linspace(-8.5, 8.5, 171)
    z_weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    s, s_weight = error_scale(df)
    reach = math.sqrt(2) * t * s[:, None]
    inside = special.ndtr(z + reach) - special.ndtr(z - reach)
    return float(min(s_weight @ (inside**contrasts) @ z_weight, 1.0))


@functools.lru_cache(maxsize=256)
def error_scale(df: int) -> tuple[Array, Array]:
    """Gauss–Legendre nodes and probabilities of σ̂/σ, the square root of χ²(df)/df."""
    node, weight = np.polynomial.legendre.leggauss(160)
    low = math.sqrt(2 * special.gammaincinv(df / 2, 1e-16) / df)
    high = math.sqrt(special.chdtri(df, 1e-16) / df)
    s = low + (high - low) * (node + 1) / 2
    log_density = math.log(2) + df / 2 * math.log(df / 2) - special.gammaln(df / 2) + (df - 1) * np.log(s)
    return s, np.exp(log_density - df * s**2 / 2) * weight * (high - low) / 2
