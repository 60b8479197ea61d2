"""`--declare`: what it writes before the first trial, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.run.declaring import check_nothing_trained
from scl.run.run import run_study
from scl.store.declaration import NAME, hash_fits, read_declaration
from scl.store.results import read_results
from scl.store.study_file import read_study
from tests.support.declarations import ASKING, declared
from tests.support.plans import SEARCHING, SHORT, STUDY, put_rows, tiny_plan
from tests.support.studies import asked


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


def test_a_search_without_winners_has_nothing_to_declare(tmp_path: Path) -> None:
    assert SEARCHING.search is not None
    with pytest.raises(UserError, match="re-runs no winner, so nothing is tested"):
        declared(tmp_path, study=replace(SEARCHING, search=replace(SEARCHING.search, winners=0)))


def test_a_new_declaration_replaces_looks_margin_and_interval(tmp_path: Path) -> None:
    stein = ("--interval", "0.01", "--between", "kd,baseline")
    for flags in (("--seeds", "3", "--looks", "3,5", "--margin", "0.01"), ("--seeds", "5", *stein), ("--seeds", "4")):
        plan = declared(tmp_path, *flags)
    study = read_study(plan.context.store)
    content = study["declaration"]
    assert (content["margin"], content["rule"]["looks"], content["rule"]["interval"]) == (None, None, None)
    assert (study["margin"], study["planned_looks"], study["stein_declared"]) == (None, None, None)


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
