"""progress.json: what a live run does now. A run writes it as it goes, and removes it at its end.

It holds what the tables do not have yet: the epochs of trials that have not ended. A run that was killed leaves the
file. Whether its run lives is told by `.holder` if it ran on this machine; from elsewhere, by the file's age, since a
run writes it at least every HEARTBEAT seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from scl.store.faults import stops
from scl.store.files import Folder
from scl.store.holder import has_ended, read_holder
from scl.store.schema import now

NAME = "progress.json"
HEARTBEAT = 30.0  # seconds after which a run tells again that it lives, if nothing else has happened
LATE = 180.0  # seconds without a record after which one says so
GONE = 900.0  # the same after which a run does not count as running
# A record's fields and their types. title: what trains or, if nothing can be counted yet (expected is 0), what is done.
# seconds_left: None if nothing tells it yet. running: trials that have not ended, with the epoch that they have
# reached, of so many, and validation accuracies by epoch (NaN is None).
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


def read_progress(store: Folder, gone: float = GONE) -> dict[str, Any] | None:
    """The record of the run that holds this store now; None if none does, if it has not told anything yet, or if it has
    told nothing for `gone` seconds, by the clock of this machine.

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
    return record if record["expected"] >= 0 and age(record, now()) < gone else None


def age(record: Mapping[str, Any], at: datetime) -> float:
    """Seconds since a record was written, by its own machine's clock; 0 if it does not say when."""
    try:
        return max(0.0, (at - datetime.fromisoformat(record["updated"])).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _fits(record: Any, fields: Mapping[str, type | tuple[type, ...]]) -> bool:
    return isinstance(record, dict) and all(
        isinstance(record.get(name), kind) and not isinstance(record.get(name), bool) for name, kind in fields.items()
    )


def in_a_line(record: Mapping[str, Any]) -> str:
    """Who runs, and how far it is; also that it may have ended, if it has told nothing for long."""
    count = f"{record['ended']} of {record['expected']} {record['title']} ended" if record["expected"] else ""
    late = age(record, now()) >= LATE
    quiet = f"; not updated since {record['updated']}, so it may have ended or be cut off" if late else ""
    return f"running on {record['host']} since {record['since']}: {count or record['title']}{quiet}"


def remove_progress(store: Folder) -> None:
    with suppress(OSError):
        store.remove(NAME)
