"""One trial in the words and units of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from scl.report.effort import energy
from scl.report.formatting import PERCENT, UNITS, capital, count, duration, fixed, moment, plural
from scl.study.metrics import DEFAULT, METRICS

Show = Callable[[Any], str]


def _share(value: float) -> str:
    return PERCENT.value(value, 2)


def _nats(value: float) -> str:
    return f"{fixed(value, 4)} nats"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms"


def _of(part: str, columns: Callable[[Any], str]) -> dict[str, tuple[str, Show]]:
    """The metrics of a part, by their columns."""
    ordered = sorted(METRICS.values(), key=lambda m: m.name != DEFAULT)
    return {columns(m): (f"{part} {m.words}", _share if UNITS[m.unit] is PERCENT else _nats) for m in ordered}


# heading → column of trials.parquet → what it is, and how its value is written
GROUPS: Mapping[str, Mapping[str, tuple[str, Show]]] = {
    "On test images, after the last epoch": {
        **_of("test", lambda m: m.column),
        "ece": ("calibration error", _share),
        "ece_floor": ("calibration error, floor", _share),
        "test_acc_muted": ("test accuracy without self-taught neurons", _share),
        "chance": ("chance", _share),
        "test_acc_at_best_val": ("test accuracy at the best validation epoch", _share),
        "test_acc_best": ("test accuracy of the best test epoch, optimistic", _share),
    },
    "On validation images, after the last epoch": _of("validation", lambda m: m.validation),
    "The teacher": {
        **_of("teacher's test", lambda m: m.teacher),
        "agreement": ("agreement with the teacher", _share),
        "teacher_kl": ("KL from the teacher", _nats),
        "gap_closed": ("gap closed", _share),
    },
    "Cost": {
        "params": ("params", count),
        "macs": ("MACs for one image", count),
        "latency_ms": ("latency for one image", _milliseconds),
        "file_bytes": ("file of the network", lambda value: f"{value:,.0f} bytes"),
        "logits_bytes": ("file of the logits", lambda value: f"{value:,.0f} bytes"),
    },
    "Training": {
        "epochs": ("epochs", _whole),
        "best_epoch": ("best validation epoch", _whole),
        "train_seconds": ("device time", lambda value: f"{duration(value)} ({value / 3600:.3g} device hours)"),
        "images_per_second": ("images per second", count),
        "energy_joules": ("energy", energy),
        "energy_source": ("energy is measured by", str),
        "device": ("device", str),
        "cohort_size": ("trials side by side", _whole),
        "restarts": ("resumed from a checkpoint", lambda value: plural(int(value), "time")),
        "number": ("position in the search", _whole),
        "run": ("run of this store", _whole),
        "started": ("started", moment),
        "ended": ("ended", moment),
    },
}


def described(row: Mapping[str, Any], leave_out: set[str]) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A trial's known values by heading: what it is, the value as text, and its column of trials.parquet.

    Columns that have no words here, as those of a later version, come last, as they are.
    """
    named = {column for group in GROUPS.values() for column in group}
    for heading, group in GROUPS.items():
        known = [(words, show(row[c]), c) for c, (words, show) in group.items() if not _is_missing(row.get(c))]
        if known:
            yield heading, [(capital(words), value, column) for words, value, column in known]
    rest = [
        (c, f"{v:.6g}" if isinstance(v, float) else str(v), c)
        for c, v in row.items()
        if c not in named | leave_out and not c.startswith("param.") and not _is_missing(v)
    ]
    if rest:
        yield "Other columns", rest


def _is_missing(value: Any) -> bool:
    return bool(pd.isna(value)) or (isinstance(value, float) and math.isinf(value))
