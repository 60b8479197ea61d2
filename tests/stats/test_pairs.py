"""Paired comparisons against scipy.stats and statsmodels."""

from __future__ import annotations

import math

import numpy as np
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
