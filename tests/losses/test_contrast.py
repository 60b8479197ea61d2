"""CRD: the images that it draws, and what it remembers of those that it has seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scl.losses import crd
from tests.support.losses import maps

LABELS = torch.tensor([2, 0, 1, 0, 1, 1, 2, 0, 0, 2, 1, 0])
BATCH = maps(0, 4, 3, dtype=torch.float32), maps(1, 4, 5, dtype=torch.float32)


def fresh(**options: float) -> crd:
    torch.manual_seed(0)
    return crd(3, 5, LABELS, **options)  # type: ignore[arg-type]


def test_draws_are_uniform_over_the_images_of_other_classes() -> None:
    loss, index, times = fresh(), torch.arange(12), 4000
    counts = torch.zeros(12, 12)
    for _ in range(times):
        counts.scatter_add_(1, loss.drawn(index), torch.ones(12, loss.negatives))
    other = LABELS[:, None] != LABELS
    expected = other * times * loss.negatives / other.sum(1, keepdim=True)
    assert torch.equal(counts == 0, ~other)
    assert ((counts - expected).abs() < 5 * expected.sqrt()).logical_or(~other).all()


@pytest.mark.parametrize(("asked", "used"), [(16384, 7), (7, 7), (3, 3), (1, 1)])
def test_no_more_negatives_than_images_outside_of_the_largest_class(asked: int, used: int) -> None:
    loss = fresh(negatives=asked)
    assert loss.negatives == used
    assert loss.drawn(torch.arange(4)).shape == (4, used)


def test_memories_move_half_way_to_the_embeddings_of_their_images_and_the_others_stay() -> None:
    loss, index = fresh(), torch.tensor([5, 1, 9, 0])
    before = loss.student_memory.clone()
    loss(*BATCH, index)
    s = torch.nn.functional.normalize(loss.embed_student(BATCH[0]))
    expected = before.clone()
    expected[index] = torch.nn.functional.normalize((before[index] + s.detach()) / 2)
    torch.testing.assert_close(loss.student_memory, expected)


def test_an_image_that_comes_twice_keeps_its_last_embedding() -> None:
    twice, once = fresh(), fresh()
    twice(*BATCH, torch.tensor([5, 1, 5, 0]))
    once(*(x[1:] for x in BATCH), torch.tensor([1, 5, 0]))
    for memory in ("student_memory", "teacher_memory"):
        torch.testing.assert_close(getattr(twice, memory), getattr(once, memory))


def test_the_constants_are_those_of_the_first_batch() -> None:
    loss, index = fresh(), torch.arange(4)
    loss(*BATCH, index)
    first = loss.constants.clone()
    loss(*(3 * x.flip(0) for x in BATCH), index)
    assert torch.equal(loss.constants, first)
    assert (first > 0).all()


@pytest.mark.parametrize(
    ("labels", "options", "problem"),
    [
        (torch.zeros(9, dtype=torch.int64), {}, "all training images are of one"),
        (LABELS, {"negatives": 0}, "a whole number from 1, got 0"),
        (LABELS, {"negatives": 2.5}, "a whole number from 1, got 2.5"),
        (LABELS, {"temperature": 0.0}, "temperature must be above 0, got 0"),
        (LABELS, {"momentum": 1.0}, "from 0 to below 1, got 1"),
        (LABELS, {"momentum": -0.1}, "from 0 to below 1, got -0.1"),
    ],
)
def test_what_cannot_be_contrasted_is_refused(labels: Tensor, options: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        crd(3, 5, labels, **options)  # type: ignore[arg-type]


def test_numbers_of_images_are_checked() -> None:
    with pytest.raises(ValueError, match=r"numbers of images must be \(B,\), got \(3,\)"):
        fresh()(*BATCH, torch.arange(3))
