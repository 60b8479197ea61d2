"""The rule that decides, against scipy.stats, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from benchmarks.statistics import TRUTHS, decides, detected_by_the_model, model
from scl import stats
from scl.stats.rule import criticals, differences_spread
from tests.support.scores import scores, without


def test_one_comparison_is_the_paired_t_test() -> None:
    frame = scores(2, 5, draw=1)
    (contrast,) = stats.against_baseline(frame, "a0").contrasts
    theirs = reference.ttest_rel(frame["a1"], frame["a0"])
    interval = theirs.confidence_interval(0.95)
    assert contrast.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (contrast.low, contrast.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


@pytest.mark.parametrize("cells", [(), ((1, "a2"),), ((0, "a0"), (3, "a1"), (4, "a1"))])
def test_an_estimate_is_the_mean_of_paired_differences_and_no_variance_is_below_its_own(
    cells: tuple[tuple[int, str], ...],
) -> None:
    frame = without(scores(5, 6, draw=3), *cells)
    frame["a4"] += np.linspace(-0.05, 0.05, 6)  # the wild arm
    found = stats.against_baseline(frame, "a0")
    for c in found.contrasts:
        apart = (frame[c.arm] - frame["a0"]).dropna()
        assert (c.n, c.estimate) == (len(apart), pytest.approx(apart.mean()))
        assert c.se >= apart.std(ddof=1) / math.sqrt(len(apart)) * (1 - 1e-12)
        assert c.low == pytest.approx(c.estimate - found.critical * c.se)
        assert (c.p < 0.05) == (c.low > 0 or c.high < 0)
        assert c.low < c.lower < c.estimate < c.upper < c.high
    wild, calm = found.contrasts[3], found.contrasts[0]
    assert wild.se > 1.3 * calm.se


def test_the_largest_t_follows_dunnett_at_boxs_degrees_of_freedom() -> None:
    """The critical value against scipy's multivariate t with all correlations 1/2, at the df that is stated."""
    found = stats.against_baseline(scores(4, 6, draw=8), "a0")
    edge, shape = np.full(3, found.critical), np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    inside = reference.multivariate_t.cdf(edge, shape=shape, df=found.df, lower_limit=-edge, random_state=9)
    assert inside == pytest.approx(0.95, abs=1e-3)


@pytest.mark.parametrize("truth", TRUTHS[:9], ids=lambda truth: truth.name)
@pytest.mark.parametrize("seeds", [3, 5])
def test_few_false_findings_whatever_scatters(truth: object, seeds: int) -> None:
    """The family-wise error over 3,000 studies; benchmarks/statistics.py has 20,000."""
    assert isinstance(truth, type(TRUTHS[0]))
    found, half = decides(truth.draw(np.random.default_rng(11), 3000, seeds))
    outside = np.abs(found) > half
    most = {"one arm 5 ×": 0.09, "equal variances": 0.055}.get(truth.name, 0.09 if "luck" in truth.name else 0.075)
    assert outside.any(1).mean() <= most + 2 * math.sqrt(most * (1 - most) / 3000)
    assert 1 - outside.mean() >= 0.94


def test_the_linear_model_finds_too_much_where_the_baseline_scatters() -> None:
    """What the rule is for; a rule as careless as the model would fail the test above."""
    found, half = model(TRUTHS[2].draw(np.random.default_rng(11), 3000, 3))
    assert (np.abs(found) > half).any(1).mean() > 0.2


def test_power_where_arms_scatter_alike() -> None:
    y = TRUTHS[0].draw(np.random.default_rng(12), 3000, 3)
    y[..., -1] += detected_by_the_model(3)
    found, half = decides(y)
    assert (found[:, -1] > half[:, -1]).mean() > 0.53


def test_a_batch_gives_what_each_study_gives() -> None:
    frames = [scores(5, 4, draw=draw) for draw in range(6)]
    y = np.stack([frame.to_numpy() for frame in frames])
    batch = differences_spread(y[..., 1:] - y[..., :1])
    for i, frame in enumerate(frames):
        one = stats.against_baseline(frame, "a0")
        assert (one.df, one.sd) == (pytest.approx(batch.df[i]), pytest.approx(math.sqrt(batch.pooled[i])))
        assert criticals(batch.df[i : i + 1], 4)[0] == pytest.approx(one.critical, rel=5e-3)
        assert [c.se for c in one.contrasts] == pytest.approx(list(batch.se[i]))


@pytest.mark.parametrize(("arms", "df"), [(2, 3.0), (5, 9.0)])
def test_margins(arms: int, df: float) -> None:
    """No worse is a one-sided test at 5 %: for one arm, the lower end of the usual 90 % interval."""
    frame = scores(arms, 4, effect=0.0, draw=2)
    c = stats.against_baseline(frame, "a0").contrasts[0]
    assert c.no_worse(1.001 * -c.lower)
    assert not c.no_worse(0.999 * -c.lower)
    widest = max(-c.lower, c.upper)
    assert c.equivalent(1.001 * widest)
    assert not c.equivalent(0.999 * widest)
    if arms == 2:
        theirs = reference.ttest_rel(frame["a1"], frame["a0"]).confidence_interval(0.9)
        assert (c.lower, c.upper) == pytest.approx((theirs.low, theirs.high))


def test_an_arm_with_one_shared_seed_has_a_difference_but_no_interval() -> None:
    frame = without(scores(4, 3), (0, "a1"), (1, "a1"))
    found = stats.against_baseline(frame, "a0")
    one, *others = found.contrasts
    assert (one.n, one.estimate) == (1, pytest.approx(frame.loc[2, "a1"] - frame.loc[2, "a0"]))
    assert all(map(math.isnan, (one.se, one.low, one.high, one.p, one.lower, one.upper)))
    assert one.shown == 0
    assert not one.no_worse(1.0)
    assert found.tested == 2
    assert all(math.isfinite(c.p) for c in others)


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
    assert stats.against_baseline(frame[["a0", "a2"]], "a0").contrasts == ()
