"""What a user sees while a study runs: a live table in a terminal, plain lines in a log or a notebook."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from scl.report.formatting import about, duration
from scl.run.live import Live
from scl.terminal import cell, in_a_log, say

if TYPE_CHECKING:
    from rich.table import Table

MOST_TRIALS, MOST_EPOCHS = 100, 200  # in a record
ENDED = ("failed", "completed", "pruned")


class Progress:
    """Counts the epochs of jobs.

    labels: job id → its name for people. epochs: job id → planned epochs. expected: the number of jobs, if `add` names
    some of them later. live: hears of every change. curves: job id → validation accuracy by epoch, -1 if unknown.
    """

    def __init__(
        self,
        title: str,
        labels: Mapping[str, str],
        epochs: Mapping[str, int],
        live: Live,
        expected: int | None = None,
    ) -> None:
        self.title, self.labels, self.epochs = title, dict(labels), dict(epochs)
        self.expected = len(labels) if expected is None else expected
        self.done = dict.fromkeys(labels, 0)
        self.curves: dict[str, list[float]] = {}
        self.live = live
        self.state = dict.fromkeys(labels, "waiting")
        self.began = time.monotonic()
        self.first: tuple[float, int] | None = None  # when the first epoch ended, and how many had by then
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live as Screen  # noqa: PLC0415

        self.console = Console(stderr=True, force_terminal=False if in_a_log() else None)
        self.screen = Screen(console=self.console, refresh_per_second=4, get_renderable=self.table, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.screen.start()
        else:
            say(f"{self.title}: {self.expected} to train")
        self.live.tell(self.record())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.screen.stop()
        self.live.tell(self.record())

    def add(self, job: str, label: str, epochs: int) -> None:
        """Add a job that was not known at the start."""
        self.labels[job], self.epochs[job] = label, epochs
        self.state.setdefault(job, "waiting")
        self.done.setdefault(job, 0)

    def epoch(self, job: str, epoch: int, accuracy: float) -> None:
        self.state[job], self.done[job] = "running", epoch
        self.curves.setdefault(job, []).append(accuracy)
        if self.first is None:
            self.first = time.monotonic(), self._epochs_done()
        self.live.changed(self.record)

    def accuracy(self, job: str) -> float:
        """The last validation accuracy; -1 if it is unknown."""
        return self.curves.get(job, [-1.0])[-1]

    def ended(self, job: str, state: str, error: str) -> None:
        self.state[job] = state
        if not self.console.is_terminal:
            ended = self.counts()["ended"]
            accuracy = self.accuracy(job)
            value = f"val {accuracy:.1%}" if accuracy >= 0 else ""
            line = f"[{ended}/{self.expected}] {self.labels[job]}: {state} {value} {self.remaining()}".rstrip()
            say(line)
        if error:
            self.console.print(cell(f"{self.labels[job]} failed: {error.strip().splitlines()[-1]}", style="red"))
        self.live.changed(self.record, ended=True)

    def counts(self) -> dict[str, int]:
        """How many jobs have ended, and how many of them failed."""
        states = list(self.state.values())
        return {"ended": sum(s in ENDED for s in states), "failed": states.count("failed")}

    def running(self) -> list[str]:
        """The jobs that train now, the most advanced first."""
        return sorted((j for j, s in self.state.items() if s == "running"), key=lambda j: -self.done[j])

    def record(self) -> dict[str, Any]:
        """What `scl.store.progress` keeps of it."""
        return {
            "title": self.title,
            "expected": self.expected,
            **self.counts(),
            "seconds_left": self.seconds_left(),
            "running": [self._trial(job) for job in self.running()[:MOST_TRIALS]],
        }

    def _trial(self, job: str) -> dict[str, Any]:
        curve = [value if value >= 0 else None for value in self.curves.get(job, [])]
        every = -(-len(curve) // MOST_EPOCHS) or 1
        about = {"label": self.labels[job], "epoch": self.done[job], "epochs": self.epochs[job]}
        return {"trial_id": job, **about, "val_acc": curve[::every]}

    def remaining(self) -> str:
        left = self.seconds_left()
        return "" if left is None else f"about {about(left)} left"

    def seconds_left(self) -> float | None:
        """By the time that epochs have taken since the first one ended, so that no start-up counts; None if nothing
        tells it yet."""
        if self.first is None:
            return None
        total = sum(self.epochs.values()) * max(1.0, self.expected / len(self.labels))
        began, before = self.first
        done = self._epochs_done()
        if done <= before or done >= total:
            return None
        return (time.monotonic() - began) / (done - before) * (total - done)

    def _epochs_done(self) -> int:
        return sum(self.epochs[j] if self.state[j] in ENDED else n for j, n in self.done.items())

    def table(self) -> Table:
        from rich.table import Table  # noqa: PLC0415

        ended = self.counts()["ended"]
        elapsed = duration(time.monotonic() - self.began)
        title = f"{self.title}: {ended} of {self.expected} · {elapsed} {self.remaining()}"
        table = Table("trial", "state", "epoch", "val acc", title=cell(title), title_justify="left")
        # Running jobs first, and no more than fit on a screen.
        order = sorted(self.labels, key=lambda j: ("running", "waiting", *ENDED).index(self.state[j]))
        for job in order[: max(4, self.console.height - 6)]:
            accuracy = self.accuracy(job)
            value = f"{accuracy:.1%}" if accuracy >= 0 else ""
            table.add_row(cell(self.labels[job]), self.state[job], f"{self.done[job]}/{self.epochs[job]}", value)
        return table
