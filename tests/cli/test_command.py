"""The command `scl`: its arguments, and where they lead."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from scl.cli import command
from scl.cli.command import main, parser


def test_the_console_command_and_the_module_are_one() -> None:
    run = subprocess.run([sys.executable, "-m", "scl", "--help"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0
    assert "results" in run.stdout


@pytest.mark.parametrize(
    ("line", "module", "parsed"),
    [
        ("results", "results", {"place": "results"}),
        ("results there", "results", {"place": "there"}),
        ("show kd/0", "show", {"results": "results", "trial": "kd/0"}),
        ("show there kd/0", "show", {"results": "there", "trial": "kd/0"}),
        ("run it.py --seeds 5", "study", {"command": "run", "script": "it.py", "flags": ["--seeds", "5"]}),
        ("plan it.py", "study", {"command": "plan", "script": "it.py", "flags": []}),
        ("export kd/0", "export", {"trial": "kd/0", "format": "safetensors", "out": None, "input": "pixels"}),
        ("export there kd/0 --format onnx --input normalised", "export", {"format": "onnx", "input": "normalised"}),
        ("report there", "report", {"place": "there"}),
        ("merge a b --out c", "merge", {"places": ["a", "b"], "out": "c"}),
        ("merge a --out c b", "merge", {"places": ["a", "b"], "out": "c"}),
        ("export there --format onnx kd/0", "export", {"results": "there", "trial": "kd/0", "format": "onnx"}),
        ("export --force kd/0", "export", {"results": "results", "trial": "kd/0", "force": True}),
        ("predict r kd/0 --top 3 a.jpg", "predict", {"inputs": ["r", "kd/0", "a.jpg"], "top": "3"}),
        ("predict --fit pad r kd/0 a.jpg --top 3 b.jpg", "predict", {"inputs": ["r", "kd/0", "a.jpg", "b.jpg"]}),
        ("completion zsh", "completion", {"shell": "zsh"}),
    ],
)
def test_each_command_reaches_its_module_with_what_was_given(
    line: str, module: str, parsed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def imported(name: str) -> SimpleNamespace:
        seen.append(name)
        return SimpleNamespace(run=lambda given: seen.append(vars(given)) or 7)

    monkeypatch.setattr(command, "import_module", imported)
    assert main(line.split()) == 7
    name, given = seen
    assert name == f"scl.cli.commands.{module}"
    assert given.items() >= parsed.items()


def test_every_command_has_a_module_and_every_module_a_command() -> None:
    from importlib import import_module
    from pathlib import Path

    import scl.cli.commands

    actions = [a.choices for a in parser()._actions if a.dest == "command"]
    modules = {sub.get_default("module") for sub in actions[0].values()}  # type: ignore[union-attr]
    assert modules == {p.stem for p in Path(scl.cli.commands.__file__).parent.glob("[a-z]*.py")}
    assert all(callable(import_module(f"scl.cli.commands.{module}").run) for module in modules)


@pytest.mark.parametrize("line", ["", "resluts", "show", "report", "results --nosuch", "run"])
def test_a_line_that_no_command_takes_ends_with_code_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 2
    assert "usage: scl" in capsys.readouterr().err


def test_help_and_mistyped_commands_import_no_torch() -> None:
    code = (
        "import sys; from contextlib import suppress; from scl.cli.command import main\n"
        "for line in (['--help'], ['show', '--help'], ['nosuch']):\n"
        "    with suppress(SystemExit): main(line)\n"
        "assert not {'torch', 'ray', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
