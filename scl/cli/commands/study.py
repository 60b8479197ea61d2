"""`scl run` and `scl plan`: a study's script in this process, as `python STUDY.py FLAGS` runs it."""

from __future__ import annotations

import os
import runpy
import sys
from argparse import Namespace
from pathlib import Path

from scl.errors import UserError, shown
from scl.shadows import hiding


def run(given: Namespace) -> int:
    script = given.script
    if not os.path.isfile(script):  # False for what cannot be a path, too
        raise UserError(f"{shown(script)}: no such file; name a study's script, as in studies/ablation.py")
    check_python(script)
    folder = str(Path(script).resolve().parent)
    if message := hiding([folder]):
        raise UserError(message)
    before = sys.argv
    sys.argv = [script, *given.flags, *["--plan"] * (given.command == "plan")]
    sys.path.insert(0, folder)  # as Python does for a script
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        raise  # a message, which Python prints
    finally:
        sys.argv = before
        sys.path.pop(0)
    raise UserError(f"{script!r} ran no study: it must call scl.cli.main(Study(…))")


def check_python(script: str) -> None:
    """Raise UserError if a file is not Python, with the line that shows it."""
    try:
        compile(Path(script).read_bytes(), script, "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: it has null bytes
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(
            f"{shown(script)}{line}: {reason}, so Python cannot run it; name a study's script, as in "
            "studies/ablation.py"
        ) from None
