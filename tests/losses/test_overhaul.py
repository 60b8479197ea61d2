"""OFD: which differences from the teacher count."""

from __future__ import annotations

import pytest
import torch

from scl.losses import overhaul


# An entry of the student and of the teacher, and another of the teacher that gives its channel the margin -1.
@pytest.mark.parametrize(
    ("student", "teacher", "other", "expected"),
    [
        (2.0, 3.0, -1.0, 1.0),  # the neuron answers: any difference counts
        (-5.0, 3.0, -1.0, 64.0),
        (2.0, -0.5, -1.5, 6.25),  # it is silent and the student's is not
        (-0.25, -0.5, -1.5, 0.0625),
        (-3.0, -0.5, -1.5, 0.0),  # both are silent
        (2.0, -1.5, -0.5, 9.0),  # below the margin: the margin is enough
        (-0.5, -1.5, -0.5, 0.25),
        (-1.0, -1.5, -0.5, 0.0),
    ],
)
def test_a_silent_neuron_may_be_more_silent(student: float, teacher: float, other: float, expected: float) -> None:
    s, t = (torch.tensor(entries)[None, None, None] for entries in ((student, -9.0), (teacher, other)))
    assert overhaul._partial(s, t).item() == pytest.approx(expected)


def test_without_negative_entries_it_is_the_distance_where_the_teacher_or_the_student_answers() -> None:
    s, t = torch.randn(3, 4, 5, 5), torch.randn(3, 4, 5, 5).relu()
    expected = (s - t).square()[(s > 0) | (t > 0)].sum() / 3
    torch.testing.assert_close(overhaul._partial(s, t), expected)


def test_each_deeper_layer_counts_twice_as_much() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(4, 3, 4, 4) for _ in range(2)]
    loss = overhaul.ofd((3, 3, 3, 3), (3, 3, 3, 3))
    for connector in loss.connectors:
        connector.load_state_dict(loss.connectors[0].state_dict())
    embedding = torch.randn(4, 3, 1, 1)

    def value(*layers: bool) -> float:
        teacher = [maps[1] if differs else loss.connectors[0](maps[0]).detach() for differs in layers]
        return loss((*[maps[0]] * 3, embedding), (*teacher, embedding)).item()

    alone = value(False, False, True)
    assert alone > 0
    assert value(False, True, False) == pytest.approx(alone / 2)
    assert value(True, False, False) == pytest.approx(alone / 4)
