"""The three tables of a store: reading them, and moving parts into them.

Readers change nothing: what they cannot use they name. `mend` and `compact`, which need the lock, move damaged files
to `damaged` and restore tables from their copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scl.errors import Damaged
from scl.store.checksums import from_parquet, is_checked, remarks_of, to_parquet
from scl.store.columns import REQUIRED, OtherSchema, complete, conformed, joined
from scl.store.faults import Fault, stops, tell
from scl.store.files import Folder
from scl.store.parts import NESTED, part_names, read_part
from scl.store.schema import PREDICTIONS, SCHEMAS
from scl.terminal import say

LOST = "its rows are missing here, and a run trains those trials again"
ORIGIN = "rows come from a file without a checksum: another program than scl wrote it, and may have changed numbers"


def mend(store: Folder) -> None:
    """Move damaged tables and parts to `damaged`, and restore tables from their copies. For the lock's holder, before
    a run."""
    for file in SCHEMAS:
        found = _find(store, file)
        _set_aside(store, found.faults)
        if found.place.startswith("copies/"):
            store.write(f"{file}.parquet", found.content, durable=True)
            say(f"{store}/{file}.parquet: restored from its copy")
    parts = (read_part(store, name) for name in part_names(store))
    _set_aside(store, [part for part in parts if isinstance(part, Fault)])


def _set_aside(store: Folder, faults: Iterable[Fault]) -> None:
    for fault in faults:
        if fault.set_aside:
            folder, _, name = fault.file.rpartition("/")
            place = replace(store / folder if folder else store, aside=f"{store.path}/damaged")
            place.set_aside(name, fault.reason)


def compact(store: Folder, study: Mapping[str, Any]) -> None:
    """Move the parts into the three tables. Safe to be killed at any point, because parts are removed last.

    No trial's row is ever dropped. Of several rows of one trial a completed one stays, else the latest. Trials of the
    present plan take its arm names, so that renaming an arm retrains nothing. A part that is no part stays where it is.

    Args:
        study: the content of study.json; `plan` and `baseline` are used, if present.
    """
    read = gather(store, part_names(store), *SCHEMAS)
    trials, epochs, predictions = (read.tables[file] for file in SCHEMAS)
    _set_aside(store, read.faults)
    plan = {trial["trial_id"]: trial["arm"] for trial in study.get("plan", [])}
    if plan and len(trials):
        arms = [plan.get(i, a) for i, a in zip(trials["trial_id"].to_pylist(), trials["arm"].to_pylist(), strict=True)]
        trials = trials.set_column(trials.schema.get_field_index("arm"), "arm", pa.array(arms, pa.string()))
        trials = _with_gap_closed(trials, study)
    write_tables(store, {"trials": trials, "epochs": epochs, "predictions": predictions}, read.origin)
    for name in read.parts:
        (store / "parts").remove(name)


def write_tables(store: Folder, tables: Mapping[str, pa.Table], origin: Mapping[str, Sequence[str]]) -> None:
    """Write the three tables, each with its copy. origin: by table, remarks that stay with its rows."""
    # Trials come last: that table says what has ended, and the others must already have those trials.
    for file in reversed(SCHEMAS):
        _write_table(store, file, tables[file], origin[file])


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
    """The rows of all ended trials, parts included; empty if there are none. Raises as `read_tables` does."""
    return read_tables(store, part_names(store), "trials")[0].to_pandas()


def read_tables(store: Folder, part_names: Sequence[str], *files: str) -> list[pa.Table]:
    """The tables named in `files` with the rows of these parts, one row per trial (and epoch).

    Files that are not used, or not as they are, are named on stderr.

    Args:
        files: any of `trials`, `epochs` and `predictions`.

    Raises:
        RunFailed: a file cannot be opened, or there is not enough memory.
        UserError: a newer version of scl wrote a file.
    """
    read = gather(store, part_names, *files)
    tell(store, read.faults)
    return [read.tables[file] for file in files]


def write_reference_predictions(store: Folder, rows: Mapping[str, np.ndarray]) -> None:
    """Add the rows that belong to no trial: `labels`, the true classes, and the predictions of teachers, by id."""
    found = _find(store, "predictions")
    _set_aside(store, found.faults)
    new = pa.Table.from_pydict(
        {"trial_id": list(rows), "predicted": [v.astype(np.uint16) for v in rows.values()]}, schema=PREDICTIONS
    )
    others = pa.array([i not in rows for i in found.table["trial_id"].to_pylist()], pa.bool_())
    _write_table(store, "predictions", joined([found.table.filter(others), new]), found.origin)


def _write_table(store: Folder, file: str, table: pa.Table, remarks: Sequence[str]) -> None:
    content = to_parquet(table, remarks)
    for folder in (store / "copies", store):
        folder.write(f"{file}.parquet", content, durable=True)


@dataclass(frozen=True)
class Found:
    """One of the three tables, from the file `place`, with its bytes; both are empty if there is no usable file.

    origin: what must stay with the rows when they are written again. faults: of the table's file and of its copy.
    """

    table: pa.Table
    place: str = ""
    content: bytes = b""
    origin: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def _find(store: Folder, file: str) -> Found:
    """The table, or else its copy: the first of both whose checksum is right, or else the first that is readable."""
    main, copy = f"{file}.parquet", f"copies/{file}.parquet"
    unused: dict[str, str] = {}  # file → why it is not used
    second: tuple[Found, list[str]] | None = None
    for place in (main, copy):
        try:
            found, remarks, checked = _read_table(store, place, file)
        except FileNotFoundError:
            continue
        except (Damaged, OtherSchema) as error:
            unused[place] = str(error)
            continue
        if checked:
            if second is not None:
                unused[main] = "it has no checksum: another program than scl wrote it, and may have changed numbers"
            elif place == copy and main not in unused:
                unused[main] = "it is missing"
            return _with_faults(found, remarks, unused)
        second = second or (found, remarks)
    if second is not None:
        return _with_faults(*second, unused)
    return Found(
        SCHEMAS[file].empty_table(),
        faults=tuple(Fault(place, f"{why}; {LOST}", set_aside=True) for place, why in unused.items()),
    )


def _with_faults(found: Found, remarks: Sequence[str], unused: Mapping[str, str]) -> Found:
    """The table with what its readers are told: of the files that are not used, and of the table itself."""
    instead = "its copy is used" if found.place.startswith("copies/") else "it is not used"
    others = [Fault(place, f"{why}; {instead}", set_aside=True) for place, why in unused.items()]
    own = [Fault(found.place, remark) for remark in (*found.origin, *remarks)]
    return replace(found, faults=(*others, *own))


def _read_table(store: Folder, place: str, file: str) -> tuple[Found, list[str], bool]:
    """One file as a table, what was left out of it, and whether its bytes were compared with their checksum.

    Raises:
        FileNotFoundError, Damaged, OtherSchema: there is no file, or none that can be used.
        RunFailed, UserError: the file says nothing about its content; see `stops`.
    """
    with stops(f"{store}/{place}"):
        if store.is_no_file(place):
            raise OtherSchema("it is a folder or a special file")
        content = store.read(place)
        raw = from_parquet(content)
    try:
        table, remarks = conformed(raw, file)
    except OtherSchema as error:
        raise OtherSchema(f"it is no table of {file}: {error}") from None
    checked = is_checked(raw)
    mask = complete(table, file)
    if dropped := len(table) - int(pc.sum(mask).as_py() or 0):
        table = table.filter(mask)
        remarks.append(f"{dropped} of its rows lack a valid {' or '.join(REQUIRED[file])} and are left out")
    if file == "epochs" and not checked:
        again = table.select(["trial_id", "epoch"]).to_pandas().duplicated(keep="last")
        if again.any():
            table = table.filter(pa.array(~again))
            remarks.append(f"{again.sum()} of its rows are of an epoch that has another row, and are left out")
    origin = tuple(remarks_of(raw)) if checked else (ORIGIN,)
    return Found(table, place, content, origin), remarks, checked


@dataclass(frozen=True)
class Gathered:
    """The rows of tables and parts. parts: names of the parts in them. origin: by table, as in Found."""

    tables: dict[str, pa.Table]
    origin: dict[str, tuple[str, ...]]
    parts: list[str]
    faults: list[Fault]


def gather(store: Folder, part_names: Sequence[str], *files: str) -> Gathered:
    """The tables named in `files` with the rows of these parts, one row per trial (and epoch).

    Beside a run that compacts, no row is missed: parts are read before the tables into which they are moved, and the
    trials before their epochs and predictions, since `compact` writes in the other order.
    """
    read = {name: part for name in part_names if (part := read_part(store, name)) is not None}
    faults = [part for part in read.values() if isinstance(part, Fault)]
    parts = {name: part for name, part in read.items() if not isinstance(part, Fault)}
    found = {file: _find(store, file) for file in dict.fromkeys(["trials", *files])}
    groups, foreign = _grouped(parts)
    faults += foreign
    tables = {file: found[file].table for file in found}
    tables |= _chosen(tables, groups)
    faults += [fault for file in found.values() for fault in file.faults]
    wrong = {fault.file.removeprefix("parts/") for fault in foreign}
    origin = {file: found[file].origin for file in found}
    return Gathered(tables, origin, [name for name in parts if name not in wrong], faults)


def _chosen(tables: Mapping[str, pa.Table], groups: Sequence[Group]) -> dict[str, pa.Table]:
    """The tables with the rows of the parts. Of a trial's rows a completed one stays, else the latest."""
    rows = _in_order([(group.at, group.trials) for group in groups]) if groups else tables["trials"].slice(0, 0)
    every = joined([tables["trials"], rows])
    # `source` is the part of a row, or -1 for the table.
    source = [-1] * len(tables["trials"]) + sorted(int(at) for group in groups for at in group.at)
    frame = pd.DataFrame(
        {
            "trial_id": every["trial_id"].to_pylist(),
            "done": np.array(every["state"].to_pylist(), dtype=object) == "completed",
            "ended": every["ended"].to_pandas(),
            "source": source,
            "row": range(len(every)),
        }
    )
    ordered = frame.sort_values(["done", "ended", "source"], kind="stable", na_position="first")
    chosen = ordered.drop_duplicates("trial_id", keep="last").sort_values("row")
    fresh = chosen[chosen["source"] >= 0]
    replaced = pa.array(fresh["trial_id"].tolist(), pa.string())
    nested = {"epochs": _epochs_of, "predictions": _predictions_of}
    out = {"trials": every.take(pa.array(chosen["row"].to_numpy()))}
    for file in tables.keys() - out.keys():
        if fresh.empty:
            out[file] = tables[file]
            continue
        old = tables[file].filter(pc.invert(pc.is_in(tables[file]["trial_id"], value_set=replaced)))
        new = [nested[file](group) for group in _select(groups, fresh["source"])]
        out[file] = joined([old, _in_order(new)])
    return out


