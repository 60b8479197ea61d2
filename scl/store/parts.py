"""Parts: one file per ended trial, written by the worker that ran it.

    TRIAL_ID-completed.arrows.zst   also -pruned
    TRIAL_ID-3f9a01c2.arrows.zst    of a failed trial, which may fail again; of earlier versions, of any trial

A part of another format needs another suffix than SUFFIX, so that earlier versions of scl leave it alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from scl.errors import Damaged
from scl.store.checksums import from_part, to_part
from scl.store.faults import Fault, stops
from scl.store.files import Change, Folder
from scl.store.schema import EPOCHS, TRIALS, param_text, widened

SUFFIX = ".arrows.zst"
ENDED = ("completed", "pruned")  # states of a trial that does not train again
NESTED = ["nested_epochs", "nested_predicted"]


def write_part(
    store: Folder, trial: Mapping[str, Any], epochs: list[dict[str, Any]], predicted: np.ndarray | None
) -> None:
    """Write one ended trial in one atomic file. Arguments and errors are those of `part_of`."""
    store.apply([part_of(store, trial, epochs, predicted)])


def part_of(
    store: Folder, trial: Mapping[str, Any], epochs: list[dict[str, Any]], predicted: np.ndarray | None
) -> Change:
    """The write of one ended trial, in one atomic file.

    A part of a trial that is completed or pruned is named by its id and state, so that it is found without a list of
    all parts. If it is written twice, both have the same numbers.

    Args:
        trial: columns of `trials.parquet`, with `trial_id`.
        epochs: rows of `epochs.parquet`.
        predicted: the predicted class of each test image, (N,); None if there are no predictions.

    Raises:
        ValueError: `trial` has a column that the schema lacks.
    """
    schema = widened(TRIALS, [trial])
    for name in trial:
        if name not in schema.names:
            raise ValueError(f"{name!r} is not a column of trials.parquet")
    epoch_schema = widened(EPOCHS, epochs)
    texts = {n for n in schema.names if n.startswith("param.") and schema.field(n).type == pa.string()}
    row = {
        **{name: [param_text(trial[name]) if name in texts else trial.get(name)] for name in schema.names},
        "nested_epochs": [epochs],
        "nested_predicted": [None if predicted is None else predicted.astype(np.uint16)],
    }
    nested = [
        pa.field("nested_epochs", pa.list_(pa.struct(list(epoch_schema)))),
        pa.field("nested_predicted", pa.list_(pa.uint16())),
    ]
    table = pa.Table.from_pydict(row, schema=pa.schema([*schema, *nested]))
    end = trial.get("state") if trial.get("state") in ENDED else secrets.token_hex(4)
    return store / "parts", "write", (f"{trial['trial_id']}-{end}{SUFFIX}", to_part(table), True)


def part_names(store: Folder) -> list[str]:
    """The names of the parts, sorted. Raises RunFailed if they cannot be listed."""
    with stops(f"{store}/parts"):
        return [name for name in (store / "parts").names() if name.endswith(SUFFIX)]


def strangers(store: Folder) -> list[Fault]:
    """What lies among the parts and is none."""
    parts = store / "parts"
    with stops(str(parts)):
        found = dict.fromkeys(parts.strangers(), "a folder or a special file")
        found |= {name: f"no file *{SUFFIX}" for name in parts.names() if not name.endswith(SUFFIX)}
    return [Fault(f"parts/{name}", f"it is {what}, so it is no part and is not read") for name, what in found.items()]


def ended_in_parts(store: Folder, trial_ids: Iterable[str]) -> set[str]:
    """Which of these trials have an intact part that says completed or pruned.

    A cohort asks this when it starts: a worker that the run has given up may have written results that the driver has
    not heard of, and so may another driver, whose lease of an object store was lost.
    """
    names = [f"{trial_id}-{state}{SUFFIX}" for trial_id in trial_ids for state in ENDED]
    found = (store / "parts").existing(names) if names else []
    return {trial_of(name) for name in found if isinstance(read_part(store, name), pa.Table)}


def trial_of(name: str) -> str:
    """The id of the trial whose part has this name."""
    return name.rpartition("-")[0]


def read_part(store: Folder, name: str) -> pa.Table | Fault | None:
    """A part as a table; None if a live run has moved it into the tables since it was listed.

    A damaged part is a fault, and its trial counts as missing.

    Raises:
        RunFailed: the file cannot be opened, or there is not enough memory.
        UserError: a newer version of scl wrote the part.
    """
    with stops(f"{store}/parts/{name}"):
        try:
            _, part = (store / "parts").read_as(name, from_part)
        except FileNotFoundError:
            return None
        except Damaged as damage:
            return Fault(f"parts/{name}", f"{damage}; its trial counts as missing, and a run trains it again", True)
    if wrong := _no_part(part):
        return Fault(f"parts/{name}", f"it is no part ({wrong}), so it is not read; move it away")
    return part


def _no_part(table: pa.Table) -> str:
    """Why the table is no part; empty if it is one. Columns are checked for many parts at once, in `tables`."""
    kinds = {field.name: field.type for field in table.schema}
    epochs, predicted = kinds.get("nested_epochs"), kinds.get("nested_predicted")
    if len(table) != 1:
        return f"it has {len(table)} rows"
    if len(kinds) < len(table.schema):
        return "a column occurs twice"
    if epochs is None or not pa.types.is_list(epochs) or not pa.types.is_struct(epochs.value_type):
        return "nested_epochs is no list of rows"
    inside = {field.name: field.type for field in epochs.value_type}
    if (inside.get("trial_id"), inside.get("epoch")) != (pa.string(), pa.int32()):
        return "nested_epochs has no trial_id and epoch"
    if table["nested_epochs"].null_count:
        return "nested_epochs is null"
    if predicted is None or not pa.types.is_list(predicted) or predicted.value_type != pa.uint16():
        return "nested_predicted is no list of classes"
    return ""
