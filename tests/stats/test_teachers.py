"""The teacher as a random effect: against closed forms, statsmodels and simulations."""

from __future__ import annotations

import math
import warnings
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from scl import stats
from tests.support.scores import scores, without


def drawn(seeds: list[int], tau: float, rng: np.random.Generator) -> tuple[np.ndarray, list[int], float]:
    """Differences with μ = 0 and σ = 1, the teacher of each, and the mean effect of these teachers."""
    of_teacher = tau * rng.normal(size=len(seeds))
    teachers = np.repeat(np.arange(len(seeds)), seeds)
    return of_teacher[teachers] + rng.normal(size=len(teachers)), teachers.tolist(), float(of_teacher.mean())


@pytest.mark.parametrize("tau", [0.0, 1.0, 3.0])
def test_a_balanced_design_has_the_closed_forms(tau: float) -> None:
    m, n = 5, 4
    y, teachers, _ = drawn([n] * m, tau, np.random.default_rng(11))
    found = stats.teacher_effect(y, teachers)
    table = y.reshape(m, n)
    means, mse = table.mean(axis=1), float(table.var(axis=1, ddof=1).mean())
    msb = float(n * means.var(ddof=1))
    f, p = reference.f_oneway(*table)
    assert (found.p, msb / mse) == pytest.approx((p, f))
    assert (found.within**2, found.between**2) == pytest.approx((mse, max(0.0, (msb - mse) / n)))
    assert found.share == pytest.approx(found.between**2 / (found.between**2 + mse))
    for estimate, square, df in ((found.these, mse, m * (n - 1)), (found.others, msb, m - 1)):
        se = math.sqrt(square / (m * n))
        low, high = reference.t.interval(0.95, df, y.mean(), se)
        p = 2 * reference.t.sf(abs(y.mean()) / se, df)
        assert astuple(estimate) == pytest.approx((y.mean(), se, df, low, high, p))
    # The intraclass correlation's interval of the textbooks, for equal numbers.
    ends = [f / reference.f.ppf(q, m - 1, m * (n - 1)) for q in (0.975, 0.025)]
    low, high = (max(0.0, (end - 1) / (end + n - 1)) for end in ends)
    assert (found.share_low, found.share_high) == pytest.approx((low, high))


