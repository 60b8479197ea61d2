"""Search spaces: what is refused, and which points lie in them."""

from __future__ import annotations

import dataclasses

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.params import with_params
from scl.study.space import Choice, Float, Int, Search, contains, describe, point_of
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"weigth.kd": Float(0.1, 1)}}, "'weigth.kd'"),
        ({"space": {"weight.kdd": Float(0.1, 1)}}, "unknown loss 'kdd'"),
        ({"space": {"learning_rate": Float(0.1, 1)}}, "unknown field 'learning_rate'"),
        ({"space": {"kd.temperature": Float(1, 2)}}, "unknown loss 'kd'"),
        ({"space": {"self_taught": Float(1, 2)}}, "must be a whole number"),
        ({"space": {"model": Choice(("plain5", "plain6"))}}, "unknown model 'plain6'"),
        ({"space": {"augment": Choice(("crop+rrc", "none"))}}, "rrc and crop exclude each other"),
        ({"space": {"augment": Choice(("flip+rrc", "none"))}}, "'augment': write 'flip.rrc' as 'rrc.flip', as results"),
        ({"space": {"lr": Float(0.1, 0.1)}}, "low must be below high, got 0.1 and 0.1"),
        ({"space": {"lr": Choice((0.1,))}}, "a choice needs two different values"),
        ({"space": {"lr": Float(0.0, 0.1, log=True)}}, "log scale must start above 0, got 0.0"),
        ({"space": {"lr": Float(0.1, float("nan"))}}, "finite"),
        ({"space": {"epochs": Int(1, 5, step=0)}}, "step must be 1 or more"),
        ({"space": {"lr": (0.1, 0.2)}}, "a Float, an Int or a Choice"),
        ({"space": {}}, "needs an objective and a parameter"),
        ({"objectives": ("test_acc",)}, "unknown objective 'test_acc'"),
        ({"trials": 0}, "trials must be a whole number of 1 to 100,000, got 0"),
        ({"reduction": 1}, "reduction must be a whole number of 2 to 100,000, got 1"),
        ({"start": ({"weight.kd": 100.0},)}, "lies outside"),
        ({"start": ({"lr": 0.1},)}, "unknown parameter 'lr'"),
    ],
)
def test_bad_searches_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    search = dataclasses.replace(Search(SPACE), **changes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        search.check(Config())


def test_a_valid_search_passes_and_may_fix_parameters() -> None:
    search = Search(SPACE, start=({"weight.kd": 1.0, "self_taught": 8},))
    search.check(Config())
    fixed = search.without({"self_taught": "8", "kd.temperature": "4"})
    assert list(fixed.space) == ["weight.kd"]
    assert fixed.template == {"self_taught": 8, "kd.temperature": 4.0}
    assert fixed.start == ({"weight.kd": 1.0},)
    with pytest.raises(UserError, match="--fix self_taught: unknown value '9'; valid: 0, 8"):
        search.without({"self_taught": "9"})
    with pytest.raises(UserError, match="unknown parameter 'k'"):
        search.without({"k": "9"})


def test_points_lie_inside_or_not() -> None:
    inside = with_params(Config(self_taught=8), {"weight.kd": 1.0, "kd.temperature": 2.0})
    assert point_of(inside, SPACE) == {"weight.kd": 1.0, "kd.temperature": 2.0, "self_taught": 8}
    assert point_of(inside.replace(self_taught=4), SPACE) is None
    assert point_of(Config(), SPACE) is None
    assert contains(Int(2, 8, step=2), 6)
    assert not contains(Int(2, 8, step=2), 5)
    assert describe(Float(1, 2, log=True)) == {"low": 1, "high": 2, "log": True}
    assert describe(Choice((1, 2))) == {"choices": [1, 2]}
