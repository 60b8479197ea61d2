"""The teacher of a cohort: its network, and the features that it computes."""

from __future__ import annotations

import pytest
import torch

from scl.data.batches import SplitData
from scl.models.networks import build_student
from scl.models.staged import Wanted
from scl.train.loop import train_cohort
from scl.train.teacher import Teacher, TeacherForward, build_teacher
from scl.train.types import TrialSpec
from tests.support.studies import CPU
from tests.support.training import ARMS


def test_a_teacher_is_built_with_its_weights_in_evaluation_mode(tiny: SplitData, teacher: Teacher) -> None:
    network = build_teacher(teacher, tiny, CPU)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(tensor, teacher.weights[name]) for name, tensor in network.state_dict().items())


def test_its_forward_pass_gives_the_features_of_its_network(tiny: SplitData, teacher: Teacher) -> None:
    plain = build_student(teacher.config, tiny, 0)
    plain.load_state_dict(teacher.weights)
    images = torch.rand(4, *tiny.image_shape)
    with torch.no_grad():
        expected = plain.eval().features(images)  # type: ignore[operator]
    found = TeacherForward(build_teacher(teacher, tiny, CPU), "relu", bf16=False)(images, None)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)
    for one, other in zip(found.maps, expected.maps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not found.logits.requires_grad


def test_a_cohort_asks_its_teacher_for_what_its_arms_read(
    tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[Wanted | None] = set()
    answer = TeacherForward.__call__
    monkeypatch.setattr(
        TeacherForward, "__call__", lambda self, x, wanted: (asked.add(wanted), answer(self, x, wanted))[1]
    )

    def train(*names: str) -> set[Wanted | None]:
        asked.clear()
        list(train_cohort([TrialSpec(name, ARMS[name], 0) for name in names], tiny, teacher, CPU))
        return set(asked)

    assert train("baseline") == set()
    assert train("baseline", "hint") == {Wanted(frozenset({1}), False)}
    assert train("hint", "kd") == {Wanted(frozenset({1}), True)}
