"""The Ray Tune adapter: a Tune trial is a cohort, a report is an event."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray import tune

from scl.cohort import Job, World, execute
from scl.progress import Progress
from scl.stopping import Stop
from scl.storage import explain, not_writable
from scl.track import Tracker
from scl.trainer import EpochDone, Event


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

    try:
        for event in execute(world, cohort, prune=prune):
            tune.report(_told(world, event))
    except OSError as error:
        if not not_writable(error):
            raise
        tune.report({"halt": f"{explain(error)} (seen by a worker on {socket.gethostname()})"})


def _told(world: World, event: Event) -> dict[str, Any]:
    columns = world.jobs[event.trial_id].columns  # the driver's trackers want them, in a tuple: no metrics to Tune
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


class Suggest(tune.search.Searcher):  # type: ignore[misc]
    """Tune's side of a search: each Tune trial is a batch of suggestions, and reports go to the dialogue."""

    def __init__(self, dialogue: Any, ask: Callable[[int], list[str]], desk: Any, stop: Callable[[], bool]) -> None:
        super().__init__()
        self.dialogue, self.ask, self.desk, self.stop = dialogue, ask, desk, stop
        self.cohorts: dict[str, list[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into snapshots; what a search knows is in Optuna's storage

    def suggest(self, trial_id: str) -> Any:
        cohort = self.ask(self.dialogue.batch)
        if not cohort:
            return tune.search.Searcher.FINISHED
        self.cohorts[trial_id] = cohort
        return {"cohort": cohort}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "state" in result:
            self.dialogue.ended(result["job"], result["state"])
        elif "job" in result and self.dialogue.epoch(result["job"], result["epoch"], result["val_acc"]):
            ray.get(self.desk.stop.remote(result["job"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if not self.stop():
            self.dialogue.lost(self.cohorts[trial_id])

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class Draw(tune.Callback):  # type: ignore[misc]
    """Passes reports on to terminal and tracker. Tune pickles its callbacks into snapshots; those stay out."""

    def __init__(self, progress: Progress, tracker: Tracker) -> None:
        self.progress, self.tracker = progress, tracker

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if "state" in result:
            self.tracker.ended(*result["seen"])
            self.progress.ended(result["job"], result["state"], result["error"])
        elif "job" in result:
            self.tracker.epoch(*result["seen"])
            self.progress.epoch(result["job"], result["epoch"], result["val_acc"])

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        print("a worker was lost; what it trained goes on elsewhere from its last checkpoints", file=sys.stderr)


class Stopper(tune.Stopper):  # type: ignore[misc]
    """Ends the whole run where `stop()` turns true, and makes it so where a worker says that it cannot go on."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if "halt" in result:
            self.stop.halt(result["halt"])
        return self.stop()

    def stop_all(self) -> bool:
        return self.stop()
