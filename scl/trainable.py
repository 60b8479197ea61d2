"""The Ray Tune adapter: a Tune trial is a cohort, a report is an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune

from scl.cohort import World, execute
from scl.progress import Progress
from scl.track import Tracker
from scl.trainer import EpochDone


def train(config: dict[str, Any], world: World) -> None:
    """Train the cohort `config["cohort"]`, a list of job ids. What ends is in the store before it is reported."""
    for event in execute(world, config["cohort"]):
        columns = world.jobs[event.trial_id].columns  # the driver's trackers want them, in a tuple: no metrics to Tune
        if isinstance(event, EpochDone):
            tune.report(
                {
                    "job": event.trial_id,
                    "epoch": event.row["epoch"],
                    "val_acc": event.row.get("val_acc", -1.0),
                    "seen": (columns, event.row),
                }
            )
        else:
            tune.report(
                {
                    "job": event.trial_id,
                    "state": event.metrics["state"],
                    "error": event.metrics["error"] or "",
                    "seen": (columns, event.metrics),
                }
            )


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


class Stopper(tune.Stopper):  # type: ignore[misc]
    """Ends the whole run where `stop()` turns true."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.stop = stop

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop()

    def stop_all(self) -> bool:
        return self.stop()
