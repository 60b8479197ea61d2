"""One factor against another: lines, and the analysis of variance by nested models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from scl.report.facts import gather
from scl.report.questions import depth
from scl.store.study_file import read_study, write_study
from tests.support.pages import built
from tests.support.synthetic import (
    gathered,
    make_depth_store,
)


@pytest.mark.parametrize("gaps", [[], [("kd, 5 layers", 1), ("none, 9 layers", 0)]], ids=["complete", "missing"])
def test_anova_is_the_comparison_of_nested_models(tmp_path: Path, gaps: list[tuple[str, int]]) -> None:
    """Type II by least squares on dummies: each term against the model without it and what contains it."""
    facts = gathered(make_depth_store(tmp_path, states=dict.fromkeys(gaps, "missing")))
    design = depth.layout(facts)
    assert design is not None
    assert (design.across, design.by, design.reference) == ("depth", "loss", "none")
    table = depth.variance(facts, design).table
    rows = facts.completed[facts.completed["arm"].isin(design.levels.index)].copy()
    rows["depth"] = rows["arm"].map(design.levels["depth"])
    rows["loss"] = rows["arm"].map(design.levels["loss"])
    y = 100 * rows["test_acc"].to_numpy()

    def dummies(*names: str) -> np.ndarray:
        key = rows[list(names)].astype(str).agg("|".join, axis=1)
        return pd.get_dummies(key, dtype=float).to_numpy()

    def rss(*parts: np.ndarray) -> tuple[float, int]:
        x = np.column_stack([np.ones(len(y)), *parts])
        beta, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
        return float(((y - x @ beta) ** 2).sum()), int(rank)

    layers, loss, seed, cell = dummies("depth"), dummies("loss"), dummies("seed"), dummies("depth", "loss")
    full, full_rank = rss(cell, seed)
    error = full / (len(y) - full_rank)
    for term, larger, smaller in (
        ("depth", (layers, loss, seed), (loss, seed)),
        ("loss", (layers, loss, seed), (layers, seed)),
        ("depth × loss", (cell, seed), (layers, loss, seed)),
    ):
        (a, rank_a), (b, rank_b) = rss(*larger), rss(*smaller)
        df = rank_a - rank_b
        f = (b - a) / df / error
        assert table.loc[term, "sum_sq"] == pytest.approx(b - a, rel=1e-6)
        assert table.loc[term, "df"] == df
        assert table.loc[term, "F"] == pytest.approx(f, rel=1e-6)
        assert table.loc[term, "p"] == pytest.approx(reference.f.sf(f, df, len(y) - full_rank), rel=1e-5)
        assert table.loc[term, "eta_sq"] == pytest.approx((b - a) / (b - a + full), rel=1e-6)
    assert table.loc["residual", "df"] == len(y) - full_rank


def test_interaction_lines_and_gains_are_paired_means(tmp_path: Path) -> None:
    facts = gathered(make_depth_store(tmp_path))
    design = depth.layout(facts)
    assert design is not None
    shown = depth.interaction(facts, design)
    gain = {line.name: line for line in shown.gain}
    assert set(gain) == {"kd", "channel"}
    step = 100 * (facts.scores["kd, 7 layers"] - facts.scores["none, 7 layers"])
    interval = reference.ttest_1samp(step, 0).confidence_interval(0.95)
    at = gain["kd"].means[design.order["depth"].index("7")]
    assert (at.mean, at.low, at.high) == pytest.approx((step.mean(), interval.low, interval.high), rel=1e-9)


def test_a_combination_that_never_ran_leaves_no_interaction_to_test(tmp_path: Path) -> None:
    gone = {("kd, 9 layers", s): "failed" for s in range(4)}
    page, _, study = built(make_depth_store(tmp_path, states=gone))
    assert "no interaction of depth × loss: some combinations have no result" in page.text
    facts = gather(study)
    design = depth.layout(facts)
    assert design is not None
    assert list(depth.variance(facts, design).table.index) == ["depth", "loss", "seed", "residual"]


def test_cells_that_average_other_arms_than_their_neighbours_are_named(tmp_path: Path) -> None:
    store = make_depth_store(tmp_path)
    study = read_study(store)
    levels = {arm: {**at, "width": 1} for arm, at in study["arm_levels"].items()}
    levels["kd, 3 layers"]["width"] = levels["none, 3 layers"]["width"] = 2
    levels["kd, 5 layers"] |= {"depth": 3, "width": 1}  # kd at depth 3 has two widths, all other cells have one
    factors = {**study["factors"], "width": {"levels": [1, 2]}}
    write_study(store, {**study, "arm_levels": levels, "factors": factors})
    page, _, _ = built(store)
    assert "Some cells average fewer arms than others" in page.text


def test_a_crossed_study_without_enough_results_is_not_called_uncrossed(tmp_path: Path) -> None:
    arms = [f"{loss}, {k} layers" for k in (3, 5) for loss in ("none", "kd")]
    lost = {(arm, seed): "failed" for arm in arms[1:] for seed in range(4)}
    page, _, _ = built(make_depth_store(tmp_path, depths=(3, 5), losses=("none", "kd"), states=lost))
    assert "does not cross two factors" not in page.text
    assert "This needs results of at least three arms that learnt" in page.text


def test_one_seed_has_lines_and_no_analysis_of_variance(tmp_path: Path) -> None:
    page, _, _ = built(make_depth_store(tmp_path, seeds=[0]))
    assert "No analysis of variance: an analysis of variance needs a factor with two levels and two seeds" in page.text
    assert "interaction-0" in page.figures()


def test_factors_with_hostile_names(tmp_path: Path) -> None:
    store = make_depth_store(tmp_path)
    study = read_study(store)
    rename = {"depth": "C(x) + <b>", "loss": "Q('y')"}
    placed = {a: {rename[k]: v for k, v in at.items()} for a, at in study["arm_levels"].items()}
    declared = {rename[k]: v for k, v in study["factors"].items()}
    write_study(store, {**study, "arm_levels": placed, "factors": declared})
    page, _, _ = built(store)
    assert "C(x) + <b> × Q('y')" in page.text
    assert "b" not in {tag for tag, _ in page.tags}
