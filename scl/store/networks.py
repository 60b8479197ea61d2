"""The networks of completed trials: which are missing or damaged. No torch, so that commands that read start fast."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from scl.store.faults import stops
from scl.store.files import Folder

STUDENT = "student.safetensors"
TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
MOST_NAMED = 4
MISSING = "is missing"


def network_fault(store: Folder, trial_id: str) -> str:
    """What is wrong with the network of a completed trial; empty if its bytes are those that were written.

    Raises RunFailed if the file cannot be opened, or if there is not enough memory.
    """
    files = store / "checkpoints" / trial_id
    with stops(f"{files}/{STUDENT}"):
        if files.is_no_file(STUDENT):
            return "is a folder or a special file"
        try:
            content = files.read(STUDENT)
        except (FileNotFoundError, NotADirectoryError):
            return MISSING
    try:
        return _fault(content, trial_id)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error, RecursionError):
        return "is damaged: it is cut off, or no file of scl"


def _fault(content: bytes, trial_id: str) -> str:
    """Raises one of many errors for what is no safetensors file."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    about = header.pop("__metadata__")
    data = memoryview(content)[8 + length :]
    digest, end = hashlib.sha256(), 0
    for name in sorted(header):
        tensor = header[name]
        first, last = tensor["data_offsets"]
        digest.update(f"{name} torch.{TYPES[tensor['dtype']]} {tuple(tensor['shape'])}".encode())
        digest.update(data[first:last])
        end = max(end, last)
    record = about["record"]
    sums = digest.hexdigest(), hashlib.sha256(record.encode()).hexdigest()
    if end != len(data) or sums != (about["sha256"], about.get("record_sha256", sums[1])):
        return "is damaged: its checksum does not match"
    return "" if json.loads(record)["trial_id"] == trial_id else "is that of another trial"


def lost_networks(store: Folder, trials: Sequence[Mapping[str, Any]], thorough: bool = False) -> dict[str, str]:
    """trial_id → what is wrong with its network, for completed trials whose network is missing or damaged.

    In an object store only their presence is looked at, since all networks would be downloaded.

    Args:
        trials: rows of trials.parquet: `trial_id` and `state` are used.
        thorough: read the networks there too.

    Raises RunFailed as `network_fault` does.
    """
    ids = [trial["trial_id"] for trial in trials if trial["state"] == "completed"]
    if store.is_local or thorough:
        return {i: fault for i in ids if (fault := network_fault(store, i))}
    with stops(f"{store}/checkpoints"):
        there = (store / "checkpoints").files_below()
    return {i: MISSING for i in ids if f"{i}/{STUDENT}" not in there}


def in_words(lost: Mapping[str, str], trials: Sequence[Mapping[str, Any]]) -> str:
    """The sentence that names lost networks. trials: rows with `trial_id`, `arm` and `seed`."""
    named = [f"{t['arm']} seed {t['seed']} {lost[t['trial_id']]}" for t in trials if t["trial_id"] in lost]
    more = f"; and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    what = "1 network of a completed trial is" if len(named) == 1 else f"{len(named)} networks of completed trials are"
    return f"{what} lost: {'; '.join(named[:MOST_NAMED])}{more}"
