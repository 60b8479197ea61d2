"""Terms: order, plain numbers, and their part of a trial's id."""

from __future__ import annotations

import numpy as np
import pytest

from scl.errors import UserError
from scl.study.term import Term, checked_terms, requested_options, requested_term


def test_terms_are_sorted_and_weights_become_terms() -> None:
    terms, problems = checked_terms({"kd": np.float32(0.5), "at": Term(2, layers=[np.int64(1)])})
    assert problems == []
    assert list(terms) == ["at", "kd"]
    assert terms["kd"] == Term(0.5, loss="kd")
    assert terms["at"] == Term(2.0, layers=(1,), loss="at")
    assert {type(t.weight) for t in terms.values()} == {float}


def test_every_problem_is_reported_with_the_name_of_its_term() -> None:
    _, problems = checked_terms({"kd": Term(-1.0, warmup=-2), "nosuch": 1.0, "at": Term(1.0, options={"power": 2})})
    assert problems == [
        "loss 'at': unknown option 'power'; valid: (none)",
        "loss 'kd': weight must be a finite number of 0 or more, got -1.0",
        "loss 'kd': warmup must be a whole number of epochs, 0 or more, got -2",
        next(p for p in problems if p.startswith("loss 'nosuch': unknown loss 'nosuch'")),
    ]


def test_the_id_of_a_term_leaves_out_defaults() -> None:
    term = Term(1.0, loss="kd", warmup=0, options={"temperature": 4})
    assert requested_term("kd", term) == {"weight": 1.0}
    other = Term(1.0, loss="kd", warmup=3, layers=(1,), options={"temperature": 2})
    assert requested_term("soft", other) == {
        "weight": 1.0, "warmup": 3, "layers": (1,), "loss": "kd", "options": {"temperature": 2.0},
    }  # fmt: skip


def test_options_of_a_custom_loss_are_all_in_the_id_and_must_be_plain() -> None:
    def loss(student: object, teacher: object, power: int = 2, table: object = None) -> None: ...

    term = Term(1.0, loss=loss, options={"power": 2, "table": {"a": (1, 2.5)}})
    assert requested_options("mine", term) == {"power": 2, "table": {"a": [1, 2.5]}}
    with pytest.raises(UserError, match="option 'table' is of type object"):
        requested_options("mine", Term(1.0, loss=loss, options={"table": object()}))
