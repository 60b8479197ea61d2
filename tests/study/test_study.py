"""Arms resolve under settings, flags and recipes; mistakes are named."""

from __future__ import annotations

import dataclasses

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.designs import grid
from scl.study.study import Study


def study(**changes: object) -> Study:
    arms = {"baseline": {}, "kd": {"losses": {"kd": 1}}}
    return dataclasses.replace(Study("s", "?", arms), **changes)  # type: ignore[arg-type]


def test_equal_arms_and_unknown_arms_are_refused() -> None:
    with pytest.raises(UserError, match="'kd' and 'again' are one configuration"):
        study(arms={"baseline": {}, "kd": {"losses": {"kd": 1}}, "again": {"losses": {"kd": 1.0}}}).resolve(
            "digits", None, {}, {}
        )
    with pytest.raises(UserError, match=r"unknown arm 'kdd'.*valid: kd, baseline"):
        study().resolve("digits", ["kdd"], {}, {})
    with pytest.raises(UserError, match="arm 'x': Config: unknown field"):
        study(arms={"baseline": {}, "x": {"lrr": 1}}).resolve("digits", None, {}, {})


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "x" * 65])
def test_a_study_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(UserError, match="names a folder"):
        study(name=name)


@pytest.mark.parametrize("name", ["teachers", "Teachers", "TEACHERS"])
def test_a_study_cannot_take_the_folder_of_the_teachers(name: str) -> None:
    with pytest.raises(UserError, match="this folder holds the trained teachers, which studies share; choose"):
        study(name=name)
    assert study(name=f"{name}-2").name == f"{name}-2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "name must be text, got 3"),
        ({"name": None}, "name must be text"),
        ({"question": None}, "question must be text"),
        ({"arms": ["baseline"]}, "arms must be a dict of names and changes"),
        ({"arms": {"baseline": None}}, "arms: 'baseline' must be text, and its value a dict of what it changes"),
        ({"arms": {"baseline": {}, 3: {}}}, "arms: 3 must be text"),
        ({"base": {"lr": 1}}, "base must be a scl.Config"),
        ({"teacher": "plain11"}, "teacher must be a scl.Config, got 'plain11'"),
        ({"asked_for": "kd"}, "asked_for must be a list of arms, got 'kd'"),
        ({"asked_for": None}, "asked_for must be a list of arms"),
        ({"seeds": 0}, "seeds must be a whole number of 1 or more, got 0"),
        ({"seeds": True}, "seeds must be a whole number"),
        ({"seeds": "3"}, "seeds must be a whole number"),
        ({"settings": {"digits": {"lr": 1}}}, "settings: 'digits' must be text, and its value a scl.Setting"),
        ({"scales": {"full": {}}}, "scales: 'full' must be text, and its value a scl.Scale"),
        ({"scales": []}, "scales must be a dict"),
        ({"search": {"lr": 1}}, "search must be a scl.Search"),
        ({"published": 0.7}, "published must be a Published"),
        ({"teacher_per_seed": 1}, "teacher_per_seed must be True or False"),
        ({"teachers": 0}, "teachers must be a whole number of 1 or more, got 0"),
        ({"teachers": "2"}, "teachers must be a whole number of 1 or more, got '2'"),
        ({"teachers": 2, "teacher_per_seed": True}, "teachers and teacher_per_seed exclude each other"),
        ({"arms": None, "seeds": 0}, "Study: arms must be .*; Study: seeds must be"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(**changes)


def test_the_baseline_always_runs() -> None:
    arms, _ = study().resolve("digits", ["kd"], {}, {})
    assert list(arms) == ["baseline", "kd"]


def test_a_teacher_trains_for_its_own_epochs_else_for_the_students() -> None:
    base = Config(epochs=5)
    for teacher, flags, epochs in (
        (Config(model="plain11"), {}, 5),
        (Config(model="plain11", epochs=7), {}, 7),
        (Config(model="plain11", epochs=7), {"epochs": 9}, 9),
    ):
        study = Study(name="s", question="?", arms={"baseline": {}}, base=base, teacher=teacher)
        assert study.resolve("digits", None, {}, flags)[1].epochs == epochs


def test_a_mistake_of_every_arm_is_told_once() -> None:
    study = Study(name="x", question="?", arms={"baseline": {}} | grid({"lrr": [1.0, 2.0], "width": [1.0, 2.0]}))
    with pytest.raises(UserError) as error:
        study.resolve("digits", None, {}, {})
    assert str(error.value).count("unknown field 'lrr'") == 1
    assert "'lrr=1/width=1', 'lrr=1/width=2'" in str(error.value)


def test_milestones_that_are_never_reached_are_refused() -> None:
    late = {"schedule": "multistep", "milestones": (10, 40), "epochs": 30}
    with pytest.raises(UserError, match="'late': milestones 40 lie after the last of 30 epochs"):
        Study(name="x", question="?", arms={"baseline": {}, "late": late}).resolve("digits", None, {}, {})
    with pytest.raises(UserError, match="the teacher: milestones 40"):
        Study(name="x", question="?", arms={"baseline": {}}, teacher=Config(**late)).resolve("digits", None, {}, {})


UNPRINTABLE = ["a\nb", "\x1b[1m", "a\x7f", "\x9b2J", "x\u202egnp", "\u2067x", "a\u2028b", "\udc80"]


@pytest.mark.parametrize("name", ["", " ", "a" * 301, *UNPRINTABLE])
def test_an_arm_name_is_printable(name: str) -> None:
    with pytest.raises(UserError, match="1-300 printable characters"):
        study(arms={"baseline": {}, name: {}})


@pytest.mark.parametrize("name", ["kd × 0.5", "שלום", "👩\u200d🔬", "=cmd", "a" * 300])
def test_an_arm_name_may_be_in_any_script(name: str) -> None:
    assert name in study(arms={"baseline": {}, name: {}}).arms
