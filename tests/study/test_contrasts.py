"""Declared contrasts and roles: three forms, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scl.errors import UserError
from scl.study.contrasts import checked_roles, direction, weights_of
from scl.study.controls import self_taught_controls
from scl.study.designs import Design, add_one_in, leave_one_out
from scl.study.scales import Scale
from scl.study.search import Search
from scl.study.space import Float
from scl.study.study import Study

ARMS: dict[str, dict[str, Any]] = {name: {"lr": 0.01 * i} for i, name in enumerate("abcd", 1)}
PARTS = {"kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 1.0}}}


def study(**fields: Any) -> Study:
    return Study(**{"name": "s", "question": "?", "arms": ARMS, "baseline": "a", **fields})


@pytest.mark.parametrize(
    ("contrast", "weights"),
    [
        (("b", "a"), {"b": 1, "a": -1}),
        (["b", "a"], {"b": 1, "a": -1}),
        ((("a", "b"), ("c", "d")), {"a": 1, "b": -1, "c": -1, "d": 1}),
        ([["a", "b"], ["c", "d"]], {"a": 1, "b": -1, "c": -1, "d": 1}),
        ({"a": 1, "b": -1 / 3, "c": -1 / 3, "d": -1 / 3}, {"a": 1, "b": -1 / 3, "c": -1 / 3, "d": -1 / 3}),
        ({"a": np.float32(0.5), "b": np.int64(-1), "c": 0.5}, {"a": 0.5, "b": -1, "c": 0.5}),
    ],
)
def test_three_forms_give_weights(contrast: Any, weights: dict[str, float]) -> None:
    found = study(contrasts={"why?": contrast}).contrast_weights
    assert found == {"why?": weights}
    assert all(type(weight) is float for weight in found["why?"].values())


@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ([("a", "b")], "contrasts must be a dict of questions"),
        ({3: ("a", "b")}, "a question must be text of 1 to 300 printable characters, got 3"),
        ({" ": ("a", "b")}, "a question must be text"),
        ({"x\ny": ("a", "b")}, "a question must be text"),
        ({"x" * 301: ("a", "b")}, "a question must be text"),
        ({"q": ("a", "z")}, r"contrast 'q': unknown arm 'z'; valid: a, b, c, d"),
        ({"q": ("a", "a")}, "compares 'a' with itself"),
        ({"q": "ab"}, "must be two arms, as in .*; two such pairs, .*; or a dict of arms and weights; got 'ab'"),
        ({"q": ("a",)}, "must be two arms"),
        ({"q": ("a", "b", "c")}, "must be two arms"),
        ({"q": ("a", 3)}, "must be two arms"),
        ({"q": (("a", "b"), "c")}, "must be two arms"),
        ({"q": (("a", "b"), ("c", "b"))}, "two pairs name four different arms"),
        ({"q": None}, "must be two arms"),
        ({"q": {"a": 1}}, "compares two arms or more"),
        ({"q": {}}, "compares two arms or more"),
        ({"q": {"a": 1, "b": -0.5}}, "its weights sum to 0.5 and must sum to 0"),
        ({"q": {"a": 1, "b": -0.333, "c": -0.333, "d": -0.333}}, "sum to 0.001 and must sum to 0.*a third as 1/3"),
        ({"q": {"a": 1, "b": -1, "c": 0}}, "weight of 'c' must be a finite number other than 0"),
        ({"q": {"a": True, "b": -1}}, "weight of 'a' must be a finite number other than 0, got True"),
        ({"q": {"a": "1", "b": -1}}, "weight of 'a' must be"),
        ({"q": {"a": float("inf"), "b": float("-inf")}}, "weight of 'a' must be"),
        ({"q": ("a", "b"), "r": ("b", "a")}, "'q' and 'r' compare the same arms in the same way"),
        ({"q": ("a", "b"), "r": {"b": 3, "a": -3}}, "'q' and 'r' compare the same arms"),
        ({"q": (("a", "b"), ("c", "d")), "r": (("a", "c"), ("b", "d"))}, "'q' and 'r' compare the same arms"),
    ],
)
def test_a_contrast_that_is_no_difference_of_arms_is_refused(contrasts: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(contrasts=contrasts)
    with pytest.raises(UserError, match=message):
        weights_of(contrasts, ARMS)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (["b"], "roles must be a dict of arms and roles"),
        ({"z": "control"}, "roles: unknown arm 'z'"),
        ({"a": "control"}, "'a' is the baseline"),
        (
            {"b": "controls"},
            r"arm 'b': unknown role 'controls' \(did you mean 'control'\?\).*reference: an arm to compare",
        ),
        ({"b": "baseline"}, "unknown role 'baseline'"),
        ({"b": None}, "unknown role None"),
        ({"b": ["control"]}, "unknown role"),
    ],
)
def test_roles_that_mean_nothing_are_refused(roles: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(roles=roles)
    with pytest.raises(UserError, match=message):
        checked_roles(roles, ARMS, "a")


def test_sign_and_scale_make_no_other_contrast() -> None:
    one = {"a": 1.0, "b": -0.5, "c": -0.5}
    assert direction(one) == direction({"c": 1.0, "b": 1.0, "a": -2.0})
    assert direction(one) != direction({"a": 1.0, "b": -1.0})


def test_designs_carry_contrasts_and_roles_into_the_study() -> None:
    controls = self_taught_controls("at", {"losses": {"at": 5.0}}, 4)
    arms = {"baseline": {}} | controls | leave_one_out(PARTS) | add_one_in(PARTS)
    made = Study("s", "?", arms)
    assert list(made.contrast_weights.values()) == [
        {"at k=4": 1.0, "at k=4 unguided": -1.0},
        {"full": 1.0, "without kd": -1.0},
        {"full": 1.0, "without at": -1.0},
    ]
    assert set(made.arm_roles) == {"at k=4 all guided", "at k=4 unguided", "at k=4 taken"}
    # The study's own contrasts take the place of the design's; its roles are added.
    own = Study("s", "?", arms, contrasts={"mine": ("full", "baseline")}, roles={"without kd": "reference"})
    assert list(own.contrast_weights) == ["mine"]
    assert own.arm_roles == {**made.arm_roles, "without kd": "reference"}
    assert Study("s", "?", arms, contrasts={}).contrast_weights == {}
    # A control that is the baseline needs no role.
    assert "at k=4 unguided" not in Study("s", "?", controls, baseline="at k=4 unguided").arm_roles


def test_designs_that_declare_different_things_are_not_joined() -> None:
    one = Design(ARMS, contrasts={"q": ("a", "b")}, roles={"c": "control"})
    for two in (Design(ARMS, contrasts={"q": ("a", "c")}), Design(ARMS, roles={"c": "reference"})):
        with pytest.raises(UserError, match=r"two designs have .* change one"):
            one | two
    assert (one | one).contrasts == {"q": ("a", "b")}


def test_a_scale_keeps_what_its_arms_can_answer() -> None:
    scales = {"small": Scale(arms={name: ARMS[name] for name in "abc"}), "all": Scale(arms={**ARMS, "e": {"lr": 1}})}
    sized = study(contrasts={"q": ("a", "b"), "r": ("d", "e")}, roles={"e": "control", "b": "reference"}, scales=scales)
    small, whole = sized.at("small"), sized.at("all")
    assert (list(small.contrast_weights), small.arm_roles) == (["q"], {"b": "reference"})
    assert (list(whole.contrast_weights), set(whole.arm_roles)) == (["q", "r"], {"e", "b"})


def test_winners_of_a_search_can_be_compared() -> None:
    search = Search({"lr": Float(0.01, 0.1)}, winners=2)
    assert study(search=search, contrasts={"q": ("winner-2", "a")}).contrast_weights["q"] == {"winner-2": 1, "a": -1}
    for fields in ({"search": search, "contrasts": {"q": ("winner-3", "a")}}, {"contrasts": {"q": ("winner-1", "a")}}):
        with pytest.raises(UserError, match="unknown arm 'winner-"):
            study(**fields)
