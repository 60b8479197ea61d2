"""The three tables of a store: reading them, and moving parts into them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scl.errors import Damaged
from scl.store.checksums import from_parquet, to_parquet
from scl.store.files import Folder
from scl.store.parts import read_part
from scl.store.schema import PREDICTIONS, SCHEMAS


def compact(store: Folder, study: Mapping[str, Any]) -> None:
    """Move the parts into the three tables. Safe to be killed at any point, because parts are removed last.

    No trial's row is ever dropped. Of several rows of one trial a completed one stays, else the latest. Trials of the
    present plan take its arm names, so that renaming an arm retrains nothing.

    Args:
        study: the content of study.json; `plan` and `baseline` are used, if present.
    """
    names = (store / "parts").names()
    trials, epochs, predictions = read_tables(store, names, *SCHEMAS)
    plan = {trial["trial_id"]: trial["arm"] for trial in study.get("plan", [])}
    if plan and len(trials):
        arms = [plan.get(i, a) for i, a in zip(trials["trial_id"].to_pylist(), trials["arm"].to_pylist(), strict=True)]
        trials = trials.set_column(trials.schema.get_field_index("arm"), "arm", pa.array(arms, pa.string()))
        trials = _with_gap_closed(trials, study)
    # Trials come last: that table says what has ended, and the others must already have those trials.
    for file, table in (("predictions", predictions), ("epochs", epochs), ("trials", trials)):
        _write_table(store, file, table)
    for name in names:
        (store / "parts").remove(name)


def _with_gap_closed(trials: pa.Table, study: Mapping[str, Any]) -> pa.Table:
    """The trials with `gap_closed` of the planned ones: the fraction of the gap between baseline and teacher.

    0 is the accuracy of the baseline of the same seed, 1 the teacher's. It is null for the baseline, and if the teacher
    is not above the baseline.
    """
    frame = trials.select(["trial_id", "seed", "arm", "state", "test_acc", "teacher_test_acc"]).to_pandas()
    planned = frame["trial_id"].isin([trial["trial_id"] for trial in study["plan"]])
    done = planned & (frame["state"] == "completed")
    guided = frame["arm"] != study.get("baseline")
    baseline = frame[done & ~guided].drop_duplicates("seed").set_index("seed")["test_acc"]
    start = frame["seed"].map(baseline)
    gap = frame["teacher_test_acc"] - start
    closed = ((frame["test_acc"] - start) / gap).where(done & guided & (gap > 0))
    closed = closed.where(planned, trials["gap_closed"].to_pandas().astype(float))
    column = pa.array(closed.to_numpy(dtype=float, na_value=np.nan), pa.float64(), from_pandas=True)
    return trials.set_column(trials.schema.get_field_index("gap_closed"), "gap_closed", column)


def read_trials(store: Folder) -> pd.DataFrame:
    """The rows of all ended trials, parts included; empty if there are none."""
    return read_present(store, "trials")[0].to_pandas()


def write_reference_predictions(store: Folder, rows: Mapping[str, np.ndarray]) -> None:
    """Add the rows that belong to no trial: `labels`, the true classes, and the predictions of teachers, by id."""
    old = _read_table(store, "predictions", PREDICTIONS)
    new = pa.Table.from_pydict(
        {"trial_id": list(rows), "predicted": [v.astype(np.uint16) for v in rows.values()]}, schema=PREDICTIONS
    )
    others = pa.array([i not in rows for i in old["trial_id"].to_pylist()], pa.bool_())
    _write_table(store, "predictions", pa.concat_tables([old.filter(others), new]))


def _write_table(store: Folder, file: str, table: pa.Table) -> None:
    content = to_parquet(table)
    for folder in (store / "copies", store):
        folder.write(f"{file}.parquet", content, durable=True)


def _read_table(store: Folder, file: str, schema: pa.Schema) -> pa.Table:
    """One of the three tables. A damaged file is set aside and restored from its copy."""
    name = f"{file}.parquet"
    for folder in (store, replace(store / "copies", aside=f"{store.path}/damaged")):
        try:
            content = folder.read(name)
            table = from_parquet(content)
        except FileNotFoundError:
            continue
        except Damaged as damage:
            folder.set_aside(name, str(damage))
        else:
            if folder != store and not store.reading:
                store.write(name, content)
                print(f"{store}/{name}: restored from its copy", file=sys.stderr)
            return table
    return schema.empty_table()


def read_present(store: Folder, *files: str) -> list[pa.Table]:
    """`read_tables` with all parts, beside a live run too: one that moved a part into the tables meanwhile may have
    done so after they were read here, so that they are read again."""
    while True:
        names = (store / "parts").names()
        tables = read_tables(store, names, *files)
        if set(names) <= set((store / "parts").names()):
            return tables


def read_tables(store: Folder, part_names: Sequence[str], *files: str) -> list[pa.Table]:
    """The tables named in `files` with the rows of these parts, one row per trial (and epoch).

    files: any of `trials`, `epochs` and `predictions`.
    """
    tables = {file: _read_table(store, file, SCHEMAS[file]) for file in dict.fromkeys(["trials", *files])}
    parts = [part for part in (read_part(store, name) for name in part_names) if part is not None]
    if not parts:
        return [tables[file] for file in files]
    groups = _grouped(parts)
    rows = _in_order([(at, group.drop_columns(["nested_epochs", "nested_predicted"])) for at, group in groups])
    every = pa.concat_tables([tables["trials"], rows], promote_options="permissive")
    # Of a trial's rows a completed one stays, else the latest. `source` is the part of a row, or -1 for the table.
    frame = pd.DataFrame(
        {
            "trial_id": every["trial_id"].to_pylist(),
            "done": np.array(every["state"].to_pylist(), dtype=object) == "completed",
            "ended": every["ended"].to_pandas(),
            "source": [-1] * len(tables["trials"]) + list(range(len(parts))),
            "row": range(len(every)),
        }
    )
    chosen = frame.sort_values(["done", "ended", "source"], kind="stable").drop_duplicates("trial_id", keep="last")
    chosen = chosen.sort_values("row")
    fresh = chosen[chosen["source"] >= 0]
    replaced = pa.array(fresh["trial_id"].tolist(), pa.string())
    nested = {"epochs": _epochs_of, "predictions": _predictions_of}
    for file in files:
        if file == "trials":
            tables[file] = every.take(pa.array(chosen["row"].to_numpy()))
            continue
        old = tables[file].filter(pc.invert(pc.is_in(tables[file]["trial_id"], value_set=replaced)))
        new = [nested[file](at, group) for at, group in _select(groups, fresh["source"])]
        if new:
            tables[file] = pa.concat_tables([old, _in_order(new)], promote_options="permissive")
    return [tables[file] for file in files]


def _grouped(parts: Sequence[pa.Table]) -> list[tuple[np.ndarray, pa.Table]]:
    """The parts grouped by schema: for each group the indices of its parts, and their rows as one table.

    Handling thousands of parts one by one would be slow.
    """
    groups: list[tuple[pa.Schema, list[int]]] = []
    for i, part in enumerate(parts):
        group = next((at for schema, at in reversed(groups) if schema.equals(part.schema)), None)
        if group is None:
            groups.append((part.schema, [i]))
        else:
            group.append(i)
    return [(np.array(at), pa.concat_tables([parts[i] for i in at]).combine_chunks()) for _, at in groups]


def _select(groups: Sequence[tuple[np.ndarray, pa.Table]], wanted: pd.Series) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """The groups, reduced to the wanted parts."""
    for at, group in groups:
        chosen = np.isin(at, wanted)
        if chosen.any():
            yield at[chosen], group.filter(pa.array(chosen))


def _in_order(groups: Sequence[tuple[np.ndarray, pa.Table]]) -> pa.Table:
    """One table of all groups, its rows sorted by the index of their part."""
    table = pa.concat_tables([group for _, group in groups], promote_options="permissive")
    if len(groups) == 1:
        return table
    return table.take(pa.array(np.argsort(np.concatenate([at for at, _ in groups]), kind="stable")))


def _epochs_of(at: np.ndarray, group: pa.Table) -> tuple[np.ndarray, pa.Table]:
    nested = group["nested_epochs"].combine_chunks()
    return np.repeat(at, nested.value_lengths().to_numpy()), pa.Table.from_struct_array(nested.flatten())


def _predictions_of(at: np.ndarray, group: pa.Table) -> tuple[np.ndarray, pa.Table]:
    there = group["nested_predicted"].is_valid().to_numpy()
    group = group.filter(pa.array(there))
    return at[there], pa.Table.from_arrays([group["trial_id"], group["nested_predicted"]], schema=PREDICTIONS)
