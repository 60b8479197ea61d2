"""Every number by a second route: closed forms, scipy.stats, statsmodels or simulation."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats as reference
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests

from scl import dunnett, stats


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


@pytest.mark.parametrize("n", [2, 3, 10])
def test_mean_interval_is_students(n: int) -> None:
    x = np.random.default_rng(n).normal(0.7, 0.01, n)
    mean = stats.mean_interval(x)
    low, high = reference.t.interval(0.95, n - 1, loc=x.mean(), scale=reference.sem(x))
    assert (mean.low, mean.high) == pytest.approx((low, high), rel=1e-9)
    assert (mean.n, mean.sd) == (n, pytest.approx(np.std(x, ddof=1)))


def test_mean_interval_of_one_none_and_nan() -> None:
    one = stats.mean_interval([0.5, math.nan])
    assert (one.n, one.mean) == (1, 0.5)
    assert all(map(math.isnan, (one.sd, one.low, one.high)))
    none = stats.mean_interval([])
    assert none.n == 0
    assert math.isnan(none.mean)


@pytest.mark.parametrize("cells", [(), ((1, "a2"),), ((0, "a0"), (3, "a1"), (4, "a1"))])
def test_model_agrees_with_statsmodels(cells: tuple[tuple[int, str], ...]) -> None:
    frame = without(scores(4, 5), *cells)
    ours = stats.against_baseline(frame, "a0")
    theirs = ols("y ~ C(arm, Treatment('a0')) + C(seed)", long(frame)).fit()
    assert ours.df == theirs.df_resid
    assert ours.sigma == pytest.approx(math.sqrt(theirs.mse_resid), rel=1e-9)
    for contrast in ours.contrasts:
        name = f"C(arm, Treatment('a0'))[T.{contrast.arm}]"
        assert contrast.estimate == pytest.approx(theirs.params[name], rel=1e-9)
        assert contrast.se == pytest.approx(theirs.bse[name], rel=1e-9)


def test_degrees_of_freedom_of_the_complete_design() -> None:
    assert stats.against_baseline(scores(6, 4), "a0").df == (6 - 1) * (4 - 1)


@pytest.mark.parametrize(("contrasts", "df"), [(2, 2), (3, 6), (7, 14), (12, 48)])
def test_box_probability_agrees_with_scipys_multivariate_t(contrasts: int, df: int) -> None:
    shape = np.full((contrasts, contrasts), 0.5) + 0.5 * np.eye(contrasts)
    for t in (1.0, 2.5, 4.0):
        edge = np.full(contrasts, t)
        theirs = reference.multivariate_t.cdf(
            edge, shape=shape, df=df, lower_limit=-edge, maxpts=200_000, random_state=1
        )
        assert dunnett.Box(df, contrasts).within(t) == pytest.approx(theirs, abs=3e-4)


def test_critical_value_holds_its_level_to_six_digits() -> None:
    critical = dunnett.Box(12, 3).critical(0.95)
    edge, shape = np.full(3, critical), np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    inside = reference.multivariate_t.cdf(edge, shape=shape, df=12, lower_limit=-edge, maxpts=2_000_000, random_state=0)
    assert inside == pytest.approx(0.95, abs=1e-6)


def test_adjusted_p_is_scipys_dunnett_in_the_one_way_analogue() -> None:
    """scipy.stats.dunnett has df = A(n − 1); our distribution with that df must give its p."""
    x = scores(4, 6, draw=3).to_numpy()
    theirs = reference.dunnett(*x[:, 1:].T, control=x[:, 0], random_state=np.random.default_rng(0))
    box = dunnett.Box(4 * 5, 3)
    assert [box.p(t) for t in theirs.statistic] == pytest.approx(list(theirs.pvalue), abs=2e-3)


def test_one_comparison_is_the_paired_t_test() -> None:
    frame = scores(2, 5, draw=1)
    (contrast,) = stats.against_baseline(frame, "a0").contrasts
    theirs = reference.ttest_rel(frame["a1"], frame["a0"])
    interval = theirs.confidence_interval(0.95)
    assert contrast.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (contrast.low, contrast.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_simultaneous_intervals_cover_all_differences_together() -> None:
    """95 % of 400 studies of 6 arms × 3 seeds hold all their true differences; Student's would hold fewer."""
    covered = alone = 0
    for draw in range(400):
        comparison = stats.against_baseline(scores(6, 3, draw=draw), "a0")
        truth = [0.004 * i for i in range(1, 6)]
        covered += all(c.low <= t <= c.high for c, t in zip(comparison.contrasts, truth, strict=True))
        reach = stats.t_critical(comparison.df)
        alone += all(abs(c.estimate - t) <= reach * c.se for c, t in zip(comparison.contrasts, truth, strict=True))
    assert 0.92 <= covered / 400 <= 0.975
    assert alone / 400 < 0.90


