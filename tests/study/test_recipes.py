"""Named recipes, at their length and at others."""

from __future__ import annotations

import pytest

from scl.study.config import Config
from scl.study.recipes import RECIPES, at_length
from scl.study.scales import Setting
from scl.study.settled import moved_milestones, resolved
from scl.study.study import Study
from scl.study.term import LOSSES
from tests.support.studies import asked


def test_a_recipe_gives_arms_that_are_named_after_a_loss_their_published_setting() -> None:
    study = Study(
        name="s", question="?", arms={"baseline": {}, "kd": {"losses": {"kd": 3.0}}, "mine": {"losses": {"at": 3.0}}}
    )
    crd = RECIPES["crd"]
    arms, _ = study.resolve("digits", None, dict(crd.fields), {}, crd.arms)
    assert (arms["kd"].ce, arms["kd"].losses["kd"].weight) == (0.1, 0.9)
    assert arms["mine"].losses["at"].weight == 3.0
    assert list(arms) == ["baseline", "kd", "mine"]
    base = Config().replace(**crd.fields)
    assert all(base.replace(**arm) for arm in crd.arms.values())
    assert set(crd.arms) == set(LOSSES) - {"channel", "spatial", "logit"}


def test_a_recipe_of_another_length_keeps_its_shape() -> None:
    crd = RECIPES["crd"]
    assert at_length(crd, None) == at_length(crd, 240) == crd.fields
    assert at_length(crd, 60) == {**crd.fields, "epochs": 60, "milestones": (38, 45, 52)}
    assert at_length(crd, 1)["milestones"] == (1,)
    assert at_length(RECIPES["short"], 5) == {**RECIPES["short"].fields, "epochs": 5}


@pytest.mark.parametrize(
    ("flags", "epochs", "said"),
    [
        ((), (240, 240), ""),
        (("--epochs", "60"), (60, 60), "students 38, 45, 52; teacher 38, 45, 52"),
        (("--epochs", "60", "--teacher-epochs", "24"), (60, 24), "students 38, 45, 52; teacher 15, 18, 21"),
    ],
)
def test_a_recipe_is_for_the_teacher_too(flags: tuple[str, ...], epochs: tuple[int, int], said: str) -> None:
    """Also where the study sets the teacher's epochs for a data set; and milestones that move are said."""

    setting = Setting(teacher={"epochs": 40, "width": 0.25})
    study = Study(name="x", question="?", arms={"baseline": {}}, settings={"digits": setting})
    _, options = asked(study, "--recipe", "crd", *flags)
    arms, teacher = resolved(study, options)
    assert (arms["baseline"].epochs, teacher.epochs) == epochs
    assert teacher.milestones == at_length(RECIPES["crd"], teacher.epochs)["milestones"]
    assert teacher.width == 0.25
    assert moved_milestones(options).rpartition("in proportion: ")[2] == said
