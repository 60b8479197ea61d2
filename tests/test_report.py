"""The page: its numbers computed again from Parquet, its safety against names, its looks in a browser."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from pages import NASTY, Page, built
from scipy import stats as reference
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests
from synthetic import accuracy, make_store, rewrite_trials

from scl import report, results
from scl.report import assemble, facts, theme
from scl.report.figures import compare, training
from scl.results import Results

ARMS = ["baseline", "kd", "channel", "spatial", "channel+spatial"]
EFFECTS = dict(zip(ARMS, [0, 0.02, 0.004, -0.012, 0.026], strict=True))


def resolved(value: Any, key: str = "") -> Any:
    """A figure with a colour for every token, so that Plotly can judge it."""
    if isinstance(value, dict):
        return {k: resolved(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [resolved(v, key) for v in value]
    return "#123456" if key.endswith(("color", "colorscale")) and str(value).startswith("@") else value


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str, Results]:
    folder = tmp_path_factory.mktemp("plain")
    states = {("kd", 3): "failed", ("channel", 4): "missing", ("spatial", 0): "pruned"}
    return built(make_store(folder, ARMS, range(5), accuracy(EFFECTS), states))


def test_main_table_computed_again_from_parquet(plain: tuple[Page, str, Results]) -> None:
    page, _, study = plain
    done = study.trials[study.trials["state"] == "completed"]
    model = ols("test_acc ~ C(arm, Treatment('baseline')) + C(seed)", done).fit()
    rows = {row["data-arm"][0]: row for row in page.tables["main-table"]}
    assert list(rows) == ARMS
    raw = {}
    for arm, row in rows.items():
        x = done.loc[done["arm"] == arm, "test_acc"].to_numpy()
        low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
        expected = {"n": len(x), "test_acc_mean": x.mean(), "test_acc_sd": x.std(ddof=1), "test_acc_low": low}
        expected |= {"test_acc_high": high, "params": done.loc[done["arm"] == arm, "params"].mean()}
        if arm != "baseline":
            expected["difference"] = model.params[f"C(arm, Treatment('baseline'))[T.{arm}]"]
            wide = done.pivot(index="seed", columns="arm", values="test_acc")
            both = wide[[arm, "baseline"]].dropna()
            raw[arm] = reference.ttest_rel(both[arm], both["baseline"]).pvalue
            step = both[arm] - both["baseline"]
            expected["d_z"] = step.mean() / step.std()
        for column, value in expected.items():
            assert float(str(row[column][1])) == pytest.approx(value, rel=1e-9), (arm, column)
    adjusted = multipletests(list(raw.values()), method="holm")[1]
    assert [float(str(rows[arm]["p_holm"][1])) for arm in raw] == pytest.approx(list(adjusted), rel=1e-9)


def test_simultaneous_intervals_of_the_table_are_dunnetts(plain: tuple[Page, str, Results]) -> None:
    """estimate ± c · se with statsmodels' se, and c from scipy's multivariate t at its own correlations."""
    page, _, study = plain
    done = study.trials[study.trials["state"] == "completed"]
    model = ols("test_acc ~ C(arm, Treatment('baseline')) + C(seed)", done).fit()
    names = [f"C(arm, Treatment('baseline'))[T.{arm}]" for arm in ARMS[1:]]
    covariance = model.cov_params().loc[names, names].to_numpy()
    se = np.sqrt(np.diag(covariance))
    rows = {row["data-arm"][0]: row for row in page.tables["main-table"]}
    halves = [
        (float(str(rows[a]["difference_high"][1])) - float(str(rows[a]["difference_low"][1]))) / 2 for a in ARMS[1:]
    ]
    critical = np.array(halves) / se
    assert critical == pytest.approx(np.full(4, critical[0]), rel=1e-6)
    edge = np.full(4, critical[0])
    inside = reference.multivariate_t.cdf(
        edge, shape=covariance / np.outer(se, se), df=model.df_resid, lower_limit=-edge, random_state=9
    )
    assert inside == pytest.approx(0.95, abs=1e-3)
    for arm, estimate, error in zip(ARMS[1:], model.params[names], se, strict=True):
        edge = np.full(4, abs(estimate) / error)
        inside = reference.multivariate_t.cdf(
            edge, shape=covariance / np.outer(se, se), df=model.df_resid, lower_limit=-edge, random_state=9
        )
        assert float(str(rows[arm]["p"][1])) == pytest.approx(1 - inside, abs=1e-3)


def test_shown_digits_are_the_rounded_values(plain: tuple[Page, str, Results]) -> None:
    """360 test images: one is worth 0.28 points, so one decimal is shown."""
    for row in plain[0].tables["main-table"]:
        shown, exact = row["test_acc_mean"]
        assert shown == f"{100 * float(str(exact)):.1f}"
        if row["difference"][1]:
            assert row["difference"][0].replace("−", "-") == f"{100 * float(row['difference'][1]):+.1f}"


def test_failed_and_pruned_trials_are_told_and_never_averaged(plain: tuple[Page, str, Results]) -> None:
    page, _, study = plain
    assert (study.trials.loc[study.trials["state"] != "completed", "test_acc"] == 0.999).all()
    assert "22 of 25 planned trials completed, 1 pruned, 1 failed, 1 missing" in page.text
    first = page.tables["all-trials"][0]
    assert first["state"][0] == "failed"
    assert "loss term 'kd' became nan" in first["error"][0]
    assert len(page.tables["all-trials"]) == 25
    assert max(float(str(r["test_acc_mean"][1])) for r in page.tables["main-table"]) < 0.75


def test_page_is_self_contained(plain: tuple[Page, str, Results]) -> None:
    page, text, _ = plain
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": policy}) in page.tags
    addresses = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href", "srcset", "action", "data")]
    assert addresses
    assert all(str(v).startswith(("#", "data:")) for v in addresses)
    assert "@import" not in text[: text.index("</style>")]
    assert "url(" not in text[: text.index("</style>")]
    assert text.count("plotly.js v") == 1
    assert len(text.encode()) < 6e6


def test_every_panel_is_listed_and_every_figure_has_caption_and_numbers(plain: tuple[Page, str, Results]) -> None:
    page, text, _ = plain
    sections = [str(a["id"]) for tag, a in page.tags if tag == "section"]
    assert [str(a["href"])[1:] for tag, a in page.tags if tag == "a" and "class" not in a] == sections
    tags = [tag for tag, _ in page.tags]
    assert tags.count("figure") == tags.count("figcaption") == text.count('<details class="numbers">') >= 8
    figures = page.figures()
    assert {a["data-figure"] for _, a in page.tags if "data-figure" in a} == set(figures)
    for figure in figures.values():
        assert not {"scattergl", "parcoords", "splom"} & {trace["type"] for trace in figure["data"]}
        go.Figure(resolved({k: figure[k] for k in ("data", "layout")}))  # raises on a name Plotly does not know


def test_teacher_is_a_line_wherever_accuracy_is_drawn(plain: tuple[Page, str, Results]) -> None:
    figures = plain[0].figures()
    drawn = [
        name
        for name, figure in figures.items()
        if any(shape.get("x0") == shape.get("x1") == 74.0 or shape.get("y0") == shape.get("y1") == 74.0
               for shape in figure["layout"].get("shapes", []))
    ]  # fmt: skip
    assert sorted(drawn) == ["accuracy-0", "agreement-0", "by-seed-0", "learning-0", "pareto-0", "pareto-1", "pareto-2"]


def test_same_store_same_page(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS), {("kd", 1): "missing"})
    report.write(store)
    first = store.read("report.html")
    report.write(store)
    assert store.read("report.html") == first


def test_parts_not_yet_compacted_count(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS[:2], range(2), accuracy(EFFECTS), compact=False)
    assert [row["n"][0] for row in built(store)[0].tables["main-table"]] == ["2", "2"]


# Names that would be code


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    page, text, _ = built(make_store(tmp_path, NASTY, range(3)))
    assert [row["data-arm"][0] for row in page.tables["main-table"]] == NASTY
    tags = [tag for tag, _ in page.tags]
    assert not {"img", "b", "i"} & set(tags)
    assert len(page.scripts) == 3
    assert not any(str(a.get("href", "")).startswith("http") for _, a in page.tags)
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    figures = page.figures()
    for where, string in strings(figures):
        if where[-1] in ("hovertemplate", "texttemplate"):
            assert not any(name[:12] in string for name in NASTY), where
        assert not re.search(r"<(?!/?br>|/?extra>)", string), (where, string)
    ticks = figures["accuracy-0"]["layout"]["yaxis"]["ticktext"]
    assert "&lt;img src=x onerror=alert(1)&gt;" in ticks
    assert all(len(theme.html.unescape(t)) <= theme.WIDE + 2 for t in ticks)
    assert "{{ 7*7 }}" in page.text
    assert "<!--" not in text[text.index('id="figures"') :].split("</script>")[0]


def strings(value: Any, where: tuple[str, ...] = ("",)) -> Any:
    if isinstance(value, dict):
        yield from itertools.chain.from_iterable(strings(v, (*where, k)) for k, v in value.items())
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(strings(v, where) for v in value)
    elif isinstance(value, str):
        yield where, value


def test_labels_stay_apart_and_lose_control_characters() -> None:
    names = ["a" * 50 + str(i) + "b" * 50 for i in range(3)] + ["one\ntwo\x00three"]
    shown = theme.labels(names)
    assert len(set(shown.values())) == 4
    assert shown[names[3]] == "one two\N{REPLACEMENT CHARACTER}three"
    assert theme.literal("שלום").startswith("\N{FIRST STRONG ISOLATE}")


# Studies with holes


def sentence(tmp_path: Path, *args: Any, **options: Any) -> tuple[str, Page]:
    page, _, study = built(make_store(tmp_path, *args, **options))
    said = report.verdict(study)
    assert said in page.text
    assert said.endswith(".")
    assert not re.search(r"\bnan\b|\binf\b|None", re.sub(r"'kd' became nan", "", page.text))
    return said, page


def test_verdict_names_a_credible_winner(tmp_path: Path) -> None:
    said, _ = sentence(tmp_path, ARMS, range(4), accuracy(EFFECTS))
    assert said.startswith("“channel+spatial” won with 72.5 %: +2.4 points")
    assert "simultaneous 95 % interval" in said
    assert "1.5 points below its teacher (74.0 %)" in said


def test_verdict_without_a_credible_difference_says_what_would_be_needed(tmp_path: Path) -> None:
    same = dict.fromkeys(ARMS, 0.0)
    said, page = sentence(tmp_path, ARMS, range(4), accuracy(same, spread=0.01))
    assert said.startswith("No arm beat the baseline")
    needed = re.search(
        r"sees a true difference of (\S+) points or more with 80 % power; .* (\d+) seeds would", page.text
    )
    assert needed
    assert int(needed[2]) > 4


def test_one_seed_gives_no_interval_and_no_winner(tmp_path: Path) -> None:
    said, page = sentence(tmp_path, ARMS, [0], accuracy(EFFECTS))
    assert "no interval and no winner" in said
    for row in page.tables["main-table"]:
        assert all(row[c] == ("–", None) for c in ("test_acc_sd", "test_acc_low", "difference_low", "p", "p_holm"))
    assert float(str(page.tables["main-table"][1]["difference"][1])) > 0.01


def test_two_seeds_with_one_missing(tmp_path: Path) -> None:
    said, page = sentence(tmp_path, ARMS, range(2), accuracy(EFFECTS), {("kd", 1): "missing"})
    assert "simultaneous" in said
    assert page.tables["main-table"][1]["n"] == ("1", "1")


def test_all_equal_values(tmp_path: Path) -> None:
    said, page = sentence(tmp_path, ARMS, range(3), lambda arm, seed: 0.7)
    assert "no interval can be computed" in said
    assert page.tables["main-table"][1]["test_acc_sd"][0] == "0.0"


def test_failed_arm_and_failed_baseline(tmp_path: Path) -> None:
    said, page = sentence(tmp_path / "arm", ARMS, range(3), accuracy(EFFECTS), {("kd", s): "failed" for s in range(3)})
    assert "correction for 3 comparisons" in said
    assert "“kd” has no completed trial" in page.text
    assert page.tables["main-table"][1]["n"][0] == "0"
    gone = {("baseline", s): "failed" for s in range(3)}
    said, _ = sentence(tmp_path / "baseline", ARMS, range(3), accuracy(EFFECTS), gone)
    assert said.startswith("The baseline has no completed trial")


def test_collapsed_arm_is_left_out_and_named(tmp_path: Path) -> None:
    effects = {**EFFECTS, "kd": -0.6}
    said, page = sentence(tmp_path, ARMS, range(3), accuracy(effects))
    assert "correction for 3 comparisons" in said
    assert "Left out of the comparison: “kd” collapsed" in page.text
    assert page.tables["main-table"][1]["difference"] == ("–", None)


def test_collapsed_baseline(tmp_path: Path) -> None:
    said, _ = sentence(tmp_path, ARMS, range(3), accuracy({**EFFECTS, "baseline": -0.6}))
    assert said.startswith("The baseline did not learn")


def test_single_arm(tmp_path: Path) -> None:
    said, _ = sentence(tmp_path, ["baseline"], range(3), accuracy({"baseline": 0}))
    assert "only arm with results" in said


@pytest.mark.parametrize("state", ["failed", "missing"])
def test_nothing_completed(tmp_path: Path, state: str) -> None:
    states = {(arm, seed): state for arm in ARMS for seed in range(2)}
    said, page = sentence(tmp_path, ARMS, range(2), accuracy(EFFECTS), states)
    assert said.startswith("No trial has completed")
    assert page.figures() == {}


def test_forty_arms(tmp_path: Path) -> None:
    arms = [f"arm {i} with a name of some length" for i in range(40)]
    effects = {arm: 0.001 * i for i, arm in enumerate(arms)}
    _, page = sentence(tmp_path, arms, range(3), accuracy(effects))
    lines = [t for t in page.figures()["learning-0"]["data"] if "name" in t and "xaxis" not in t]
    assert len(lines) == training.MOST_CURVES
    assert "10 arms below the best 30 are not in this figure" in page.text


def test_an_old_study_json_with_few_keys(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(2), accuracy(EFFECTS))
    study = results.read_study(store)
    results.write_study(store, {k: study[k] for k in ("schema_version", "study", "baseline", "plan")})
    page, _, _ = built(store)
    assert len(page.tables["main-table"]) == 5


def test_rows_of_other_settings_are_counted_in_one_line(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS))
    study = results.read_study(store)
    plan = [cell for cell in study["plan"] if cell["seed"] < 2]
    results.write_study(store, {**study, "plan": plan})
    page, _, _ = built(store)
    assert "5 rows of other settings, not part of this page" in page.text
    assert page.tables["main-table"][0]["n"][0] == "2"


def test_several_configurations_under_one_arm_are_not_averaged(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(2), accuracy(EFFECTS))
    study = results.read_study(store)
    plan = [{**c, "arm": "search", "seed": 0} if c["arm"] != "baseline" else c for c in study["plan"]]
    trials = results.read(store).trials
    trials.loc[trials["arm"] != "baseline", ["arm", "seed"]] = ["search", 0]
    gathered = facts.gather(Results(trials, pd.DataFrame(columns=["trial_id", "epoch"]), {**study, "plan": plan}))
    assert gathered.left_out["search"] == "stands for several configurations"
    assert "search" not in gathered.scores


# Figures: numbers first


def test_numbers_of_forest_and_curves(plain: tuple[Page, str, Results]) -> None:
    study = plain[2]
    gathered = facts.gather(study)
    wide = study.trials[study.trials["state"] == "completed"].pivot(index="seed", columns="arm", values="test_acc")
    rows = {row.arm: row for row in compare.differences(gathered).rows}
    assert set(rows) == set(ARMS[1:])
    assert rows["kd"].seeds == pytest.approx((100 * (wide["kd"] - wide["baseline"])).dropna().to_dict())
    curve = {c.arm: c for c in training.curves(gathered).curves}["kd"]
    done = study.trials[(study.trials["state"] == "completed") & (study.trials["arm"] == "kd")]["trial_id"]
    values = study.epochs[study.epochs["trial_id"].isin(done) & (study.epochs["epoch"] == 3)]["test_acc"]
    x = 100 * values.astype(float).to_numpy()
    low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
    at = int(np.flatnonzero(curve.epoch == 3)[0])
    assert (curve.mean[at], curve.low[at], curve.high[at]) == pytest.approx((x.mean(), low, high), rel=1e-9)


def test_numbers_of_shares_sum_to_one_and_follow_the_weighted_loss(plain: tuple[Page, str, Results]) -> None:
    study = plain[2]
    shown = {s.arm: s.share for s in training.shares(facts.gather(study))}
    assert set(shown) == {"kd", "channel", "channel+spatial"}  # the synthetic arms with a second term
    assert shown["kd"].sum(axis=1).to_numpy() == pytest.approx(1.0)
    done = study.trials[(study.trials["state"] == "completed") & (study.trials["arm"] == "kd")]["trial_id"]
    last = study.epochs[study.epochs["trial_id"].isin(done) & (study.epochs["epoch"] == 6)]
    total = (last["weighted.ce"] + last["weighted.kd"]).mean()
    assert shown["kd"].loc[6, "kd"] == pytest.approx(last["weighted.kd"].mean() / total, rel=1e-5)


def test_colours_stay_readable_in_light_and_dark() -> None:
    """Contrast of text on the page (WCAG 2: 4.5), of curves (3), and ink on the cells of the matrix (4.5)."""
    css = (assemble.HERE / "page.css").read_text()
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root[^{]*\{([^}]*)\}", css)]
    assert len(themes) == 2
    for colours in themes:
        for name in ("ink", "soft", "link", "teacher", "bad"):
            assert contrast(colours[name], colours["page"]) >= 4.5, name
            assert contrast(colours[name], colours["raised"]) >= 4.5, name
        for name in ("c1", "c2", "c3", "c4", "c5", "c6"):
            assert contrast(colours[name], colours["page"]) >= 3, name
        for cell in ("better", "worse", "pale"):
            assert contrast(colours["ink"], colours[cell]) >= 4.5, cell


def contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_summary_has_a_row_an_arm(plain: tuple[Page, str, Results]) -> None:
    frame = report.summary(plain[2])
    assert list(frame["arm"]) == ARMS
    assert frame.loc[0, "difference"] is not None
    assert math.isnan(frame.loc[0, "difference"])
    assert frame.loc[4, "difference_low"] > 0


def test_the_two_blues_differ_in_their_dashes() -> None:
    """Sky blue is near blue: where both are drawn, something else tells them apart."""
    from scl.report.theme import styles

    look = styles(["baseline", *map(str, range(12))], "baseline")
    dashes = {colour: {s["dash"] for s in look.values() if s["color"] == colour} for colour in ("@c1", "@c4")}
    assert not dashes["@c1"] & dashes["@c4"]


@pytest.mark.parametrize(("gap", "answer"), [(0.02, "Yes: +2."), (-0.02, "No, it is worse: −2."), (0.0, "Not shown: ")])
def test_the_declared_comparison_is_answered_first(tmp_path: Path, gap: float, answer: str) -> None:
    apart = dict(zip(range(4), (-0.002, 0.001, -0.001, 0.002), strict=True))
    store = make_store(
        tmp_path,
        ["baseline", "full"],
        (0, 1, 2, 3),
        lambda arm, seed: 0.7 + seed / 100 + (gap + apart[seed] if arm == "full" else -0.05),
        declared={"arm": "full", "against": "teacher"},
    )
    rewrite_trials(store, lambda rows: rows.assign(teacher_test_acc=0.7 + rows["seed"] / 100))
    page, _, study = built(store)
    said = report.verdict(study).splitlines()[0]
    assert said.startswith("Declared before the run: does “full” beat its teacher? " + answer)
    low, high = reference.ttest_1samp([gap + a for a in apart.values()], 0).confidence_interval(0.95)
    assert f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}".replace("-", "−") in said
    assert "over 4 seeds" in said
    assert said in page.text
    assert page.text.index("Does it beat its teacher?") < page.text.index("Test accuracy")


def test_a_declared_arm_that_did_not_run_is_said(tmp_path: Path) -> None:
    study = results.read(make_store(tmp_path, ["baseline", "kd"], declared={"arm": "full", "against": "teacher"}))
    assert "does “full” beat its teacher? Not shown: it is not part of this run." in report.verdict(study)
    nothing = results.read(make_store(tmp_path / "b", ["baseline", "kd"]))
    assert "Declared" not in report.verdict(nothing)
