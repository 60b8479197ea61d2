"""Terms: order, plain numbers, and their part of a trial's id."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.identity import effective, requested
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


@pytest.mark.parametrize("share", [0.3, 1, 2.5, 1e-3, np.float32(0.5), np.int64(2), Fraction(1, 2)])
def test_a_share_stands_in_place_of_a_weight(share: Any) -> None:
    terms, problems = checked_terms({"kd": Term(share=share)})
    assert problems == []
    assert terms["kd"] == Term(1.0, loss="kd", share=float(share))
    assert type(terms["kd"].share) is float
    assert requested_term("kd", terms["kd"]) == {"weight": 1.0, "share": float(share)}
    assert requested(Config(losses={"kd": Term(share=share)})) != requested(Config(losses={"kd": 1.0}))


def test_a_share_of_none_is_in_no_id() -> None:
    assert requested_term("kd", Term(0.9, loss="kd", share=None)) == {"weight": 0.9}
    off = Config(losses={"kd": Term(0, share=0.3)})
    assert effective(off) == effective(Config())


REFUSED: list[Any] = [0, 0.0, -0.0, -0.3, math.nan, math.inf, -math.inf, True, False, "0.3", "", b"1", [0.3], (),
                      {}, 0.3j, object(), np.array([0.3, 0.4]), np.bool_(True), Decimal("0.3"), 10**400]  # fmt: skip


@pytest.mark.parametrize("share", REFUSED, ids=lambda value: type(value).__name__)
def test_what_is_no_share_is_refused(share: Any) -> None:
    with pytest.raises(UserError, match=r"loss 'kd': share must be a finite number above 0, as in share=0.3 .weight=0"):
        Config(losses={"kd": Term(share=share)})


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ({}, "'weight' must be given, as in Term.0.9., or 'share', as in Term.share=0.3."),
        ({"layers": (1,)}, "'weight' must be given"),
        ({"share": None}, "'weight' must be given"),
        ({"share": 0.3, "stage": "pretrain"}, "does not train in the stage 'pretrain', got 0.3; give a weight"),
        ({"shares": 0.3}, "unknown field 'shares' .did you mean 'share'"),
        ({"weight": -1, "share": 0.3}, "weight must be a finite number of 0 or more, got -1"),
        ({"weight": None, "share": 0.3}, "weight must be a finite number of 0 or more, got None"),
        ({"weight": math.nan}, "weight must be a finite number of 0 or more, got nan"),
        ({"weight": math.nan, "share": 0.3}, "weight must be a finite number of 0 or more, got nan"),
    ],
)
def test_terms_without_a_weight_or_a_share_that_means_something_are_refused(term: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Config(losses={"kd": Term(**term)}, pretrain_epochs=1)
