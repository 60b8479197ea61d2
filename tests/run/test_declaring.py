"""`--declare`: what it writes before the first trial, what it refuses, and what the page makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scl.errors import UserError
from scl.plan.plan import Plan
from scl.report import registered
from scl.report.facts import Facts, gather
from scl.run.declared import check_declarations
from scl.run.declaring import check_nothing_trained, declare
from scl.run.provenance import earlier_record, study_record
from scl.run.run import run_study
from scl.store.declaration import NAME, hash_fits, read_declaration
from scl.store.results import read_results
from scl.store.study_file import read_study, write_study
from scl.study.study import Study
from tests.support.plans import SEARCHING, SHORT, STUDY, put_rows, tiny_plan
from tests.support.studies import asked

ASKING = replace(STUDY, contrasts={"Does KD help?": ("kd", "baseline"), "Is KD above AT?": ("kd", "at")})
ACCURACY = {"baseline": 0.5, "kd": 0.6, "at": 0.55}


def declared(out: Path, *flags: str, study: Study = ASKING) -> Plan:
    plan = tiny_plan(out, *flags, study=study)
    check_nothing_trained(plan.context.store)
    assert declare(plan) == 0
    return plan


def ran(out: Path, *flags: str, study: Study = ASKING, arms: Sequence[str] = ()) -> Facts:
    """A run with made-up results; the facts of its page."""
    plan = tiny_plan(out, *flags, study=study)
    check_declarations(plan, earlier_record(plan))
    write_study(plan.context.store, study_record(plan))
    for trial in plan.trials:
        accuracy = ACCURACY[trial.arm] + 0.01 * ((7 * trial.seed + 3 * len(trial.arm)) % 5)
        more = {"teacher_test_acc": 0.5, "chance": 0.1}
        if trial.arm in (arms or ACCURACY):
            put_rows(plan, [trial], test_acc=accuracy, **more)
    return gather(read_results(plan.context.store))


def test_it_writes_the_same_into_study_and_file_and_no_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = declared(tmp_path, "--seeds", "3", "--margin", "0.01", study=replace(ASKING, against_teacher="kd"))
    study = read_study(plan.context.store)
    found = read_declaration(plan.context.store, study)
    assert found is not None
    assert not found.faults
    assert study["looks"] == []
    assert hash_fits(study["declaration"])
    (content,) = found.parts
    assert [c["question"] for c in content["contrasts"]] == list(ASKING.contrast_weights)
    assert (content["seeds"], list(content["arms"]), content["margin"]) == ([0, 1, 2], list(STUDY.arms), 0.01)
    assert {(t["arm"], t["seed"], t["trial_id"]) for t in content["plan"]} == {
        (t.arm, t.seed, t.trial_id) for t in plan.trials
    }
    rule = content["rule"]
    assert (rule["family"], rule["seeds"], rule["level"], rule["stopping"]) == (3, 3, 0.95, "all seeds")
    assert content["against_teacher"] == "kd"
    assert content["metric"] == "test_acc"
    assert content["git"] == study["git"]
    assert content["data"] == study["data"]
    shown = capsys.readouterr()
    assert found.signature in shown.out
    assert "declared: 3 contrasts, 3 arms, 3 seeds" in shown.out


@pytest.mark.parametrize("state", ["completed", "failed", "pruned"])
def test_a_study_with_a_trial_is_not_declared(state: str, tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, study=ASKING)
    put_rows(plan, plan.trials[:1], state)
    with pytest.raises(UserError, match=r"has 1 trial already.*before its first trial.*another --out"):
        check_nothing_trained(plan.context.store)


def test_a_trial_that_began_is_a_trial(tmp_path: Path) -> None:
    plan = declared(tmp_path, "--seeds", "2")
    (plan.context.store / "checkpoints" / plan.trials[0].trial_id).write("1.safetensors", b"x")
    with pytest.raises(UserError, match=r"began to train.*leave --declare out: this store was declared on"):
        check_nothing_trained(plan.context.store)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--seeds", "1"), "1 seed gives no interval.*--seeds 5"),
        (("--seeds", "5", "--looks", "2,3"), "--looks 2,3,5"),
    ],
)
def test_what_no_rule_could_answer_is_refused(flags: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        declared(tmp_path, *flags)
    assert not (tmp_path / "tiny" / NAME).exists()


@pytest.mark.parametrize("other", ["--plan", "--report-only", "--remake-students"])
def test_it_goes_with_nothing_else_that_a_command_does(other: str) -> None:
    with pytest.raises(UserError, match=f"--declare writes what will be trained, and {other} does something else"):
        asked(STUDY, *SHORT, "--declare", other)


def test_the_command_trains_nothing_and_declares_anew_before_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seeds in ("2", "3"):
        assert run_study(*asked(ASKING, *SHORT, "--seeds", seeds, "--declare", "--out", str(tmp_path))) == 0
    assert "is replaced; nothing has trained since then" in capsys.readouterr().err
    results = read_results(tiny_plan(tmp_path, study=ASKING).context.store)
    assert results.trials.empty
    assert results.study["declaration"]["seeds"] == [0, 1, 2]
    assert "declare" not in results.study["asked"]["options"]


def test_nothing_differs_if_the_declared_study_runs(tmp_path: Path) -> None:
    declared(tmp_path, "--seeds", "3")
    found = registered.registered(ran(tmp_path, "--seeds", "3"))
    assert found is not None
    assert found.changes == ()
    (_, kd), _ = registered.answers(found)
    assert "over 3 seeds" in kd
    assert "corrected for 2 declared comparisons" in kd


@pytest.mark.parametrize(
    ("flags", "study", "changed"),
    [
        (("--seeds", "4"), {}, ["added later: seed 3"]),
        (("--seed-list", "1-4"), {}, ["added later: seeds 3–4", "declared, but not part of this run: seed 0"]),
        (("--seeds", "3", "--arms", "kd"), {}, ["declared arms that are not part of this run: “at”"]),
        (("--seeds", "3"), {"arms": {**STUDY.arms, "sp": {"losses": {"sp": 1}}}}, ["arms added later: “sp”"]),
        (
            ("--seeds", "3"),
            {"arms": {**STUDY.arms, "kd": {"losses": {"kd": 2.0}}}},
            ["“kd” does not run as declared: other losses"],
        ),
        (("--seeds", "3", "--lr", "0.1"), {}, ["“baseline”, “kd” and “at” do not run as declared: other lr"]),
        (("--seeds", "3", "--limit", "70"), {}, ["do not run as declared: other data"]),
        (("--seeds", "3", "--teacher-width", "0.25"), {}, ["do not run as declared: another teacher"]),
        (("--seeds", "3", "--metric", "macro_f1"), {}, ["the metric is macro_f1, and test_acc was declared"]),
        (("--seeds", "3", "--margin", "0.02"), {}, ["the margin is 0.02, and none was declared"]),
        (("--seeds", "3"), {"roles": {"at": "control"}}, ["the roles is “at”: control, and none was declared"]),
        (("--seeds", "3"), {"against_teacher": "kd"}, ["“kd” is compared with its teacher, and no arm was declared"]),
        (
            ("--seeds", "3"),
            {"contrasts": {"Does KD help?": ("kd", "baseline"), "Does AT?": ("at", "baseline")}},
            ["contrasts added later: “Does AT?”", "the study no longer has: “Is KD above AT?”"],
        ),
    ],
)
def test_what_differs_is_said_before_training_and_afterwards(
    flags: tuple[str, ...], study: dict[str, Any], changed: list[str], tmp_path: Path
) -> None:
    plan = declared(tmp_path, "--seeds", "3")
    later = tiny_plan(tmp_path, *flags, study=replace(ASKING, **study))
    record = study_record(later)
    said = registered.changes(read_declaration(plan.context.store, record), record)
    assert len(said) == len(changed)
    for text in changed:
        assert any(text in one for one in said), said


def test_more_seeds_do_not_change_a_declared_answer(tmp_path: Path) -> None:
    declared(tmp_path, "--seeds", "3")
    three = registered.registered(ran(tmp_path, "--seeds", "3"))
    facts = ran(tmp_path, "--seeds", "5")
    five = registered.registered(facts)
    assert three is not None
    assert five is not None
    assert registered.answers(three) == registered.answers(five)
    assert facts.declared[0].test is not None
    assert facts.declared[0].test.differences.n == 5
    assert facts.level > five.facts.level == 0.95  # the second look at all seeds, and the only one at the declared
    assert [line for line in registered.said(facts) if "Not as declared: added later: seeds 3–4." in line]


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


def test_a_trial_that_is_older_than_its_declaration_is_named(tmp_path: Path) -> None:
    plan = declared(tmp_path, "--seeds", "3")
    facts = ran(tmp_path, "--seeds", "3")
    old = facts.results.trials["started"] - facts.results.trials["started"].max().resolution * 10**9
    early = registered.registered(gather(replace(facts.results, trials=facts.results.trials.assign(started=old))))
    assert early is not None
    assert "9 declared trials began before the declaration was written" in early.changes
    assert plan.trials


def test_winners_of_a_declared_search_are_not_later(tmp_path: Path) -> None:
    searching = replace(SEARCHING, contrasts={"Is the winner better?": ("winner-1", "baseline")})
    plan = declared(tmp_path, "--seeds", "2", study=searching)
    content = read_study(plan.context.store)["declaration"]
    assert content["rule"]["family"] == 1
    assert content["seeds"] == [1000, 1001]
    assert content["search"]["trials"] == 7
    record = study_record(plan)
    record["winners"] = {"winner-1": {"number": 0, "trial_id": "x", "params": {}}}
    record["plan"] += [{"arm": "winner-1", "seed": seed, "trial_id": f"w{seed}"} for seed in (1000, 1001)]
    assert registered.changes(read_declaration(plan.context.store, record), record) == []


def test_a_study_without_contrasts_declares_all_arms(tmp_path: Path) -> None:
    declared(tmp_path, "--seeds", "3", study=STUDY)
    found = registered.registered(ran(tmp_path, "--seeds", "3", study=STUDY))
    assert found is not None
    ((question, answer),) = registered.answers(found)
    assert question == "Which arms beat the baseline?"
    assert "“kd”" in answer


def test_seeds_that_the_declared_rule_of_stein_adds_are_not_later(tmp_path: Path) -> None:
    stein = ("--seeds", "5", "--interval", "0.01", "--between", "kd,baseline", "--max-seeds", "8")
    plan = declared(tmp_path, *stein)
    record = study_record(tiny_plan(tmp_path, *stein, study=ASKING))
    for seed, arms in ((5, ("kd", "baseline")), (7, ("kd", "baseline"))):
        record["plan"] += [{"arm": arm, "seed": seed, "trial_id": f"{arm}{seed}"} for arm in arms]
    declaration = read_declaration(plan.context.store, record)
    assert registered.changes(declaration, record) == []
    record["plan"] += [{"arm": "at", "seed": 5, "trial_id": "x"}, {"arm": "kd", "seed": 8, "trial_id": "y"}]
    assert registered.changes(declaration, record) == ["added later: seeds 5, 8"]
