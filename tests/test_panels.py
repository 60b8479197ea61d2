"""The panels of factors, distilling, cost and search: their numbers by another route, and their words."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import built
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests
from synthetic import (
    SPACE,
    accuracy,
    make_depth_store,
    make_search_store,
    make_self_taught_store,
    make_store,
    rewrite_trials,
    with_params,
)

from scl import results, stats
from scl.report import facts as about
from scl.report import panels
from scl.report.figures import cost, distilling, factors, importance, search, self_taught
from scl.report.panels.everything import everything
from scl.report.panels.table import table as table_panel
from scl.results import Results

ARMS = ["baseline", "kd", "channel", "spatial", "channel+spatial"]
EFFECTS = dict(zip(ARMS, [0, 0.02, 0.004, -0.012, 0.026], strict=True))


def gathered(store: results.Folder) -> about.Facts:
    return about.gather(results.read(store))


# Panels without their data


def test_fifteen_panels_in_order_and_those_without_data_are_a_sentence(tmp_path: Path) -> None:
    page, _, study = built(make_store(tmp_path, ARMS[:1], [0]))
    shown = [panel(about.gather(study)) for panel in panels.PANELS]
    assert [p.id for p in shown] == [
        "verdict", "ran", "table", "forest", "seeds", "pairs", "curves", "shares", "self-taught", "depth",
        "distilling", "cost", "search", "weights", "everything",
    ]  # fmt: skip
    empty = [p.id for p in shown if not p.blocks]
    assert empty == ["forest", "seeds", "pairs", "shares", "self-taught", "depth", "cost", "search", "weights"]
    for p in shown:
        assert p.lead.endswith((".", "!")), p.id
    drawn = {a["data-figure"].rsplit("-", 1)[0] for _, a in page.tags if "data-figure" in a}
    assert drawn == {"accuracy", "learning", "agreement"}


# Beside published figures


def test_published_figures_stand_beside_what_came_out(tmp_path: Path) -> None:
    published = {
        "accuracy": {"teacher": 0.75, "kd": 0.71, "at": 0.6},
        "source": "Of a <paper>.",
        "otherwise": {"at": "best"},
    }
    _, html, study = built(make_store(tmp_path, ARMS[:2], range(3), accuracy(EFFECTS), published=published))
    scores = study.trials.query("arm == 'kd'").sort_values("seed")["test_acc"].to_numpy()
    (table,) = [
        b for b in table_panel(about.gather(study)).blocks if getattr(b, "label", "") == "Beside published figures"
    ]
    teacher, kd, absent = (
        {c.key: cell for c, cell in zip(table.columns, row.cells, strict=True)} for row in table.rows
    )
    assert kd["mean"].value == pytest.approx(scores.mean())
    assert kd["difference"].value == pytest.approx(scores.mean() - 0.71)
    low, high = reference.t.interval(0.95, 2, loc=scores.mean(), scale=reference.sem(scores))
    assert (kd["low"].value, kd["high"].value) == pytest.approx((low - 0.71, high - 0.71))
    assert teacher["difference"].value == pytest.approx(0.74 - 0.75)
    assert absent["n"].value == 0
    assert absent["how"].shown == "best"
    assert "Of a &lt;paper&gt;." in html
    assert "Beside published figures" not in built(make_store(tmp_path / "none", ARMS[:2], range(3)))[1]


# Self-taught neurons


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> about.Facts:
    return gathered(make_self_taught_store(tmp_path_factory.mktemp("taught")))


def test_response_by_count_has_both_controls_and_starts_together(taught: about.Facts) -> None:
    (family,) = self_taught.families(taught)
    assert family.title == "channel"
    assert family.counts == [0, 4, 8, 16]
    assert family.controls == [self_taught.ALL, self_taught.UNGUIDED]
    assert family.series[self_taught.FREE][0] == family.series[self_taught.ALL][0] == "channel k=0"
    assert family.series[self_taught.UNGUIDED] == {0: "baseline"} | {k: f"unguided k={k}" for k in (4, 8, 16)}
    lines = {line.name: line for line in self_taught.responses(taught, family)}
    rows = taught.completed
    for kind, k, i in ((self_taught.FREE, 8, 2), (self_taught.UNGUIDED, 16, 3)):
        x = 100 * rows.loc[rows["arm"] == family.series[kind][k], "test_acc"].to_numpy()
        low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
        mean = lines[kind].means[i]
        assert (mean.mean, mean.low, mean.high) == pytest.approx((x.mean(), low, high), rel=1e-9)
    muted = lines[self_taught.MUTED]
    assert muted.at == (1, 2, 3)
    assert muted.means[1].mean == pytest.approx(lines[self_taught.FREE].means[2].mean - 3.0)


def test_equal_width_differences_are_paired_t_tests_with_holm(taught: about.Facts) -> None:
    (family,) = self_taught.families(taught)
    pairs = self_taught.equal_width(taught, family)
    assert [(p.count, p.control) for p in pairs] == list(itertools.product((4, 8, 16), family.controls))
    assert {p.kind for p in pairs} == {self_taught.FREE}
    raw = []
    for pair in pairs:
        name = f"channel all k={pair.count}" if pair.control == self_taught.ALL else f"unguided k={pair.count}"
        ours, theirs = taught.scores[f"channel k={pair.count}"], taught.scores[name]
        assert pair.paired.differences.mean == pytest.approx((ours - theirs).mean())
        raw.append(reference.ttest_rel(ours, theirs).pvalue)
    adjusted = multipletests(raw, method="holm")[1]
    assert [p.paired.p_holm for p in pairs] == pytest.approx(list(adjusted), rel=1e-9)


def test_a_control_with_a_connector_is_compared_with_an_arm_that_has_one(tmp_path: Path) -> None:
    params = {
        "baseline": {"self_taught": 0},
        "kd": {"self_taught": 0, "weight.channel": 1.0},
        "k=8": {"self_taught": 8, "weight.channel": 1.0},
        "k=8 connector": {"self_taught": 8, "weight.channel": 1.0, "connector": "always"},
        "k=8 all guided": {"self_taught": 8, "weight.channel": 1.0, "guided": "all"},
        "k=8 taken": {"self_taught": 8, "weight.channel": 1.0, "self_taught_from": "taken"},
    }
    plain = {"guided": "first", "connector": "auto", "self_taught_from": "added"}
    store = make_store(tmp_path, list(params), range(4), accuracy(dict.fromkeys(params, 0.0)))
    facts = gathered(with_params(store, {arm: {**plain, **own} for arm, own in params.items()}))
    (family,) = self_taught.families(facts)
    assert set(family.series) == set(self_taught.KINDS) - {self_taught.ALL_CONNECTED}
    found = [(p.kind, p.control) for p in self_taught.equal_width(facts, family)]
    assert found == [(self_taught.FREE, self_taught.ALL), (self_taught.FREE_CONNECTED, self_taught.ALL)]


def test_a_count_that_differs_between_layers_is_no_count(tmp_path: Path) -> None:
    store = make_self_taught_store(tmp_path)

    def mixed(trials: pd.DataFrame) -> pd.DataFrame:
        counts = trials["param.self_taught"].astype(str)
        trials["param.self_taught"] = counts.where(trials["arm"] != "channel k=8", "0/8/8/8").replace("4", "4/4/4/4")
        return trials

    (family,) = self_taught.families(gathered(rewrite_trials(store, mixed)))
    assert sorted(family.series[self_taught.FREE]) == [0, 4, 16]


def test_without_controls_the_panel_says_so(tmp_path: Path) -> None:
    store = make_self_taught_store(tmp_path)
    study = results.read_study(store)
    plan = [c for c in study["plan"] if " all " not in c["arm"] and "unguided" not in c["arm"]]
    results.write_study(store, {**study, "plan": plan, "arms": {c["arm"]: {} for c in plan}})
    page, _, _ = built(store)
    assert "Not in this study: same width, all guided and same width, no guidance" in page.text


# Factors


@pytest.mark.parametrize("gaps", [[], [("kd, 5 layers", 1), ("none, 9 layers", 0)]], ids=["complete", "missing"])
def test_anova_is_the_comparison_of_nested_models(tmp_path: Path, gaps: list[tuple[str, int]]) -> None:
    """Type II by least squares on dummies: each term against the model without it and what contains it."""
    facts = gathered(make_depth_store(tmp_path, states=dict.fromkeys(gaps, "missing")))
    design = factors.layout(facts)
    assert design is not None
    assert (design.across, design.by, design.reference) == ("depth", "loss", "none")
    table = factors.variance(facts, design).table
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

    depth, loss, seed, cell = dummies("depth"), dummies("loss"), dummies("seed"), dummies("depth", "loss")
    full, full_rank = rss(cell, seed)
    error = full / (len(y) - full_rank)
    for term, larger, smaller in (
        ("depth", (depth, loss, seed), (loss, seed)),
        ("loss", (depth, loss, seed), (depth, seed)),
        ("depth × loss", (cell, seed), (depth, loss, seed)),
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
    design = factors.layout(facts)
    assert design is not None
    shown = factors.interaction(facts, design)
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
    facts = about.gather(study)
    design = factors.layout(facts)
    assert design is not None
    assert list(factors.variance(facts, design).table.index) == ["depth", "loss", "seed", "residual"]


def test_one_seed_has_lines_and_no_analysis_of_variance(tmp_path: Path) -> None:
    page, _, _ = built(make_depth_store(tmp_path, seeds=[0]))
    assert "No analysis of variance: an analysis of variance needs a factor with two levels and two seeds" in page.text
    assert "interaction-0" in page.figures()


def test_factors_with_hostile_names(tmp_path: Path) -> None:
    store = make_depth_store(tmp_path)
    study = results.read_study(store)
    rename = {"depth": "C(x) + <b>", "loss": "Q('y')"}
    placed = {a: {rename[k]: v for k, v in at.items()} for a, at in study["arm_levels"].items()}
    declared = {rename[k]: v for k, v in study["factors"].items()}
    results.write_study(store, {**study, "arm_levels": placed, "factors": declared})
    page, _, _ = built(store)
    assert "C(x) + <b> × Q('y')" in page.text
    assert "b" not in {tag for tag, _ in page.tags}


# Distilling and cost


def test_share_of_the_gap_is_by_seed_and_computed_where_it_is_not_stored(taught: about.Facts, tmp_path: Path) -> None:
    stored = {row.arm: row for row in distilling.gap_closed(taught).rows}
    rows = taught.completed[taught.completed["arm"] == "channel k=8"]
    assert stored["channel k=8"].value == pytest.approx(100 * rows["gap_closed"].mean())
    assert "baseline" not in stored
    facts = gathered(make_store(tmp_path, ARMS, range(4), accuracy(EFFECTS)))
    share = (facts.scores["kd"] - facts.scores["baseline"]) / (0.74 - facts.scores["baseline"])
    low, high = reference.t.interval(0.95, 3, share.mean(), reference.sem(share))
    row = next(r for r in distilling.gap_closed(facts).rows if r.arm == "kd")
    assert (row.value, row.low, row.high) == pytest.approx((100 * share.mean(), 100 * low, 100 * high), rel=1e-9)


def test_no_gap_to_a_teacher_that_is_not_ahead(tmp_path: Path) -> None:
    page, _, study = built(make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS, base=0.8)))
    assert distilling.gap_closed(about.gather(study)).rows == ()
    assert "The teacher is not better than the baseline" in page.text


def test_calibration_is_the_mean_of_the_stored_errors(taught: about.Facts) -> None:
    rows = {row.arm: row for row in distilling.calibration(taught).rows}
    x = 100 * taught.completed.loc[taught.completed["arm"] == "baseline", "ece"]
    low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
    assert (rows["baseline"].value, rows["baseline"].low, rows["baseline"].high) == pytest.approx((x.mean(), low, high))
    assert [r.value for r in distilling.calibration(taught).rows] == sorted(r.value for r in rows.values())


def test_costs_of_a_prediction_or_of_training(tmp_path: Path) -> None:
    facts = gathered(make_store(tmp_path / "a", ARMS, range(3), accuracy(EFFECTS)))
    assert [c.x_title for c in cost.costs(facts)] == list(cost.PREDICTION.values())
    cloud = cost.costs(facts)[0]
    means = facts.scores.mean()
    for arm, x, on in zip(cloud.arms, cloud.x, cloud.front, strict=True):
        cheaper = [a for a, c in zip(cloud.arms, cloud.x, strict=True) if c <= x and a != arm]
        assert on == all(means[a] < means[arm] for a in cheaper)
    same = rewrite_trials(
        make_store(tmp_path / "b", ARMS, range(3), accuracy(EFFECTS)),
        lambda t: t.assign(params=1000, macs=5000, latency_ms=1.0),
    )
    assert [c.x_title for c in cost.costs(gathered(same))] == list(cost.TRAINING.values())


# Search


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> about.Facts:
    return gathered(make_search_store(tmp_path_factory.mktemp("search"), 120))


def test_a_search_is_no_arm_and_its_maximum_is_no_result(searched: about.Facts) -> None:
    assert "search" not in searched.arms
    assert "search" not in searched.scores.columns
    assert len(searched.searched) == 120
    assert len(searched.cells) == 120 + 20
    done = searched.searched[searched.searched["state"] == "completed"]
    assert set(searched.completed["arm"]) == {"baseline", "winner-1", "winner-2", "winner-3"}
    fresh = searched.completed[searched.completed["arm"] == "winner-1"]
    row = about.summary(searched).set_index("arm").loc["winner-1"]
    assert row["test_acc_mean"] == pytest.approx(fresh["test_acc"].mean())
    found = search.found_by_search(searched)
    assert found["winner-1"] == pytest.approx(100 * done["val_acc"].max())
    text = " ".join(b.caption for b in panels.search(searched).blocks if hasattr(b, "caption"))
    assert "optimistic" in text


def test_objectives_are_read_from_a_dict_or_a_list(searched: about.Facts) -> None:
    for told, expected in (
        ({"macs": "minimize", "val_acc": "maximize"}, [("macs", False), ("val_acc", True)]),
        ([{"name": "val_acc", "direction": "max"}], [("val_acc", True)]),
        ({"nothing_stored": "minimize"}, [("val_acc", True)]),
        (None, [("val_acc", True)]),
    ):
        study = {**searched.study, "objectives": told}
        again = about.gather(Results(searched.results.trials, searched.results.epochs, study))
        assert [(o.name, o.maximise) for o in search.objectives(again)] == expected


def test_trials_of_another_search_in_the_store_are_not_part_of_the_page(searched: about.Facts) -> None:
    study = searched.study
    mine = [{"arm": "search", "seed": 0, "trial_id": i} for i in searched.searched["trial_id"][:50]]
    again = about.gather(
        Results(searched.results.trials, searched.results.epochs, {**study, "plan": [*mine, *study["plan"]]})
    )
    assert len(again.searched) == 50
    assert len(again.cells) == 50 + 20


def test_best_so_far_is_the_running_maximum_of_completed_trials(searched: about.Facts) -> None:
    course = search.course(searched)
    assert course is not None
    best = -math.inf
    rows = searched.searched.sort_values("number").to_dict("records")
    expected = {}
    for row in rows:
        if row["state"] == "completed":
            best = max(best, 100 * row["val_acc"])
        if row["state"] != "failed":
            expected[row["number"]] = best if math.isfinite(best) else math.nan
    assert course.frame.set_index("number")["best"].to_dict() == pytest.approx(expected, nan_ok=True)
    assert course.failed == sum(row["state"] == "failed" for row in rows)


def test_importances_of_an_additive_function_are_its_shares_of_variance(tmp_path: Path) -> None:
    """val = a·u + b·v with u, v uniform: shares a² var(u) and b² var(v) of the whole."""
    facts = gathered(make_search_store(tmp_path, 400, noise=0.0005))
    table, n, left_out = importance.importances(facts)
    done = facts.searched[facts.searched["state"] == "completed"]
    assert n == min(len(done), importance.MOST_FITTED)
    assert left_out == []
    kd = (2 / 3) ** 2 * 3**2 / 12
    lr = (1 / 2.5) ** 2 * (math.log10(0.3) + 3) ** 2 / 12
    noise = 0.05**2
    assert table.loc["weight.kd", "fanova"] == pytest.approx(kd / (kd + lr + noise), abs=0.06)
    assert table.loc["lr", "fanova"] == pytest.approx(lr / (kd + lr + noise), abs=0.06)
    assert table.loc[["kd.temperature", "self_taught"], "fanova"].max() < 0.02
    assert list(table.index[:2]) == ["weight.kd", "lr"]
    assert table["ped"].idxmax() == "weight.kd"
    assert table["ped"].sum() == pytest.approx(1)
    assert importance.importances(facts)[0].equals(table)


def test_a_conditional_parameter_has_no_importance_and_is_named(tmp_path: Path) -> None:
    store = make_search_store(tmp_path, 60)
    store = rewrite_trials(
        store, lambda t: t.assign(**{"param.kd.temperature": t["param.kd.temperature"].where(t["number"] % 2 == 0)})
    )
    facts = gathered(store)
    table, _, left_out = importance.importances(facts)
    assert left_out == ["kd.temperature"]
    assert set(table.index) == set(SPACE) - {"kd.temperature"}
    page, _, _ = built(store)
    assert "under 100, read this as a hint" in page.text


def test_a_search_without_optuna_says_so(searched: about.Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    shown = panels.weights(searched)
    assert any("optuna" in getattr(b, "text", "") for b in shown.blocks)


def test_a_front_of_two_objectives(tmp_path: Path) -> None:
    facts = gathered(make_search_store(tmp_path, 60, multi=True))
    front = search.front(facts)
    assert front is not None
    points = front.frame[["x", "y"]].to_numpy()
    for (x, y), on in zip(points, front.frame["on"], strict=True):
        beaten = any((a <= x and b >= y) and (a < x or b > y) for a, b in points)
        assert on != beaten or any(a == x and b == y for a, b in points[front.frame["on"]])


@pytest.mark.parametrize("left", ["failed", "pruned"])
def test_a_search_of_which_nothing_completed(tmp_path: Path, left: str) -> None:
    store = rewrite_trials(
        make_search_store(tmp_path, 30),
        lambda t: t.assign(state=t["state"].where(t["arm"] != "search", left)),
    )
    page, _, _ = built(store)
    assert "None completed, so there is nothing to draw" in page.text


def test_a_search_without_winners_has_no_result(tmp_path: Path) -> None:
    store = make_search_store(tmp_path, 30, winners=0)
    page, _, study = built(store)
    assert "No winner has been re-run on fresh seeds yet" in page.text
    assert "only arm with results" in page.text
    assert len(about.gather(study).searched) == 30


def test_pruned_trials_of_a_search_are_not_averaged_into_anything(searched: about.Facts) -> None:
    assert not set(searched.completed["trial_id"]) & set(searched.searched["trial_id"])
    words = everything(searched)
    assert "failed" in words.lead


# Honest digits


@pytest.mark.parametrize(
    ("images", "spread", "decimals"), [(360, 0.004, 1), (10_000, 0.004, 2), (10_000, 0.03, 1), (100_000, 0.3, 0)]
)
def test_no_more_digits_than_images_and_interval_support(
    tmp_path: Path, images: int, spread: float, decimals: int
) -> None:
    store = make_store(tmp_path, ARMS[:3], range(3), accuracy(EFFECTS, base=0.6, spread=spread), data={"test": images})
    facts = gathered(store)
    assert facts.decimals == decimals
    assert facts.comparison is not None
    half = np.median([100 * (c.high - c.estimate) for c in facts.comparison.contrasts])
    assert facts.decimals <= max(0, 1 - math.floor(math.log10(half)))


# Large studies


def test_many_arms_are_compared_as_few_are() -> None:
    """The arms are eliminated before anything is inverted: the result is that of all columns at once."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(0.7, 0.01, (4, 60)), columns=[f"a{i}" for i in range(60)])
    frame.iloc[0, 3] = frame.iloc[2, 7] = math.nan
    ours = stats.against_baseline(frame, "a0")
    long = frame.reset_index().melt("index", var_name="arm", value_name="y").dropna()
    x = np.column_stack([pd.get_dummies(long["arm"], dtype=float), pd.get_dummies(long["index"], dtype=float)])
    beta, _, rank, _ = np.linalg.lstsq(x, long["y"].to_numpy(), rcond=None)
    names = list(pd.get_dummies(long["arm"]).columns)
    assert ours.df == len(long) - rank
    for contrast in ours.contrasts:
        assert contrast.estimate == pytest.approx(beta[names.index(contrast.arm)] - beta[names.index("a0")], abs=1e-10)


def test_epochs_of_older_stores_without_new_columns(tmp_path: Path) -> None:
    """A store of before `ece`, `teacher_kl` and agreement: panels say what they lack."""
    store = rewrite_trials(
        make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS)),
        lambda t: t.drop(columns=["ece", "teacher_kl"]).assign(agreement=None),
    )
    page, _, study = built(store)
    assert isinstance(study, Results)
    assert "No trial has its agreement with a teacher on record" in page.text
