"""The logits of a completed trial on the test and validation images: a file of Parquet beside its network.

float16 has 11 binary digits, so a logit of 8 is stored to ± 0.004, and beyond ± 65,504 it is cut. Metrics that are
computed from them differ from the columns by as much: log loss by less than 0.01 nats, and the class of an image whose
two highest logits are closer than that may change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scl.errors import Damaged, UserError, unknown
from scl.store.checksums import UnknownFormat, from_parquet, to_parquet
from scl.store.faults import stops
from scl.store.files import Folder
from scl.store.networks import MISSING

LOGITS = "logits.parquet"
PARTS = ("test", "val")
LARGEST = float(np.finfo(np.float16).max)
MOST_BYTES = 2 * 2**30  # of a run's logits before compression, beyond which they are stored only if asked for


def bytes_of(trials: int, images: int, classes: int) -> int:
    """The bytes of the logits of so many trials before compression, which saves about a tenth."""
    return trials * images * classes * 2


def pack_logits(parts: Mapping[str, tuple[Any, Any]]) -> bytes:
    """The bytes of the file. parts: `test` and `val` → logits (N, K) and labels (N,), as arrays.

    Columns: `part`, `label`, and `logits`, a list of K float16; rows in the order of the part's images.
    """
    names = np.repeat(list(parts), [len(labels) for _, labels in parts.values()])
    logits = np.concatenate([np.clip(of, -LARGEST, LARGEST).astype(np.float16) for of, _ in parts.values()])
    columns = {
        "part": pa.array(names, pa.string()),
        "label": pa.array(np.concatenate([labels for _, labels in parts.values()]), pa.int32()),
        "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), logits.shape[1]),
    }
    return to_parquet(pa.table(columns), split=("logits.list.element",))


def read_logits(store: Folder, trial_id: str, part: str) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """The logits (N, K) of a trial on the images of a part, `test` or `val`, and the labels (N,) of these.

    Raises:
        UserError: they are not stored or damaged, or there is no such part.
        RunFailed: the file cannot be opened, or there is not enough memory.
    """
    if part not in PARTS:
        raise UserError(unknown("part", part, PARTS))
    found = _load(store, trial_id)
    if isinstance(found, str):
        raise UserError(f"the file {store}/checkpoints/{trial_id}/{LOGITS} {found}")
    names = np.asarray(found["part"].to_pylist(), dtype=object)
    kept = found["logits"].combine_chunks()
    logits = np.asarray(kept.flatten()).reshape(len(found), -1)
    return logits[names == part], found["label"].to_numpy()[names == part]


def logits_fault(store: Folder, trial_id: str) -> str:
    """What is wrong with the stored logits of a trial; empty if they are as they were written. Raises RunFailed as
    `read_logits` does."""
    found = _load(store, trial_id)
    return found if isinstance(found, str) else ""


def _load(store: Folder, trial_id: str) -> pa.Table | str:
    """The table, or what is wrong with it."""
    files = store / "checkpoints" / trial_id
    with stops(f"{files}/{LOGITS}"):
        if files.is_no_file(LOGITS):
            return "is a folder or a special file"
        try:
            table = from_parquet(files.read(LOGITS))
        except (FileNotFoundError, NotADirectoryError):
            return MISSING
        except (Damaged, UnknownFormat) as damage:
            return f"is damaged: {damage}"
    kinds = {field.name: field.type for field in table.schema}
    listed = kinds.get("logits")
    if listed is None or not pa.types.is_fixed_size_list(listed) or listed.value_type != pa.float16():
        return "is damaged: it has no logits"
    return table if {"part", "label"} <= kinds.keys() else "is damaged: it has no labels"


def lost_logits(store: Folder, trials: Iterable[Mapping[str, Any]], thorough: bool = False) -> dict[str, str]:
    """trial_id → what is wrong with its logits, for trials whose row says that they were stored.

    Args:
        trials: rows of trials.parquet: `trial_id`, `state` and `logits_bytes` are used.
        thorough: read the files too, whose checksums tell a damaged one; else only their presence is looked at.

    Raises RunFailed as `read_logits` does.
    """
    ids = [t["trial_id"] for t in trials if t["state"] == "completed" and t.get("logits_bytes", 0) > 0]  # NaN is not
    if thorough:
        return {i: fault for i in ids if (fault := logits_fault(store, i))}
    with stops(f"{store}/checkpoints"):
        there = (store / "checkpoints").files_below() if ids else {}
    return {i: MISSING for i in ids if f"{i}/{LOGITS}" not in there}
