"""Students whose deepest map is expanded while they train, and what is left of that afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.networks import build_student, start_from
from scl.models.staged import Features, Staged
from scl.store.files import open_folder
from scl.study.config import Config
from scl.study.term import Term
from scl.train.evaluation import evaluate
from scl.train.expanded import expand, expansion
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec
from tests.support.training import BASE, ends, stop_after

NORM = BASE.replace(losses={"norm": 1.0}, ce=0.5, epochs=2)


def features(*channels: int) -> Features:
    """Of a teacher whose maps have these channels."""
    return Features([torch.zeros(2, c, 4, 4) for c in channels], torch.zeros(2, 3), torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("changes", "teacher", "channels"),
    [
        ({}, features(8, 16), 8 * 16),
        ({"losses": {"norm": Term(1.0, options={"segments": 3})}}, features(7), 21),
        ({"losses": {"mine": Term(1.0, loss="norm", options={"segments": 1})}}, features(4, 7), 7),
        ({"losses": {"norm": Term(share=0.3)}}, features(2), 16),
        ({}, None, 0),  # the objective says that a loss needs a teacher, and that it needs maps
        ({}, features(), 0),
        ({"losses": {"norm": 0.0}}, features(7), 0),
        ({"losses": {"hint": 1.0}}, features(7), 0),
        ({"losses": {"hint": 1.0}, "expansion": 5}, features(7), 5),
        ({"losses": {}, "expansion": 5}, None, 5),
    ],
)
def test_a_map_is_expanded_to_the_segments_times_the_teachers_channels(
    changes: dict[str, Any], teacher: Features | None, channels: int
) -> None:
    assert expansion(NORM.replace(**changes), teacher) == channels


def test_too_many_segments_are_refused() -> None:
    config = NORM.replace(losses={"norm": Term(1.0, options={"segments": 10_000})})
    with pytest.raises(UserError, match=r"10000 segments of the teacher's channels are 70000, .* give fewer segments"):
        expansion(config, features(7))


def weights(config: Config, tiny: SplitData, seed: int) -> dict[str, Tensor]:
    network = build_student(config, tiny, seed)
    expand(network, config, None, seed)
    return network.state_dict()


def test_the_transform_is_drawn_from_the_seed_and_moves_no_other_number(tiny: SplitData) -> None:
    config = BASE.replace(expansion=24)
    before = torch.random.get_rng_state()
    one, again, other, without = (weights(c, tiny, s) for c, s in ((config, 0), (config, 0), (config, 1), (BASE, 0)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    assert all(torch.equal(tensor, one[name]) for name, tensor in without.items())
    assert {name.split(".")[0] for name in one.keys() - without.keys()} == {"transform"}
    assert not torch.equal(one["transform.up.0.weight"], other["transform.up.0.weight"])


CASES: dict[str, dict[str, Any]] = {
    "norm": {},
    "the control": {"losses": {}, "expansion": 40},
    "resnet": {"model": "resnet8", "losses": {"norm": Term(1.0, options={"segments": 2}), "kd": 0.5}},
    "wrn, by block": {"model": "wrn_16_1", "tap": "block"},
    "self-taught": {"self_taught": 3},
    "a branch": {"self_taught": 3, "self_taught_at": "branch"},
    "average and best epoch": {"ema": 0.9, "patience": 2},
    "bf16 and adamw": {"precision": "bf16", "optimizer": "adamw", "lr": 0.001, "layer_decay": 0.9, "head_lr": 2.0},
    "a share": {"losses": {"norm": Term(share=0.3)}, "ce": 1.0},
    "its own average teaches": {
        "losses": {"kd": 0.5}, "expansion": 16, "ema": 0.9, "taught_by": ("ema",),
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_final_student_is_the_plain_network_and_predicts_what_was_evaluated(
    case: str, tiny: SplitData, teacher: Teacher
) -> None:
    config = NORM.replace(**CASES[case])
    (ended,) = ends([TrialSpec("t", config, 0)], tiny, teacher).values()
    assert ended.metrics["error"] is None
    student = build_student(config, tiny, 0)
    assert {n: t.shape for n, t in student.state_dict().items()} == {n: t.shape for n, t in ended.weights.items()}
    start_from(student, ended.weights)
    assert isinstance(student, Staged)
    assert student.transform is None
    (logits,) = evaluate([student], tiny.test, tiny)
    torch.testing.assert_close(logits, ended.test_logits, rtol=1e-5, atol=1e-5)  # layouts round otherwise


@pytest.mark.parametrize("case", CASES)
def test_alone_in_a_cohort_and_resumed_it_has_the_same_numbers(
    case: str, tiny: SplitData, teacher: Teacher, tmp_path: Path
) -> None:
    config = NORM.replace(**CASES[case])
    plain = config.replace(losses={"kd": 1.0}, expansion=0, taught_by=())
    alone = ends([TrialSpec("t", config, 0)], tiny, teacher)["t"]
    beside = ends([TrialSpec("plain", plain, 0)], tiny, teacher)["plain"]
    together = ends([TrialSpec("plain", plain, 0), TrialSpec("t", config, 0)], tiny, teacher)
    resumed = TrialSpec("t", config, 0, open_folder(str(tmp_path)))
    stop_after(1, resumed, tiny, teacher)
    for one, other in (
        (alone, together["t"]),
        (alone, ends([resumed], tiny, teacher)["t"]),
        (beside, together["plain"]),
    ):
        assert one.epochs == other.epochs
        assert torch.equal(one.test_logits, other.test_logits)
        assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())


def test_norm_needs_a_teacher(tiny: SplitData) -> None:
    (ended,) = ends([TrialSpec("t", NORM, 0)], tiny, None).values()
    assert "'norm' needs a teacher" in ended.metrics["error"]
