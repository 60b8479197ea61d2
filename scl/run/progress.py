"""What a user sees while a study runs: a live table in a terminal, plain lines in a log or a notebook."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from scl.report.formatting import duration
from scl.terminal import cell, in_a_log, say

if TYPE_CHECKING:
    from rich.table import Table

ENDED = ("failed", "completed", "pruned")


class Progress:
    """Counts the epochs of jobs.

    labels: job id → its name for people. epochs: job id → planned epochs. expected: the number of jobs, if `add` names
    some of them later.
    """

    def __init__(
        self, title: str, labels: Mapping[str, str], epochs: Mapping[str, int], expected: int | None = None
    ) -> None:
        self.title, self.labels, self.epochs = title, dict(labels), dict(epochs)
        self.expected = len(labels) if expected is None else expected
        self.done = dict.fromkeys(labels, 0)
        self.accuracy: dict[str, float] = {}
        self.state = dict.fromkeys(labels, "waiting")
        self.began = time.monotonic()
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415

        self.console = Console(stderr=True, force_terminal=False if in_a_log() else None)
        self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self.table, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        else:
            say(f"{self.title}: {self.expected} to train")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def add(self, job: str, label: str, epochs: int) -> None:
        """Add a job that was not known at the start."""
        self.labels[job], self.epochs[job] = label, epochs
        self.state.setdefault(job, "waiting")
        self.done.setdefault(job, 0)

    def epoch(self, job: str, epoch: int, accuracy: float) -> None:
        self.state[job], self.done[job], self.accuracy[job] = "running", epoch, accuracy

    def ended(self, job: str, state: str, error: str) -> None:
        self.state[job] = state
        if not self.console.is_terminal:
            ended = sum(s in ENDED for s in self.state.values())
            accuracy = self.accuracy.get(job, -1.0)
            value = f"val {accuracy:.1%}" if accuracy >= 0 else ""
            line = f"[{ended}/{self.expected}] {self.labels[job]}: {state} {value} {self.remaining()}".rstrip()
            say(line)
        if error:
            self.console.print(cell(f"{self.labels[job]} failed: {error.strip().splitlines()[-1]}", style="red"))

    def remaining(self) -> str:
        if not self.labels:
            return ""
        total = sum(self.epochs.values()) * max(1.0, self.expected / len(self.labels))
        done = sum(self.epochs[j] if self.state[j] in ENDED else n for j, n in self.done.items())
        if not done or done >= total:
            return ""
        elapsed = time.monotonic() - self.began
        return f"about {duration(elapsed / done * (total - done))} left"

    def table(self) -> Table:
        from rich.table import Table  # noqa: PLC0415

        ended = sum(s in ENDED for s in self.state.values())
        elapsed = duration(time.monotonic() - self.began)
        title = f"{self.title}: {ended} of {self.expected} · {elapsed} {self.remaining()}"
        table = Table("trial", "state", "epoch", "val acc", title=cell(title), title_justify="left")
        # Running jobs first, and no more than fit on a screen.
        order = sorted(self.labels, key=lambda j: ("running", "waiting", *ENDED).index(self.state[j]))
        for job in order[: max(4, self.console.height - 6)]:
            accuracy = self.accuracy.get(job, -1.0)
            value = f"{accuracy:.1%}" if accuracy >= 0 else ""
            table.add_row(cell(self.labels[job]), self.state[job], f"{self.done[job]}/{self.epochs[job]}", value)
        return table
