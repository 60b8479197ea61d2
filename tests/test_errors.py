"""Messages of errors, and dataclasses that name their valid fields."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scl.errors import Damaged, RunFailed, UserError, definition, first_line, how_to_install, names_checked, unknown


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


@pytest.mark.parametrize("kind", [UserError, RunFailed, Damaged])
def test_words_that_are_too_long_to_read_are_cut(kind: type[Exception]) -> None:
    path = "results/" + "a" * 992
    message = "{0} is no study; `scl watch {0} --wait` waits for one"
    assert str(kind(message.format(path))) == message.format(path)
    assert str(kind(message.format(path + "a"))) == message.format(f"{path[:160]}… (1,001 characters)")


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


SCRIPT = """
import sys
from scl.errors import UserError, definition

@definition
def halves(number):
    if number % 2:
        raise UserError(f"{number} is odd")
    return number // 2

def hooked():
    return sys.excepthook is not sys.__excepthook__

"""


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("halves(4); assert not hooked()", 0, ""),
        ("halves(3)", 2, "error: 3 is odd\n"),
        ("halves(None)", 1, "Traceback"),
        ("try: halves(3)\nexcept UserError: pass\nraise ValueError('ours')", 1, "ValueError: ours"),
        ("try: halves(3)\nexcept UserError: pass\nraise UserError('ours')", 1, "Traceback"),
        ("import scl\ntry: scl.run(3)\nexcept UserError: assert not hooked()", 0, ""),
        ("import scl\nscl.Study('a', '?', {'baseline': {}}, seeds=0)", 2, "error: Study: seeds must be"),
        (
            "import scl\nstudy = scl.Study('a', '?', {'baseline': {}})\n"
            "try: scl.plan(study, set={'lr': -1})\nexcept UserError: assert not hooked()\nelse: raise SystemExit(9)",
            0,
            "",
        ),
    ],
)
def test_the_hook_is_set_only_for_a_mistake_of_a_study_file(body: str, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(SCRIPT + body)
    done = subprocess.run([sys.executable, "study.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert ("Traceback" in done.stderr) == (code == 1)


def test_code_that_is_no_script_keeps_pythons_hook() -> None:
    """As in a notebook or a console: `__main__` without a file."""
    code = f"{SCRIPT}\ntry: halves(3)\nexcept UserError: assert not hooked()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_extras_are_advised_in_one_place_and_exist() -> None:
    """Nothing advises to install this project by a name: no index has it."""
    root = Path(__file__).parents[1]
    with open(root / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert how_to_install("wandb").endswith("uv sync --inexact --extra wandb, or pip install '.[wandb]'")
    files = [root / "README.md", *(root / "docs").glob("*.md"), *(root / "scl").rglob("*.py")]
    texts = {str(file): file.read_text(encoding="utf-8") for file in files}
    named = {name for text in texts.values() for name in re.findall(r"how_to_install\(['\"](\w+)|--extra (\w+)", text)}
    assert {a or b for a, b in named} <= extras.keys()
    assert [file for file, text in texts.items() if re.search(r"install '?scl-studies", text)] == []


def test_a_definition_keeps_its_name() -> None:
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
    assert run.stderr == "error: factor 'lr' changes nothing: its levels are [0.1]; give 2 or more\n"
