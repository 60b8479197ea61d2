"""The Ray Tune adapter: a Tune trial is a slot of the cluster, and a report of its worker carries events.

A slot trains cohorts, one after the other, in one process. So there are as many processes as slots, and Tune's own
work, which grows with its trials, does not grow with ours. A worker that dies ends its Tune trial; another one follows.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import tune
from ray.tune.trainable import wrap_function

from scl.plan.context import Job, RunContext
from scl.run.fitting import kind_of
from scl.run.ray.cohorts import Cohorts
from scl.run.ray.deaths import Death, Kind, death_of_trial
from scl.run.ray.mailbox import Mailbox
from scl.run.ray.rpc import CALLERS, HEAD
from scl.run.ray.worker import Handed, show_title, train

REPORT_SECONDS = 0.25  # the least time between two reports of a worker
REPORTS_A_SECOND = 100  # of all workers: the driver's loop takes a few milliseconds for each


@dataclass(frozen=True)
class DriverCalls:
    """What a Tune run calls in the driver: functions, or calls by RPC if the driver is outside the cluster.

    events: takes a worker's messages. notice: prints a line. stop: whether to end the run. halt: end it, for a reason.
    failed: takes the ids of jobs that count as failed, and the reason. named: the name of a cohort, by its jobs' ids.

    Those of a search: suggest: up to so many jobs by id, None if others must end first. epoch: takes a job's id and a
    row of an epoch; whether to stop the job. ended: takes a job and its state. cohort_ended: takes the ids of a cohort.
    """

    events: Callable[[Sequence[Mapping[str, Any]]], None]
    notice: Callable[[str], None]
    stop: Callable[[], bool]
    halt: Callable[[str], None]
    failed: Callable[[list[str], str], None]
    named: Callable[[list[str]], str] = ", ".join
    suggest: Callable[[int], Mapping[str, Job] | None] | None = None
    epoch: Callable[[str, Mapping[str, Any]], bool] | None = None
    ended: Callable[[str, str], None] | None = None
    cohort_ended: Callable[[list[str]], None] | None = None


@dataclass(frozen=True)
class TuneRun:
    """One Tune run.

    slots: cohorts at once. cpus, gpus: of a cohort. cohorts: job ids; none for a search. batch: a search's suggestions
    that train side by side; 0 for known cohorts.
    """

    title: str
    slots: int
    cpus: int
    gpus: float
    cohorts: Sequence[Sequence[str]] = ()
    batch: int = 0


def run_tune(run: TuneRun, context: RunContext, driver: DriverCalls) -> None:
    """Run Tune to its end.

    Tune itself tries nothing again: a cohort whose worker died comes back, whole or in halves.
    """
    # Jobs travel with their cohort, but for teachers and initial weights: of those a node's workers share one copy.
    shared = {i: job for i, job in context.jobs.items() if job.columns is None or job.weights is not None}
    jobs = {i: job for i, job in context.jobs.items() if i not in shared}
    mailbox = ray.remote(num_cpus=0, resources=HEAD, max_concurrency=CALLERS)(Mailbox).remote()
    searcher = CohortSearcher(driver, run, mailbox, jobs, shared)
    with tempfile.TemporaryDirectory(prefix="scl-tune-") as scratch:
        function = tune.with_parameters(
            train,
            context=replace(context, jobs=shared),
            mailbox=mailbox,
            every=max(REPORT_SECONDS, run.slots / REPORTS_A_SECOND),
            search=bool(run.batch),
        )
        several = not run.cohorts or len(run.cohorts) > run.slots
        tuner = tune.Tuner(
            with_names(tune.with_resources(function, {"cpu": run.cpus, "gpu": run.gpus}), several),
            tune_config=tune.TuneConfig(
                reuse_actors=True, max_concurrent_trials=run.slots, search_alg=searcher, num_samples=-1
            ),
            run_config=tune.RunConfig(
                name=run.title,
                storage_path=scratch,
                stop=DriverStopper(driver),
                callbacks=[EventForwarder(driver, searcher)],
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        finally:
            with suppress(Exception):  # Ray may have ended
                ray.kill(mailbox)


def with_names(function: Any, several: bool) -> type:
    """The trainable of a function, whose actors have the names of their cohorts in Ray's dashboard, state and logs, and
    whose processes have them as titles.

    several: an actor may train several cohorts, one after the other. The title is that of the present one; Ray keeps
    the name that an actor had at its start, which then says that it is the first.
    """

    class Cohort(wrap_function(function)):  # type: ignore[misc]
        def __repr__(self) -> str:
            return f"first {self.config['name']}" if several else str(self.config["name"])

        def step(self) -> Any:
            show_title(self.config["name"])
            return super().step()

    Cohort.__qualname__ = Cohort.__name__
    return Cohort


@dataclass
class Throttled:
    """Calls a function whose answer is slow to get at most every `seconds`, until the answer is true."""

    function: Callable[[], bool]
    seconds: float = 0.5
    answer: bool = False
    called: float = -1e9

    def __call__(self) -> bool:
        if not self.answer and time.monotonic() - self.called >= self.seconds:
            self.answer, self.called = self.function(), time.monotonic()
        return self.answer


class CohortSearcher(tune.search.Searcher):  # type: ignore[misc]
    """Gives Tune its trials, the slots, and hands cohorts to them: known ones, or batches of a search's suggestions.

    jobs: those of cohorts that have not ended, by id. shared: those that every worker has. idle: slots that wait for a
    cohort, since another one must end before the search has more.
    """

    def __init__(
        self, driver: DriverCalls, run: TuneRun, mailbox: Any, jobs: Mapping[str, Job], shared: Mapping[str, Job]
    ) -> None:
        super().__init__()
        self.driver, self.mailbox, self.jobs = driver, mailbox, dict(jobs)
        self.idle: list[str] = []
        known = deque(list(cohort) for cohort in run.cohorts)

        def fresh() -> list[str] | None:
            if not run.batch:
                return known.popleft() if known else []
            assert driver.suggest is not None
            suggested = driver.suggest(run.batch)
            self.jobs.update(suggested or {})
            return None if suggested is None else list(suggested)

        def kind(job: str) -> Hashable:
            return kind_of((self.jobs.get(job) or shared[job]).config)

        self.cohorts = Cohorts(fresh, kind)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into snapshots; the store knows what has ended, Optuna the search

    def suggest(self, trial_id: str) -> Any:
        handed = self._next(trial_id)
        if handed is None:
            return None if self._more_may_come() else tune.search.Searcher.FINISHED
        self._hand(trial_id, handed)
        return {"slot": trial_id, "name": handed.name}

    def _next(self, slot: str) -> Handed | None:
        """The next cohort, for this slot; None if there is none now."""
        cohort = [] if self.driver.stop() else self.cohorts.next(slot)
        if not cohort:
            return None
        jobs = {i: self.jobs[i] for i in cohort if i in self.jobs}
        return Handed(cohort, self.driver.named(cohort), jobs)

    def _more_may_come(self) -> bool:
        """Whether there may be a cohort once a running one has ended, or its worker has died."""
        return bool(self.cohorts.running) and not self.driver.stop()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        for event in result.get("events", ()):
            job, row = event["job"], event["row"]
            self.cohorts.event(job, row)
            if self.driver.ended is None or self.driver.epoch is None:
                continue
            if "state" in row:
                self.driver.ended(job, row["state"])
            elif self.driver.epoch(job, row):
                ray.get(self.mailbox.stop.remote(job))
        for jobs in result.get("crowded", ()):
            self.cohorts.crowded(jobs)
        if "death" in result:
            kind, reason = result["death"]
            self.died(trial_id, Death(Kind[kind], reason))
        if "free" in result:
            self._finished(trial_id)
            self.idle.append(trial_id)
            self._serve()

    def _serve(self) -> None:
        """Hand cohorts to idle slots. A slot ends if there are no more; then its place on the cluster is free, also for
        another one, should a cohort come back."""
        waiting, self.idle = self.idle, []
        for slot in waiting:
            handed = self._next(slot)
            if handed is None and not self.cohorts.exhausted and self._more_may_come():
                self.idle.append(slot)
            else:
                self._hand(slot, handed)

    def _hand(self, slot: str, handed: Handed | None) -> None:
        # Pickled by Ray, since a job may hold a loss or a network of the user's file.
        self.mailbox.put.remote(slot, handed and ray.cloudpickle.dumps(handed))

    def _finished(self, slot: str) -> None:
        """The slot has trained its cohort to the end."""
        if cohort := self.cohorts.finished(slot):
            for job in cohort:
                self.jobs.pop(job, None)
            if self.driver.cohort_ended is not None and not self.driver.stop():
                self.driver.cohort_ended(cohort)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if not error:  # else `died` hears why
            self._finished(trial_id)
            self._serve()

    def died(self, trial_id: str, death: Death) -> None:
        """A cohort's worker died, for this reason, or its training raised an error."""
        if self.driver.stop():
            return  # workers end then, in their ways
        self.idle = [slot for slot in self.idle if slot != trial_id]
        failed = self.cohorts.died(trial_id, death)
        if failed:
            self.driver.failed(failed, death.reason)
            if self.driver.cohort_ended is not None:
                self.driver.cohort_ended(failed)
        else:
            cause = f" ({death.reason.strip().rpartition(chr(10))[2]})" if death.kind is Kind.RAISED else ""
            self.driver.notice(f"{death.kind.value}{cause}; its trials continue from their last checkpoints")
        self._serve()

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class EventForwarder(tune.Callback):  # type: ignore[misc]
    """Passes workers' messages on to the driver, and their deaths to the searcher. Its state stays out of Tune's
    snapshots, which pickle callbacks."""

    def __init__(self, driver: DriverCalls, searcher: CohortSearcher) -> None:
        self.driver, self.searcher = driver, searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if events := result.get("events"):
            self.driver.events(events)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Tune itself restarts what a cloud's preemption took."""
        self.driver.notice(f"{Kind.LOST.value}; its trials continue from their last checkpoints")

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.searcher.died(trial.trial_id, death_of_trial(trial))


class DriverStopper(tune.Stopper):  # type: ignore[misc]
    """Ends the Tune run if the driver asks for it, or if a worker reports a reason to halt."""

    def __init__(self, driver: DriverCalls) -> None:
        self.driver = driver

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if "halt" in result:
            self.driver.halt(result["halt"])
        return self.driver.stop()

    def stop_all(self) -> bool:
        return self.driver.stop()
