"""What is declared before a run trains, and what came after a look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scl.errors import UserError
from scl.plan.plan import Plan, with_arms
from scl.run.declared import check_declarations, declarations, remarks
from scl.run.provenance import earlier_record, study_record
from scl.run.run import plan_study
from scl.store.study_file import write_study
from scl.study.study import Study
from tests.support.plans import SEARCHING, SHORT, STUDY, put_rows, tiny_plan
from tests.support.studies import asked

KD, AT = {"Does KD help?": ("kd", "baseline")}, {"Is KD above AT?": ("kd", "at")}
STEIN = ("--interval", "0.01", "--between", "kd,baseline")


def start(out: Path, *flags: str, done: bool = True, **study: Any) -> dict[str, Any]:
    """A run up to its first training, then its results; returns its record."""
    plan = tiny_plan(out, *flags, study=replace(STUDY, **study))
    check_declarations(plan, earlier_record(plan))
    record = study_record(plan)
    write_study(plan.context.store, record)
    if done:
        put_rows(plan, plan.trials)
    return record


def late(record: dict[str, Any]) -> dict[str, Any]:
    return {c["question"]: c.get("declared_after_look", False) for c in record["contrasts"] or []}


def test_a_first_run_declares_before_anything_trains(tmp_path: Path) -> None:
    flags = ("--seeds", "2", "--margin", "0.005", "--looks", "2,4", "--arms", "kd")
    record = start(tmp_path, *flags, contrasts=KD | AT, roles={"at": "control"}, against_teacher="kd")
    assert record["contrasts"] == [
        {"question": "Does KD help?", "weights": {"kd": 1.0, "baseline": -1.0}},
        {"question": "Is KD above AT?", "weights": {"kd": 1.0, "at": -1.0}, "lacks": ["at"]},
    ]
    assert (record["roles"], record["withdrawn"]) == ({"at": "control"}, None)
    assert (record["margin"], record["margin_after_look"], record["planned_looks"]) == (0.005, False, [2, 4])
    assert record["declared"] == {"arm": "kd", "against": "teacher"}
    assert record["looks"][0]["planned"] is True
    assert remarks(record, STUDY.arms) == ["not answered: “Is KD above AT?” needs “at”, not part of this run"]


def test_declarations_stay_when_a_later_run_says_the_same_or_nothing(tmp_path: Path) -> None:
    first = start(tmp_path, "--seeds", "2", "--margin", "0.005", "--looks", "2,4", contrasts=KD | AT)
    for flags in (("--seeds", "3"), ("--seeds", "3", "--margin", "0.005", "--looks", "2,4")):
        again = start(tmp_path, *flags, contrasts=AT | {"In other words?": {"baseline": -2, "kd": 2}})
        assert not any(late(again).values())
        for name in ("margin", "margin_after_look", "planned_looks", "withdrawn"):
            assert again[name] == first[name]
        assert again["looks"][-1]["planned"] is False
        assert remarks(again, STUDY.arms) == [
            "3 seeds are not one of the planned looks (2, 4): the page reports this look too"
        ]


@pytest.mark.parametrize(
    ("first", "second", "seeds", "flagged"),
    [
        ({}, KD, "3", {"Does KD help?": True}),  # same seeds and one more
        ({}, KD, "1", {"Does KD help?": True}),
        (KD, KD | AT, "2", {"Does KD help?": False, "Is KD above AT?": True}),
        (AT, KD, "2", {"Does KD help?": True}),  # one for another
    ],
)
def test_a_contrast_that_is_added_after_a_look_is_marked(
    first: Any, second: Any, seeds: str, flagged: Any, tmp_path: Path
) -> None:
    start(tmp_path, "--seeds", "2", contrasts=first)
    record = start(tmp_path, "--seeds", seeds, contrasts=second)
    assert late(record) == flagged
    assert [c["question"] for c in record["withdrawn"] or []] == [q for q in first if q not in second]
    assert late(start(tmp_path, "--seeds", "4", contrasts=second)) == flagged  # for good
    assert any("declared after results were seen" in remark for remark in remarks(record, STUDY.arms))


def test_a_question_that_was_taken_away_and_comes_back_was_declared_first(tmp_path: Path) -> None:
    start(tmp_path, "--seeds", "2", contrasts=KD)
    start(tmp_path, "--seeds", "2", contrasts={})
    assert late(start(tmp_path, "--seeds", "2", contrasts=KD)) == {"Does KD help?": False}


def test_without_results_everything_may_change(tmp_path: Path) -> None:
    start(tmp_path, "--seeds", "2", "--looks", "2,3", "--margin", "0.01", done=False, contrasts=KD)
    record = start(tmp_path, "--seeds", "2", "--looks", "2,5", "--margin", "0.02", done=False, contrasts=AT)
    assert (late(record), record["withdrawn"]) == ({"Is KD above AT?": False}, None)
    assert (record["planned_looks"], record["margin_after_look"]) == ([2, 5], False)


def test_new_seeds_make_a_late_question_an_early_one_until_the_old_ones_count_again(tmp_path: Path) -> None:
    start(tmp_path, "--seeds", "2")
    fresh = start(tmp_path, "--seed-list", "5-7", "--margin", "0.01", contrasts=KD, against_teacher="kd")
    assert (late(fresh), fresh["margin_after_look"]) == ({"Does KD help?": False}, False)
    assert fresh["declared"]["declared_after_look"] is False
    both = start(tmp_path, "--seed-list", "1,5-7", contrasts=KD, against_teacher="kd")
    assert (late(both), both["margin_after_look"]) == ({"Does KD help?": True}, True)
    assert both["declared"] == {"arm": "kd", "against": "teacher", "seen": [0, 1], "declared_after_look": True}


@pytest.mark.parametrize("changed", [{"seeds": "2"}, {"epochs": "3"}, {"limit": "70"}])
def test_results_of_other_settings_or_data_are_no_look(changed: dict[str, str], tmp_path: Path) -> None:
    start(tmp_path, "--seeds", "2")
    flags = [part for name, value in {"seeds": "2", **changed}.items() for part in (f"--{name}", value)]
    assert late(start(tmp_path, *flags, contrasts=KD)) == {
        "Does KD help?": "epochs" not in changed and "limit" not in changed
    }


def test_another_margin_after_a_look_is_marked(tmp_path: Path) -> None:
    start(tmp_path, "--seeds", "2", "--margin", "0.005")
    record = start(tmp_path, "--seeds", "2", "--margin", "0.02")
    assert (record["margin"], record["margin_seen"], record["margin_after_look"]) == (0.02, [0, 1], True)
    assert "the margin was chosen after results were seen" in remarks(record, STUDY.arms)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (("--looks", "2,5"), r"--looks 2,4: .* declared looks at 2,5 seeds before; .*Give --looks 2,5 or leave it out"),
        ((), r"--looks 2,4: .* has results already, and looks are declared before the first one\. Leave --looks out"),
    ],
)
def test_looks_are_not_changed_after_a_look(first: tuple[str, ...], message: str, tmp_path: Path) -> None:
    start(tmp_path, "--seeds", "2", *first)
    with pytest.raises(UserError, match=message):
        start(tmp_path, "--seeds", "4", "--looks", "2,4")
    with pytest.raises(UserError, match=message):
        plan_study(*asked(STUDY, "--out", str(tmp_path), *SHORT, "--seeds", "4", "--looks", "2,4"))


# --- Stein's interval -------------------------------------------------------------------------------------------------


def test_a_pair_is_declared_before_its_pilot(tmp_path: Path) -> None:
    first = start(tmp_path, *STEIN)
    (declared,) = first["stein_declared"]
    assert (declared["between"], declared["width"], declared["cap"]) == (["kd", "baseline"], 0.01, 50)
    assert (declared["pilot_seeds"], bool(declared["when"])) == ([0, 1, 2, 3, 4], True)
    again = start(tmp_path, "--interval", "0.01", "--between", "baseline,kd")  # the order does not matter
    assert again["stein_declared"] == start(tmp_path, "--seeds", "2")["stein_declared"] == [declared]
    start(tmp_path, *STEIN)  # a run without it in between changes nothing


@pytest.mark.parametrize(
    ("before", "flags", "message"),
    [
        (("--seeds", "2"), STEIN, "results at seeds 0–1, from a run that had not declared this pair.*--seed-list 2-6"),
        (("--seeds", "2"), (*STEIN, "--seed-list", "1-6"), "had not declared this pair.*--seed-list 2-7"),
        (("--seed-list", "9"), STEIN, "at seeds 9, .*--seed-list 10-14"),  # its rule could add seed 9
        (STEIN, ("--interval", "0.02", *STEIN[2:]), "declared --interval 0.01 --max-seeds 50 with the pilot seeds 0–4"),
        (STEIN, (*STEIN, "--max-seeds", "9"), "another choice after results were seen"),
        (STEIN, (*STEIN, "--seeds", "8"), "another choice after results were seen"),
        (STEIN, (*STEIN[:3], "at,baseline"), "had not declared this pair"),
    ],
)
def test_a_pair_whose_results_were_seen_is_refused(
    before: tuple[str, ...], flags: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    start(tmp_path, *before)
    with pytest.raises(UserError, match=message):
        start(tmp_path, *flags)
    with pytest.raises(UserError, match=message):
        plan_study(*asked(STUDY, "--out", str(tmp_path), *SHORT, *flags))


@pytest.mark.parametrize(
    ("before", "flags"),
    [
        (("--seeds", "2"), (*STEIN, "--seed-list", "2-6")),
        (("--seeds", "2"), (*STEIN, "--epochs", "3")),  # other trials
        (("--seeds", "2", "--arms", "at"), STEIN),  # of the pair only the baseline
        (STEIN, (*STEIN[:1], "0.02", *STEIN[2:], "--seed-list", "5-9")),
    ],
)
def test_a_pair_whose_results_are_new_is_taken(before: tuple[str, ...], flags: tuple[str, ...], tmp_path: Path) -> None:
    start(tmp_path, *before)
    assert len(start(tmp_path, *flags)["stein_declared"]) == 1 + (before == STEIN)


def test_an_interval_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    plan: Plan = tiny_plan(tmp_path, *STEIN)
    old = {"between": ["kd", "baseline"], "width": 0.01, "cap": 50, "pilot": 5, "n": 5}
    put_rows(plan, plan.trials)
    check_declarations(plan, {"stein": old})
    with pytest.raises(UserError, match="another choice after results were seen"):
        check_declarations(plan, {"stein": old | {"width": 0.02}})


def test_a_winner_is_no_arm_that_a_run_leaves_out(tmp_path: Path) -> None:
    contrast = {"Is the winner better?": ("winner-1", "baseline")}
    plan = tiny_plan(tmp_path, study=replace(SEARCHING, contrasts=contrast))
    record = study_record(plan)
    assert record["contrasts"][0]["lacks"] == ["winner-1"]
    assert remarks(record, plan.study.arms) == []
    found = study_record(with_arms(plan, {"winner-1": plan.arms["kd"].replace(lr=0.06)}))
    assert "lacks" not in found["contrasts"][0]


def test_a_study_without_declarations_has_none(tmp_path: Path) -> None:
    plain = Study("tiny", "?", STUDY.arms, STUDY.base, STUDY.teacher)
    found = declarations(tiny_plan(tmp_path, study=plain), {})
    assert {name for name, value in found.items() if value} == set()
    assert remarks({**found, "seeds": [0]}, plain.arms) == []
