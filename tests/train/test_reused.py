"""Students that keep the teacher's classifier, behind a projector."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.networks import build_student, start_from
from scl.study.config import Config
from scl.train.inputs import Inputs
from scl.train.reused import with_classifier, with_projector
from scl.train.teacher import Teacher, build_teacher
from scl.train.types import TrialSpec
from tests.support.networks import Net
from tests.support.studies import CPU
from tests.support.training import BASE, ends

SIMKD = BASE.replace(losses={"simkd": 1.0}, ce=0.0)


@pytest.mark.parametrize(
    ("teacher", "channels"),
    [
        ({"model": "plain11", "width": 0.25}, 128),
        ({"model": "plain3", "width": 0.1}, 51),
        ({"model": "vgg13"}, 512),
        ({"model": "resnet32x4"}, 256),
        ({"model": "wrn_40_2"}, 128),
        ({"model": "resnet20", "projector": 7}, 7),
    ],
)
def test_a_projector_is_as_wide_as_what_the_teachers_classifier_reads(teacher: dict[str, Any], channels: int) -> None:
    config = with_projector(SIMKD, Config(**teacher))
    assert config == SIMKD.replace(projector=channels)
    assert with_projector(config, Config(**teacher)) == config
    with pytest.raises(UserError, match=f"reads {channels} channels, and projector is 3; leave projector out"):
        with_projector(SIMKD.replace(projector=3), Config(**teacher))


@pytest.mark.parametrize("changes", [{"losses": {"hint": 1.0}}, {"losses": {"simkd": 0.0}}, {"projector": 9}])
def test_other_students_stay_as_they_are(changes: dict[str, Any], tiny: SplitData, teacher: Teacher) -> None:
    config = BASE.replace(**changes)
    assert with_projector(config, Config(model="torchvision:resnet18")) == config
    trial = TrialSpec("t", config, 0)
    assert with_classifier(trial, teacher) is trial
    assert all(p.requires_grad for p in build_student(config, tiny, 0).parameters())


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"model": "torchvision:resnet18"}, "torchvision:resnet18 is no network of scl"),
        ({"model": "timm:resnet18"}, "timm:resnet18 is no network of scl"),
        ({"model": Net}, "Net is no network of scl"),
        ({"model": "plain11", "self_taught": 2}, "plain11 has self-taught neurons, which it reads too"),
        ({"model": "vgg8", "self_taught": (0, 0, 0, 1), "guided": "all"}, "vgg8 has self-taught neurons"),
    ],
)
def test_a_classifier_that_reads_more_than_the_deepest_map_is_refused(teacher: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"{message}.*; choose one of scl's networks"):
        with_projector(SIMKD, Config(**teacher))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "lr": 0.001, "ce": 1.0, "layer_decay": 0.9},
        {"ema": 0.9, "patience": 2, "clip_norm": 1.0},
        {"model": "resnet8", "losses": {"simkd": 1.0, "hint": 0.1, "kd": 0.5}},
        {"model": "wrn_16_1", "precision": "bf16"},
    ],
)
def test_the_classifier_stays_the_teachers_and_all_else_learns(
    changes: dict[str, Any], tiny: SplitData, teacher: Teacher
) -> None:
    config = with_projector(SIMKD.replace(**{**changes, "epochs": 1}), teacher.config)
    (ended,) = ends([TrialSpec("t", config, 0)], tiny, teacher).values()
    assert ended.metrics["error"] is None
    started = dict(build_student(config, tiny, 0).named_parameters())
    for name, parameter in started.items():
        same = teacher.weights[name] if name.startswith("classifier") else parameter
        assert torch.equal(ended.weights[name], same) == name.startswith("classifier"), name


def test_a_student_predicts_by_the_teachers_classifier_on_its_projected_map(tiny: SplitData, teacher: Teacher) -> None:
    """So where the maps agree, the logits do."""
    config = with_projector(SIMKD, teacher.config)
    student = build_student(config, tiny, 0).eval()
    start_from(student, with_classifier(TrialSpec("t", config, 0), teacher).weights or {})
    guide = build_teacher(teacher, tiny, CPU)
    images = torch.randn(4, *tiny.image_shape)
    with torch.no_grad():
        mine, its = (network.features(images) for network in (student, guide))  # type: ignore[operator]
        assert mine.maps[-1].shape == its.maps[-1].shape
        torch.testing.assert_close(guide.classifier(mine.maps[-1].mean((2, 3))), mine.logits)  # type: ignore[operator]
    assert mine.embedding.shape == its.embedding.shape


def test_the_classifier_gives_the_classes_of_the_data(teacher: Teacher) -> None:
    """A teacher from a file may have more classes, in another order."""
    weights = {**teacher.weights, "classifier.weight": torch.randn(12, 64), "classifier.bias": torch.randn(12)}
    columns = (11, 3, 0, 1, 2, 4, 5, 6, 7, 9)
    elsewhere = Teacher(teacher.config, weights, None, Inputs(columns=columns, outputs=12))
    trial = TrialSpec("t", with_projector(SIMKD, teacher.config), 0, weights={"stem": torch.ones(1)})
    found = with_classifier(trial, elsewhere).weights
    assert found is not None
    assert found.keys() == {"stem", "classifier.weight", "classifier.bias"}
    for i, column in enumerate(columns):
        assert torch.equal(found["classifier.weight"][i], weights["classifier.weight"][column])
        assert found["classifier.bias"][i] == weights["classifier.bias"][column]


@pytest.mark.parametrize("projector", [0, 3])
def test_a_trial_without_the_right_projector_fails(projector: int, tiny: SplitData, teacher: Teacher) -> None:
    trial = TrialSpec("t", SIMKD.replace(projector=projector, epochs=1), 0)
    beside = TrialSpec("kd", BASE.replace(losses={"kd": 1.0}, epochs=1), 0)
    ended = ends([trial, beside], tiny, teacher)
    assert ended["kd"].metrics["state"] == "completed"
    assert "projector" in ended["t"].metrics["error"]
