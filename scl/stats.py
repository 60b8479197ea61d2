"""Effects, intervals and tests of a study: numbers only.

`scores` is everywhere a frame of shape (seeds, arms): the index holds seeds, the columns arms, a cell is one
completed trial's accuracy as a fraction, NaN where there is none. Whatever the data cannot support is NaN.

The comparison with the baseline is Dunnett's (1955), in a randomised complete block design: accuracy ~ arm +
seed, with the seed as the block. The distributions are scipy.special's: scipy.stats takes a second to import.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

LEVEL = 0.95
POWER = 0.8
# Seeds that agree to this many decimals of accuracy show no spread: what is left is rounding.
NO_SPREAD = 1e-10

Array = NDArray[Any]


@dataclass(frozen=True)
class Mean:
    """Mean, standard deviation (n − 1) and Student's t interval of n values; NaN where n is too small."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Differences arm − baseline on shared seeds. d_z is their mean in units of their own sd."""

    arm: str
    differences: Mean
    d_z: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Contrast:
    """arm − other in the arm + seed model. low, high, p are corrected as the owner of the contrast says."""

    arm: str
    other: str
    estimate: float
    se: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """All arms against the baseline: simultaneous intervals and p adjusted together (one family).

    seeds: how many an arm shares with the baseline, the median arm. sigma: residual sd of the model.
    left_out: arms the model cannot place, with the reason.
    """

    baseline: str
    contrasts: tuple[Contrast, ...]
    seeds: int
    df: int
    sigma: float
    critical: float
    left_out: dict[str, str]

    @property
    def sd_of_differences(self) -> float:
        """The model's standard deviation of one seed's difference between two arms."""
        return math.sqrt(2) * self.sigma


def mean_interval(values: Sequence[float] | Array, level: float = LEVEL) -> Mean:
    """Mean of the finite values with Student's t interval: mean ± t(n−1) · sd / √n."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    if n < 2:
        return Mean(n, mean, math.nan, math.nan, math.nan)
    sd = float(x.std(ddof=1))
    half = t_critical(n - 1, level) * sd / math.sqrt(n)
    return Mean(n, mean, sd, mean - half, mean + half)


def t_critical(df: float, level: float = LEVEL) -> float:
    """The two-sided critical value of Student's t."""
    return float(special.stdtrit(df, (1 + level) / 2))


def t_p(t: float, df: float) -> float:
    """The two-sided p of Student's t."""
    return float(2 * special.stdtr(df, -abs(t)))


