"""Checks of option values: text of a flag, or a value of Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scl.errors import shown
from scl.study.checks import (
    Check,
    address,
    assignments,
    cohort_size,
    gpus,
    looks,
    margin,
    model,
    number,
    one_of,
    place,
    seed_list,
    several,
    switch,
    text,
    whole,
)
from scl.study.fields import MODELS

TAKEN: list[tuple[Check, Any, Any]] = [
    (whole(1), "1", 1),
    (whole(1), " 12 ", 12),
    (whole(1), 7, 7),
    (whole(0), np.int64(0), 0),
    (whole(1), np.uint8(255), 255),
    (number(0), "0.5", 0.5),
    (number(0), "1e-3", 0.001),
    (number(0), 3, 3.0),
    (number(0), np.float32(0.5), 0.5),
    (number(0), np.int64(2), 2.0),
    (number(0), Fraction(1, 2), 0.5),
    (number(0, 1, including="low"), 0, 0.0),
    (number(0, 1, including="low"), "0.999", 0.999),
    (text, "a b", "a b"),
    (place, "s3://bucket/x", "s3://bucket/x"),
    (place, Path("a") / "b", "a/b"),
    (switch, True, True),
    (switch, False, False),
    (one_of("device", ("cpu", "cuda")), "cuda", "cuda"),
    (cohort_size(99), "auto", None),
    (cohort_size(99), "4", 4),
    (cohort_size(99), np.int32(4), 4),
    (model, MODELS[0], MODELS[0]),
    (model, "timm:any_name", "timm:any_name"),
    (several("a,b"), "kd, scl", ("kd", "scl")),
    (margin, "0.005", 0.005),
    (margin, np.float32(0.125), 0.125),
    (looks, "3, 5,10", (3, 5, 10)),
    (looks, [2], (2,)),
    (looks, (np.int64(3), 5), (3, 5)),
    (several("a,b"), "kd,", ("kd",)),
    (several("a,b"), ["kd", "a b"], ("kd", "a b")),
    (several("a,b"), ("kd",), ("kd",)),
    (seed_list, "3,4", (3, 4)),
    (seed_list, "7, 0-2", (0, 1, 2, 7)),
    (seed_list, " 5 - 5 ", (5,)),
    (seed_list, [4, 3], (3, 4)),
    (seed_list, range(2, 4), (2, 3)),
    (seed_list, [np.int64(0)], (0,)),
    (seed_list, str(2**63 - 1), (2**63 - 1,)),
]


@pytest.mark.parametrize(("check", "value", "checked"), TAKEN)
def test_values_are_taken_as_plain_ones(check: Check, value: Any, checked: Any) -> None:
    found = check(value)
    assert found == checked
    assert type(found) is type(checked)
    if found is not None:
        assert check(found) == found  # what is checked passes again


WHOLE, ABOVE = "must be a whole number of 1 or more, got {!r}", "must be a finite number, above 0, got {!r}"
SHARE, NAMES = "must be a finite number, 0 or more and below 1, got {!r}", "must be names, as in a,b, got {!r}"
RISE = "must be seeds and ranges that rise, as in 3,4 or 0-2,7; got {!r}"
MANY = "must be at most 100,000 seeds of 0 to 9223372036854775807"
REFUSED: list[tuple[Check, Any, str]] = [
    *((whole(1), value, WHOLE) for value in ("0", 0, -1, "", "one", "1.5", 2.5, 2.0, True, None, [1], np.float64(2))),
    *((whole(1), value, WHOLE) for value in (np.bool_(True), math.inf, "nan")),
    *((number(0), value, ABOVE) for value in ("0", 0, -1.0, "", "fast", "nan", math.nan, "inf", math.inf, "1e400")),
    *((number(0), value, ABOVE) for value in (True, False, None, [1.0], np.bool_(True), 1j)),
    *((number(0, 1, including="low"), value, SHARE) for value in (1, "1.0", -0.1, "x")),
    *((text, value, "must be text, got {!r}") for value in (3, None, b"a", ["a"])),
    *((place, value, "must be text, got {!r}") for value in (3, None, True)),
    *((switch, value, "must be True or False, got {!r}") for value in ("yes", "true", 1, 0, None, np.bool_(True))),
    *((cohort_size(99), value, "must be 'auto' or a whole number of 1 to 99, got {!r}") for value in ("many", 0, True)),
    (one_of("device", ("cpu", "cuda")), "cdua", "unknown device 'cdua' (did you mean 'cuda'?); valid: cuda, cpu"),
    (one_of("device", ("cpu", "cuda")), 3, "unknown device 3; valid: cpu, cuda"),
    (model, 5, "must be text, got {!r}"),
    *((several("a,b"), value, NAMES) for value in (3, None, [1, 2], {"a"}, ["a", None], True)),
    *(
        (seed_list, value, "must be seeds, as in [3, 4] or '0-2,7'; got {!r}")
        for value in (3, None, b"3", {3}, True, 1.5)
    ),
    *(
        (seed_list, value, RISE.format(value))
        for value in ("", "x", "-1", "4-2", "1-", "1-2-3", "1.5", "²", "３", "1e3")
    ),
    (seed_list, "3,,4", RISE.format("")),
    (seed_list, "9" * 5000, RISE.replace("{!r}", "{}").format(shown("9" * 5000))),
    (seed_list, [-1], "must be a whole number of 0 or more, got -1"),
    (seed_list, [True], "must be a whole number of 0 or more, got True"),
    (seed_list, [], "must give at least one seed, as in 3,4"),
    *((seed_list, value, "seed 3 is given twice; give each seed once") for value in ("3,3", "1-4,3", [3, 3])),
    *((seed_list, value, MANY) for value in ("0-999999999999999999", range(10**9), str(2**63))),
    *(
        (margin, value, f"must be a fraction of accuracy above 0 and below 0.2: 0.005 is half a point; got {value!r}")
        for value in ("0.5", 0.2, 0, -0.01, "nan", "half", True, None)
    ),
    *(
        (looks, value, "must be numbers of seeds that rise, as in 3,5,10; got {!r}")
        for value in (5, [], None, {3, 5}, b"3")
    ),
    (looks, "5,3", "must be numbers of seeds that rise, as in 3,5,10; 3 follows 5"),
    (looks, [3, 3], "must be numbers of seeds that rise, as in 3,5,10; 3 follows 3"),
    (looks, "1,3", "must be a whole number of 2 to 100,000, got '1'"),
    (looks, "3,,5", "must be a whole number of 2 to 100,000, got ''"),
    (looks, [3.5], "must be a whole number of 2 to 100,000, got 3.5"),
    (looks, range(2, 10**6), "must be at most 100 numbers of seeds, got 999,998"),
    (seed_list, [2**63], "must be a whole number of 0 to 9,223,372,036,854,775,807, got 9223372036854775808"),
    *((several("a,b"), value, "must give at least one name, as in a,b") for value in ("", " , ", [], ())),
]


@pytest.mark.parametrize(("check", "value", "message"), REFUSED)
def test_refusals_state_the_rule_and_the_value(check: Check, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        check(value)
    assert str(refused.value) == message.format(str(value) if message.startswith("unknown") else value)


@pytest.mark.parametrize(
    "given",
    ["auto", "10.0.0.1:6379", "head:6379", "ray://head.cluster-1.example:10001", "[::1]:6379", "ray://[fe80::1]:1"],
)
def test_addresses_are_taken_as_they_are(given: str) -> None:
    assert address(given) == given


@pytest.mark.parametrize(
    "given",
    [
        "ray://", "ray://nowhere", "x", "127.0.0.1:", ":6379", "h:0", "h:70000", "h:99999999", "h:６３７９", "h:+1",
        "h:1 ", "a..b:1", f"{'a' * 64}:1", f"{'a.' * 140}b:1", "-a:1", "a b:1", "münchen:1", "[::1:6379", "[x]:6379",
        "::1:6379x", "http://h:1", "ray://ray://h:1", "me:secret@h:1", "AUTO", "local", "h:1/x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"^must be auto, HOST:PORT or ray://HOST:PORT, the port of 1 to 65535, got "):
        address(given)


@pytest.mark.parametrize("given", [0, "0", 0.0001, 0.25, "1", 1, 2.0, "8", 1024])
def test_gpus_are_none_a_share_or_whole(given: Any) -> None:
    assert gpus(given) == float(given)


@pytest.mark.parametrize("given", [-1, 0.00001, "1e-300", "1e-400", 1.5, "2.5", 1025, "1e9", "nan", None, True, ""])
def test_other_gpus_are_refused(given: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^must be 0, a share of one GPU from 0.0001, or a whole number to 1024, got "
    ):
        gpus(given)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        ("a\0b", "must be UTF-8 without control characters"),
        ("a\nb", "must be UTF-8 without control characters"),
        ("\x1b[31mred", "must be UTF-8 without control characters"),
        ("\x9b31m", "must be UTF-8 without control characters"),
        ("caf\udce9", "must be UTF-8 without control characters"),
        ("a" * 5000, "must have at most 4,096 characters, got 'a{159}… .5,002 characters.$"),
    ],
)
def test_text_can_be_printed_and_stored(given: str, rule: str) -> None:
    for check in (text, place, address, model, several("a,b"), assignments):
        with pytest.raises(ValueError, match=r"^must "):
            check(given)
    for check in (text, place):
        with pytest.raises(ValueError, match=rule):
            check(given)


@pytest.mark.parametrize("given", ["a" * 256, f"x/{'é' * 128}/y", "/".join(["a" * 200] * 11), Path("a" * 300)])
def test_a_place_is_no_longer_than_file_systems_take(given: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^must be a path of at most 2,048 bytes, each name in it of at most 255, got "
    ):
        place(given)
    assert place(str(given)[-100:]) == str(given)[-100:]


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'plain6' \(did you mean 'plain\d+'\?\); valid: plain"):
        model("plain6")


@given(st.integers(-5, 5), st.integers(-10, 10))
def test_a_whole_number_and_its_text_are_one(low: int, value: int) -> None:
    def outcome(given: Any) -> int | str:
        try:
            return int(whole(low)(given))
        except ValueError:
            return "refused"

    assert outcome(value) == outcome(str(value)) == outcome(np.int64(value)) == (value if value >= low else "refused")


@given(st.floats(), st.floats(-2, 2), st.floats(-2, 2), st.booleans())
def test_a_number_and_its_text_are_one(value: float, low: float, high: float, including: bool) -> None:
    inside = (low < value < high) or (including and value == low < high)
    for form in (value, repr(value), np.float64(value)):
        if inside:
            assert number(low, high, "low" if including else "")(form) == value
        else:
            with pytest.raises(ValueError, match="must be a finite number"):
                number(low, high, "low" if including else "")(form)


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ("lr=0.1", {"lr": "0.1"}),
        ("lr=0.1,epochs=3", {"lr": "0.1", "epochs": "3"}),
        (" lr = 0.1 , epochs = 3 ", {"lr": "0.1", "epochs": "3"}),
        ("milestones=150,180,lr=1", {"milestones": "150,180", "lr": "1"}),
        (["milestones=150,180,210", "weight.kd=2"], {"milestones": "150,180,210", "weight.kd": "2"}),
        (["lr=0.1", "lr=0.2"], {"lr": "0.2"}),  # the last counts
        (("mine.text=a=b",), {"mine.text": "a=b"}),
        ("weight.kd=", {"weight.kd": ""}),  # its check says what is wrong with it
        ({"lr": 0.1, "milestones": (150, 180)}, {"lr": 0.1, "milestones": (150, 180)}),
        ({}, {}),
    ],
)
def test_assignments_are_read_from_text_and_taken_from_python(value: Any, pairs: dict[str, Any]) -> None:
    assert assignments(value) == pairs


@pytest.mark.parametrize("value", ["", "lr", "=3", "lr=1,=2", [], [""], ["a", "b"], 3, None, [1], [("lr", 1)], True])
def test_what_assigns_nothing_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be NAME=VALUE"):
        assignments(value)


@pytest.mark.parametrize("value", ["lr=1,lr=2", ["lr=1", "b=1,b=1"], "a=1,b=2,3,a=4"])
def test_a_name_is_assigned_once(value: Any) -> None:
    with pytest.raises(ValueError, match=r"is given twice in .*; give each name once"):
        assignments(value)


names = st.text("abcdefgh._", min_size=1, max_size=6)
values = st.lists(st.text("0123456789.-", max_size=4), min_size=1, max_size=3).map(",".join)


@given(st.dictionaries(names, values, min_size=1, max_size=4), st.booleans())
def test_assignments_come_back_as_they_were_written(pairs: dict[str, str], repeated: bool) -> None:
    """One flag with commas or a flag for each; values may have commas."""
    written = [f"{name}={value}" for name, value in pairs.items()]
    assert assignments(written if repeated else ",".join(written)) == pairs


CHECKS: list[Callable[[Any], Any]] = [
    whole(1),
    number(0),
    text,
    place,
    switch,
    cohort_size(99),
    model,
    several("a"),
    assignments,
]


@given(st.sampled_from(CHECKS), st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()))
def test_any_value_is_taken_or_refused_with_a_message(check: Check, value: Any) -> None:
    message = "must"
    try:
        check(value)
    except ValueError as error:
        message = str(error)
    assert message.startswith(("must", "unknown"))
