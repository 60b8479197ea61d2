"""What a user sees while a study runs: a live table in a terminal, plain lines in a log or a notebook."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from scl.report.formatting import about, duration, percent, plain, plural, shorten
from scl.run.live import Live
from scl.streams import displayed
from scl.terminal import cell, in_a_log, say

if TYPE_CHECKING:
    from rich.console import Group

MOST_TRIALS, MOST_EPOCHS = 100, 100  # in a record
MOST_NAMES, MOST_OF_A_NAME = 4, 60  # of a cohort's name
NARROW = 60  # columns of a terminal below which states give way to names
DIGITS = 4  # of an accuracy in a record
ENDED = ("failed", "completed", "pruned")


class Progress:
    """Counts the epochs of jobs.

    labels: job id → its name for people. epochs: job id → planned epochs. cohorts: the jobs that train side by side.
    expected: the number of jobs, if `add` names some of them later. live: hears of every change. curves: job id →
    validation accuracy by epoch, -1 if unknown. counted: the epochs that all jobs have done, and counts_as those of
    each; first, last: when an epoch ended first and last, and how many had by then.
    """

    def __init__(
        self,
        title: str,
        labels: Mapping[str, str],
        epochs: Mapping[str, int],
        live: Live,
        cohorts: Sequence[Sequence[str]] = (),
        expected: int | None = None,
    ) -> None:
        self.title, self.labels, self.epochs, self.live = title, dict(labels), dict(epochs), live
        self.expected = len(labels) if expected is None else expected
        self.cohorts = 0 if expected is not None else len(cohorts)  # 0: more may come
        self.members = {number: list(cohort) for number, cohort in enumerate(cohorts, 1)}
        self.cohort = {job: number for number, cohort in self.members.items() for job in cohort}
        self.done = dict.fromkeys(labels, 0)
        self.curves: dict[str, list[float]] = {}
        self.top = -1.0, ""  # the best accuracy of all, and whose it is
        self.state = dict.fromkeys(labels, "waiting")
        self.ends = Counter[str]()  # state → jobs that have ended so: nothing here may take longer with more jobs
        self.in_training: dict[str, None] = {}  # the jobs that run, in the order of their first epoch
        self.planned = sum(epochs.values())  # epochs of the known jobs
        self.began = time.monotonic()
        self.first: tuple[float, int] | None = None
        self.last = self.began, 0
        self.counted, self.counts_as = 0, dict[str, int]()
        self.mutex = threading.RLock()  # the screen and the log look from threads of their own
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live as Screen  # noqa: PLC0415

        self.in_log = in_a_log()
        self.console = Console(stderr=True, force_terminal=False if self.in_log else None)
        # Once a second: drawing takes milliseconds, also of the training.
        self.screen = Screen(console=self.console, refresh_per_second=1, get_renderable=self.drawn, transient=True)

    def __enter__(self) -> Self:
        if self.in_log:
            cohorts = f" in {plural(self.cohorts, 'cohort')}" if self.cohorts > 1 else ""
            self.live.say(f"{self.title}: {self.expected} to train{cohorts}")
        else:
            self.screen.start()
        self.live.show(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.screen.stop()
        self.live.tell()

    def add(self, cohort: int, job: str, label: str, epochs: int) -> None:
        """Add a job that was not known at the start. cohort: a number that jobs share which train side by side."""
        with self.mutex:
            self.planned += epochs - self.epochs.get(job, 0)
            self.labels[job], self.epochs[job], self.cohort[job] = label, epochs, cohort
            self.members.setdefault(cohort, []).append(job)
            self.state.setdefault(job, "waiting")
            self.done.setdefault(job, 0)

    def epoch(self, job: str, epoch: int, accuracy: float) -> None:
        with self.mutex:
            self._becomes(job, "running")
            self.done[job] = epoch
            curve = self.curves.setdefault(job, [])
            del curve[epoch - 1 :]  # a trial that came back from a checkpoint trains some again
            curve += [-1.0] * (epoch - 1 - len(curve)) + [accuracy]
            self.top = max(self.top, (accuracy, job))
            # The jobs of a cohort end an epoch together: the first one tells for all.
            beside = self.members.get(self.cohort.get(job, 0), [job])
            self._count([j for j in beside if self.state[j] not in ENDED], epoch)
        self.live.changed()

    def accuracy(self, job: str) -> float:
        """The last validation accuracy; -1 if it is unknown."""
        return self.curves.get(job, [-1.0])[-1]

    def ended(self, job: str, state: str, error: str) -> None:
        with self.mutex:
            self._becomes(job, state)
            self._count([job], self.epochs[job])
            if self.in_log:
                accuracy = self.accuracy(job)
                value = f"validation {percent(accuracy, 1)}" if accuracy >= 0 else ""
                parts = (state, value, self.remaining())
                self.live.say(
                    f"[{self.counts()['ended']}/{self.expected}] {self.labels[job]}: {', '.join(filter(None, parts))}"
                )
        if error:
            line = f"{self.labels[job]} failed: {error.strip().splitlines()[-1]}"
            say(line) if self.in_log else self.console.print(cell(line, style="red"))
        self.live.changed(ended=True)

    def counts(self) -> dict[str, int]:
        """How many jobs have ended, and how many of them failed."""
        return {"ended": self.ends.total(), "failed": self.ends["failed"]}

    def _becomes(self, job: str, state: str) -> None:
        if (before := self.state[job]) in ENDED:
            self.ends[before] -= 1
        self.in_training.pop(job, None) if state in ENDED else self.in_training.setdefault(job)
        if state in ENDED:
            self.ends[state] += 1
            del self.curves.get(job, [])[:-1]  # the last accuracy is shown in lines and tables
        self.state[job] = state

    def running(self) -> list[str]:
        """The jobs that train now, the most advanced first."""
        return sorted(self.in_training, key=lambda j: -self.done[j])

    def named(self, jobs: Sequence[str]) -> str:
        """A cohort in a line without control characters: `kd · seed 0, at · seed 0 and 6 more`."""
        shown = [shorten(plain(self.labels[job]), MOST_OF_A_NAME) for job in jobs[:MOST_NAMES]]
        more = f" and {len(jobs) - len(shown)} more" if len(jobs) > len(shown) else ""
        return ", ".join(shown) + more

    def record(self) -> dict[str, Any]:
        """What `scl.store.progress` keeps of it."""
        with self.mutex:
            return {
                "title": self.title,
                "expected": self.expected,
                **self.counts(),
                "seconds_left": self.seconds_left(),
                "running": [self._trial(job) for job in self.running()[:MOST_TRIALS]],
            }

    def _trial(self, job: str) -> dict[str, Any]:
        curve = [round(value, DIGITS) if value >= 0 else None for value in self.curves.get(job, [])]
        every = -(-len(curve) // MOST_EPOCHS) or 1
        about = {"label": self.labels[job], "epoch": self.done[job], "epochs": self.epochs[job]}
        return {"trial_id": job, **about, "val_acc": curve[::-every][::-1]}

    def line(self) -> str:
        """All of it in a line: `students: 3 of 24 ended, cohort 2 of 8 at epoch 12 of 40, best validation …`."""
        with self.mutex:
            count = self.counts()
            parts = [f"{count['ended']} of {self.expected} ended"] if self.expected > 1 else []
            parts += [f"{count['failed']} failed"] if count["failed"] else []
            parts += [self.at(), self.best(), self.remaining()]
        return f"{self.title}: {', '.join(filter(None, parts)) or 'no epoch has ended yet'}"

    def at(self) -> str:
        """Which cohorts train, and at which epoch; '' if that is not known."""
        running = self.running()
        if not running:
            return ""
        numbers = {self.cohort[job] for job in running if job in self.cohort}
        named = f"{len(numbers)} cohorts" if len(numbers) > 1 else "".join(f"cohort {number}" for number in numbers)
        named += f" of {self.cohorts}" if self.cohorts else ""
        named = "" if self.cohorts == 1 or not numbers else named
        low, high = self.done[running[-1]], self.done[running[0]]
        epochs = max(self.epochs[job] for job in running)
        epoch = f"epoch {high}" if low == high else f"epochs {low} to {high}"
        return f"{named} at {epoch} of {epochs}".removeprefix(" at ")

    def best(self) -> str:
        """The best validation accuracy of any job, and whose it is if there are several."""
        best, job = self.top
        if best < 0:
            return ""
        whose = f" ({self.labels[job]})" if self.expected > 1 else ""
        return f"best validation {percent(best, 1)}{whose}"

    def remaining(self) -> str:
        left = self.seconds_left()
        return "" if left is None else f"about {about(left)} left"

    def seconds_left(self) -> float | None:
        """By the time that epochs have taken since the first one ended, so that no start-up counts; None if nothing
        tells it yet."""
        if self.first is None:
            return None
        total = self.planned * max(1.0, self.expected / len(self.labels))
        (began, before), (last, done) = self.first, self.last
        if done <= before or done >= total:
            return None
        return max(0.0, (last - began) / (done - before) * (total - done) - (time.monotonic() - last))

    def _count(self, jobs: Sequence[str], epoch: int) -> None:
        """Note that jobs have done so many epochs, and when."""
        before = self.counted
        for job in jobs:
            gone = min(epoch, self.epochs[job]) - self.counts_as.get(job, 0)
            if gone > 0:
                self.counts_as[job] = self.counts_as.get(job, 0) + gone
                self.counted += gone
        if self.counted > before:
            self.last = time.monotonic(), self.counted
            self.first = self.first or self.last

    def drawn(self) -> Group:
        """The state for a terminal: a line or two, and a table of as many jobs as fit below."""
        from rich.console import Group  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        with self.mutex:
            head = f"{self.line()} · {duration(time.monotonic() - self.began)}"
            first = ("running", "waiting", *ENDED)
            order = nsmallest(self.console.height, self.labels, key=lambda j: first.index(self.state[j]))
            rows = [
                (self.labels[job], self.state[job], f"{self.done[job]}/{self.epochs[job]}", self.accuracy(job))
                for job in order
            ]
        width = self.console.width
        with_state = width >= NARROW
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("trial", overflow="fold")
        for name in ("state", "epoch", "val. acc.")[not with_state :]:
            table.add_column(name, no_wrap=True)
        room = max(4, self.console.height - 3 - displayed(head) // width)
        for label, state, epoch, accuracy in rows:
            room -= -(-displayed(label) // max(8, width - (34 if with_state else 23)))
            if room < 0:
                break
            values = (state, epoch, percent(accuracy, 1) if accuracy >= 0 else "")
            table.add_row(cell(label), *values[not with_state :])
        return Group(cell(head), table)