def test_missing_cells_use_the_correlations_of_the_design() -> None:
    """The critical value against a simulation of the very least-squares estimates."""
    gaps = ((0, "a1"), (1, "a1"), (2, "a3"))
    comparison = stats.against_baseline(without(scores(4, 4), *gaps), "a0")
    design = long(without(scores(4, 4, effect=0, spread=1, draw=5), *gaps))
    x = pd.get_dummies(design[["arm", "seed"]].astype(str), drop_first=True, dtype=float).to_numpy()
    x = np.column_stack([np.ones(len(x)), x])
    rng = np.random.default_rng(0)
    y = rng.normal(size=(len(x), 200_000))
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    sigma = np.sqrt(((y - x @ beta) ** 2).sum(0) / (len(x) - x.shape[1]))
    largest = np.abs(beta[1:4] / (np.sqrt(np.diag(inverse))[1:4, None] * sigma)).max(0)
    assert comparison.critical == pytest.approx(np.quantile(largest, 0.95), abs=0.02)
    assert comparison.df == len(x) - x.shape[1]


def test_results_are_deterministic_with_missing_cells() -> None:
    frame = without(scores(5, 4), (0, "a1"), (2, "a4"))
    assert stats.against_baseline(frame, "a0") == stats.against_baseline(frame, "a0")


def test_no_spread_and_one_seed_give_differences_without_intervals() -> None:
    flat = pd.DataFrame({"a0": [0.7, 0.71], "a1": [0.72, 0.73]})
    for frame in (flat, scores(3, 1)):
        comparison = stats.against_baseline(frame, "a0")
        contrast = comparison.contrasts[0]
        assert contrast.estimate == pytest.approx(float((frame["a1"] - frame["a0"]).mean()))
        assert all(map(math.isnan, (contrast.low, contrast.high, contrast.p, comparison.critical)))


def test_an_arm_without_a_shared_seed_is_left_out_by_name() -> None:
    frame = without(scores(3, 4), *[(s, "a2") for s in (0, 1)], *[(s, a) for s in (2, 3) for a in ("a0", "a1")])
    comparison = stats.against_baseline(frame, "a0")
    assert list(comparison.left_out) == ["a2"]
    assert [c.arm for c in comparison.contrasts] == ["a1"]


@pytest.mark.parametrize(
    ("arm", "expected"),
    [([0.69, 0.70], False), ([0.41, 0.70], False), ([0.39, 0.70], True), ([0.10, 0.11], True), ([0.99, 0.99], False)],
)
def test_collapsed_is_under_half_of_the_baselines_way_above_chance(arm: list[float], expected: bool) -> None:
    frame = pd.DataFrame({"base": [0.70, 0.70], "arm": arm})  # chance .1, so the floor is .4
    assert stats.collapsed(frame, "base", 0.1) == (("arm",) if expected else ())


def test_a_baseline_at_chance_has_collapsed() -> None:
    frame = pd.DataFrame({"base": [0.10, 0.11], "arm": [0.7, 0.7]})
    assert stats.collapsed(frame, "base", 0.1) == ("base",)


def test_paired_t_with_holm() -> None:
    frame = without(scores(5, 6, draw=2), (2, "a3"))
    ours = stats.paired(frame, "a0")
    pairs = [frame[["a0", p.arm]].dropna() for p in ours]
    raw = [reference.ttest_rel(p.iloc[:, 1], p.iloc[:, 0]).pvalue for p in pairs]
    assert [p.p for p in ours] == pytest.approx(raw, rel=1e-9)
    assert [p.p_holm for p in ours] == pytest.approx(list(multipletests(raw, method="holm")[1]), rel=1e-9)
    difference = frame["a1"] - frame["a0"]
    assert ours[0].d_z == pytest.approx(difference.mean() / difference.std())
    assert [p.differences.n for p in ours] == [6, 6, 5, 6]


def test_holm_leaves_nan_out_of_the_family() -> None:
    p = [0.01, math.nan, 0.04, 0.03, 0.5]
    theirs = list(multipletests([0.01, 0.04, 0.03, 0.5], method="holm")[1])
    ours = stats.holm(p)
    assert math.isnan(ours[1])
    assert list(np.delete(ours, 1)) == pytest.approx(theirs)


def test_pairs_are_the_models_contrasts_with_holm() -> None:
    frame = scores(4, 5, draw=4)
    ours = stats.all_pairs(frame)
    fit = ols("y ~ C(arm) + C(seed)", long(frame)).fit()
    assert len(ours.p) == 6
    named = [
        (f"C(arm)[T.a{i}] - " if i else "-") + f"C(arm)[T.a{j}]" for i, j in zip(ours.first, ours.second, strict=True)
    ]
    raw = [float(fit.t_test(f"{name} = 0").pvalue) for name in named]
    assert list(ours.p) == pytest.approx(list(multipletests(raw, method="holm")[1]), rel=1e-6)
    assert dict(ours.of("a2"))["a0"] == ours.p[list(zip(ours.first, ours.second, strict=True)).index((0, 2))]


def test_correlation_is_the_intraclass_correlation_of_the_anova() -> None:
    frame = scores(4, 6, effect=0.002)
    table = sm.stats.anova_lm(ols("y ~ C(arm) + C(seed)", long(frame)).fit())
    seed, error = table.loc["C(seed)", "mean_sq"], table.loc["Residual", "mean_sq"]
    assert stats.correlation(frame) == pytest.approx((seed - error) / (seed + 3 * error))
    assert math.isnan(stats.correlation(scores(4, 1)))


