"""What a run is asked for: options and their checks."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.options import Options, flags_of, options_for
from scl.study.recipes import RECIPES
from scl.study.scales import Scale
from scl.study.search import Search
from scl.study.settled import settled
from scl.study.space import Choice, Float
from scl.study.study import Study

ARMS: dict[str, dict[str, Any]] = {"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 10.0}}}
STUDY = Study("options", "?", ARMS, base=Config(epochs=5), teacher=Config(model="plain11", epochs=7))
SEARCH = Search(
    {"weight.kd": Float(0.1, 10.0, log=True), "lr": Float(0.01, 0.1), "self_taught": Choice((0, 4))},
    template={"losses": {"at": 10.0, "kd": 1.0}, "width": 0.5},
)
SEARCHING = replace(STUDY, search=SEARCH)
SCALES = {
    "short": Scale(student={"epochs": 2}, data="digits", limit=100, val=0.2, seeds=2),
    "full": Scale(
        teacher={"epochs": 9}, arms={"baseline": {}, "kd": {"losses": {"kd": 2.0}}}, without=("kd",), val=0.0
    ),
}
SCALED = replace(STUDY, scales=SCALES)
CRD = dict(RECIPES["crd"].fields)
CRD_TEACHER = {name: value for name, value in CRD.items() if name != "tap"}  # which changes no teacher


def settle(study: Study = STUDY, **given: Any) -> tuple[Study, Options]:
    return settled(study, options_for(study, given))


# --- which options there are, and their values ----------------------------------------------------------------------


def test_every_option_is_declared_and_the_record_is_none() -> None:
    names = [f.name for f in dataclasses.fields(Options)]
    some_search_and_scales = replace(SEARCHING, scales=SCALES)
    no_flags = ("command", "script", "scale_val")
    assert list(flags_of(some_search_and_scales)) == [name for name in names if name not in no_flags]
    for flag in flags_of(some_search_and_scales).values():
        assert flag.help if isinstance(flag.help, str) else flag.help(some_search_and_scales)


OF_SEARCH = {
    "trials", "storage", "start_from", "fix", "sampler", "pruner", "trial_seeds", "terminate",
}  # fmt: skip


@pytest.mark.parametrize(
    ("study", "names"),
    [
        (STUDY, set()),
        (SEARCHING, OF_SEARCH),
        (SCALED, {"scale"}),
        (replace(SEARCHING, scales=SCALES), {*OF_SEARCH, "scale"}),
    ],
    ids=["arms", "search", "scales", "both"],
)
def test_options_of_a_search_and_of_scales_exist_for_those_studies_alone(study: Study, names: set[str]) -> None:
    every = {f.name for f in dataclasses.fields(Options) if f.metadata and f.metadata["flag"].needs}
    assert flags_of(study).keys() & every == names
    for name in every - names:
        need = "scales" if name == "scale" else "a search"
        with pytest.raises(UserError, match=f"^<{name}> is for studies with {need}, and .* has none; valid: <arms>, "):
            options_for(study, {name: "3"}, lambda name: f"<{name}>")


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({}, {}),
        ({"seeds": None, "inline": None}, {}),
        ({"seeds": "3", "lr": "0.1", "inline": True}, {"seeds": 3, "lr": 0.1, "inline": True}),
        ({"cohort_size": "auto"}, {"cohort_size": None}),
        ({"set": {"lr": 0.1}}, {"set": {"lr": 0.1}}),
    ],
)
def test_options_are_the_checked_values_over_the_defaults(given: dict[str, Any], option: dict[str, Any]) -> None:
    assert options_for(STUDY, given) == Options(**option)


def test_all_mistakes_are_named_at_once_and_as_they_are_spelled() -> None:
    with pytest.raises(UserError) as error:
        options_for(STUDY, {"sedes": 1, "lr": -1, "seeds": 0}, lambda name: f"<{name}>")
    lines = str(error.value).splitlines()
    assert lines[0].startswith("unknown option '<sedes>' (did you mean '<seeds>'?); valid: <seeds>, ")
    assert lines[1:] == [
        "<lr>: must be a finite number, above 0, got -1",
        "<seeds>: must be a whole number of 1 to 100,000, got 0",
    ]


# --- what options change --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "student", "teacher"),
    [
        ({}, {}, {}),
        (
            {"student": "plain3", "width": 2, "epochs": 4, "batch_size": 8, "lr": 0.3, "precision": "bf16"},
            {"model": "plain3", "width": 2.0, "epochs": 4, "batch_size": 8, "lr": 0.3, "precision": "bf16"},
            {"precision": "bf16"},
        ),
        (
            {"teacher_model": "plain7", "teacher_width": 0.5, "teacher_epochs": 3},
            {},
            {"model": "plain7", "width": 0.5, "epochs": 3},
        ),
        # Models of other libraries have no width factor.
        ({"student": "timm:x"}, {"model": "timm:x", "width": 1.0}, {}),
        ({"teacher_model": "torchvision:x"}, {}, {"model": "torchvision:x", "width": 1.0}),
        ({"teacher": "timm:x"}, {}, {"model": "timm:x", "width": 1.0, "pretrained": True}),
        ({"teacher": "mine.pt"}, {}, {}),
        ({"teacher_layers": "a,b"}, {"teacher_layers": ("a", "b")}, {}),
        ({"recipe": "crd"}, CRD, CRD_TEACHER),
        ({"recipe": "crd", "lr": 9.0}, {**CRD, "lr": 9.0}, CRD_TEACHER),
    ],
)
def test_changes_of_the_students_and_of_the_teacher(
    given: dict[str, Any], student: dict[str, Any], teacher: dict[str, Any]
) -> None:
    options = options_for(STUDY, given)
    assert options.student_changes() == student
    assert options.teacher_changes() == teacher


@pytest.mark.parametrize(
    ("teacher", "file"), [(None, None), ("mine.pt", "mine.pt"), ("timm:x", None), ("torchvision:x", None)]
)
def test_a_teacher_is_a_file_or_a_model_of_a_library(teacher: str | None, file: str | None) -> None:
    assert Options(teacher=teacher).teacher_file == file


@pytest.mark.parametrize(
    ("given", "share"), [({}, 0.1), ({"val": 0.3}, 0.3), ({"recipe": "crd"}, 0.0), ({"recipe": "crd", "val": 0.3}, 0.3)]
)
def test_the_share_held_out(given: dict[str, Any], share: float) -> None:
    assert options_for(STUDY, given).val_share == share
