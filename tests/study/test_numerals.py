"""Numbers as they are given: one strict reading of text, and values of Python."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scl.study.numerals import real_from, whole_from

# What Python's int or float reads, or nearly reads, and what is most likely a slip.
SLIPS = [
    "", " ", "\n", "\0", "1_0", "1_000.5", "１２", "٣", "²", "Ⅷ", "½", "0x10", "0b1", "1e", "e5", ".", "+", "-", "--1",
    "1 0", "1,5", "1.2.3", "nan", "NaN", "inf", "-inf", "infinity", "true", "None", "\u00a05", "5\u2003", "\udc80",
    "1\0", "١e٢", "9" * 5000, "1" + "0" * 400, "0." + "0" * 5000 + "x",
]  # fmt: skip


@pytest.mark.parametrize("text", SLIPS)
def test_slips_are_no_numbers(text: str) -> None:
    for read in (whole_from, real_from):
        with pytest.raises(ValueError, match=r"^no (whole|finite) number: "):
            read(text)


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1e-400", "0.0001e-999999", "1" + "0" * 399])
def test_what_a_float_cannot_hold_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="no finite number"):
        real_from(text)


@pytest.mark.parametrize("text", ["1e2", "5.0", "0.1", str(2**63), "-1" + "0" * 30])
def test_a_whole_number_has_no_point_and_64_bits(text: str) -> None:
    with pytest.raises(ValueError, match="no whole number"):
        whole_from(text)
    assert real_from(text) == float(text)


@pytest.mark.parametrize(
    ("text", "number"), [("007", 7), ("+5", 5), (" 5 ", 5), ("5\n", 5), ("-0", 0), (str(-(2**63)), -(2**63))]
)
def test_whole_numbers_are_read(text: str, number: int) -> None:
    assert whole_from(text) == number
    assert type(whole_from(text)) is int


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 1e-3),
        ("0.1", 0.1),
        ("1e2", 100.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1E+2", 100.0),
        ("0e999", 0.0),
        ("5e-324", 5e-324),
    ],
)
def test_numbers_are_read(text: str, number: float) -> None:
    assert real_from(text) == number


@pytest.mark.parametrize("given", ["-0", "-0.0", -0.0, np.float64(-0.0), "-0e5"])
def test_there_is_one_zero(given: Any) -> None:
    """Else the ids of −0 and 0 would differ."""
    assert math.copysign(1, real_from(given)) == 1


@pytest.mark.parametrize(
    "given",
    [True, None, [1], 1j, math.nan, math.inf, 10**400, 10**5000, np.bool_(True), b"5", object()],
    ids=lambda given: type(given).__name__,
)
def test_other_values_are_no_numbers(given: Any) -> None:
    for read in (whole_from, real_from):
        with pytest.raises(ValueError, match=r"no (whole|finite) number"):
            read(given)


@pytest.mark.parametrize(
    ("given", "number"), [(Fraction(1, 2), 0.5), (np.float32(0.5), 0.5), (np.int8(3), 3.0), (7, 7.0)]
)
def test_numbers_of_other_types_are_pythons(given: Any, number: float) -> None:
    assert real_from(given) == number
    assert type(real_from(given)) is float


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))
def test_what_python_writes_is_read(real: float, whole: int) -> None:
    assert real_from(repr(real)) == real == real_from(f"{real:.17e}")
    assert whole_from(str(whole)) == whole


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_refused(text: str) -> None:
    for read, python in ((whole_from, int), (real_from, float)):
        try:
            found = read(text)
        except ValueError:
            continue
        assert found == python(text)