@pytest.mark.parametrize(("seeds", "units"), [(3, 3.26), (5, 1.68), (10, 1.0)])
def test_smallest_effect_of_two_arms_is_the_paired_t_tests(seeds: int, units: float) -> None:
    assert stats.smallest_effect(2, seeds) == pytest.approx(units, abs=0.01)


@pytest.mark.parametrize(("arms", "seeds"), [(2, 2), (3, 2), (8, 3), (8, 10)])
def test_smallest_effect_has_its_power_by_the_noncentral_t(arms: int, seeds: int) -> None:
    df = (arms - 1) * (seeds - 1)
    critical = dunnett.Box(df, arms - 1).critical(0.95)
    shift = stats.smallest_effect(arms, seeds) * math.sqrt(seeds)
    assert reference.nct.sf(critical, df, shift) == pytest.approx(0.8, abs=1e-4)


def test_smallest_effect_has_its_power_in_simulated_studies() -> None:
    size = stats.smallest_effect(4, 4) * math.sqrt(2) * 0.003
    seen = 0
    for draw in range(400):
        frame = scores(4, 4, effect=0.0, draw=10_000 + draw)
        frame["a1"] += size
        seen += stats.against_baseline(frame, "a0").contrasts[0].low > 0
    assert 0.74 <= seen / 400 <= 0.86


def test_seeds_needed_is_the_first_that_suffices() -> None:
    needed = stats.seeds_needed(-0.9, 6)
    assert needed is not None
    assert stats.smallest_effect(6, needed) <= 0.9 < stats.smallest_effect(6, needed - 1)
    assert stats.seeds_needed(0.001, 6) is None
    assert stats.seeds_needed(math.nan, 6) is None
    assert math.isnan(stats.smallest_effect(1, 5))
    assert math.isnan(stats.smallest_effect(5, 1))


def test_ranks_without_each_seed() -> None:
    frame = pd.DataFrame({"a": [0.9, 0.1, 0.5], "b": [0.4, 0.5, 0.5]}, index=[0, 1, 7])
    ranks = stats.ranks_without_a_seed(frame)
    assert ranks.loc["a"].to_dict() == {"all": 1, 0: 2, 1: 1, 7: 1}
    assert ranks.loc["b"].to_dict() == {"all": 2, 0: 1, 1: 2, 7: 2}


def test_pareto_front_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    cost, value = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 40).astype(float)
    front = stats.pareto(cost, value)
    points = set(zip(cost, value, strict=True))
    for i, (c, v) in enumerate(zip(cost, value, strict=True)):
        beaten = any((a <= c and b >= v) and (a < c or b > v) for a, b in points)
        assert not (front[i] and beaten)
        assert beaten or (c, v) in {(cost[j], value[j]) for j in np.flatnonzero(front)}


def test_the_declared_difference_is_scipys_paired_t_test() -> None:
    rng = np.random.default_rng(5)
    for n in (2, 3, 5, 12):
        student, teacher = rng.normal(0.75, 0.01, n), rng.normal(0.74, 0.01, n)
        found = stats.declared(student - teacher)
        theirs = reference.ttest_rel(student, teacher)
        interval = theirs.confidence_interval(0.95)
        m = found.differences
        assert (m.n, m.mean) == (n, pytest.approx((student - teacher).mean()))
        assert (found.p, m.low, m.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))
        assert m.sd == pytest.approx(np.std(student - teacher, ddof=1))


@pytest.mark.parametrize(
    ("differences", "answer"),
    [
        ([0.010, 0.012, 0.011], "yes"),
        ([-0.010, -0.012, -0.011], "no"),
        ([0.010, -0.012, 0.011], "not shown"),
        ([0.010], "not shown"),
        ([0.010, 0.010, 0.010], "not shown"),  # no spread is no evidence of a small one
        ([0.010, 0.012, 0.011, math.nan], "yes"),
        ([], "not shown"),
    ],
)
def test_the_declared_answer(differences: list[float], answer: str) -> None:
    assert stats.declared(differences).answer == answer


def test_an_interaction_that_the_combinations_at_hand_do_not_determine_is_left_out() -> None:
    """Each pair of factors has all of its combinations, and yet six cells cannot carry seven means."""
    cells = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]
    rng = np.random.default_rng(0)
    rows = [
        {"a": a, "b": b, "c": c, "seed": seed, "y": a + 2 * b + rng.normal(0, 0.1)}
        for a, b, c in cells
        for seed in range(3)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = stats.anova(pd.DataFrame(rows), ["a", "b", "c"])
    assert list(found.table.index) == ["a", "b", "c", "a × b", "a × c", "seed", "residual"]
    assert "b × c" in found.why_not
    assert found.table.loc["b", "p"] < 1e-6
    assert found.table["df"].tolist() == [1, 1, 1, 1, 1, 2, 10]
