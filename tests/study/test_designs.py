"""Designs against tables written by hand."""

from __future__ import annotations

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.designs import (
    Design,
    add_one_in,
    as_design,
    fractional,
    grid,
    leave_one_out,
    on_off,
    one_at_a_time,
    resolution,
)
from scl.study.identity import requested, sha256, trials_of
from scl.study.study import Study

PARTS = {
    "kd": {"ce": 0.1, "losses": {"kd": 0.9}},
    "channel": {"losses": {"channel": 0.3}},
    "self_taught": {"self_taught": 8},
}


def test_a_grid_is_every_combination() -> None:
    design = grid({"lr": [0.05, 0.1], "self_taught": [0, 8, 16]})
    assert dict(design) == {
        "lr=0.05/self_taught=0": {"lr": 0.05, "self_taught": 0},
        "lr=0.05/self_taught=8": {"lr": 0.05, "self_taught": 8},
        "lr=0.05/self_taught=16": {"lr": 0.05, "self_taught": 16},
        "lr=0.1/self_taught=0": {"lr": 0.1, "self_taught": 0},
        "lr=0.1/self_taught=8": {"lr": 0.1, "self_taught": 8},
        "lr=0.1/self_taught=16": {"lr": 0.1, "self_taught": 16},
    }
    assert design.factors == {"lr": {"levels": [0.05, 0.1]}, "self_taught": {"levels": [0, 8, 16]}}
    assert design.levels["lr=0.1/self_taught=8"] == {"lr": 0.1, "self_taught": 8}


def test_levels_may_be_named_or_computed() -> None:
    named = grid({"loss": {"none": {}, "kd": {"losses": {"kd": 1}}}, "model": ["plain3", "plain5"]})
    assert named["loss=kd/model=plain3"] == {"losses": {"kd": 1}, "model": "plain3"}
    computed = grid(
        {"depth": [3, 5], "k": [0, 1]}, lambda depth, k: {"model": f"plain{depth}", "self_taught": k * depth}
    )
    assert dict(computed) == {
        "depth=3/k=0": {"model": "plain3", "self_taught": 0},
        "depth=3/k=1": {"model": "plain3", "self_taught": 3},
        "depth=5/k=0": {"model": "plain5", "self_taught": 0},
        "depth=5/k=1": {"model": "plain5", "self_taught": 5},
    }


def test_leave_one_out_and_add_one_in() -> None:
    whole = {"ce": 0.1, "losses": {"kd": 0.9, "channel": 0.3}, "self_taught": 8}
    assert dict(leave_one_out(PARTS)) == {
        "full": whole,
        "without kd": {"losses": {"channel": 0.3}, "self_taught": 8},
        "without channel": {"ce": 0.1, "losses": {"kd": 0.9}, "self_taught": 8},
        "without self_taught": {"ce": 0.1, "losses": {"kd": 0.9, "channel": 0.3}},
    }
    alone = add_one_in(PARTS)
    assert dict(alone) == {
        "baseline": {},
        "only kd": PARTS["kd"],
        "only channel": PARTS["channel"],
        "only self_taught": PARTS["self_taught"],
    }
    both = leave_one_out(PARTS) | alone
    assert both.kind == "leave one out + add one in"
    assert list(both) == [*leave_one_out(PARTS), *alone]
    assert both.levels["without kd"] == {"kd": "off", "channel": "on", "self_taught": "on"}
    assert both.levels["baseline"] == dict.fromkeys(PARTS, "off")
    assert both.factors["kd"] == {"levels": ["on", "off"]}


def test_one_factor_at_a_time() -> None:
    design = one_at_a_time({"lr": [0.1, 0.2], "width": {"wide": {"width": 2.0}}})
    assert dict(design) == {
        "baseline": {},
        "lr=0.1": {"lr": 0.1},
        "lr=0.2": {"lr": 0.2},
        "width=wide": {"width": 2.0},
    }
    assert design.levels["lr=0.2"] == {"lr": 0.2, "width": "base"}


