"""The Ray Tune adapter: a Tune trial is a cohort, a report is an event."""

from __future__ import annotations

import math
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray import tune

from scl.cohort import Job, World, execute
from scl.storage import explain, not_writable
from scl.trial import EpochDone, Event

SECONDS = 0.25  # between reports at least, as each makes the worker wait for the driver


def train(config: dict[str, Any], world: World, desk: Any = None) -> None:
    """Train the cohort `config["cohort"]`, a list of job ids. What ends is in the store before it is reported.

    A store that refuses to be written to is reported as the reason to halt: another worker would fare no better.

    desk: where a search's driver leaves jobs that it did not know at the start, and which trials should stop. Tune
    lets a worker go on from a report only when the driver has dealt with it, so an answer is there when asked for.
    """
    cohort = config["cohort"]
    prune: Callable[[str, int, Mapping[str, Any]], bool] = lambda trial_id, epoch, row: False  # noqa: E731
    if desk is not None:
        world = replace(world, jobs={**world.jobs, **ray.get(desk.take.remote(cohort))})

        def prune(trial_id: str, epoch: int, row: Mapping[str, Any]) -> bool:
            return bool(ray.get(desk.stopped.remote(trial_id)))

    events: list[dict[str, Any]] = []
    reported = -math.inf

    def report(after: float) -> None:
        nonlocal reported
        if events and time.monotonic() - reported >= after:
            tune.report({"events": tuple(events)})  # in a tuple: no metrics to Tune
            events.clear()
            reported = time.monotonic()

    def each_step() -> bool:
        report(SECONDS)
        return False

    try:
        for event in execute(world, cohort, each_step, prune):
            events.append(_told(world, event))
            # A search decides on each epoch before the next.
            report(SECONDS if desk is None else 0.0)
        report(0.0)
    except Exception as error:
        report(0.0)  # what has ended is in the store, and the driver should know
        if not not_writable(error):
            raise
        tune.report({"halt": f"{explain(error)} (seen by a worker on {socket.gethostname()})"})


def _told(world: World, event: Event) -> dict[str, Any]:
    columns = world.jobs[event.trial_id].columns  # the driver's trackers want them
    if isinstance(event, EpochDone):
        return {
            "job": event.trial_id,
            "epoch": event.row["epoch"],
            "val_acc": event.row.get("val_acc", -1.0),
            "seen": (columns, event.row),
        }
    return {
        "job": event.trial_id,
        "state": event.metrics["state"],
        "error": event.metrics["error"] or "",
        "seen": (columns, event.metrics),
    }


class Desk:
    """An actor between a search's driver and its workers."""

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


@dataclass(frozen=True)
class Driver:
    """What Tune's part of a run asks of the driver: plain calls, or letters where the driver is outside the cluster.

    tell: an event of a worker, or `said`: a line for people. stop: whether to end. halt: end, for this reason. The
    others are a search's: ask for a batch of so many suggestions; tell an epoch, and hear whether to stop that trial;
    an end; a cohort that is lost.
    """

    tell: Callable[[dict[str, Any]], None]
    stop: Callable[[], bool]
    halt: Callable[[str], None]
    ask: Callable[[int], list[str]] | None = None
    epoch: Callable[[str, int, float], bool] | None = None
    ended: Callable[[str, str], None] | None = None
    lost: Callable[[list[str]], None] | None = None


@dataclass(frozen=True)
class Fit:
    """One Tune run. cohorts: those known; empty for a search. batch: suggestions of a search side by side."""

    title: str
    cohorts: list[list[str]]
    at_once: int
    cpus: int
    gpus: float
    max_failures: int
    batch: int = 0


def fit(how: Fit, world: World, driver: Driver, desk: Any = None) -> list[tuple[list[str], str]]:
    """Run Tune to its end; returns the cohorts whose workers died too often, with the reason."""
    searching = {"search_alg": Suggest(driver, how.batch, desk), "num_samples": -1} if how.batch else {}
    with tempfile.TemporaryDirectory(prefix="scl-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(train, world=world, desk=desk), {"cpu": how.cpus, "gpu": how.gpus}
            ),
            param_space={} if how.batch else {"cohort": tune.grid_search(how.cohorts)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=how.at_once, **searching),
            run_config=tune.RunConfig(
                name=how.title,
                storage_path=scratch,
                stop=Stopper(driver),
                callbacks=[Draw(driver)],
                failure_config=tune.FailureConfig(max_failures=how.max_failures),
                verbose=0,
            ),
        )
        grid = tuner.fit()
    return [(result.config["cohort"], str(result.error)) for result in grid if result.error is not None]


@dataclass
class Seldom:
    """A question whose answer holds for a while, for one that is asked in a loop and far from who knows."""

    ask: Callable[[], bool]
    seconds: float = 0.5
    answer: bool = False
    asked: float = field(default=-1e9)

    def __call__(self) -> bool:
        if not self.answer and time.monotonic() - self.asked >= self.seconds:
            self.answer, self.asked = self.ask(), time.monotonic()
        return self.answer


class Suggest(tune.search.Searcher):  # type: ignore[misc]
    """Tune's side of a search: each Tune trial is a batch of suggestions, and reports go to the dialogue."""

    def __init__(self, driver: Driver, batch: int, desk: Any) -> None:
        super().__init__()
        self.driver, self.batch, self.desk = driver, batch, desk
        self.cohorts: dict[str, list[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into snapshots; what a search knows is in Optuna's storage

    def suggest(self, trial_id: str) -> Any:
        assert self.driver.ask is not None
        cohort = self.driver.ask(self.batch)
        if not cohort:
            return tune.search.Searcher.FINISHED
        self.cohorts[trial_id] = cohort
        return {"cohort": cohort}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        assert self.driver.ended is not None
        assert self.driver.epoch is not None
        for event in result.get("events", ()):
            if "state" in event:
                self.driver.ended(event["job"], event["state"])
            elif self.driver.epoch(event["job"], event["epoch"], event["val_acc"]):
                ray.get(self.desk.stop.remote(event["job"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        assert self.driver.lost is not None
        if not self.driver.stop():
            self.driver.lost(self.cohorts[trial_id])

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class Draw(tune.Callback):  # type: ignore[misc]
    """Passes reports on to terminal and tracker. Tune pickles its callbacks into snapshots; those stay out."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        for event in result.get("events", ()):
            self.driver.tell(event)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.driver.tell({"said": "a worker was lost; what it trained goes on elsewhere from its last checkpoints"})


class Stopper(tune.Stopper):  # type: ignore[misc]
    """Ends the whole run where the driver wants that, and makes it so where a worker says that it cannot go on."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if "halt" in result:
            self.driver.halt(result["halt"])
        return self.driver.stop()

    def stop_all(self) -> bool:
        return self.driver.stop()
