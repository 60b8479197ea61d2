"""The teacher of a cohort: its network, and the features that it computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from scl.data.batches import SplitData
from scl.models.networks import build_student
from scl.models.staged import Wanted
from scl.store.files import open_folder
from scl.train.loop import train_cohort
from scl.train.teacher import Teacher, TeacherForward, build_teacher, mean_teacher
from scl.train.types import TrialEnded, TrialSpec
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


@pytest.mark.parametrize("name", ["own average", "two and the average", "two and the average, each"])
def test_students_of_several_teachers_are_bitwise_the_same_alone_together_and_resumed(
    tiny: SplitData, teacher: Teacher, tmp_path: Path, name: str
) -> None:
    other = Teacher(teacher.config, {n: t * 0.9 for n, t in teacher.weights.items()}, -teacher.test_logits)  # type: ignore[operator]
    guide = mean_teacher([teacher, other]) if name.startswith("two") else teacher
    by = ("teacher", "teacher", "ema") if name.startswith("two") else ("ema",)
    config = ARMS["kd"].replace(ema=0.9, taught_by=by, mean_of="losses" if name.endswith("each") else "logits")
    plain = ARMS["kd"].replace(taught_by=by[:-1])

    def trained(*trials: TrialSpec, **how: Any) -> dict[str, TrialEnded]:
        events = train_cohort(trials, tiny, guide, CPU, **how)
        return {e.trial_id: e for e in events if isinstance(e, TrialEnded)}

    alone = trained(TrialSpec("a", config, 0))["a"]
    together = trained(TrialSpec("b", plain, 0), TrialSpec("a", config, 0))
    assert alone.epochs == together["a"].epochs
    assert alone.epochs != together["b"].epochs
    files, steps = open_folder(str(tmp_path)), iter(range(1000))
    assert not trained(TrialSpec("a", config, 0, files), stop=lambda: next(steps) > 6)
    resumed = trained(TrialSpec("a", config, 0, files))["a"]
    assert resumed.metrics["restarts"] == 1
    assert resumed.epochs == alone.epochs
    assert torch.equal(resumed.test_logits, alone.test_logits)  # type: ignore[arg-type]


def test_several_teachers_give_the_mean_of_their_logits(tiny: SplitData, teacher: Teacher) -> None:
    other = Teacher(teacher.config, {n: t * 0.9 for n, t in teacher.weights.items()}, -teacher.test_logits)  # type: ignore[operator]
    both = mean_teacher([teacher, other])
    assert both.test_logits is not None
    assert torch.equal(both.test_logits, torch.zeros_like(both.test_logits))
    images = torch.rand(4, *tiny.image_shape)
    one, two, mean = (
        TeacherForward(build_teacher(t, tiny, CPU), "relu", False)(images, None) for t in (teacher, other, both)
    )
    torch.testing.assert_close(mean.logits, (one.logits + two.logits) / 2)
    for logits, of in zip(mean.each, (one, two), strict=True):
        torch.testing.assert_close(logits, of.logits)
    assert not mean.maps
