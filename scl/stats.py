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
from scipy import optimize, sparse, special
from scipy.sparse import csgraph

from scl.dunnett import Box, error_scale, incomplete, t_critical, t_p

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


@dataclass(frozen=True)
class Declared:
    """One difference that was named before the run, so that nothing is corrected: its mean over pairs with Student's
    interval, and the two-sided p of the paired t test; NaN where the pairs show no spread."""

    differences: Mean
    p: float

    @property
    def answer(self) -> str:
        """`yes` where the whole interval lies above 0, `no` where it lies below, else `not shown`."""
        m = self.differences
        if not (math.isfinite(self.p) and math.isfinite(m.low)):
            return "not shown"
        return "yes" if m.low > 0 else "no" if m.high < 0 else "not shown"


def declared(differences: Sequence[float] | Array) -> Declared:
    """The declared difference of paired values; those that are not finite are left out."""
    m = mean_interval(differences)
    spread = m.n > 1 and m.sd > NO_SPREAD
    return Declared(m, t_p(m.mean / m.sd * math.sqrt(m.n), m.n - 1) if spread else math.nan)


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
    """Least squares of accuracy ~ arm + seed, by a generalised inverse of the normal equations.

    component: arms of one number are linked by a chain of shared seeds: only their differences can be estimated.
    """

    arms: tuple[str, ...]
    coefficients: Array  # (arms + seeds,)
    inverse: Array  # (arms, arms): the arms' block of the generalised inverse
    component: Array  # (arms,)
    df: int
    sigma: float
    complete: bool

    def contrasts(self, arms: Sequence[str], other: str) -> tuple[Array, Array]:
        """Of arm − other: the estimates, and their covariance in units of sigma²."""
        index = {arm: i for i, arm in enumerate(self.arms)}
        i, j = np.array([index[arm] for arm in arms]), index[other]
        to_other = self.inverse[i, j]
        covariance = self.inverse[np.ix_(i, i)] - to_other[:, None] - to_other[None, :] + self.inverse[j, j]
        return self.coefficients[i] - self.coefficients[j], covariance


def _fit(scores: pd.DataFrame) -> _Fit:
    """The arms are eliminated first, so that thousands of them cost no more than a matrix of seeds × seeds."""
    y_all = scores.to_numpy(dtype=float)
    there = np.isfinite(y_all).astype(float)  # (seeds, arms)
    arms = there.shape[1]
    centre = float(np.nanmean(y_all)) if there.any() else 0.0
    y = np.where(there > 0, y_all - centre, 0.0)
    per_arm = there.sum(axis=0)
    share = there / np.maximum(per_arm, 1)  # each arm's observations, as weights that sum to 1
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
    return _Fit(names, coefficients, inverse, linked[1][:arms], df, sigma, bool(there.all()))


