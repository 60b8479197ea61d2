"""Parts: one file per ended trial, written by the worker that ran it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from scl.errors import Damaged
from scl.store.checksums import from_part, to_part
from scl.store.files import Folder
from scl.store.schema import EPOCHS, TRIALS, widened


def write_part(
    store: Folder, trial: Mapping[str, Any], epochs: list[dict[str, Any]], predicted: np.ndarray | None
) -> None:
    """Write one ended trial in one atomic file.

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
    row = {
        **{name: [trial.get(name)] for name in schema.names},
        "nested_epochs": [epochs],
        "nested_predicted": [None if predicted is None else predicted.astype(np.uint16)],
    }
    nested = [
        pa.field("nested_epochs", pa.list_(pa.struct(list(epoch_schema)))),
        pa.field("nested_predicted", pa.list_(pa.uint16())),
    ]
    table = pa.Table.from_pydict(row, schema=pa.schema([*schema, *nested]))
    (store / "parts").write(f"{trial['trial_id']}-{secrets.token_hex(4)}.arrows.zst", to_part(table))


def ended_in_parts(store: Folder, trial_ids: Iterable[str]) -> set[str]:
    """Which of these trials have a part that says completed or pruned."""
    wanted = set(trial_ids)
    ended = set()
    for name in (store / "parts").names():
        if name.rpartition("-")[0] in wanted:
            part = read_part(store, name)
            if part is not None and part["state"][0].as_py() in ("completed", "pruned"):
                ended.add(name.rpartition("-")[0])
    return ended


def read_part(store: Folder, name: str) -> pa.Table | None:
    """A part as a table; None if it is gone, or damaged. A damaged part is set aside, so its trial runs again."""
    parts = replace(store / "parts", aside=f"{store.path}/damaged")
    try:
        return from_part(parts.read(name))
    except FileNotFoundError:
        return None  # a live run has moved it into the tables since it was listed
    except Damaged as damage:
        parts.set_aside(name, str(damage))
        return None
