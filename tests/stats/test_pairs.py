"""Paired comparisons against scipy.stats and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests

from scl import stats
from tests.support.scores import long, scores, without


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


@pytest.mark.parametrize("cells", [(), ((0, "a1"), (2, "a3"))])
def test_pairs_are_paired_differences_with_holm(cells: tuple[tuple[int, str], ...]) -> None:
    """The pooled variance of all pairs is twice the model's residual variance, or the pair's own if that is larger."""
    frame = without(scores(4, 5, draw=4), *cells)
    ours = stats.all_pairs(frame)
    assert len(ours.p) == 6
    own, n = [], []
    for i, j, estimate in zip(ours.first, ours.second, ours.estimate, strict=True):
        apart = (frame[f"a{i}"] - frame[f"a{j}"]).dropna()
        assert estimate == pytest.approx(apart.mean())
        own.append(apart.var())
        n.append(len(apart))
    pooled = float(np.average(own, weights=np.array(n) - 1))
    if not cells:
        assert pooled == pytest.approx(2 * ols("y ~ C(arm) + C(seed)", long(frame)).fit().mse_resid)
    assert list(ours.n) == n
    assert list(ours.se) == pytest.approx(list(np.sqrt(np.maximum(own, pooled) / n)))
    t = np.abs(ours.estimate / ours.se)
    raw = reference.t.sf(t, 4) * 2  # the least degrees of freedom that it may have
    most = multipletests(raw, method="holm")[1]
    least = multipletests(reference.t.sf(t, 12) * 2, method="holm")[1]
    assert ((least <= ours.p + 1e-9) & (ours.p <= most + 1e-9)).all()
    assert dict(ours.of("a2"))["a0"] == ours.p[list(zip(ours.first, ours.second, strict=True)).index((0, 2))]


def test_pairs_of_equal_arms_are_rarely_found() -> None:
    found = [(stats.all_pairs(scores(5, 4, effect=0.0, draw=d)).p < 0.05).any() for d in range(400)]
    assert np.mean(found) <= 0.08


def test_pairs_without_spread_or_a_shared_seed() -> None:
    flat = stats.all_pairs(scores(3, 1))
    assert np.isnan(flat.p).all()
    apart = stats.all_pairs(without(scores(3, 2), (0, "a0"), (1, "a1")))
    assert list(zip(apart.first.tolist(), apart.second.tolist(), strict=True)) == [(0, 2), (1, 2)]


def test_a_seed_of_one_arm_changes_no_pair() -> None:
    y = np.random.default_rng(2).normal(0.7, 0.01, (5, 4))
    y[1, 2] = y[3, 0] = np.nan
    alone = np.full((2, 4), np.nan)
    alone[:, 1] = 0.7, 0.9
    arms = list("abcd")
    np.testing.assert_array_equal(
        stats.all_pairs(pd.DataFrame(y, columns=arms)).p,
        stats.all_pairs(pd.DataFrame(np.vstack([y, alone]), columns=arms)).p,
    )


def test_missing_trials_lend_no_degrees_of_freedom() -> None:
    """With 40 % of the trials missing, pairs of equal arms were found to differ in 8 % of studies."""
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(600):
        y = rng.standard_normal((6, 3))
        y[rng.random(y.shape) < 0.4] = np.nan
        found += (stats.all_pairs(pd.DataFrame(y)).p < 0.05).any()
    assert found / 600 < 0.06


@pytest.mark.parametrize("gaps", [False, True])
def test_pairs_that_are_compared_some_at_a_time_give_the_same(gaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.random.default_rng(3).normal(size=(5, 12))
    if gaps:
        y[0, :4], y[1:, 7], y[:, 9] = np.nan, np.nan, np.nan
    whole = stats.all_pairs(pd.DataFrame(y))
    monkeypatch.setattr("scl.stats.pairs.MOST_PAIRS", 7)
    parts = stats.all_pairs(pd.DataFrame(y))
    for name in ("first", "second", "n", "estimate", "se", "p"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
