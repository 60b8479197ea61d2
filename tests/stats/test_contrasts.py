"""Declared differences against scipy.stats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from scl import stats
from tests.support.scores import scores, without


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


def test_a_family_of_declared_differences_is_corrected_for_its_size() -> None:
    x = np.random.default_rng(3).normal(0.01, 0.01, 6)
    alone, of_four = stats.declared(x), stats.declared(x, family=4)
    theirs = reference.ttest_1samp(x, 0)
    assert of_four.p == pytest.approx(min(4 * theirs.pvalue, 1))
    wide = theirs.confidence_interval(1 - 0.05 / 4)
    assert (of_four.differences.low, of_four.differences.high) == pytest.approx((wide.low, wide.high))
    assert alone.p == pytest.approx(theirs.pvalue)


def test_absent_and_no_worse_are_one_sided_tests() -> None:
    x = np.random.default_rng(3).normal(0.0, 0.004, 8)
    found = stats.declared(x)
    inner = reference.ttest_1samp(x, 0).confidence_interval(0.9)
    margin = max(-inner.low, inner.high)
    assert found.absent(1.001 * margin)
    assert not found.absent(0.999 * margin)
    assert found.no_worse(1.001 * -inner.low)
    assert not stats.declared([0.0, 0.0, 0.0]).absent(1.0)  # no spread is no evidence


def test_weighted_sums_by_seed() -> None:
    frame = without(scores(4, 3), (1, "a2"))
    found = stats.weighted(frame, {"a1": 1, "a0": -1, "a2": -1, "a3": 1})
    assert list(found.index) == [0, 2]
    assert found[0] == pytest.approx(frame.loc[0, "a1"] - frame.loc[0, "a0"] - frame.loc[0, "a2"] + frame.loc[0, "a3"])
    assert stats.weighted(frame, {"a1": 1, "gone": -1}).empty
