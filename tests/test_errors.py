"""Messages of errors, and dataclasses that name their valid fields."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from scl.errors import UserError, first_line, names_checked, unknown


def test_an_unknown_name_is_answered_with_the_valid_ones_the_nearest_first() -> None:
    assert unknown("data", "cifra10", ["digits", "cifar10"]) == (
        "unknown data 'cifra10' (did you mean 'cifar10'?); valid: cifar10, digits"
    )
    assert unknown("data", "xyz", ["digits", "cifar10"]) == "unknown data 'xyz'; valid: digits, cifar10"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one"), "one"),
        (ValueError(), "ValueError"),
        (KeyError(), "KeyError"),
    ],
)
def test_the_first_line_of_an_error_or_its_type(error: Exception, line: str) -> None:
    assert first_line(error) == line


@names_checked
@dataclass(frozen=True)
class Point:
    across: float
    down: float = 0.0
    hidden: int = field(default=1, init=False)


def test_checked_dataclasses_are_built_as_usual() -> None:
    assert (Point(1).down, Point(1, 2).down, Point(1, down=3).down, Point(across=1).hidden) == (0.0, 2, 3, 1)


@pytest.mark.parametrize(
    ("args", "given", "message"),
    [
        ((), {}, "Point: 'across' must be given"),
        ((), {"acros": 1}, r"Point: unknown field 'acros' \(did you mean 'across'\?\).*'across' must be given"),
        ((1,), {"hidden": 1}, "Point: unknown field 'hidden'; valid: across, down"),
        ((1, 2, 3), {}, "Point: 2 fields at most, got 3; valid: across, down"),
    ],
)
def test_misspelt_missing_and_surplus_fields_are_named(
    args: tuple[float, ...], given: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Point(*args, **given)
