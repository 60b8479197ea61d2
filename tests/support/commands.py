"""The study `ablation.py` as a command line, in this process or in its own."""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scl.store.results import load

ROOT = Path(__file__).parents[2]
SHORT = ["--epochs", "2", "--teacher-epochs", "1", "--limit", "100", "--teacher-width", "0.125"]
TIMES = ["train_seconds", "images_per_second", "latency_ms", "started", "ended", "cohort_size", "restarts"]


def ablation(out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The study as a command: in this process if it needs no Ray, which saves 6 s of imports; else in its own."""
    arguments = ["--out", str(out), *flags]
    if "--inline" in flags or "--report-only" in flags:
        return here(*arguments)
    command = [sys.executable, "studies/ablation.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def here(*arguments: str, script: str = "studies/ablation.py") -> subprocess.CompletedProcess[str]:
    """A file run as a script in this process, which saves the imports; an exception that escapes fails the test."""
    out, error, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error), chdir(ROOT):
        patch.setattr(sys, "argv", [script, *arguments])
        patch.setattr(sys, "path", [str(Path(script).parent), *sys.path])
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), error.getvalue())


def inline(out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return ablation(out, "--inline", *SHORT, *flags)


def rows(out: Path) -> pd.DataFrame:
    return load(str(out / "ablation")).trials.sort_values("trial_id").reset_index(drop=True)


def about(out: Path) -> dict[str, Any]:
    return load(str(out / "ablation")).study