def against_baseline(scores: pd.DataFrame, baseline: str, level: float = LEVEL) -> Comparison:
    """Dunnett-type simultaneous intervals of arm − baseline, for arms of any pattern of missing seeds.

    df = (A − 1)(n − 1) when no cell is missing. With no spread at all, or one seed, intervals and p are NaN.
    """
    fit = _fit(scores)
    others = [arm for arm in fit.arms if arm != baseline]
    component = dict(zip(fit.arms, fit.component, strict=True))
    estimable = [arm for arm in others if component[arm] == component[baseline]]
    left_out = {arm: "shares no seed with the baseline" for arm in others if arm not in estimable}
    shared = [int((scores[arm].notna() & scores[baseline].notna()).sum()) for arm in estimable]
    seeds = sorted(shared)[len(shared) // 2] if shared else 0
    if not estimable:
        return Comparison(baseline, (), seeds, fit.df, fit.sigma, math.nan, left_out)

    estimates, shape = fit.contrasts(estimable, baseline)
    se = fit.sigma * np.sqrt(np.diag(shape))
    spread = fit.df > 0 and fit.sigma > NO_SPREAD
    critical = math.nan
    p = np.full(len(estimable), math.nan)
    if spread:
        scale = np.sqrt(np.diag(shape))
        box = Box(fit.df, len(estimable)) if fit.complete else incomplete(fit.df, shape / np.outer(scale, scale))
        critical = box.critical(level)
        p = np.array([box.p(t) for t in estimates / se])
    half = critical * se
    contrasts = tuple(
        Contrast(arm, baseline, float(e), float(s), float(e - h), float(e + h), float(q))
        for arm, e, s, h, q in zip(estimable, estimates, se, half, p, strict=True)
    )
    return Comparison(baseline, contrasts, seeds, fit.df, fit.sigma, critical, left_out)


@dataclass(frozen=True)
class Pairs:
    """Pairs of arms in the arm + seed model, an entry a pair: first − second (indices into arms), and Holm's p."""

    arms: tuple[str, ...]
    first: Array
    second: Array
    estimate: Array
    se: Array
    p: Array

    def of(self, arm: str) -> list[tuple[str, float]]:
        """The other arm and Holm's p of each pair that holds this one."""
        i = self.arms.index(arm)
        mine = np.flatnonzero((self.first == i) | (self.second == i))
        others = np.where(self.first[mine] == i, self.second[mine], self.first[mine])
        return [(self.arms[j], float(p)) for j, p in zip(others, self.p[mine], strict=True)]


def all_pairs(scores: pd.DataFrame) -> Pairs:
    """Every pair of arms that shares seeds, or a chain of them, in the arm + seed model; p with Holm over all."""
    fit = _fit(scores)
    first, second = np.triu_indices(len(fit.arms), 1)
    linked = fit.component[first] == fit.component[second]
    first, second = first[linked], second[linked]
    estimate = fit.coefficients[first] - fit.coefficients[second]
    own = np.diag(fit.inverse)
    se = fit.sigma * np.sqrt(own[first] + own[second] - 2 * fit.inverse[first, second])
    raw = np.full(len(se), math.nan)
    if fit.df > 0 and fit.sigma > NO_SPREAD:
        raw = 2 * special.stdtr(fit.df, -np.abs(estimate / se))
    return Pairs(fit.arms, first, second, estimate, se, holm(raw))


@functools.cache
def smallest_effect(arms: int, seeds: int, level: float = LEVEL, power: float = POWER) -> float:
    """The true difference that Dunnett's intervals tell from 0 with this power.

    In units of the standard deviation of one seed's difference, for a complete design of `arms` arms (the
    baseline included) and `seeds` seeds; NaN where there is no comparison.
    """
    if arms < 2 or seeds < 2:
        return math.nan
    df = (arms - 1) * (seeds - 1)
    critical = Box(df, arms - 1).critical(level)

    s, probability = error_scale(df)

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


@dataclass(frozen=True)
class Anova:
    """Type-II analysis of variance. table: index of terms (a factor, `a × b`, `seed`, `residual`), columns
    `sum_sq, df, F, p, eta_sq` (partial η²). why_not: why there is no table, or no interactions in it; else "".
    """

    table: pd.DataFrame
    why_not: str = ""


def anova(long: pd.DataFrame, factors: Sequence[str]) -> Anova:
    """Type-II ANOVA of `y` on the factors and their interactions two by two, the seed as a block (statsmodels).

    long: a row an observation, with the columns `y`, `seed` and one a factor. A pair of factors of which a
    combination has no observation has no interaction that could be told from its main effects: it is left out.
    """
    from statsmodels.formula.api import ols  # over a second to import, and few studies are factorial
    from statsmodels.stats.anova import anova_lm

    empty = pd.DataFrame(columns=["sum_sq", "df", "F", "p", "eta_sq"])
    usable = [f for f in factors if long[f].nunique() > 1]
    if not usable or long["seed"].nunique() < 2:
        return Anova(empty, "an analysis of variance needs a factor with two levels and two seeds")
    # The formula sees names of its own: a factor's may hold anything.
    data = pd.DataFrame({"y": long["y"].to_numpy(dtype=float), "seed": long["seed"].astype(str).to_numpy()})
    named = {f"f{i}": factor for i, factor in enumerate(usable)}
    for short, factor in named.items():
        data[short] = long[factor].astype(str).to_numpy()
    terms, names, gaps = [f"C({s})" for s in named], list(named.values()), []

    def model(terms: list[str]) -> Any:
        return ols("y ~ " + " + ".join([*terms, "C(seed)"]), data)

    for i, (a, one) in enumerate(named.items()):
        for b, other in list(named.items())[i + 1 :]:
            term = f"C({a}):C({b})"
            exog = model([*terms, term]).exog
            # Combinations without a result leave some of it undetermined, beside the terms that stand before it.
            if np.linalg.matrix_rank(exog) < exog.shape[1]:
                gaps.append(f"{one} × {other}")
            else:
                terms.append(term)
                names.append(f"{one} × {other}")
    fit = model(terms).fit()
    if fit.df_resid < 1 or fit.mse_resid < NO_SPREAD:
        return Anova(empty, "nothing is left over to estimate the error from")
    # statsmodels lists interactions last, whatever the formula's order: the terms are found by their names.
    raw = anova_lm(fit, typ=2)
    table = raw.loc[[*terms, "C(seed)", "Residual"]].rename(columns={"PR(>F)": "p"})
    table.index = pd.Index([*names, "seed", "residual"])
    table["eta_sq"] = table["sum_sq"] / (table["sum_sq"] + table.loc["residual", "sum_sq"])
    table.loc["residual", "eta_sq"] = math.nan
    missing = f"no interaction of {', '.join(gaps)}: some combinations have no result" if gaps else ""
    return Anova(table[["sum_sq", "df", "F", "p", "eta_sq"]], missing)
