"""The verdict in sentences, for whole studies and for studies with holes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from scipy import stats as reference

from scl.report.results import read
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
