"""progress.json: what a live run does now. A run writes it as it goes, and removes it at its end.

It holds what the tables do not have yet: the epochs of trials that have not ended. A run that was killed leaves the
file; whether its run lives is told by `.holder`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from scl.store.faults import stops
from scl.store.files import Folder
from scl.store.holder import has_ended, read_holder

NAME = "progress.json"
STATES = ("waiting", "running")
# A record's fields and their types. seconds_left: None if nothing tells it yet. running: trials that have not ended,
# with the epoch that they have reached, of so many, and validation accuracies by epoch (NaN is None).
FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("title", "since", "updated", "host", "command"), str),
    **dict.fromkeys(("expected", "ended", "failed"), int),
    "seconds_left": (int, float, type(None)),
    "running": list,
}
OF_A_TRIAL: dict[str, type | tuple[type, ...]] = {"label": str, "epoch": int, "epochs": int, "val_acc": list}


def write_progress(store: Folder, record: Mapping[str, Any]) -> None:
    """Write the record; raises OSError."""
    store.write(NAME, json.dumps(record, allow_nan=False).encode())


def read_progress(store: Folder) -> dict[str, Any] | None:
    """The record of the run that holds this store now; None if none does, or if it has not told anything yet.

    Raises RunFailed if the file cannot be opened.
    """
    holder = read_holder(store)
    if not holder or has_ended(holder):
        return None
    with stops(f"{store}/{NAME}"):
        try:
            record = json.loads(store.read(NAME))
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None
    if not _fits(record, FIELDS) or not all(_fits(one, OF_A_TRIAL) for one in record["running"]):
        return None
    for one in record["running"]:
        one["val_acc"] = [v if isinstance(v, float) and 0 <= v <= 1 else math.nan for v in one["val_acc"]]
    return record if record["expected"] > 0 else None


def _fits(record: Any, fields: Mapping[str, type | tuple[type, ...]]) -> bool:
    return isinstance(record, dict) and all(
        isinstance(record.get(name), kind) and not isinstance(record.get(name), bool) for name, kind in fields.items()
    )


def in_a_line(record: Mapping[str, Any]) -> str:
    """Who runs, and how far it is."""
    return (
        f"running on {record['host']} since {record['since']}: {record['ended']} of {record['expected']} "
        f"{record['title']} ended"
    )


def remove_progress(store: Folder) -> None:
    with suppress(OSError):
        store.remove(NAME)
