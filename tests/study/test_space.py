"""Search spaces: what is refused, and which points lie in them."""

from __future__ import annotations

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.params import with_params
from scl.study.space import (
    Branch,
    Choice,
    Float,
    Int,
    active,
    changes,
    check_point,
    conditions,
    contains,
    describe,
    fixed,
    paths,
    point_of,
    ranges,
    space_problems,
)  # fmt: skip
from scl.study.term import Term

SPACE = {"weight.kd": Float(0.1, 10.0, log=True), "kd.temperature": Float(1.0, 16.0), "self_taught": Choice((0, 8))}


def test_parameters_are_set_by_the_names_of_their_columns() -> None:
    config = with_params(Config(), {"kd.temperature": 2.0, "weight.kd": 0.5, "lr": 0.3})
    assert (config.lr, config.losses["kd"]) == (0.3, Term(0.5, loss="kd", options={"temperature": 2.0}))
    kept = with_params(Config(losses={"channel": Term(0.3, layers=(1, 2))}), {"weight.channel": 2})
    assert kept.losses["channel"] == Term(2.0, layers=(1, 2), loss="channel")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight.kdd": 1.0}, "unknown loss 'kdd' .did you mean 'kd'"),
        ({"kd.temperature": 1.0}, "unknown loss 'kd'"),
        ({"weight.kd": 1.0, "kd.temprature": 1.0}, "did you mean 'temperature'"),
        ({"lrr": 1.0}, "unknown field 'lrr'"),
        ({"weight.kd": -1.0}, "weight must be"),
    ],
)
def test_parameters_that_do_not_exist(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_params(Config(), changes)


def test_points_lie_inside_or_not() -> None:
    inside = with_params(Config(self_taught=8), {"weight.kd": 1.0, "kd.temperature": 2.0})
    assert point_of(inside, SPACE) == {"weight.kd": 1.0, "kd.temperature": 2.0, "self_taught": 8}
    assert point_of(inside.replace(self_taught=4), SPACE) is None
    assert point_of(Config(), SPACE) is None
    assert contains(Int(2, 8, step=2), 6)
    assert not contains(Int(2, 8, step=2), 5)
    assert describe(Float(1, 2, log=True)) == {"low": 1, "high": 2, "log": True}
    assert describe(Choice((1, 2))) == {"choices": [1, 2]}


METHOD = Branch({
    "kd": {"weight.kd": Float(0.1, 10.0, log=True), "kd.temperature": Float(1.0, 8.0)},
    "at": {"weight.at": Float(10.0, 1000.0), "lr": 0.02},
    "none": {},
})  # fmt: skip
NESTED = {
    "method": METHOD,
    "schedule": Branch({
        "cosine": {"warmup_epochs": Int(0, 3)},
        "multistep": {"lr_decay": Float(0.1, 0.5), "more": Branch({"a": {}, "b": {"weight_decay": Float(0.0, 0.1)}})},
    }),
}  # fmt: skip


def test_a_branch_has_parameters_where_it_is_taken() -> None:
    assert list(ranges(NESTED)) == [
        "method", "weight.kd", "kd.temperature", "weight.at", "schedule", "warmup_epochs", "lr_decay", "more",
        "weight_decay",
    ]  # fmt: skip
    assert len(list(paths(NESTED))) == 3 * (1 + 2)
    assert conditions(NESTED) == {
        "weight.kd": {"method": ["kd"]}, "kd.temperature": {"method": ["kd"]}, "weight.at": {"method": ["at"]},
        "warmup_epochs": {"schedule": ["cosine"]}, "lr_decay": {"schedule": ["multistep"]},
        "more": {"schedule": ["multistep"]}, "weight_decay": {"more": ["b"]},
    }  # fmt: skip
    assert list(active(NESTED, {"method": "at", "schedule": "cosine"})) == [
        "method", "weight.at", "lr", "schedule", "warmup_epochs",
    ]  # fmt: skip
    point = {"method": "at", "weight.at": 20.0, "schedule": "cosine", "warmup_epochs": 1}
    # A label changes nothing by itself; the name of a field does.
    assert changes(NESTED, point) == {"weight.at": 20.0, "lr": 0.02, "schedule": "cosine", "warmup_epochs": 1}
    assert describe(METHOD) == {"choices": ["kd", "at", "none"], "sets": {"at": {"lr": 0.02}}}


@pytest.mark.parametrize(
    "point",
    [
        {"method": "kd", "weight.kd": 1.0, "kd.temperature": 2.0},
        {"method": "at", "weight.at": 20.0},
        {"method": "none"},
    ],
)
def test_the_point_of_a_configuration_is_found_again(point: dict[str, object]) -> None:
    space = {"method": METHOD}
    assert point_of(with_params(Config(), changes(space, point)), space) == point
    check_point(space, point)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"kd.temperature": 2.0}, "kd.temperature is searched only with method = 'kd'"),
        ({"method": "at", "weight.kd": 1.0}, "weight.kd is searched only with method = 'kd'"),
        ({"method": "dkd"}, "method = 'dkd' lies outside"),
        ({"methd": "kd"}, "did you mean 'method'"),
        ({"method": "kd", "weight.kd": 100.0}, "weight.kd = 100.0 lies outside"),
    ],
)
def test_points_outside_branches_are_refused(point: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_point(NESTED, point)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"m": Branch({"a": {}, "b": 3})}, "a Branch takes a dict"),  # type: ignore[dict-item]
        ({"m": Branch({"a": {}})}, "needs two different values"),
        ({"m": Branch({"a": {"lr": [0.1]}, "b": {}})}, "'lr': a range must be"),
        ({"m": Branch({"a": {"lr": Float(0.2, 0.1)}, "b": {}})}, "'lr': low must be below high"),
        ({"schedul": Branch({"a": {}, "b": {}})}, "did you mean 'schedule'"),
        ({"m": Branch({"a": {"lr": Float(0.1, 0.2)}, "b": {"lr": Float(0.1, 0.3)}})}, "with different ranges"),
        ({"lr": Float(0.1, 0.2), "m": Branch({"a": {"lr": 0.1}, "b": {}})}, "it stands twice where {'m': 'a'}"),
        ({f"m{i}": Branch({"a": {}, "b": {}}) for i in range(9)}, "more than 256 combinations"),
    ],
)
def test_branches_that_make_no_sense_are_refused(space: dict[str, Branch], message: str) -> None:
    assert message in "; ".join(space_problems(space))


@pytest.mark.parametrize(
    ("name", "text", "space", "template"),
    [
        ("method", "at", {"weight.at": Float(10.0, 1000.0)}, {"lr": 0.02}),
        ("method", "none", {}, {}),
        ("kd.temperature", "4", {"method": Branch({**METHOD.branches, "kd": {
            "weight.kd": Float(0.1, 10.0, log=True), "kd.temperature": 4.0}})}, {}),
    ],
)  # fmt: skip
def test_parameters_are_held_within_branches(
    name: str, text: str, space: dict[str, object], template: dict[str, object]
) -> None:
    assert fixed({"method": METHOD}, name, text)[:2] == (space, template)