def test_statsmodels_finds_the_same_components() -> None:
    from statsmodels.formula.api import mixedlm

    y, teachers, _ = drawn([4] * 6, 1.5, np.random.default_rng(3))
    found = stats.teacher_effect(y, teachers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mixedlm("y ~ 1", pd.DataFrame({"y": y}), groups=teachers).fit(reml=True)
    assert (found.others.value, found.others.se) == pytest.approx((theirs.params["Intercept"], theirs.bse["Intercept"]),
                                                                 rel=1e-3)  # fmt: skip
    assert (found.between**2, found.within**2) == pytest.approx((theirs.cov_re.iloc[0, 0], theirs.scale), rel=1e-3)


@pytest.mark.parametrize("seeds", [[2] * 3, [4] * 3, [2] * 5, [3, 2], [5, 2, 1]], ids=str)
def test_intervals_hold_what_they_promise(seeds: list[int]) -> None:
    """In 95 of 100 studies: for other teachers, for these teachers, and for the share of variance."""
    rng, runs = np.random.default_rng(len(seeds)), 300
    for tau in (0.0, 1.0, 2.0):
        hits = np.zeros(3)
        for _ in range(runs):
            y, teachers, these = drawn(seeds, tau, rng)
            found = stats.teacher_effect(y, teachers)
            share = tau**2 / (tau**2 + 1)
            hits += [found.others.low <= 0 <= found.others.high, found.these.low <= these <= found.these.high,
                     found.share_low <= share <= found.share_high]  # fmt: skip
        # Three standard errors of the simulation below 95 %; above it where teachers have unequal numbers of seeds.
        assert (hits / runs > 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)).all(), (tau, hits / runs)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [[2] * 3, [4] * 3, [2] * 5, [4] * 5, [3, 2], [5, 2, 1], [8, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("tau", [0.0, 1.0, 2.0])
def test_other_teachers_are_covered_in_94_of_100_studies_or_more(seeds: list[int], tau: float) -> None:
    rng, runs = np.random.default_rng(1), 20_000
    found = (stats.teacher_effect(*drawn(seeds, tau, rng)[:2]).others for _ in range(runs))
    assert sum(others.low <= 0 <= others.high for others in found) / runs > 0.94


def test_a_teacher_for_each_seed_is_the_paired_t_over_seeds() -> None:
    frame = scores(3, 5, draw=2)
    found = stats.teacher_effects(frame, "a0", pd.Series(range(5), index=frame.index))
    for ours, paired in zip(found, stats.paired(frame, "a0"), strict=True):
        m = paired.differences
        assert ours.confounded
        others = (ours.arm, ours.others.value, ours.others.low, ours.others.high, ours.others.p)
        assert others == (paired.arm, *map(pytest.approx, (m.mean, m.low, m.high, paired.p)))
        assert np.isnan([ours.these.se, ours.within, ours.between, ours.share, ours.share_low, ours.p]).all()


def test_one_teacher_is_the_paired_t_and_knows_nothing_of_others() -> None:
    frame = scores(3, 5, draw=2)
    found = stats.teacher_effects(frame, "a0", pd.Series("t", index=frame.index))
    for ours, paired in zip(found, stats.paired(frame, "a0"), strict=True):
        m = paired.differences
        assert not ours.confounded
        assert (ours.these.low, ours.these.high, ours.within) == pytest.approx((m.low, m.high, m.sd))
        assert ours.others.value == pytest.approx(m.mean)
        assert np.isnan([ours.others.se, ours.others.p, ours.between, ours.share, ours.share_high, ours.p]).all()


def test_missing_trials_and_seeds_without_a_teacher_are_left_out() -> None:
    frame = without(scores(2, 6), (0, "a1"))
    teachers = pd.Series({0: "x", 1: "y", 2: "x", 3: "y", 4: None})  # nothing of seed 5
    (found,) = stats.teacher_effects(frame, "a0", teachers)
    assert {name: mean.n for name, mean in found.by_teacher.items()} == {"y": 2, "x": 1}
    assert found.others.value == pytest.approx(np.mean([mean.mean for mean in found.by_teacher.values()]))


@pytest.mark.parametrize(
    ("differences", "teachers"),
    [([], []), ([0.1], [0]), ([math.nan, math.nan], [0, 1]), ([0.1, 0.1], [0, 0]), ([0.1] * 4, [0, 0, 1, 1])],
    ids=["none", "one", "missing", "no spread", "no spread of two"],
)
def test_what_the_data_do_not_support_is_nan(differences: list[float], teachers: list[int]) -> None:
    found = stats.teacher_effect(np.array(differences), teachers)
    for estimate in (found.these, found.others):
        assert np.isnan([estimate.se, estimate.low, estimate.high, estimate.p]).all()
    assert np.isnan([found.share, found.share_low, found.share_high, found.p]).all()


@pytest.mark.parametrize(
    ("differences", "share", "low", "high"),
    [
        ([0.0, 1.0, 1e6, 1e6 + 1], 1.0, 1.0, 1.0),  # teachers are all the variance
        ([0.0, 1.0, 0.0, 1.0], 0.0, math.nan, math.nan),  # closer together than any share makes likely
        ([0.0, 1.0, 0.4, 1.4], 0.0, 0.0, 0.98),
    ],
)  # fmt: skip
def test_shares_at_their_ends(differences: list[float], share: float, low: float, high: float) -> None:
    found = stats.teacher_effect(np.array(differences), [0, 0, 1, 1])
    assert (found.share, found.share_low, found.share_high) == pytest.approx((share, low, high), abs=0.03, nan_ok=True)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 2.0])
def test_one_teacher_under_an_assumption(ratio: float) -> None:
    rng, runs, n = np.random.default_rng(7), 2000, 4
    seeds = ratio * rng.normal(size=(runs, 1)) + rng.normal(size=(runs, n))
    means = [stats.mean_interval(values) for values in seeds]
    hits = np.mean([abs(m.mean) <= stats.half_if_teachers_differ(m, ratio) for m in means])
    assert hits == pytest.approx(0.95, abs=0.015)
    if ratio == 0:
        assert stats.half_if_teachers_differ(means[0], 0) == pytest.approx(means[0].high - means[0].mean)


def test_the_spread_of_teachers_that_a_difference_tolerates() -> None:
    clear = stats.mean_interval([0.02, 0.03, 0.025, 0.022])
    tau = stats.tolerated_spread(clear)
    assert stats.half_if_teachers_differ(clear, tau / clear.sd) == pytest.approx(clear.mean)
    assert stats.tolerated_spread(stats.mean_interval([-0.02, -0.03, -0.025, -0.022])) == pytest.approx(tau)
    for values in ([-0.01, 0.02, 0.01], [0.01], [0.01, 0.01], []):
        assert math.isnan(stats.tolerated_spread(stats.mean_interval(values)))
    assert math.isnan(stats.half_if_teachers_differ(stats.mean_interval([0.01])))
