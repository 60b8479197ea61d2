"""Messages of errors, and dataclasses that name their valid fields."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scl.errors import UserError, definition, first_line, names_checked, unknown


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


@definition
def halves(number: int) -> int:
    """Half of an even number."""
    if number % 2:
        raise UserError(f"{number} is odd")
    return number // 2


def test_the_hook_is_set_only_after_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    assert halves(4) == 2
    with pytest.raises(TypeError):
        halves(None)  # type: ignore[arg-type]
    assert sys.excepthook is sys.__excepthook__
    with pytest.raises(UserError) as mistake:
        halves(3)
    assert sys.excepthook is not sys.__excepthook__
    with pytest.raises(SystemExit) as end:
        sys.excepthook(UserError, mistake.value, None)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: 3 is odd\n"
    sys.excepthook(ValueError, ValueError("ours"), None)  # any other error is shown as Python shows it
    assert "ValueError: ours" in capsys.readouterr().err
    assert (halves.__name__, halves.__doc__) == ("halves", "Half of an even number.")


def test_a_hook_that_another_library_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    other = lambda kind, error, trace: None  # noqa: E731
    monkeypatch.setattr(sys, "excepthook", other)
    with pytest.raises(UserError):
        halves(3)
    assert sys.excepthook is other


def test_a_mistake_in_a_study_file_is_a_message(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text("from scl.cli import main\nfrom scl import designs\ndesigns.grid({'lr': [0.1]})\n")
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == "error: factor 'lr' changes nothing: it has 1 levels, and needs 2 or more\n"
