"""A study where the locale is not UTF-8, and where what Linux has is absent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scl.run import stopping
from scl.store.results import load
from scl.students.student import load_student
from tests.support.studies import SMALL, run_study

ROOT = Path(__file__).parents[2]

# Everything that reads or writes a file, in one process, whose Python warns where an encoding is the locale's.
PROGRAM = """
import runpy, sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module=r"(scl|studies|reports|tests|__main__)\\b.*")
from scl.cli.command import main
from scl.cli.exits import exit_code
from tests.support.studies import SMALL, run_study
out, data = sys.argv[1:]
assert exit_code(lambda: run_study(SMALL, "--out", out, "--data", data)) == 0
for command in ("results OUT", "show OUT baseline/0", "report OUT/small --page OUT/page.html",
                "export OUT baseline/0 --out OUT/student.safetensors"):
    assert main([word.replace("OUT", out) for word in command.split()]) == 0, command
for line in ("compare.py OUT/small OUT/small --out OUT/compare.html", "table.py OUT/small --format markdown",
             "own_page.py OUT/small OUT/own.html"):
    name, *_ = sys.argv = [word.replace("OUT", out) for word in line.split()]
    try:
        runpy.run_path(f"reports/{name}", run_name="__main__")
    except SystemExit as end:
        assert end.code == 0, name
"""


@pytest.mark.slow
def test_a_study_in_a_locale_that_is_not_utf_8(small: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "résultats", tmp_path / "données"
    shutil.copytree(small.parent.parent / "images", data)
    for part in ("train", "test"):
        (data / part / "class-2").rename(data / part / "été")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "LANG" and not name.startswith("LC_")},
        **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)},
    }
    ran = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", PROGRAM, str(out), str(data)],
        cwd=ROOT, env=environment, capture_output=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    said = ran.stdout.decode("utf-8")  # the bytes of the folder's name are as they were given
    assert "+/-" in said
    assert f"network: {out}/small/checkpoints" in said
    assert {line for line in said.splitlines() if not line.isascii()} == {
        line for line in said.splitlines() if "résultats" in line
    }
    pages = [(out / name).read_text("utf-8") for name in ("small/report.html", "page.html", "compare.html", "own.html")]
    assert all(not page.isascii() and "Ã" not in page for page in pages)
    assert load_student(str(out), "baseline/0").classes == ["class-0", "class-1", "été"]
    assert load(str(out / "small")).study["data"]["name"] == str(data)
    here, there = load(str(small)).trials.set_index("trial_id"), load(str(out / "small")).trials.set_index("trial_id")
    assert here["test_acc"].equals(there["test_acc"].loc[here.index])


def test_a_study_without_what_only_linux_has(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no processor affinity; Windows has no sysconf and few signals either."""
    for module, names in (
        (os, ("sched_getaffinity", "sched_setaffinity", "sysconf", "getuid", "geteuid", "fork", "getloadavg")),
        (signal, ("SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGXCPU", "setitimer", "ITIMER_REAL")),
    ):
        for name in names:
            monkeypatch.delattr(module, name, raising=False)
    monkeypatch.setattr(stopping, "HAS_TIMER", False)
    assert run_study(SMALL, "--out", str(tmp_path), "--data", str(small.parent.parent / "images")) == 0
    here, there = load(str(small)).trials, load(str(tmp_path / "small")).trials
    assert sorted(here["test_acc"]) == sorted(there["test_acc"])
