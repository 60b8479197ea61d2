"""What a user sees while a study runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from scl.run.live import Live
from scl.run.progress import Progress
from scl.terminal import in_a_log

LABELS = {"a": "baseline · seed 0", "b": "kd · seed 0"}


def progress() -> Progress:
    return Progress("students", LABELS, {"a": 10, "b": 10}, Live(None))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "log"), [({}, False), ({"CI": "true", "FORCE_COLOR": "1"}, True), ({"TERM": "dumb"}, True)]
)
def test_a_table_is_drawn_in_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], log: bool
) -> None:
    for name in ("CI", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    assert in_a_log() == log
    with progress() as shown:
        shown.epoch("a", 1, 0.5)
        shown.ended("a", "completed", "")
    assert ("\x1b[" in stderr.getvalue()) == (not log)


def test_a_log_has_plain_lines_with_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as shown:
        shown.epoch("a", 5, 0.8)
        assert shown.seconds_left() is None  # the first epoch contains the start
        assert shown.first is not None
        shown.first = shown.first[0] - 60, 5  # a minute ago
        shown.epoch("a", 10, 0.875)
        shown.ended("a", "completed", "")
        shown.epoch("b", 1, 0.1)
        shown.ended("b", "failed", "Traceback …\nTrialFailure: it broke")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "students: 2 to train"
    assert lines[1].startswith("[1/2] baseline · seed 0: completed val 87.5% about 2 min left")
    assert lines[2].startswith("[2/2] kd · seed 0: failed val 10.0%")
    assert lines[3] == "kd · seed 0 failed: TrialFailure: it broke"


def test_the_table_shows_running_trials_first() -> None:
    shown = progress()
    shown.epoch("b", 3, 0.5)
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(shown.table())
    rows = [line for line in console.export_text().splitlines() if "seed" in line]
    assert "kd" in rows[0]
    assert "3/10" in rows[0]
    assert "waiting" in rows[1]
