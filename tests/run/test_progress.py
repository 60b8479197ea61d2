"""What a user sees while a study runs."""

from __future__ import annotations

import io
import json

import pytest
from rich.cells import cell_len
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
    assert capsys.readouterr().err.splitlines() == [
        "students: 2 to train",
        "[1/2] baseline · seed 0: completed, validation 87.5 %, about 2 min left",
        "[2/2] kd · seed 0: failed, validation 10.0 %",
        "kd · seed 0 failed: TrialFailure: it broke",
    ]


def test_time_left_counts_epochs_of_whole_cohorts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs of a cohort tell of an epoch one after the other, at nearly the same time."""
    clock = 0.0
    monkeypatch.setattr("scl.run.progress.time.monotonic", lambda: clock)
    jobs = list("abcd")
    shown = Progress("students", {j: j for j in jobs}, dict.fromkeys(jobs, 10), Live(None), [jobs[:2], jobs[2:]])
    left = []
    for epoch in (1, 2, 3):
        clock = 100.0 * epoch
        for job in jobs[:2]:
            shown.epoch(job, epoch, 0.5)
            left.append(shown.seconds_left())
            clock += 1.0
    assert left == [None, None, 1800.0, 1799.0, 1700.0, 1699.0]
    clock += 1e6  # an epoch that takes longer than those before
    assert shown.seconds_left() == 0.0


@pytest.mark.parametrize(
    ("cohorts", "line"),
    [
        ([], "s: 1 of 4 ended, 1 failed, epochs 2 to 7 of 9, best validation 80.0 % (B)"),
        ([list("abcd")], "s: 1 of 4 ended, 1 failed, epochs 2 to 7 of 9, best validation 80.0 % (B)"),
        (
            [["a"], ["b"], ["c", "d"]],
            "s: 1 of 4 ended, 1 failed, 2 cohorts of 3 at epochs 2 to 7 of 9, best validation 80.0 % (B)",
        ),
        (
            [["a"], ["b", "c", "d"]],
            "s: 1 of 4 ended, 1 failed, cohort 2 of 2 at epochs 2 to 7 of 9, best validation 80.0 % (B)",
        ),
    ],
)
def test_one_line_says_cohort_epoch_and_best_validation(cohorts: list[list[str]], line: str) -> None:
    shown = Progress("s", {j: j.upper() for j in "abcd"}, dict.fromkeys("abcd", 9), Live(None), cohorts)
    assert shown.line() == "s: 0 of 4 ended"
    shown.ended("a", "failed", "")
    shown.epoch("b", 1, 0.8)
    shown.epoch("b", 2, 0.4)
    shown.epoch("c", 7, -1.0)
    assert shown.line().partition(", about")[0] == line


def test_the_line_of_a_teacher_counts_no_trials() -> None:
    shown = Progress("teacher", {"t": "teacher"}, {"t": 40}, Live(None), [["t"]])
    assert shown.line() == "teacher: no epoch has ended yet"
    shown.epoch("t", 12, 0.71)
    assert shown.line() == "teacher: epoch 12 of 40, best validation 71.0 %"


def test_a_trial_that_trains_epochs_again_has_one_value_each() -> None:
    shown = progress()
    for epoch, accuracy in ((3, 0.3), (4, 0.4), (5, 0.5), (4, 0.45)):
        shown.epoch("a", epoch, accuracy)
    assert shown.record()["running"][0]["val_acc"] == [None, None, 0.3, 0.45]


def test_a_record_stays_small() -> None:
    jobs = {str(i): f"arm · seed {i}" for i in range(1000)}
    shown = Progress("students", jobs, dict.fromkeys(jobs, 300), Live(None), [list(jobs)])
    for job in jobs:
        for epoch in range(1, 301):
            shown.curves.setdefault(job, []).append(epoch / 313)
        shown.epoch(job, 300, 0.97)
    assert len(json.dumps(shown.record())) < 150_000
    assert shown.record()["running"][0]["val_acc"][-1] == 0.97


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("name", ["kd", "a very long name of an arm " * 3, "教師の知識蒸留" * 5, "🦊" * 30])
def test_the_display_fits_the_terminal(width: int, name: str) -> None:
    jobs = {str(i): f"{name} {i} · seed 0" for i in range(100)}
    shown = Progress("students", jobs, dict.fromkeys(jobs, 100), Live(None), [list(jobs)])
    shown.epoch("3", 100, 0.5)
    shown.console = Console(width=width, height=24, file=io.StringIO(), record=True)
    shown.console.print(shown.drawn())
    lines = shown.console.export_text().splitlines()
    assert len(lines) <= 24
    assert all(cell_len(line) <= width for line in lines)
    assert any("100/100" in line for line in lines)


def test_the_table_shows_running_trials_first() -> None:
    shown = progress()
    shown.epoch("b", 3, 0.5)
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(shown.drawn())
    rows = console.export_text().splitlines()[2:]
    assert "kd" in rows[0]
    assert "3/10" in rows[0]
    assert "waiting" in rows[1]


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (["kd · seed 0"], "kd · seed 0"),
        (list("abcdefg"), "a, b, c, d and 3 more"),
        (["<b>\x1b[2J\n:actor_name:x\u202e"], "<b>�[2J :actor_name:x�"),
    ],
)
def test_a_cohort_has_a_name_in_one_line(labels: list[str], name: str) -> None:
    jobs = {str(i): label for i, label in enumerate(labels)}
    assert Progress("students", jobs, dict.fromkeys(jobs, 1), Live(None), [list(jobs)]).named(list(jobs)) == name
    long = Progress("students", {"a": "x" * 200 + " · seed 12"}, {"a": 1}, Live(None)).named(["a"])
    assert len(long) <= 60
    assert long.endswith(" · seed 12")
