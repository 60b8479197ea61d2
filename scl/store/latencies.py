"""latencies.json: how long exported students take for a batch of images, on whatever device it was measured.

The column `latency_ms` of the trials stays what this machine measured for all of them alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scl.store.faults import Fault, stops, tell
from scl.store.files import Folder
from scl.store.locks import locked
from scl.study.fields import ARCHITECTURE
from scl.study.identity import sha256, stored_name

NAME = "latencies.json"
# A measurement: its fields and their types. latency_ms: the median for a batch. low_ms, high_ms: the 5th and the 95th
# percentile, None if they are not known. architecture: `architecture_of` the student.
FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("architecture", "student", "arm", "trial_id", "device", "runtime", "when"), str),
    **dict.fromkeys(("threads", "batch", "bytes"), int),
    "latency_ms": float,
    "low_ms": (float, type(None)),
    "high_ms": (float, type(None)),
}
# A later measurement of the same replaces the earlier one.
KEY = ("architecture", "device", "runtime", "threads", "batch")


def architecture_of(config: Mapping[str, Any], image_shape: Sequence[int], classes: int) -> str:
    """One text for each network: the hash of what determines it in a stored configuration, and of its shapes."""
    fields = {name: config[name] for name in map(stored_name, ARCHITECTURE) if name in config}
    return sha256([fields, list(image_shape), classes])


def problem_of(measurement: Any) -> str:
    """Why this is no measurement; '' if it is one."""
    if not isinstance(measurement, Mapping):
        return "it is no record of a latency"
    if lacking := [name for name in FIELDS if name not in measurement]:
        return f"it has no {lacking[0]}"
    for name, kind in FIELDS.items():
        if not isinstance(measurement[name], kind) or isinstance(measurement[name], bool):
            return f"its {name} is {measurement[name]!r:.80}"
    if not 0 < measurement["latency_ms"] < math.inf:
        return f"its latency_ms is {measurement['latency_ms']!r}"
    return ""


def read_latencies(store: Folder) -> list[dict[str, Any]]:
    """The measurements of a store, in the order in which they were taken; what is none is named on stderr.

    Raises RunFailed if the file cannot be opened.
    """
    with stops(f"{store}/{NAME}"):
        try:
            found = json.loads(store.read(NAME))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, list):
        tell(store, [Fault(NAME, "it is damaged, so it is not read; measure again")])
        return []
    faults = [Fault(NAME, f"{problem}; it is left out") for one in found if (problem := problem_of(one))]
    tell(store, faults)
    return [one for one in found if not problem_of(one)]


def write_latency(store: Folder, measurement: Mapping[str, Any]) -> None:
    """Add a measurement to a store; it replaces an earlier one of the same network on the same device.

    Raises:
        UserError: a run holds the store.
    """
    assert not problem_of(measurement)
    with locked(store, command="scl latency", way_out="wait for it, then run this again"):
        key = [measurement[name] for name in KEY]
        others = [one for one in read_latencies(store) if [one[name] for name in KEY] != key]
        kept = [{name: one[name] for name in FIELDS} for one in [*others, measurement]]
        store.write(NAME, json.dumps(kept, indent=1, allow_nan=False).encode(), durable=True)