def holm(p: Sequence[float] | Array) -> Array:
    """Holm's step-down adjustment; NaN stays NaN and does not count as a test."""
    raw = np.asarray(p, dtype=float)
    adjusted = np.full(raw.shape, math.nan)
    order = np.flatnonzero(np.isfinite(raw))
    order = order[np.argsort(raw[order], kind="stable")]
    steps = raw[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def collapse_floor(scores: pd.DataFrame, baseline: str, chance: float) -> float:
    """The accuracy under which a trial has collapsed: half of the baseline's way above chance.

    The baseline is taken at its median seed; a twentieth of the way from chance to 1 is the least that counts
    as learning, so that a baseline that learnt nothing has itself collapsed.
    """
    typical = float(scores[baseline].median()) if baseline in scores else math.nan
    least = (1 - chance) / 20
    return chance + max(least, (typical - chance) / 2 if math.isfinite(typical) else least)


def collapsed(scores: pd.DataFrame, baseline: str, chance: float) -> tuple[str, ...]:
    """Arms with any seed under `collapse_floor`: one such trial would set the variance for all arms."""
    floor = collapse_floor(scores, baseline, chance)
    return tuple(str(arm) for arm in scores.columns if (scores[arm] < floor).any())


def paired(scores: pd.DataFrame, baseline: str) -> tuple[Paired, ...]:
    """Every other arm against the baseline by a paired t test over shared seeds, with Holm's correction."""
    arms = [arm for arm in scores.columns if arm != baseline]
    means = [mean_interval((scores[arm] - scores[baseline]).to_numpy()) for arm in arms]
    effects = [m.mean / m.sd if m.n > 1 and m.sd > NO_SPREAD else math.nan for m in means]
    p = [t_p(d * math.sqrt(m.n), m.n - 1) if m.n > 1 else math.nan for m, d in zip(means, effects, strict=True)]
    return tuple(
        Paired(str(arm), m, d, raw, float(adjusted))
        for arm, m, d, raw, adjusted in zip(arms, means, effects, p, holm(p), strict=True)
    )


def correlation(scores: pd.DataFrame) -> float:
    """The correlation between arms across seeds that pairing relies on: mean covariance / mean variance.

    Over the seeds that every arm has; the intraclass correlation of the arm + seed model.
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
class _Fit:
    """Least squares of accuracy ~ arm + seed, by the pseudo-inverse of the normal equations.

    Arms without a chain of shared seeds between them have no estimable difference; `estimable` tells.
    """

    arms: tuple[str, ...]
    coefficients: Array  # (arms + seeds,)
    inverse: Array  # (arms + seeds, arms + seeds), of the Gram matrix
    projection: Array  # Gram · inverse: a contrast is estimable when this leaves it as it is
    df: int
    sigma: float
    complete: bool

    def contrast(self, arm: str, other: str) -> Array:
        c = np.zeros(len(self.coefficients))
        c[self.arms.index(arm)] = 1.0
        c[self.arms.index(other)] = -1.0
        return c

    def estimable(self, c: Array) -> bool:
        return bool(np.allclose(self.projection @ c, c, atol=1e-8))


def _fit(scores: pd.DataFrame) -> _Fit:
    y_all = scores.to_numpy(dtype=float)
    seeds, arms = y_all.shape
    row, column = np.nonzero(np.isfinite(y_all))
    y = y_all[row, column]
    centre = y.mean() if len(y) else 0.0
    design = np.zeros((len(y), arms + seeds))
    design[np.arange(len(y)), column] = 1.0
    design[np.arange(len(y)), arms + row] = 1.0
    gram = design.T @ design
    inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
    coefficients = inverse @ (design.T @ (y - centre))
    df = len(y) - int(np.linalg.matrix_rank(gram, tol=1e-8, hermitian=True))
    residual = y - centre - design @ coefficients
    sigma = math.sqrt(float(residual @ residual) / df) if df > 0 else math.nan
    names = tuple(str(arm) for arm in scores.columns)
    return _Fit(names, coefficients, inverse, gram @ inverse, df, sigma, len(y) == seeds * arms)


def against_baseline(scores: pd.DataFrame, baseline: str, level: float = LEVEL) -> Comparison:
    """Dunnett-type simultaneous intervals of arm − baseline, for arms of any pattern of missing seeds.

    df = (A − 1)(n − 1) when no cell is missing. With no spread at all, or one seed, intervals and p are NaN.
    """
    fit = _fit(scores)
    others = [arm for arm in fit.arms if arm != baseline]
    estimable = [arm for arm in others if fit.estimable(fit.contrast(arm, baseline))]
    left_out = {arm: "shares no seed with the baseline" for arm in others if arm not in estimable}
    shared = [int((scores[arm].notna() & scores[baseline].notna()).sum()) for arm in estimable]
    seeds = sorted(shared)[len(shared) // 2] if shared else 0
    if not estimable:
        return Comparison(baseline, (), seeds, fit.df, fit.sigma, math.nan, left_out)

    c = np.array([fit.contrast(arm, baseline) for arm in estimable])
    shape = c @ fit.inverse @ c.T  # covariance of the contrasts in units of sigma²
    se = fit.sigma * np.sqrt(np.diag(shape))
    estimates = c @ fit.coefficients
    spread = fit.df > 0 and fit.sigma > NO_SPREAD
    critical = math.nan
    p = np.full(len(estimable), math.nan)
    if spread:
        scale = np.sqrt(np.diag(shape))
        box = _Box(fit.df, len(c)) if fit.complete else _box(fit.df, shape / np.outer(scale, scale))
        critical = box.critical(level)
        p = np.array([box.p(t) for t in estimates / se])
    half = critical * se
    contrasts = tuple(
        Contrast(arm, baseline, float(e), float(s), float(e - h), float(e + h), float(q))
        for arm, e, s, h, q in zip(estimable, estimates, se, half, p, strict=True)
    )
    return Comparison(baseline, contrasts, seeds, fit.df, fit.sigma, critical, left_out)


def all_pairs(scores: pd.DataFrame, level: float = LEVEL) -> tuple[Contrast, ...]:
    """Every pair of arms in the arm + seed model: single t intervals, p with Holm over all pairs."""
    fit = _fit(scores)
    arms = len(fit.arms)
    first, second = np.triu_indices(arms, 1)
    # A contrast is estimable when the projection leaves it: then the two columns move by the same vector.
    moved = np.round(fit.projection - np.eye(len(fit.projection)), 6)[:, :arms].T
    linked = (moved[first] == moved[second]).all(axis=1)
    first, second = first[linked], second[linked]
    estimate = fit.coefficients[first] - fit.coefficients[second]
    own = np.diag(fit.inverse)
    se = fit.sigma * np.sqrt(own[first] + own[second] - 2 * fit.inverse[first, second])
    half, raw = np.full(len(se), math.nan), np.full(len(se), math.nan)
    if fit.df > 0 and fit.sigma > NO_SPREAD:
        half = t_critical(fit.df, level) * se
        raw = 2 * special.stdtr(fit.df, -np.abs(estimate / se))
    return tuple(
        Contrast(fit.arms[i], fit.arms[j], float(e), float(s), float(e - h), float(e + h), float(p))
        for i, j, e, s, h, p in zip(first, second, estimate, se, half, holm(raw), strict=True)
    )


DRAWS = 20_000


@dataclass(frozen=True)
class _Box:
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


def _box(df: int, correlation: Array) -> _Box:
    """The box of an incomplete design; correlation: of its contrasts, (contrasts, contrasts)."""
    k = len(correlation)
    normal = np.random.default_rng(0).standard_normal((DRAWS, k))
    halves = np.full((k, k), 0.5) + 0.5 * np.eye(k)
    here, complete = (
        np.abs(normal @ np.linalg.cholesky(r + 1e-12 * np.eye(k)).T).max(axis=1) for r in (correlation, halves)
    )
    return _Box(df, k, (here, complete))


def _equicorrelated(t: float, contrasts: int, df: int) -> float:
    """P(max|T| ≤ t) with all correlations 1/2, by quadrature over the shared normal and the shared scale.

    Given the baseline's error z and the scale s = σ̂/σ, the contrasts are independent (Dunnett 1955, eq. 7):
    each lies in the box with probability Φ(z + √2·t·s) − Φ(z − √2·t·s).
    """
    z = np.linspace(-8.5, 8.5, 171)
    z_weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    s, s_weight = _scale(df)
    reach = math.sqrt(2) * t * s[:, None]
    inside = special.ndtr(z + reach) - special.ndtr(z - reach)
    return float(min(s_weight @ (inside**contrasts) @ z_weight, 1.0))


@functools.lru_cache(maxsize=256)
def _scale(df: int) -> tuple[Array, Array]:
    """Gauss–Legendre nodes and probabilities of σ̂/σ, the square root of χ²(df)/df."""
    node, weight = np.polynomial.legendre.leggauss(160)
    low = math.sqrt(2 * special.gammaincinv(df / 2, 1e-16) / df)
    high = math.sqrt(special.chdtri(df, 1e-16) / df)
    s = low + (high - low) * (node + 1) / 2
    log_density = math.log(2) + df / 2 * math.log(df / 2) - special.gammaln(df / 2) + (df - 1) * np.log(s)
    return s, np.exp(log_density - df * s**2 / 2) * weight * (high - low) / 2


@functools.cache
def smallest_effect(arms: int, seeds: int, level: float = LEVEL, power: float = POWER) -> float:
    """The true difference that Dunnett's intervals tell from 0 with this power.

    In units of the standard deviation of one seed's difference, for a complete design of `arms` arms (the
    baseline included) and `seeds` seeds; NaN where there is no comparison.
    """
    if arms < 2 or seeds < 2:
        return math.nan
    df = (arms - 1) * (seeds - 1)
    critical = _Box(df, arms - 1).critical(level)

    s, probability = _scale(df)

    def missed(shift: float) -> float:
        # An effect this large is never seen with the wrong sign: that tail (under 1e-5) is left out.
        return power - float(probability @ special.ndtr(shift - critical * s))

    return float(optimize.brentq(missed, 0.0, 10 + 3 * critical, xtol=1e-10)) / math.sqrt(seeds)


def seeds_needed(effect: float, arms: int, most: int = 1000) -> int | None:
    """The fewest seeds with which a true `effect` (in sds of a difference) is seen; None: over `most`."""
    size = abs(effect)
    if not math.isfinite(size) or arms < 2 or smallest_effect(arms, most) > size:
        return None
    low, high = 1, most  # `high` is always enough, `low` never is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if smallest_effect(arms, middle) <= size else (middle, high)
    return high


def stein_seeds(differences: Sequence[float] | Array, width: float, level: float = LEVEL) -> tuple[int, float]:
    """How many seeds give a paired difference an interval no wider than `width`, by Stein's two stages.

    From the pilot's n₀ differences alone: n = max(n₀, ⌈(2·t·s₀/W)²⌉) with t at n₀−1 degrees of freedom. The interval
    mean ± t·s₀/√n over all n, with the pilot's s₀, keeps its level (Stein, Ann. Math. Stat. 16, 1945).

    Returns n, and the interval's half width at n.
    """
    pilot = np.asarray(differences, dtype=float)
    half = t_critical(len(pilot) - 1, level) * float(pilot.std(ddof=1))
    n = max(len(pilot), math.ceil((2 * half / width) ** 2))
    return n, half / math.sqrt(n)


def ranks_without_a_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """Rank of each arm by its mean (1 the best): over all seeds, then with each seed left out.

    Returns a frame of shape (arms, 1 + seeds) with the columns `all` and the seeds.
    """
    columns = {"all": scores.mean()} | {seed: scores.drop(index=seed).mean() for seed in scores.index}
    return pd.DataFrame(columns).rank(ascending=False, method="min")


def pareto(cost: Array, value: Array) -> NDArray[np.bool_]:
    """Which points no other beats: none is both as cheap and as good, and better in one of the two."""
    order = np.lexsort((-value, cost))
    best, on_front = -math.inf, np.zeros(len(cost), dtype=bool)
    for i in order:
        if value[i] > best:
            best, on_front[i] = value[i], True
    return on_front
