"""The Ray Tune adapter: a Tune trial is a cohort, a report of its worker carries events."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from scl.plan.context import RunContext
from scl.run.ray.worker import train


@dataclass(frozen=True)
class DriverCalls:
    """What a Tune run calls in the driver: functions, or calls by RPC if the driver is outside the cluster.

    event: takes a worker's message. notice: prints a line. stop: whether to end the run. halt: end it, for a reason.

    Those of a search: suggest: the ids of up to so many jobs. epoch: takes a job, epoch and validation accuracy;
    whether to stop the job. ended: takes a job and its state. cohort_ended: takes the ids of a cohort.
    """

    event: Callable[[Mapping[str, Any]], None]
    notice: Callable[[str], None]
    stop: Callable[[], bool]
    halt: Callable[[str], None]
    suggest: Callable[[int], list[str]] | None = None
    epoch: Callable[[str, int, float], bool] | None = None
    ended: Callable[[str, str], None] | None = None
    cohort_ended: Callable[[list[str]], None] | None = None


@dataclass(frozen=True)
class TuneRun:
    """One Tune run.

    slots: cohorts at once. cpus, gpus: of a cohort. max_failures: of a cohort's worker. cohorts: job ids; none for a
    search. batch: a search's suggestions that train side by side; 0 for known cohorts.
    """

    title: str
    slots: int
    cpus: int
    gpus: float
    max_failures: int
    cohorts: Sequence[Sequence[str]] = ()
    batch: int = 0


def run_tune(
    run: TuneRun, context: RunContext, driver: DriverCalls, mailbox: Any = None
) -> list[tuple[list[str], str]]:
    """Run Tune to its end; returns the cohorts whose workers died too often, with the error."""
    searching = {"search_alg": CohortSearcher(driver, run.batch, mailbox), "num_samples": -1} if run.batch else {}
    with tempfile.TemporaryDirectory(prefix="scl-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(train, context=context, mailbox=mailbox), {"cpu": run.cpus, "gpu": run.gpus}
            ),
            param_space={} if run.batch else {"cohort": tune.grid_search(run.cohorts)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=run.slots, **searching),
            run_config=tune.RunConfig(
                name=run.title,
                storage_path=scratch,
                stop=DriverStopper(driver),
                callbacks=[EventForwarder(driver)],
                failure_config=tune.FailureConfig(max_failures=run.max_failures),
                verbose=0,
            ),
        )
        grid = tuner.fit()
    return [(result.config["cohort"], str(result.error)) for result in grid if result.error is not None]


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
    """Tune's side of a search: each Tune trial is a batch of suggestions; its reports go to the driver."""

    def __init__(self, driver: DriverCalls, batch: int, mailbox: Any) -> None:
        super().__init__()
        self.driver, self.batch, self.mailbox = driver, batch, mailbox
        self.cohorts: dict[str, list[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into snapshots; the state of a search is in Optuna's storage

    def suggest(self, trial_id: str) -> Any:
        assert self.driver.suggest is not None
        cohort = self.driver.suggest(self.batch)
        if not cohort:
            return tune.search.Searcher.FINISHED
        self.cohorts[trial_id] = cohort
        return {"cohort": cohort}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        assert self.driver.ended is not None
        assert self.driver.epoch is not None
        for event in result.get("events", ()):
            job, row = event["job"], event["row"]
            if "state" in row:
                self.driver.ended(job, row["state"])
            elif self.driver.epoch(job, row["epoch"], row["val_acc"]):
                ray.get(self.mailbox.stop.remote(job))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        assert self.driver.cohort_ended is not None
        if not self.driver.stop():
            self.driver.cohort_ended(self.cohorts[trial_id])

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class EventForwarder(tune.Callback):  # type: ignore[misc]
    """Passes workers' messages on to the driver. Its state stays out of Tune's snapshots, which pickle callbacks."""

    def __init__(self, driver: DriverCalls) -> None:
        self.driver = driver

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        for event in result.get("events", ()):
            self.driver.event(event)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.driver.notice("a worker was lost; its trials resume elsewhere from their last checkpoints")


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
