"""What is known of a trial of a search: how it ended, its course, and its values after the last epoch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scl.store.results import Results
from scl.study.config import Config
from scl.study.limits import COSTS, METRICS
from scl.study.search import Search

ENDED = ("completed", "pruned")  # states of trials that are not tried again


@dataclass
class Outcome:
    """One trial: one configuration on one seed.

    state: completed, pruned or failed; empty while it trains. course: epoch → the metric that a pruner judges by.
    last: its metrics after the epoch whose network is kept, and its costs. accuracies: epoch → val_acc.
    """

    state: str = ""
    course: dict[int, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    accuracies: dict[int, float] = field(default_factory=dict)

    def epoch(self, row: Mapping[str, Any], metric: str, config: Config) -> float:
        """Take note of a row of epochs.parquet; returns the metric. Values are rounded as the store rounds them, so
        that a search that goes on compares equal numbers; `val_acc` stands in trials.parquet too, in full."""
        known = {name: float(row[name]) for name in METRICS if row.get(name) is not None}
        epoch = int(row["epoch"])
        self.accuracies[epoch] = known.get("val_acc", math.nan)
        if kept_epoch(config.patience, config.pretrain_epochs, self.accuracies) == epoch:
            self.last |= {name: v if name == "val_acc" else float(np.float32(v)) for name, v in known.items()}
        self.course[epoch] = value = known.get(metric, math.nan)
        return value


def kept_epoch(patience: int, pretrain_epochs: int, curve: Mapping[int, float]) -> int:
    """The epoch whose network a trial keeps: its last or, with patience, the first of its best.

    curve: epoch → validation accuracy, not empty.
    """
    after = {e: v for e, v in curve.items() if e > pretrain_epochs} if patience else {}
    return min(after, key=lambda e: (-after[e], e)) if after else max(curve)


def outcomes(read: Results, seeds: Collection[int], metric: str) -> dict[str, Outcome]:
    """The trials of the store with these seeds, by id, those of its arms too.

    metric: of METRICS, for the course.
    """
    rows = read.trials[read.trials["seed"].isin(seeds)]
    epochs = read.epochs[read.epochs["trial_id"].isin(rows["trial_id"])].sort_values("epoch")
    metrics = [name for name in METRICS if name in epochs.columns]
    found = {
        row["trial_id"]: Outcome(row["state"], last={n: float(row[n]) for n in COSTS if _is_number(row.get(n))})
        for row in rows.to_dict("records")
    }
    about = {row["trial_id"]: row for row in rows.to_dict("records")}
    kept = {}
    for trial_id, history in epochs.groupby("trial_id"):
        outcome, row = found[trial_id], about[trial_id]
        patience, before = (_whole(row.get(f"param.{name}")) for name in ("patience", "pretrain_epochs"))
        outcome.accuracies = {int(e): float(v) for e, v in zip(history["epoch"], history["val_acc"], strict=True)}
        kept[trial_id] = epoch = kept_epoch(patience if row["state"] == "completed" else 0, before, outcome.accuracies)
        outcome.last |= {name: float(history.set_index("epoch")[name][epoch]) for name in metrics}
        if metric in metrics:
            outcome.course = {int(e): float(v) for e, v in zip(history["epoch"], history[metric], strict=True)}
    for row in rows[rows["val_acc"].notna()].to_dict("records"):
        outcome = found[row["trial_id"]]  # its epochs are float32
        outcome.last["val_acc"] = float(row["val_acc"])
        if metric == "val_acc" and outcome.course:
            outcome.course[kept[row["trial_id"]]] = float(row["val_acc"])
    return found


def told(search: Search, own: Sequence[Outcome]) -> dict[int, float]:
    """What Optuna's pruner is told of a configuration: the course of its first seed, or the last value of each seed."""
    if search.judged_by == "seeds":
        return {
            step: outcome.last.get(search.objectives[0], math.nan)
            for step, outcome in enumerate(own)
            if outcome.state == "completed"
        }
    return dict(own[0].course)


def mean_of(own: Sequence[Outcome]) -> dict[str, float]:
    """The last values of a configuration, means over its seeds; those that all of them have."""
    names = set.intersection(*(set(outcome.last) for outcome in own))
    return {name: math.fsum(outcome.last[name] for outcome in own) / len(own) for name in names}


def _whole(value: Any) -> int:
    """A count from a row; 0 in rows of earlier versions, which lack the column."""
    return int(value) if _is_number(value) else 0


def _is_number(value: Any) -> bool:
    return value is not None and value == value
