"""Trials in an experiment tracker: TensorBoard, MLflow or Weights & Biases.

A trial is a run of the tool: its configuration gives the parameters, its study, arm and seed the tags, its epochs the
steps. Where the tool keeps files, a completed trial's network is attached to its run, and the page to one of its own.
The driver's process sends everything, so workers need none of the tools. Nothing is read back: the store is the
record. A trial that resumes after a stop continues its run. Addresses, tokens and offline modes are set as each tool
documents (`MLFLOW_TRACKING_URI`, `WANDB_MODE`, …).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from scl.errors import first_line
from scl.run.trackers import mlflow
from scl.run.trackers.tensorboard import TensorBoard
from scl.run.trackers.tool import Tool, TrackedTrial
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
    """Passes epochs and ends of trials to a tool. If the tool fails, one warning is printed and training continues."""

    def __init__(self, name: str = "", tool: Tool | None = None, store: Folder | None = None) -> None:
        self.name, self.tool, self.store = name, tool, store
        self.runs: dict[str, Any] = {}
        self.steps: dict[str, int] = {}
        self.over: set[str] = set()
        self.too_large = False

    def epoch(self, columns: Mapping[str, Any] | None, row: Mapping[str, Any]) -> None:
        """Take a trial's row of epochs.parquet. columns: those of trials.parquet that are known; None of a teacher."""
        if self.tool is None or columns is None:
            return
        with self._warning_if_it_fails() as tool:
            run = self._run(tool, columns)
            self.steps[columns["trial_id"]] = row["epoch"]
            tool.log(run, row["epoch"], _numbers(row, leave_out=("epoch",)))

    def ended(self, columns: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> None:
        """Take a trial's end. metrics: its remaining columns of trials.parquet."""
        if self.tool is None or columns is None or columns["trial_id"] in self.over:
            return
        self.over.add(columns["trial_id"])
        with self._warning_if_it_fails() as tool:
            run = self._run(tool, columns)
            # The last epoch has logged these two.
            values = _numbers(metrics, leave_out=("val_acc", "test_acc"))
            if values:
                tool.log(run, self.steps.get(columns["trial_id"], metrics.get("epochs") or 0), values)
            if metrics["state"] == "completed" and (network := self._network(columns["trial_id"])):
                tool.attach(run, STUDENT, network)
            tool.end(run, metrics["state"], metrics.get("error"), _numbers(metrics))
            del self.runs[columns["trial_id"]]

    def page(self) -> None:
        """Take the page of the study, which the store has by now."""
        if self.tool is not None and (page := self._read(self.store, "report.html")):
            with self._warning_if_it_fails() as tool:
                tool.attach_page(page)

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

    def close(self) -> None:
        """End the runs of trials that a stop cut off; the next start continues them."""
        for run in list(self.runs.values()):
            if self.tool is not None:
                with self._warning_if_it_fails() as tool:
                    tool.end(run, "stopped", None, {})
        self.runs = {}

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
    def _warning_if_it_fails(self) -> Iterator[Tool]:
        """The tool. If a call of it fails, print a warning and do not use it any more."""
        assert self.tool is not None
        try:
            yield self.tool
        except Exception as error:  # of the tool, its server or the network
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