def test_a_half_fraction_is_the_table_of_the_textbook() -> None:
    """2^(4-1) with D = ABC, in standard order."""
    parts = {name: {"losses": {name: 1}} for name in ("at", "kd", "sp")} | {"k": {"self_taught": 8}}
    design = fractional(on_off(parts), {"k": ("at", "kd", "sp")})
    table = """
        - - - -
        - - + +
        - + - +
        - + + -
        + - - +
        + - + -
        + + - -
        + + + +
    """
    rows = [line.split() for line in table.strip().splitlines()]
    assert [["+" if level == "on" else "-" for level in at.values()] for at in design.levels.values()] == rows
    assert design.kind == "2^(4-1) fractional factorial of resolution 4"
    assert design["at=on/kd=off/sp=off/k=on"] == {"losses": {"at": 1}, "self_taught": 8}
    # Every main effect is orthogonal to every other.
    signs = [[1 if s == "+" else -1 for s in row] for row in rows]
    assert all(sum(r[i] * r[j] for r in signs) == 0 for i in range(4) for j in range(i))


@pytest.mark.parametrize(
    ("generators", "length"),
    [
        ({}, 0),
        ({"C": ("A", "B")}, 3),
        ({"D": ("A", "B", "C")}, 4),
        ({"E": ("A", "B", "C", "D")}, 5),
        ({"D": ("A", "B"), "E": ("A", "C")}, 3),
        ({"E": ("A", "B", "C"), "F": ("B", "C", "D")}, 4),  # 2^(6-2) of resolution IV
        ({"F": ("A", "B", "C", "D"), "G": ("A", "B", "D", "E")}, 4),  # FG = CE: a word of four
    ],
)
def test_resolution(generators: dict[str, tuple[str, ...]], length: int) -> None:
    assert resolution(generators) == length


def test_designs_join_each_other_and_plain_arms() -> None:
    design = {"baseline": {}, "mine": {"lr": 0.3}} | grid({"width": [1.0, 2.0]})
    assert isinstance(design, Design)
    assert list(design) == ["baseline", "mine", "width=1", "width=2"]
    assert (grid({"width": [1.0, 2.0]}) | {"mine": {"lr": 0.3}})["mine"] == {"lr": 0.3}
    assert as_design({"a": {}}).factors == {}
    with pytest.raises(UserError, match="two designs have an arm 'full'"):
        leave_one_out(PARTS) | {"full": {}}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: grid({"lr": [0.1]}), "factor 'lr' changes nothing: its levels are .0.1.; give 2 or more"),
        (lambda: grid({"lr": [0.1, 0.1]}), "levels 0.1 and 0.1 are the same"),
        (lambda: grid({"a": {"x": {"lr": 1}, "y": {"lr": 1}}}), "levels 'x' and 'y' are the same"),
        (lambda: grid({"lr": "0.1"}), "factor 'lr': levels are a list, or a dict of names and changes, got '0.1'"),
        (lambda: grid({"lr": 0.1}), "factor 'lr': levels are a list"),
        (lambda: one_at_a_time({"lr": None}), "factor 'lr': levels are a list"),
        (lambda: grid({}), "needs a factor"),
        (lambda: grid({"lr": [0.1000001, 0.1000002]}), "two arms are called 'lr=0.1'"),
        (lambda: leave_one_out({"kd": {}, "k": {"self_taught": 8}}), "part 'kd' changes nothing"),
        (lambda: leave_one_out({"a": {"ce": 0.1}, "b": {"ce": 0.2}}), "'a' and 'b' both set field 'ce'"),
        (lambda: leave_one_out({"a": {"losses": {"kd": 1}}, "b": {"losses": {"kd": 2}}}), "both set loss 'kd'"),
        (lambda: fractional({"a": [1, 2, 3]}, {}), "two levels a factor, 'a' has 3"),
        (lambda: fractional(on_off(PARTS), {"self_taught": ("kd",)}), "product of two or more"),
        (lambda: fractional(on_off(PARTS), {"nope": ("kd", "channel")}), "unknown factor 'nope'"),
    ],
)
def test_what_cannot_be_a_design_is_refused(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]


