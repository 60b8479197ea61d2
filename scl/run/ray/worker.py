"""What runs in a worker of Ray: a slot, in which cohorts train one after the other. Events are reported to Tune."""

from __future__ import annotations

import math
import pickle
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import ray
from ray import tune

from scl.plan.context import Job, RunContext
from scl.run.execute import execute, message_of
from scl.run.ray.deaths import death_in_training
from scl.store.files import explain, not_writable


@dataclass(frozen=True)
class Handed:
    """A cohort on its way to a slot. name: for people. jobs: those of the cohort that the run's context lacks."""

    cohort: list[str]
    name: str
    jobs: Mapping[str, Job]


def train(config: dict[str, Any], context: RunContext, mailbox: Any, every: float, search: bool) -> None:
    """Train the cohorts that the driver hands to the slot `config["slot"]`, until it hands over none.

    A trial is in the store before its end is reported. The report that ends a cohort says that the slot is free. If
    the store cannot be written to, the worker reports that as the reason to halt: another would fare no better. An
    error of the training is reported too, and ends the cohort, but not the worker.

    Args:
        config: `name` is kept the name of the present cohort.
        mailbox: the handle of a Mailbox.
        every: the least seconds between two reports, since each makes the worker wait for the driver. A report that
            ends a cohort is made at once.
        search: report each epoch at once, and ask the mailbox whether its trial should stop. Tune holds a worker at a
            report until the driver has dealt with it, so the driver's decision is there by then.
    """
    report = _Reports(0.0 if search else every)

    def prune(trial_id: str, epoch: int, row: Mapping[str, Any]) -> bool:
        return search and bool(ray.get(mailbox.stopped.remote(trial_id)))

    def take() -> bytes | None:
        try:
            return cast(bytes | None, ray.get(mailbox.take.remote(config["slot"])))
        except ray.exceptions.ActorDiedError:
            report.now(halt="the process on the head node that hands out cohorts has ended")
            return None

    while (letter := take()) is not None:
        handed: Handed = pickle.loads(letter)
        config["name"] = handed.name
        show_title(handed.name)
        of_cohort = replace(context, jobs={**context.jobs, **handed.jobs})
        ended = {}
        try:
            for event in execute(of_cohort, handed.cohort, report.if_due, prune, report.crowded.append):
                report.events.append(message_of(of_cohort, event))
                report.if_due()
        except (Exception, SystemExit) as error:
            if not_writable(error):
                report.now(halt=f"{explain(error)} (seen by a worker on {socket.gethostname()})")
            elif (death := death_in_training(error)) is not None:
                ended = {"death": (death.kind.name, death.reason)}
            else:
                report.now()  # what has ended is in the store, and the driver should know
                raise
        report.now(free=True, **ended)


class _Reports:
    """Collects events, and which jobs did not fit side by side, and reports them at most every so many seconds."""

    def __init__(self, every: float) -> None:
        self.events: list[dict[str, Any]] = []
        self.crowded: list[list[str]] = []
        self.every, self.reported = every, -math.inf

    def if_due(self) -> bool:
        """Report what there is, if it is time. False: nothing here asks the training to stop."""
        if self.events and time.monotonic() - self.reported >= self.every:
            self.now()
        return False

    def now(self, **more: Any) -> None:
        learnt = {"crowded": tuple(self.crowded)} if self.crowded else {}
        tune.report({"events": tuple(self.events), **learnt, **more})  # Tune takes a tuple for no metric
        self.events.clear()
        self.crowded.clear()
        self.reported = time.monotonic()


def show_title(name: str) -> None:
    """Make a cohort's name the title of this process, in `ps` and `top`. Ray sets its own before each call."""
    with suppress(ImportError):
        from ray._raylet import setproctitle  # noqa: PLC0415

        setproctitle(f"ray::{name}")
