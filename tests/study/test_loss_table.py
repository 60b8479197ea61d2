"""The table of built-in losses agrees with their code."""

from __future__ import annotations

import inspect

import pytest
from torch import nn

from scl import losses
from scl.study.loss_table import COMPARES, LOSSES, LossRow
from scl.study.term import Term, loss_row
from tests.support.losses import loss_of


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_says_what_the_function_takes(name: str) -> None:
    row, loss = LOSSES[name], loss_of(name)
    parameters = inspect.signature(loss).parameters.values()
    assert {p.name: p.default for p in parameters if p.default is not p.empty} == row.options
    assert row.learned == (inspect.isclass(loss) and issubclass(loss, nn.Module))
    expected = ["student_channels", "teacher_channels"] if row.learned else ["student", "teacher"]
    expected += ["labels"] * row.remembers + ["batch_size"] * row.of_batches
    assert [p.name for p in parameters if p.default is p.empty] == expected + ["target"] * row.needs_target
    assert row.compares in COMPARES
    assert set(row.words) == {option for option, value in row.options.items() if isinstance(value, str)}
    assert all(row.options[option] in words for option, words in row.words.items())


def test_every_public_loss_has_a_row_and_every_row_is_public() -> None:
    assert {row.function.partition(".")[2] for row in LOSSES.values()} == set(losses.__all__)
    assert all(getattr(losses, row.function.partition(".")[2]) is loss_of(name) for name, row in LOSSES.items())


def test_custom_losses_get_rows() -> None:
    class Module(nn.Module):
        pass

    def function(student: object, teacher: object, power: int = 2) -> None: ...

    assert loss_row(Term(1.0, loss="kd")) is LOSSES["kd"]
    assert loss_row(Term(1.0, loss=function, compares="pairs")) == LossRow("", "pairs")
    assert loss_row(Term(1.0, loss=Module)).learned