def test_extending_a_design_keeps_every_trial() -> None:
    def ids(design: Design, seeds: range) -> set[str]:
        study = Study("s", "?", {"baseline": {}} | design)
        arms, _ = study.resolve("digits", None, {}, {})
        return {c.trial_id for c in trials_of(arms, seeds, "data", lambda seed: "teacher")}

    small = ids(grid({"self_taught": [4, 8]}), range(3))
    assert small < ids(grid({"self_taught": [4, 8, 16]}), range(3))
    assert small < ids(grid({"self_taught": [4, 8]}), range(5))
    assert ids(grid({"self_taught": [8, 4]}), range(3)) == small


def test_a_factor_that_changes_nothing_is_named() -> None:
    same = {"baseline": {}} | grid({"self_taught": [4, 8], "self_taught_at": ["layers", "penultimate"]})
    Study("s", "?", same).resolve("digits", None, {}, {})
    idle = {"first": {"lr": 0.3}} | grid({"self_taught": [0, 8], "self_taught_at": ["layers", "penultimate"]})
    with pytest.raises(UserError, match="one configuration; factor 'self_taught_at' changes nothing between them"):
        Study("s", "?", idle, baseline="first").resolve("digits", None, {}, {})
    no_op = leave_one_out({"kd": {"losses": {"kd": 1}}, "rate": {"lr": Config().lr}})
    with pytest.raises(
        UserError, match="'full' and 'without rate' are one configuration; factor 'rate' changes nothing"
    ):
        Study("s", "?", no_op, baseline="full").resolve("digits", None, {}, {})


@pytest.mark.parametrize(
    "arms",
    [
        {"a": {"losses": {"kd": 0.0}}},
        {"a": {"self_taught_at": "penultimate"}},
        {"a": {"milestones": (3,)}},
        {"a": {"losses": {"kd": 1}}, "b": {"weight.kd": 1.0}},
        {"a": {"ce": 0.0, "losses": {"kd": 1}}, "b": {"ce": 0.0, "losses": {"kd": 1}, "label_smoothing": 0.1}},
    ],
)
def test_arms_that_come_to_the_same_are_twins(arms: dict[str, object]) -> None:
    with pytest.raises(UserError, match="are one configuration"):
        Study("s", "?", {"baseline": {}} | arms).resolve("digits", None, {}, {})  # type: ignore[operator]


def test_golden_ids_of_a_design() -> None:
    """Ids come from what an arm is: any Python, any machine, any order of arms, levels and flags."""
    design = {"baseline": {}} | grid({"weight.kd": [0.5, 2.0], "kd.temperature": [1.0, 4.0]})
    arms, _ = Study("s", "?", design).resolve("digits", None, {"lr": 0.05, "epochs": 10}, {})
    other, _ = Study("t", "!", dict(list(design.items())[::-1])).resolve("digits", None, {"epochs": 10, "lr": 0.05}, {})
    ids = {arm: sha256(requested(config)) for arm, config in arms.items()}
    assert ids == {arm: sha256(requested(config)) for arm, config in other.items()}
    assert {arm: identity[:16] for arm, identity in ids.items()} == GOLDEN


GOLDEN = {
    "baseline": "cf1155fbbee1eaf5",
    "weight.kd=0.5/kd.temperature=1": "50139d523688b186",
    "weight.kd=0.5/kd.temperature=4": "e7e51930305e3316",
    "weight.kd=2/kd.temperature=1": "26ab71e8b6480ce1",
    "weight.kd=2/kd.temperature=4": "a86927962984ad57",
}
