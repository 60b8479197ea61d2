"""Dunnett's comparison in the linear model against statsmodels, scipy.stats and simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference
from statsmodels.formula.api import ols

from scl import stats
from tests.support.scores import long, scores, without


@pytest.mark.parametrize("cells", [(), ((1, "a2"),), ((0, "a0"), (3, "a1"), (4, "a1"))])
def test_model_agrees_with_statsmodels(cells: tuple[tuple[int, str], ...]) -> None:
    frame = without(scores(4, 5), *cells)
    ours = stats.in_the_model(frame, "a0")
    theirs = ols("y ~ C(arm, Treatment('a0')) + C(seed)", long(frame)).fit()
    assert ours.df == theirs.df_resid
    assert ours.sd == pytest.approx(math.sqrt(2 * theirs.mse_resid), rel=1e-9)
    for contrast in ours.contrasts:
        name = f"C(arm, Treatment('a0'))[T.{contrast.arm}]"
        assert contrast.estimate == pytest.approx(theirs.params[name], rel=1e-9)
        assert contrast.se == pytest.approx(theirs.bse[name], rel=1e-9)


def test_degrees_of_freedom_of_the_complete_design() -> None:
    assert stats.in_the_model(scores(6, 4), "a0").df == (6 - 1) * (4 - 1)


def test_one_comparison_is_the_paired_t_test() -> None:
    frame = scores(2, 5, draw=1)
    (contrast,) = stats.in_the_model(frame, "a0").contrasts
    theirs = reference.ttest_rel(frame["a1"], frame["a0"])
    interval = theirs.confidence_interval(0.95)
    assert contrast.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (contrast.low, contrast.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_simultaneous_intervals_cover_all_differences_together() -> None:
    """95 % of 400 studies of 6 arms × 3 seeds hold all their true differences; Student's would hold fewer."""
    covered = alone = 0
    for draw in range(400):
        comparison = stats.in_the_model(scores(6, 3, draw=draw), "a0")
        truth = [0.004 * i for i in range(1, 6)]
        covered += all(c.low <= t <= c.high for c, t in zip(comparison.contrasts, truth, strict=True))
        reach = stats.t_critical(comparison.df)
        alone += all(abs(c.estimate - t) <= reach * c.se for c, t in zip(comparison.contrasts, truth, strict=True))
    assert 0.92 <= covered / 400 <= 0.975
    assert alone / 400 < 0.90


def test_missing_cells_use_the_correlations_of_the_design() -> None:
    """The critical value against a simulation of the very least-squares estimates."""
    gaps = ((0, "a1"), (1, "a1"), (2, "a3"))
    comparison = stats.in_the_model(without(scores(4, 4), *gaps), "a0")
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
    assert stats.in_the_model(frame, "a0") == stats.in_the_model(frame, "a0")


def test_no_spread_and_one_seed_give_differences_without_intervals() -> None:
    flat = pd.DataFrame({"a0": [0.7, 0.71], "a1": [0.72, 0.73]})
    for frame in (flat, scores(3, 1)):
        comparison = stats.in_the_model(frame, "a0")
        contrast = comparison.contrasts[0]
        assert contrast.estimate == pytest.approx(float((frame["a1"] - frame["a0"]).mean()))
        assert all(map(math.isnan, (contrast.low, contrast.high, contrast.p, comparison.critical)))


def test_an_arm_without_a_shared_seed_is_left_out_by_name() -> None:
    frame = without(scores(3, 4), *[(s, "a2") for s in (0, 1)], *[(s, a) for s in (2, 3) for a in ("a0", "a1")])
    comparison = stats.in_the_model(frame, "a0")
    assert list(comparison.left_out) == ["a2"]
    assert [c.arm for c in comparison.contrasts] == ["a1"]
