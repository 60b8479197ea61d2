"""Where cohorts train: the interface of a backend, and the one that trains in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Protocol

from scl.plan.capacity import Node
from scl.plan.context import Job, RunContext
from scl.plan.plan import Plan, student_jobs
from scl.run.execute import execute, message_of
from scl.run.live import Live
from scl.run.progress import Progress
from scl.run.stopping import Stop
from scl.run.trackers.tracker import Tracker
from scl.search.driver import SearchDriver
from scl.store.files import explain, not_writable
from scl.study.options import Options
from scl.train.device_errors import BrokenDevice
from scl.train.types import EpochDone, Event


@dataclass(frozen=True)
class Work:
    """Cohorts to train.

    title: for people. cohorts: ids of jobs that train side by side. labels: job id → its name for people. jobs: those
    that the plan's context lacks.
    """

    title: str
    cohorts: list[list[str]]
    labels: Mapping[str, str]
    jobs: Mapping[str, Job] = field(default_factory=dict)


class Backend(Protocol):
    """Trains cohorts and writes their results into the store."""

    def nodes(self) -> Sequence[Node]:
        """The nodes of the cluster; none if this machine trains."""

    def train(self, plan: Plan, work: Work) -> None:
        """Train these cohorts, until they end or the run stops."""

    def search(self, plan: Plan, searcher: SearchDriver) -> None:
        """Train what a search suggests, until it has no more or the run stops."""


@contextmanager
def open_backend(options: Options, stop: Stop, tracker: Tracker, live: Live) -> Iterator[Backend]:
    """This process with --inline, else Ray, which starts when it is first needed. Ray is imported only for that."""
    inline = InlineBackend(stop, tracker, live)
    if options.inline:
        yield inline
    else:
        with import_module("scl.run.ray.backend").RayBackend(options, stop, tracker, live, inline) as backend:
            yield backend


@dataclass(frozen=True)
class InlineBackend:
    """Trains one cohort after the other in this process."""

    stop: Stop
    tracker: Tracker
    live: Live

    def nodes(self) -> Sequence[Node]:
        return ()

    def train(self, plan: Plan, work: Work) -> None:
        context = replace(plan.context, jobs={**plan.context.jobs, **work.jobs})
        epochs = {i: context.jobs[i].config.total_epochs for i in work.labels}
        progress = Progress(work.title, work.labels, epochs, self.live, work.cohorts)
        with self.stop.overdue_raises(), self._halting(), progress:
            for cohort in work.cohorts:
                if self.stop():
                    return
                for event in execute(context, cohort, self.stop):
                    self._show(progress, context, event)

    def search(self, plan: Plan, searcher: SearchDriver) -> None:
        pruned: set[str] = set()
        progress = Progress("search", {}, {}, self.live, expected=searcher.to_go)
        with self.stop.overdue_raises(), self._halting(), progress:
            for number in itertools.count(1):
                if self.stop() or not (batch := searcher.suggest(searcher.batch)):
                    break
                jobs = student_jobs(plan, batch, searcher.numbers)
                context = replace(plan.context, jobs={**plan.context.jobs, **jobs})
                for trial in batch:
                    progress.add(number, trial.trial_id, searcher.label(trial), trial.config.total_epochs)
                for event in execute(context, list(jobs), self.stop, lambda trial_id, epoch, row: trial_id in pruned):
                    self._show(progress, context, event)
                    if not isinstance(event, EpochDone):
                        searcher.ended(event.trial_id, event.metrics["state"])
                    elif searcher.epoch(event.trial_id, event.row):
                        pruned.add(event.trial_id)
                if not self.stop():
                    searcher.cohort_ended(list(jobs))

    @contextmanager
    def _halting(self) -> Iterator[None]:
        """A store that cannot be written to ends the run, not a trial, and so does a GPU that is lost."""
        try:
            yield
        except BrokenDevice as error:
            self.stop.halt(str(error))
        except OSError as error:
            if not not_writable(error):
                raise
            self.stop.halt(explain(error))

    def _show(self, progress: Progress, context: RunContext, event: Event) -> None:
        show(self.tracker, progress, message_of(context, event))


def show(tracker: Tracker, progress: Progress, message: Mapping[str, Any]) -> None:
    """Pass an event on to the tracker and the progress."""
    job, columns, row = message["job"], message["columns"], message["row"]
    if "state" in row:
        tracker.ended(columns, row)
        progress.ended(job, row["state"], row["error"] or "")
    else:
        tracker.epoch(columns, row)
        progress.epoch(job, row["epoch"], row.get("val_acc", -1.0))
