"""The Ray Tune adapter: a Tune trial is a cohort, a report is an event."""

from __future__ import annotations

from typing import Any

from ray import tune

from scl.cohort import World, execute
from scl.trainer import EpochDone


def train(config: dict[str, Any], world: World) -> None:
    """Train the cohort `config["cohort"]`, a list of job ids. What ends is in the store before it is reported."""
    for event in execute(world, config["cohort"]):
        if isinstance(event, EpochDone):
            tune.report({"job": event.trial_id, "epoch": event.row["epoch"], "val_acc": event.row.get("val_acc", -1.0)})
        else:
            tune.report({"job": event.trial_id, "state": event.metrics["state"], "error": event.metrics["error"] or ""})
