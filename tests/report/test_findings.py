"""The verdict in sentences, for whole studies and for studies with holes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from scipy import stats as reference

from scl.report.limits import limits
from scl.report.results import read
from scl.store.study_file import read_study, write_study
from tests.support.pages import Page, built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    make_store,
    rewrite_trials,
)


def sentence(tmp_path: Path, *args: Any, **options: Any) -> tuple[str, Page]:
    page, _, study = built(make_store(tmp_path, *args, **options))
    said = study.verdict()
    assert said in page.text
    assert said.endswith(".")
    assert not re.search(r"\bnan\b|\binf\b|None", re.sub(r"'kd' became nan", "", page.text))
    return said, page


def test_verdict_names_a_significant_winner(tmp_path: Path) -> None:
    said, _ = sentence(tmp_path, ARMS, range(4), accuracy(EFFECTS))
    assert said.startswith("“channel+spatial” won with 72.5 %, 2.4 points above the baseline")
    assert "simultaneous 95 % interval" in said
    assert "1.5 points below its teacher (74.0 %)" in said


def test_without_a_significant_difference_the_page_says_what_would_be_needed(tmp_path: Path) -> None:
    same = dict.fromkeys(ARMS, 0.0)
    said, page = sentence(tmp_path, ARMS, range(4), accuracy(same, spread=0.01))
    assert said.startswith("No arm is shown to beat the baseline")
    needed = re.search(
        r"smallest detectable effect is about (\S+) points \(80 % power; (\S+) to (\S+), as .*?\); about (\d+) seeds "
        r"\((\d+) to (\S+)\) would detect",
        page.text,
    )
    assert needed
    low, about, high = (float(needed[i]) for i in (2, 1, 3))
    assert low < about < high
    assert 4 < int(needed[5]) < int(needed[4])


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
    said = study.verdict().splitlines()[0]
    assert said.startswith("Declared before the run: does “full” beat its teacher? " + answer)
    low, high = reference.ttest_1samp([gap + a for a in apart.values()], 0).confidence_interval(0.95)
    assert f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}".replace("-", "−") in said
    assert "over 4 seeds" in said
    assert said in page.text
    assert page.text.index("Does it beat its teacher?") < page.text.index("Test accuracy")


def test_a_declared_arm_that_did_not_run_is_said(tmp_path: Path) -> None:
    study = read(make_store(tmp_path, ["baseline", "kd"], declared={"arm": "full", "against": "teacher"}))
    assert "does “full” beat its teacher? Not shown: it is not part of this run." in study.verdict()
    nothing = read(make_store(tmp_path / "b", ["baseline", "kd"]))
    assert "Declared" not in nothing.verdict()


NAN = None
CASES: dict[str, tuple[dict[str, list[float | None]], dict[str, Any], list[str], list[str]]] = {
    # accuracies by arm, keys of study.json, what the page says, what it never says
    "the baseline is highest": (
        {"baseline": [0.70, 0.71, 0.72], "scl": [0.66, 0.665, 0.68], "kd": [0.60, 0.61, 0.615]},
        {},
        ["No arm is shown to beat the baseline", "the closest, “scl”, is 4.2 points below it", "shown to be worse"],
        ["the highest, “scl”", "won with"],
    ),
    "one seed of the baseline collapsed": (
        {"baseline": [0.70, 0.71, 0.10, 0.70], "kd": [0.75, 0.76, 0.75, 0.752]},
        {},
        ["“kd” won", "“baseline” on seed 2 (10.0 %)", "lost for every arm", "both over the 3 seeds that they share"],
        ["did not learn"],
    ),
    "one seed of an arm collapsed": (
        {"baseline": [0.70, 0.71, 0.705, 0.70], "kd": [0.75, 0.12, 0.75, 0.752], "at": [0.70, 0.71, 0.70, 0.70]},
        {},
        ["“kd” won", "“kd” on seed 1 (12.0 %)", "means and standard deviations contain them"],
        ["did not learn", "Left out"],
    ),
    "a weak baseline that learnt": (
        {"baseline": [0.0567, 0.0571, 0.0560], "kd": [0.08, 0.081, 0.0795]},
        {"data": {"classes": 100, "test": 10_000}},
        ["“kd” won with"],
        ["did not learn", "Collapsed (below"],
    ),
    "every seed of the baseline at chance": (
        {"baseline": [0.10, 0.11, 0.105], "kd": [0.7, 0.71, 0.705]},
        {"data": {"classes": 10, "test": 10_000}},
        ["The baseline did not learn on any seed"],
        ["won with"],
    ),
    "an arm with one seed": (
        {"baseline": [0.70, 0.71, 0.72], "kd": [0.80, NAN, NAN], "at": [0.701, 0.712, 0.7205]},
        {},
        ["No arm is shown to beat", "“kd”, is 10.0 points above it (without an interval: it shares one seed"],
        ["won with", "p < 0.001"],
    ),
    "arms that share one seed each with the baseline": (
        {"baseline": [0.70, 0.71, 0.72], "kd": [0.80, NAN, NAN], "at": [NAN, NAN, 0.75]},
        {},
        ["no arm shares two seeds with the baseline, so there is no interval"],
        ["won with", "detectable effect is"],
    ),
    "no spread at 100 %": (
        {"baseline": [1.0, 1.0, 1.0], "kd": [1.0, 1.0, 1.0]},
        {"data": {"classes": 10, "test": 360}},
        ["no interval can be computed", "Jeffreys' 95 % interval for that many images is 99.3 to 100.0 %"],
        ["100.0 to 100.0", "0.0 points (80 %", "shift accuracies by about 0 points"],
    ),
    "seeds that are missing": (
        {"baseline": [0.70, 0.71, 0.72, 0.73], "kd": [0.74, 0.752, NAN, NAN]},
        {},
        ["“kd” won", "over the 2 seeds that they share", "Compared on fewer seeds", "4.1 points above the baseline"],
        [],
    ),
    "distances to teachers are paired": (
        {"baseline": [0.60, 0.62, 0.70], "kd": [0.66, 0.6804, NAN]},
        {"teacher_test_acc": [0.65, 0.67, 0.80], "data": {"test": 10_000}},
        ["1.02 points above its teachers, by seed (66.00 %)", "mean of its teachers: 66.00 %"],
        ["below its teacher"],
    ),
    "a control is as high": (
        {"baseline": [0.70, 0.71, 0.72], "scl": [0.75, 0.762, 0.77], "unguided": [0.76, 0.771, 0.781]},
        {"roles": {"unguided": "control"}},
        ["“scl” won", "At least as far above the baseline as “scl”: “unguided”, a control (+6.1 points)"],
        ["“unguided” won"],
    ),
    "only controls": (
        {"baseline": [0.70, 0.71, 0.72], "unguided": [0.76, 0.771, 0.781]},
        {"roles": {"unguided": "control"}},
        ["No arm may win, because all but the baseline (71.0 %) are controls or references", "6.1 points above"],
        ["won with", "No arm is shown to beat"],
    ),
    "a control alone is shown to be above": (
        {"baseline": [0.70, 0.71, 0.72], "scl": [0.702, 0.709, 0.7215], "unguided": [0.76, 0.771, 0.781]},
        {"roles": {"unguided": "control"}},
        [
            "No arm that may win is shown to beat the baseline (71.0 %): the only one that may win, “scl”",
            "shown to be better than the baseline, but unable to win: “unguided”, a control",
            "Significantly above the baseline: “unguided”",
        ],
        ["No arm is shown to beat", "the highest, “scl”"],
    ),
    "a seed of the winner collapsed": (
        {"baseline": [0.70, 0.71, 0.72, 0.715], "kd": [0.75, 0.76, 0.10, 0.766], "at": [0.70, 0.711, 0.72, 0.715]},
        {"declared": {"arm": "kd", "against": "teacher"}},
        [
            "“kd” won with 75.9 %", "1.9 points above its teacher", "mean of kd over the seeds that are compared",
            "“kd” has the highest mean whichever seed is left out", "Left out, because it collapsed there: seed 2.",
            "does “kd” beat its teacher? Not shown: +1.87 points over 3 seeds", "“kd” agrees most",
        ],
        ["14.9 points", "below its teacher", "112.", "“at” has the highest mean"],
    ),
    "the gap without a collapsed seed of the baseline": (
        {"baseline": [0.70, 0.71, 0.10, 0.715], "kd": [0.75, 0.76, 0.75, 0.764], "at": [0.7, 0.71, 0.7, 0.715]},
        {},
        ["The whole gap is +3.2 points over 3 seeds", "“baseline” on seed 2 (10.0 %)"],
        ["The whole gap is +18.4"],
    ),
    "seeds that collapsed": (
        {"baseline": [0.70, 0.10, 0.11, 0.1], "kd": [0.75, 0.76, 0.75, 0.764]},
        {},
        ["“baseline” on seeds 1–3 (10.0 %, …)", "both over the one seed that they share"],
        ["on seed 1–3", "the 1 seed", "gap is +48.8", "so pairing narrows"],
    ),
    "a small difference that is shown": (
        {"baseline": [0.70, 0.71, 0.72, 0.715], "kd": [0.70015, 0.71012, 0.7201, 0.71513]},
        {},
        ["“kd” won with 71.1 %, 0.01 points above the baseline", "interval +0.009 to +0.02"],
        ["level with the baseline (71.1 %; sim", "about 0.0 points", "0.0 points instead", "sd 0.0 points"],
    ),
    "an arm that scatters more than the others": (
        {
            "baseline": [0.70, 0.71, 0.72], "kd": [0.72, 0.73, 0.76], "at": [0.705, 0.715, 0.726],
            "sp": [0.7005, 0.7101, 0.7204], "cc": [0.699, 0.7102, 0.7191],
        },
        {},
        ["about 4 seeds (3 to 85) would detect", "“kd” (2.67 points), which scatters more widely"],
        ["about 3 seeds"],
    ),
    "the model about an arm with one seed": (
        {"baseline": [0.70, 0.71, 0.72], "kd": [0.80, NAN, NAN], "at": [0.701, 0.7122, 0.7205]},
        {},
        [],
        ["shown by the model alone: “kd”"],
    ),
    "two arms on top": (
        {"baseline": [0.70, 0.71, 0.72], "kd": [0.70, 0.71, 0.72], "at": [0.69, 0.70, 0.711]},
        {},
        ["“baseline” and “kd” share the highest mean."],
        ["“baseline” has the highest mean"],
    ),
    "a look beyond the plan": (
        {"baseline": [0.70, 0.71, 0.72, 0.70], "kd": [0.72, 0.73, 0.75, 0.718]},
        {
            "looks": [{"when": "1", "seeds": [0, 1]}, {"when": "2", "seeds": [0, 1, 2]},
                      {"when": "3", "seeds": [0, 1, 2, 3]}],
            "planned_looks": [2, 3],
        },
        ["This look was not planned; it takes its share of another 0.3 %"],
        [],
    ),
    "the second look": (
        {"baseline": [0.70, 0.71, 0.72, 0.70, 0.705], "kd": [0.72, 0.73, 0.75, 0.728, 0.718]},
        {"looks": [{"when": "2026-01-01", "seeds": [0, 1, 2]}, {"when": "2026-01-02", "seeds": [0, 1, 2, 3, 4]}]},
        ["look 2 at this study (3, 5 seeds)", "99.85 %", "at most 5.3 %"],
        ["simultaneous 95 %"],
    ),
    "a planned look": (
        {"baseline": [0.70, 0.71, 0.72], "kd": [0.72, 0.73, 0.75]},
        {"looks": [{"when": "2026-01-01", "seeds": [0, 1, 2]}], "planned_looks": [3, 5, 10]},
        ["look 1 at this study (3 seeds)", "98.5 %", "3, 5 and 10 seeds were planned"],
        ["simultaneous 95 %"],
    ),
    "a margin": (
        {
            "baseline": [0.70, 0.71, 0.72, 0.715],
            "same": [0.7004, 0.7101, 0.7203, 0.7148],
            "worse": [0.69, 0.703, 0.71, 0.704],
            "better": [0.7101, 0.7204, 0.7302, 0.7249],
        },
        {"margin": 0.005, "data": {"classes": 10, "test": 10_000}},
        [
            "0.5 points (one-sided", "by less: “same”", "by more than that: “better”",
            "Not shown to be no worse: “worse”",
        ],
        [],
    ),
    "declared contrasts": (
        {"baseline": [0.70, 0.71, 0.72, 0.715], "a": [0.75, 0.763, 0.77, 0.766], "b": [0.7501, 0.7629, 0.7703, 0.7657]},
        {
            "margin": 0.01,
            "contrasts": [
                {"question": "Does a help?", "weights": {"a": 1.0, "baseline": -1.0}},
                {"question": "Is it a?", "weights": {"a": 1.0, "b": -1.0}},
                {"question": "And c?", "weights": {"c": 1.0, "b": -1.0}, "declared_after_look": True},
            ],
        },
        [
            "Declared before the run: Does a help? “a” − “baseline”: shown, above 0: +5.1",
            "Is it a? “a” − “b”: shown to be absent within ± 1 point",
            "Declared after results were seen: And c? “c” − “b”: not shown, because this run has no “c”",
            "corrected for 2 declared comparisons",
            "Of 3 declared questions, shown: “Does a help?”; shown to be absent: “Is it a?”; not shown: “And c?”.",
        ],
        [],
    ),
    "declared contrasts, none of them shown": (
        {"baseline": [0.70, 0.71, 0.72], "a": [0.71, 0.705, 0.73], "b": [0.69, 0.72, 0.715]},
        {
            "contrasts": [
                {"question": "Does a help?", "weights": {"a": 1.0, "baseline": -1.0}},
                {"question": "Does b help?", "weights": {"b": 1.0, "baseline": -1.0}},
            ]
        },
        ["Not one of the 2 declared differences is shown. No arm is shown to beat the baseline"],
        ["not shown: “Does"],
    ),
    "arms that scatter differently": (
        {
            "baseline": [0.70, 0.71, 0.72], "kd": [0.72, 0.73, 0.76], "at": [0.705, 0.715, 0.726],
            "sp": [0.7005, 0.7101, 0.7204], "cc": [0.699, 0.7102, 0.7191],
        },
        {},
        ["takes all arms to scatter alike, disagrees", "shown by the model alone: “kd”", "No arm is shown to beat"],
        [],
    ),
    "Stein's interval": (
        {"baseline": [0.70, 0.71, 0.72], "kd": [0.72, 0.73, 0.75]},
        {"stein": {"between": ["kd", "baseline"], "width": 0.01, "pilot": 5, "pilot_sd": 0.004, "wanted": 40, "cap": 20,
                   "seeds": 20, "n": 20, "estimate": 0.0225, "low": 0.02, "high": 0.025}},
        ["By Stein's two stages, “kd” minus “baseline” is +2.25 points", "The width needs 40 seeds"],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_sentence_states_what_the_store_holds(name: str, tmp_path: Path) -> None:
    accuracies, about, said, never = CASES[name]
    about = dict(about)
    of_teachers = about.pop("teacher_test_acc", None)
    seeds = range(len(accuracies["baseline"]))
    states = {(arm, s): "missing" for arm, values in accuracies.items() for s in seeds if values[s] is None}
    store = make_store(
        tmp_path, list(accuracies), seeds, lambda arm, seed: accuracies[arm][seed], states, **about
    )  # fmt: skip
    if of_teachers:
        rewrite_trials(store, lambda rows: rows.assign(teacher_test_acc=[of_teachers[s] for s in rows["seed"]]))
        known = read_study(store)
        known["teacher"] = {**known.get("teacher", {}), "test_acc": dict(zip("012", of_teachers, strict=True))}
        write_study(store, known)
    page, _, study = built(store)
    text = study.verdict() + "\n" + page.text
    for part in said:
        assert part in text, (part, study.verdict(), limits(study.facts))
    for part in never:
        assert part not in text
    assert not re.search(r"\bnan\b|\binf\b|None", text)
