"""What a data set and a size change in a study."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.scales import Scale, Setting
from scl.study.study import Study

STUDY = Study("s", "?", {"baseline": {}, "kd": {"losses": {"kd": 1}}, "at": {"losses": {"at": 1}}})


def test_resolving_applies_setting_then_flags_then_arm() -> None:
    one = replace(STUDY, settings={"digits": Setting(student={"width": 0.5, "lr": 0.2}, teacher={"epochs": 9})})
    arms, teacher = one.resolve("digits", None, {"lr": 0.3}, {})
    assert (arms["kd"].width, arms["kd"].lr, list(arms["kd"].losses)) == (0.5, 0.3, ["kd"])
    assert teacher.epochs == 9
    _, elsewhere = one.resolve("cifar100", None, {"epochs": 4}, {})
    assert elsewhere.epochs == 4


def test_arms_that_are_impossible_on_a_data_set_run_there_only_by_name() -> None:
    one = replace(STUDY, settings={"digits": Setting(without=("at",))})
    assert one.chosen("digits", None) == ["baseline", "kd"]
    assert one.chosen("cifar100", None) == ["baseline", "kd", "at"]
    assert one.chosen("digits", ["at"]) == ["baseline", "at"]


def test_a_scale_changes_configurations_arms_and_seeds() -> None:
    scale = Scale(student={"epochs": 2}, teacher={"lr": 0.3}, without=("at",), seeds=7)
    one = replace(STUDY, scales={"small": scale}).at("small")
    assert (one.base, one.teacher) == (Config(epochs=2), Config(model="plain11", lr=0.3))
    assert (one.seeds, one.asked_for, one.scales) == (7, ("at",), {})
    assert one.arms == STUDY.arms


def test_contrasts_and_roles_of_arms_that_a_scale_lacks_are_left_out() -> None:
    scales = {"two": Scale(arms={"baseline": {}, "kd": {"losses": {"kd": 1}}})}
    contrasts = {"Does KD help?": ("kd", "baseline"), "Does AT help?": ("at", "baseline")}
    one = replace(STUDY, scales=scales, contrasts=contrasts, roles={"at": "control"}).at("two")
    assert (list(one.contrast_weights), one.roles) == (["Does KD help?"], {})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Setting(students={}), r"Setting: unknown field 'students' \(did you mean 'student'"),
        (lambda: Scale(seed=3), r"Scale: unknown field 'seed' \(did you mean 'seeds'"),
        (lambda: Setting({}, {}, (), {}, None, 1), "Setting: 5 fields at most, got 6"),
    ],
)
def test_a_misspelt_field_is_named(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        make()


def test_a_setting_changes_arms_on_its_data_alone() -> None:
    one = replace(STUDY, settings={"digits": Setting(arms={"kd": {"losses": {"kd": 3}}})})
    assert one.resolve("digits", None, {}, {})[0]["kd"].losses["kd"].weight == 3
    assert one.resolve("cifar100", None, {}, {})[0]["kd"].losses["kd"].weight == 1
    of_recipe = {"kd": {"losses": {"kd": 9}}}
    assert one.resolve("digits", None, {}, {}, of_recipe)[0]["kd"].losses["kd"].weight == 9, "a recipe is asked for"
    few = replace(one, scales={"few": Scale(arms={"baseline": {}, "at": {"losses": {"at": 1}}})}).at("few")
    assert list(few.resolve("digits", None, {}, {})[0]) == ["baseline", "at"], "the arm is not of this scale"


@pytest.mark.parametrize(
    ("arms", "rule"),
    [
        ({"kdd": {}}, r"unknown arm in settings\['digits'\] 'kdd'.*valid: kd"),
        ({"kd": 3}, "arms of 'digits' must be a dict of names and changes"),
        (["kd"], "arms of 'digits' must be a dict of names and changes"),
    ],
)
def test_a_settings_arms_are_checked(arms: object, rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        replace(STUDY, settings={"digits": Setting(arms=arms)})  # type: ignore[arg-type]
