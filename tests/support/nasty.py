"""Values that a flag may be given by mistake, by a broken script or in malice."""

from __future__ import annotations

import io
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from scl.data.named import load_dataset
from scl.plan.capacity import Node
from scl.study.options import DATA

ROOT = Path(__file__).parents[2]
DIGITS = "9" * 5000
NUMBERS = [
    "1e400",
    "-1e400",
    DIGITS,
    "²",
    "１２",
    "٣",
    "1_0",
    "+5",
    " 5 ",
    "0x10",
    "nan",
    "inf",
    "-inf",
    "-0",
    "1e-400",
    "1e-300",
    "1e308",
    "1" + "0" * 30,
    "1000000000",
    "5.0",
    "1.5",
    "0",
    "-1",
    "5\n",
    "1e2",
    "1e-3",
    "0.1",
    "True",
    "1,2",
    "--1",
]
TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\n",
    "a\nb",
    "\udc80",
    "caf\udce9",
    "\x1b[31m",
    "a" * 300,
    "a" * 5000,
    "--",
    "-",
    "=",
    ",",
    ",,",
    "a=",
    "=1",
    "a=1,a=2",
    "lr=1e400",
    f"epochs={DIGITS}",
    "lr=²",
    "nesterov=1",
    "milestones=1,²",
    "self_taught=1,1_0",
    "teacher.lr=nan",
    "weight.kd=1e-400",
    "kd.temperature=nan",
    "kd.layers=٣",
    "é",
    "日本",
    "…",
    "'",
    '"',
    "%s",
    "{}",
    "\\",
    "a/b",
    "a/b/²",
    f"a/{DIGITS}",
    "kd,kd",
    "auto",
    "None",
]
PLACES = [
    "s3://",
    "s3:",
    "gs://",
    "gs:///",
    "gs:///x",
    "file:",
    "file://",
    "file:x",
    "file://host/x",
    "http://h/x",
    "://",
    "a://",
    "a" * 300,
    "/".join(["a" * 200] * 40),
    "/dev/null",
    "/dev/null/x",
    "/dev/full",
    "/proc/x",
    "FIFO",
    "FILE",
    "FILE/x",
    "x:y",
]
ADDRESSES = [":1", "h:", "h:0", "h:70000", "h:²", "a..b:1", f"{'a' * 64}:1", "ray://", "ray://h", "[::1", "-:1", "é:1"]
EVERY = [*NUMBERS, *TEXTS, *PLACES, *ADDRESSES]


class Ended(NamedTuple):
    """How a command ended: its code, its messages, and the end of a traceback if there is one."""

    code: object
    error: str
    trace: str


def call(work: Callable[[], object]) -> Ended:
    """Run a command's code in this process. Standard output takes what a UTF-8 terminal takes."""
    out, error, trace, code = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO(), "", None
    try:
        with redirect_stdout(out), redirect_stderr(error):
            code = work()
            out.flush()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        trace = "".join(traceback.format_exc().splitlines(keepends=True)[-6:])
    return Ended(code, error.getvalue(), trace)


def script(path: str, *arguments: str) -> Ended:
    """A script of this repository in this process, in the present folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(ROOT / path), *arguments])
        patch.syspath_prepend((ROOT / path).parent)
        return call(lambda: runpy.run_path(str(ROOT / path), run_name="__main__"))


def nothing_runs(patch: pytest.MonkeyPatch) -> None:
    """Plans are made without networks, a cluster, or a download, so that thousands take a minute."""
    digits: list[Any] = []

    def dataset(name: str, cache: Path, label: str | None = None, keep: bool = True, **choices: Any) -> Any:
        if name not in DATA or label is not None or any(choices.values()):
            return load_dataset(name, cache, label, **choices)
        digits[:] = digits or [load_dataset("digits", cache)]
        return digits[0]

    class Backend:
        def __enter__(self) -> Any:
            return SimpleNamespace(nodes=lambda: (Node("10.0.0.1", {"CPU": 4}, {}),))

        def __exit__(self, *error: object) -> None:
            pass

    patch.setattr("scl.plan.plan.load_dataset", dataset)
    patch.setattr("scl.plan.plan.Feasibility", lambda *_: SimpleNamespace(check=lambda *_: None, bounded=lambda *_: []))
    patch.setattr("scl.run.run.open_backend", lambda *_: Backend())
    patch.setattr("scl.run.run.summarise", lambda plan, left: f"{len(plan.trials)} trials")


def in_folder(folder: Path) -> None:
    """What PLACES names: a pipe and a file."""
    os.mkfifo(folder / "FIFO")
    (folder / "FILE").write_text("a file")
