"""What runs in a worker of Ray: the training of a cohort, whose events are reported to Tune."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray import tune

from scl.plan.context import Job, RunContext
from scl.run.execute import execute, message_of
from scl.run.ray.deaths import death_in_training
from scl.store.files import explain, not_writable

REPORT_SECONDS = 0.25  # the least time between two reports: each makes the worker wait for the driver


def train(config: dict[str, Any], context: RunContext, mailbox: Any = None) -> None:
    """Train the cohort `config["cohort"]`, a list of job ids. A trial is in the store before its end is reported.

    If the store cannot be written to, the worker reports that as the reason to halt: another would fare no better. An
    error of the training is reported too, and ends the cohort in this worker.

    Args:
        mailbox: the handle of a search's JobMailbox: the jobs of its suggestions, and which trials should stop. Tune
            holds a worker at a report until the driver has dealt with it, so the driver's decision is there by then.
    """
    cohort = config["cohort"]
    prune: Callable[[str, int, Mapping[str, Any]], bool] = lambda trial_id, epoch, row: False  # noqa: E731
    if mailbox is not None:
        context = replace(context, jobs={**context.jobs, **ray.get(mailbox.take.remote(cohort))})

        def prune(trial_id: str, epoch: int, row: Mapping[str, Any]) -> bool:
            return bool(ray.get(mailbox.stopped.remote(trial_id)))

    events: list[dict[str, Any]] = []
    reported = -math.inf

    def report(after: float) -> None:
        nonlocal reported
        if events and time.monotonic() - reported >= after:
            tune.report({"events": tuple(events)})  # Tune takes a tuple for no metric
            events.clear()
            reported = time.monotonic()

    def each_step() -> bool:
        report(REPORT_SECONDS)
        return False

    try:
        for event in execute(context, cohort, each_step, prune):
            events.append(message_of(context, event))
            # A search decides on each epoch before the next begins.
            report(REPORT_SECONDS if mailbox is None else 0.0)
        report(0.0)
    except (Exception, SystemExit) as error:
        report(0.0)  # what has ended is in the store, and the driver should know
        if not_writable(error):
            tune.report({"halt": f"{explain(error)} (seen by a worker on {socket.gethostname()})"})
        elif (death := death_in_training(error)) is not None:
            tune.report({"death": (death.kind.name, death.reason)})
        else:
            raise


class JobMailbox:
    """An actor between a search's driver and its workers: new jobs, and which of them should stop."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.stops: set[str] = set()

    def put(self, jobs: Mapping[str, Job]) -> None:
        self.jobs.update(jobs)

    def take(self, job_ids: Iterable[str]) -> dict[str, Job]:
        return {i: self.jobs[i] for i in job_ids}

    def stop(self, job_id: str) -> None:
        self.stops.add(job_id)

    def stopped(self, job_id: str) -> bool:
        return job_id in self.stops
