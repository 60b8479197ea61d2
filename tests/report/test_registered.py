"""A declaration beside what the study has become: the answers at the declared rule, and what came later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from scl.report import registered
from scl.report.facts import Facts, gather
from scl.store.merging import merged_record
from scl.store.results import Results
from scl.store.study_file import read_study
from tests.support.declarations import declared, ran
from tests.support.plans import STUDY


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, Facts]:
    """The three declared seeds, and then five."""
    out = tmp_path_factory.mktemp("grown")
    declared(out, "--seeds", "3")
    return ran(out, "--seeds", "3"), ran(out, "--seeds", "5")


def test_nothing_differs_if_the_declared_study_runs(grown: tuple[Facts, Facts]) -> None:
    found = registered.registered(grown[0])
    assert found is not None
    assert found.changes == ()
    (_, kd), _ = registered.answers(found)
    assert "over 3 seeds" in kd
    assert "corrected for 2 declared comparisons" in kd


def test_more_seeds_do_not_change_a_declared_answer(grown: tuple[Facts, Facts]) -> None:
    three, five = map(registered.registered, grown)
    assert three is not None
    assert five is not None
    assert registered.answers(three) == registered.answers(five)
    assert grown[1].declared[0].test is not None
    assert grown[1].declared[0].test.differences.n == 5
    assert grown[1].level > five.facts.level == 0.95  # the second look at all seeds, the only one at the declared
    assert "Not as declared: added later: seeds 3–4." in registered.said(grown[1])


def test_a_question_waits_for_all_seeds_of_its_arms(tmp_path: Path) -> None:
    declared(tmp_path, "--seeds", "3")
    found = registered.registered(ran(tmp_path, "--seeds", "3", arms=("baseline", "kd")))
    assert found is not None
    (_, kd), (_, at) = registered.answers(found)
    assert "over 3 seeds" in kd
    assert at == "Not answered yet: 0 of 3 seeds are done that the declared rule asks for."


def test_looks_are_part_of_the_rule(tmp_path: Path) -> None:
    plan = declared(tmp_path, "--seeds", "2", "--looks", "2,4")
    assert read_study(plan.context.store)["declaration"]["seeds"] == [0, 1, 2, 3]
    first = registered.registered(ran(tmp_path, "--seeds", "2"))
    assert first is not None
    assert first.facts.level == pytest.approx(0.975)
    assert "over 2 seeds" in registered.answers(first)[0][1]
    between = registered.registered(ran(tmp_path, "--seeds", "3"))
    assert between is not None
    assert registered.answers(between) == registered.answers(first)
    assert any("looked at before" in change and "at 3 seeds" in change for change in between.changes)
    last = registered.registered(ran(tmp_path, "--seeds", "4"))
    assert last is not None
    assert last.facts.level == pytest.approx(0.975)
    assert "over 4 seeds" in registered.answers(last)[0][1]


def test_a_trial_that_is_older_than_its_declaration_is_named(grown: tuple[Facts, Facts]) -> None:
    facts = grown[0]
    trials = facts.results.trials.assign(started=facts.results.trials["started"] - pd.Timedelta(days=1))
    early = registered.registered(gather(replace(facts.results, trials=trials)))
    assert early is not None
    assert early.changes == ("9 declared trials began before the declaration was written",)


def test_a_study_without_contrasts_declares_all_arms(tmp_path: Path) -> None:
    declared(tmp_path, "--seeds", "3", study=STUDY)
    found = registered.registered(ran(tmp_path, "--seeds", "3", study=STUDY))
    assert found is not None
    ((question, answer),) = registered.answers(found)
    assert question == "Which arms beat the baseline?"
    assert "“kd”" in answer


@pytest.mark.parametrize("second", ["declared", "in the first", "not declared"])
def test_declarations_of_merged_parts_are_one(second: str, tmp_path: Path) -> None:
    first = "0-3" if second == "in the first" else "0-1"
    declared(tmp_path / "a", "--seed-list", first)
    if second == "declared":
        declared(tmp_path / "b", "--seed-list", "2-3")
    one, two = ran(tmp_path / "a", "--seed-list", "0-1"), ran(tmp_path / "b", "--seed-list", "2-3")
    study = merged_record({"a": one.study, "b": two.study}, "scl merge a b")
    trials = pd.concat([one.results.trials, two.results.trials], ignore_index=True)
    found = registered.registered(gather(Results(trials, one.results.epochs, study)))
    assert found is not None
    whole = second != "not declared"
    assert found.changes == (() if whole else ("added later: seeds 2–3",))
    assert f"over {4 if whole else 2} seeds" in registered.answers(found)[0][1]
    assert len(found.declaration.parts) == 1 + (second == "declared")