@dataclass(frozen=True)
class Group:
    """Parts of one schema: their indices among all parts, their rows of `trials`, and what is nested in them."""

    at: np.ndarray
    trials: pa.Table
    nested: pa.Table


def _grouped(parts: Mapping[str, pa.Table]) -> tuple[list[Group], list[Fault]]:
    """The parts in groups, since handling thousands one by one would be slow; and those that hold no trial."""
    names = list(parts)
    alike: list[tuple[pa.Schema, list[int]]] = []
    for i, part in enumerate(parts.values()):
        group = next((at for schema, at in reversed(alike) if schema.equals(part.schema)), None)
        if group is None:
            alike.append((part.schema, [i]))
        else:
            group.append(i)
    groups: list[Group] = []
    faults: list[Fault] = []

    def refuse(at: Iterable[int], why: str) -> None:
        faults.extend(Fault(f"parts/{names[i]}", f"it is no part ({why}), so it is not read; move it away") for i in at)

    for _, at in alike:
        table = pa.concat_tables([parts[names[i]] for i in at]).combine_chunks()
        try:
            trials, _ = conformed(table.drop_columns(NESTED), "trials")
        except OtherSchema as error:
            refuse(at, str(error))
            continue
        mask = complete(trials, "trials").to_numpy(zero_copy_only=False)
        refuse(np.array(at)[~mask], f"no value in {', '.join(REQUIRED['trials'])}")
        keep = pa.array(mask)
        groups.append(Group(np.array(at)[mask], trials.filter(keep), table.select(["trial_id", *NESTED]).filter(keep)))
    return groups, faults


