"""What a person sees while a study runs: a live table in a terminal, plain lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

ENDED = ("failed", "completed", "pruned")


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def in_a_log() -> bool:
    """Whether nobody watches: a file, a pipe, or a CI job, which may ask for colours all the same."""
    return not sys.stderr.isatty() or bool(os.environ.get("CI")) or os.environ.get("TERM") == "dumb"


class Progress:
    """Counts epochs of jobs; `labels`: job id → what people call it, `epochs`: job id → planned.

    `expected`: how many jobs there will be, where `add` names some of them later.
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
        self.console = Console(stderr=True, force_terminal=False if in_a_log() else None)
        self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self.table, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        else:
            print(f"{self.title}: {self.expected} to train", file=sys.stderr, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def add(self, job: str, label: str, epochs: int) -> None:
        """Name a job that was not known at the start."""
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
            print(line, file=sys.stderr, flush=True)
        if error:
            self.console.print(Text(f"{self.labels[job]} failed: {error.strip().splitlines()[-1]}"), style="red")

    def remaining(self) -> str:
        if not self.labels:
            return ""
        total = sum(self.epochs.values()) * max(1.0, self.expected / len(self.labels))
        done = sum(self.epochs[j] if self.state[j] in ENDED else n for j, n in self.done.items())
        if not done or done >= total:
            return ""
        elapsed = time.monotonic() - self.began
        return f"about {clock(elapsed / done * (total - done))} left"

    def table(self) -> Table:
        ended = sum(s in ENDED for s in self.state.values())
        elapsed = clock(time.monotonic() - self.began)
        title = f"{self.title}: {ended} of {self.expected} · {elapsed} {self.remaining()}"
        table = Table("trial", "state", "epoch", "val acc", title=Text(title), title_justify="left")
        # What is running first, and no more than fits a screen.
        order = sorted(self.labels, key=lambda j: ("running", "waiting", *ENDED).index(self.state[j]))
        for job in order[: max(4, self.console.height - 6)]:
            accuracy = self.accuracy.get(job, -1.0)
            value = f"{accuracy:.1%}" if accuracy >= 0 else ""
            table.add_row(Text(self.labels[job]), self.state[job], f"{self.done[job]}/{self.epochs[job]}", value)
        return table
