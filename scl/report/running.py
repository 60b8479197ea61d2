"""The bar on top of a page that is written while its study runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scl.report.formatting import DASH, about, moment, percent, plain, plural

WIDTH, HEIGHT = 120, 24  # of a curve, in pixels


@dataclass(frozen=True)
class RunningTrial:
    """A trial in training. curve: corners of its validation accuracy over all its epochs, as SVG takes them; '' for one
    epoch."""

    label: str
    epochs: str
    accuracy: str
    curve: str


@dataclass(frozen=True)
class Running:
    """What a page says of the run that goes on.

    text: what trains, how many trials have ended, and the time that is left. updated: when, in ISO's form.
    """

    text: str
    where: str
    updated: str
    ended: int
    expected: int
    trials: Sequence[RunningTrial]


def running(progress: Mapping[str, Any] | None) -> Running | None:
    """The bar from the record of `scl.store.progress`; None if nothing runs."""
    if progress is None:
        return None
    left = progress["seconds_left"]
    failed = f", {plural(progress['failed'], 'failure')}" if progress["failed"] else ""
    time = "" if left is None or not math.isfinite(left) else f", about {about(left)} left"
    what = "" if progress["title"] == "students" else f" ({plain(progress['title'])})"
    if not progress["expected"]:
        text = plain(progress["title"])
    else:
        text = f"{progress['ended']} of {plural(progress['expected'], 'trial')} ended{failed}{time}{what}"
    trials = [_trial(one) for one in progress["running"]]
    where = f"on {plain(progress['host'])} since {plain(moment(progress['since']))}"
    return Running(text, where, str(progress["updated"]), progress["ended"], progress["expected"], trials)


def _trial(one: Mapping[str, Any]) -> RunningTrial:
    known = [v for v in one["val_acc"] if not math.isnan(v)]
    accuracy = percent(known[-1], 1) if known else DASH
    curve = _curve(one["val_acc"], one["epoch"], one["epochs"])
    return RunningTrial(plain(one["label"]), f"{one['epoch']} of {one['epochs']}", accuracy, curve)


def _curve(values: Sequence[float], epoch: int, epochs: int) -> str:
    """Corners `x,y x,y …` of a line through the values of epochs up to `epoch`, evenly spread: from the first planned
    epoch on the left to the last on the right, from 0 at the bottom to 1 at the top."""
    each = epoch / max(len(values), 1)
    points = [(((i + 1) * each - 1) / max(epochs - 1, 1), v) for i, v in enumerate(values) if not math.isnan(v)]
    if len(points) < 2:
        return ""
    return " ".join(f"{WIDTH * min(max(x, 0), 1):.1f},{1 + (HEIGHT - 2) * (1 - v):.1f}" for x, v in points)
