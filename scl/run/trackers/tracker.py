"""Trials in an experiment tracker: TensorBoard, MLflow or Weights & Biases.

A trial is a run of the tool: its configuration gives the parameters, its study, arm and seed the tags, its epochs the
steps. Where the tool keeps files, a completed trial's network is attached to its run, and the page to one of its own.
The driver's process sends everything, so workers need none of the tools. Nothing is read back: the store is the
record. A trial that resumes after a stop continues its run. Addresses, tokens and offline modes are set as each tool
documents (`MLFLOW_TRACKING_URI`, `WANDB_MODE`, …).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

from scl.errors import first_line
from scl.run.trackers import mlflow
from scl.run.trackers.tensorboard import TensorBoard
from scl.run.trackers.tool import Logged, Tool, TrackedTrial
from scl.run.trackers.wandb import WeightsAndBiases
from scl.store.files import Folder
from scl.store.networks import STUDENT
from scl.terminal import say
from scl.train.process import environment

TOOLS: dict[str, Callable[[Folder], Tool]] = {
    "tensorboard": TensorBoard,
    "mlflow": mlflow.MLflow,
    "wandb": WeightsAndBiases,
}
MOST_BYTES = 64 << 20  # of a network that is attached
ENVIRONMENT = {"mlflow": mlflow.ENVIRONMENT}
MOST_WAITING = 10_000  # events that wait for the tool; then the run waits
LINGER = 1.0  # seconds in which events gather before they are sent
A_FEW = 100  # events that are sent at the end without a word


@dataclass(frozen=True)
class _Event:
    """An epoch or the end of a trial; without columns, the page. at: seconds since 1970."""

    columns: Mapping[str, Any] | None
    row: Mapping[str, Any]
    ends: bool
    at: float = field(default_factory=time.time)


@contextmanager
def tracking(name: str | None, store: Folder) -> Iterator[Tracker]:
    """The tracker with this name for the length of a run; one that does nothing if `name` is None.

    Raises:
        UserError: the tool is not installed or cannot be reached; nothing has trained.
    """
    if name is None:
        yield Tracker()
        return
    with environment(defaults=ENVIRONMENT[name]) if name in ENVIRONMENT else nullcontext():
        tracker = Tracker(name, TOOLS[name](store), store)
        try:
            yield tracker
        finally:
            tracker.close()


class Tracker:
    """Passes epochs and ends of trials to a tool, in a thread of its own: a call of a server may take as long as many
    epochs of a cluster.

    Events wait in a queue. What waits together is sent together. If MOST_WAITING events wait, the run waits for the
    tool, and says so: none is left out. If the tool fails, one warning is printed, the rest is not sent, and training
    continues.
    """

    def __init__(self, name: str = "", tool: Tool | None = None, store: Folder | None = None) -> None:
        self.name, self.tool, self.store = name, tool, store
        self.runs: dict[str, Any] = {}
        self.steps: dict[str, int] = {}
        self.over: set[str] = set()
        self.too_large = False
        self.waiting: Queue[_Event] = Queue(MOST_WAITING)
        self.closing = threading.Event()
        self.thread: threading.Thread | None = None
        self.slow = False

    def epoch(self, columns: Mapping[str, Any] | None, row: Mapping[str, Any]) -> None:
        """Take a trial's row of epochs.parquet. columns: those of trials.parquet that are known; None of a teacher."""
        if columns is not None:
            self._take(_Event(columns, row, False))

    def ended(self, columns: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> None:
        """Take a trial's end. metrics: its remaining columns of trials.parquet."""
        if columns is not None:
            self._take(_Event(columns, metrics, True))

    def page(self) -> None:
        """Take the page of the study, which the store has by now."""
        self._take(_Event(None, {}, True))

    def close(self) -> None:
        """Send what waits, and end the runs of trials that a stop cut off; the next start continues them."""
        if self.thread is None:
            return
        if (left := self.waiting.qsize()) > A_FEW:
            say(f"sending the last {left:,} events to {self.name}")
        self.closing.set()
        try:
            while self.thread.is_alive():
                self.thread.join(0.2)
        except BaseException:
            if self.tool is not None:
                say(f"warning: --track {self.name}: {self.waiting.qsize():,} events or more were not sent")
            raise
        self.thread = None

    def _take(self, event: _Event) -> None:
        if self.tool is None:
            return
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, daemon=True)
            self.thread.start()
        if self.waiting.full() and not self.slow:
            self.slow = True
            say(f"note: --track {self.name} is slower than the training, which waits for it")
        self.waiting.put(event)

    def _work(self) -> None:
        while not (self.closing.is_set() and self.waiting.empty()):
            self.closing.wait(LINGER)
            self._send([self.waiting.get() for _ in range(self.waiting.qsize())])
        for run in self.runs.values():
            with self._warning_if_it_fails() as tool:
                if tool is not None:
                    tool.end(run, "stopped", None, {})
        self.runs = {}

    def _send(self, events: Sequence[_Event]) -> None:
        """Pass events on, the epochs of a trial together."""
        epochs: dict[str, list[_Event]] = {}
        for event in events:
            with self._warning_if_it_fails() as tool:
                if tool is None:
                    return
                if event.columns is None:
                    if page := self._read(self.store, "report.html"):
                        tool.attach_page(page)
                elif (trial_id := event.columns["trial_id"]) in self.over:
                    continue
                elif not event.ends:
                    epochs.setdefault(trial_id, []).append(event)
                else:
                    self.over.add(trial_id)
                    self._log(tool, epochs.pop(trial_id, []))
                    self._end(tool, event.columns, event)
        for of_trial in epochs.values():
            with self._warning_if_it_fails() as tool:
                if tool is not None:
                    self._log(tool, of_trial)

    def _log(self, tool: Tool, epochs: Sequence[_Event]) -> None:
        """Pass on epochs of one trial."""
        if epochs and (columns := epochs[0].columns):
            run = self._run(tool, columns)
            self.steps[columns["trial_id"]] = epochs[-1].row["epoch"]
            rows = [Logged(e.row["epoch"], _numbers(e.row, leave_out=("epoch",)), e.at) for e in epochs]
            tool.log(run, rows)

    def _end(self, tool: Tool, columns: Mapping[str, Any], event: _Event) -> None:
        run, metrics, trial_id = self._run(tool, columns), event.row, columns["trial_id"]
        # The last epoch has logged these two.
        values = _numbers(metrics, leave_out=("val_acc", "test_acc"))
        if values:
            tool.log(run, [Logged(self.steps.get(trial_id, metrics.get("epochs") or 0), values, event.at)])
        if metrics["state"] == "completed" and (network := self._network(trial_id)):
            tool.attach(run, STUDENT, network)
        tool.end(run, metrics["state"], metrics.get("error"), _numbers(metrics))
        del self.runs[trial_id]
        self.steps.pop(trial_id, None)

    def _network(self, trial_id: str) -> bytes:
        """A completed trial's network; empty if it is too large to be sent beside every trial."""
        network = self._read(self.store and self.store / "checkpoints" / trial_id, STUDENT)
        if len(network) <= MOST_BYTES:
            return network
        if not self.too_large:
            say(f"note: --track {self.name} gets no networks of more than {MOST_BYTES >> 20} MB; the store has them")
        self.too_large = True
        return b""

    @staticmethod
    def _read(folder: Folder | None, name: str) -> bytes:
        """A file of the store; empty if it has none."""
        with suppress(OSError):
            return b"" if folder is None else folder.read(name)
        return b""

    def _run(self, tool: Tool, columns: Mapping[str, Any]) -> Any:
        trial_id = columns["trial_id"]
        if trial_id not in self.runs:
            named = {k.removeprefix("param."): v for k, v in columns.items() if k.startswith("param.")}
            known = {k: columns[k] for k in ("config_id", "teacher_id", "teacher_test_acc", "params", "macs")}
            self.runs[trial_id] = tool.start(
                TrackedTrial(trial_id, columns["study"], columns["arm"], columns["seed"], {**named, **known})
            )
        return self.runs[trial_id]

    @contextmanager
    def _warning_if_it_fails(self) -> Iterator[Tool | None]:
        """The tool. If a call of it fails, print a warning and do not use it any more."""
        try:
            yield self.tool
        except BaseException as error:  # of the tool, its server or the network; a tool may even exit
            self.tool = None
            say(
                f"warning: --track {self.name} stopped ({type(error).__name__}: {first_line(error)}); "
                "training goes on, and the store has every number"
            )


def _numbers(values: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> dict[str, float]:
    """The finite numbers among some columns."""
    return {
        name: float(value)
        for name, value in values.items()
        if name not in leave_out and isinstance(value, (int, float)) and math.isfinite(value)
    }