def _select(groups: Sequence[Group], wanted: pd.Series) -> Iterator[Group]:
    """The groups, reduced to the wanted parts."""
    for group in groups:
        chosen = np.isin(group.at, wanted)
        if chosen.any():
            keep = pa.array(chosen)
            yield Group(group.at[chosen], group.trials.filter(keep), group.nested.filter(keep))


def _in_order(groups: Sequence[tuple[np.ndarray, pa.Table]]) -> pa.Table:
    """One table of all groups, its rows sorted by the index of their part."""
    table = joined([group for _, group in groups])
    if len(groups) == 1:
        return table
    return table.take(pa.array(np.argsort(np.concatenate([at for at, _ in groups]), kind="stable")))


def _epochs_of(group: Group) -> tuple[np.ndarray, pa.Table]:
    nested = group.nested["nested_epochs"].combine_chunks()
    epochs, _ = conformed(pa.Table.from_struct_array(nested.flatten()), "epochs")
    return np.repeat(group.at, nested.value_lengths().to_numpy()), epochs


def _predictions_of(group: Group) -> tuple[np.ndarray, pa.Table]:
    there = group.nested["nested_predicted"].is_valid().to_numpy()
    table = group.nested.filter(pa.array(there))
    return group.at[there], pa.Table.from_arrays([table["trial_id"], table["nested_predicted"]], schema=PREDICTIONS)
