"""The three tables of a store: reading them, and moving parts into them.

Readers change nothing: what they cannot use they name. `mend` and `compact`, which need the lock, move damaged files
to `damaged` and restore tables from their copies. Before each change they check that this run still has the store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scl.store.columns import REQUIRED, OtherSchema, complete, conformed, joined
from scl.store.editions import read_editions, restore, write_edition
from scl.store.faults import Fault, tell
from scl.store.files import Folder
from scl.store.lease import check_held
from scl.store.parts import NESTED, part_names, read_part, trial_of
from scl.store.schema import PREDICTIONS, SCHEMAS
from scl.study.metrics import DEFAULT, METRICS
from scl.terminal import say

READERS = 32  # parts that are read at once
AT_A_TIME = 250  # parts whose tables, of about 150 kB each, are in memory at once


def mend(store: Folder) -> None:
    """Move damaged tables and parts to `damaged`, restore tables from their copies, and move parts into the tables. For
    the lock's holder, before a run."""
    for edition in read_editions(store, *SCHEMAS).values():
        for file, found in edition.items():
            _set_aside(store, found.faults)
            if found.place.startswith("copies/") and any(f.file == f"{file}.parquet" for f in found.faults):
                restore(store, file, found)
                say(f"{store}/{file}.parquet: restored from its copy")
    if part_names(store):
        compact(store, {})  # what a killed run has left: many files, which would be read several times


def _set_aside(store: Folder, faults: Iterable[Fault]) -> None:
    for fault in faults:
        if fault.set_aside:
            check_held(store)
            folder, _, name = fault.file.rpartition("/")
            place = replace(store / folder if folder else store, aside=f"{store.path}/damaged")
            if place.exists(name) or place.is_no_file(name):
                place.set_aside(name, fault.reason)


def compact(
    store: Folder,
    study: Mapping[str, Any],
    references: Mapping[str, np.ndarray] | None = None,
    of: Collection[str] | None = None,
) -> int:
    """Move the parts into the three tables. Safe to be killed at any point, because parts are removed last.

    No trial's row is ever dropped. Of several rows of one trial a completed one stays, else the latest. Trials of the
    present plan take its arm names, so that renaming an arm retrains nothing. A part that is no part stays where it is.

    Args:
        study: the content of study.json; `plan` and `baseline` are used, if present.
        references: as in `write_reference_predictions`, to be added.
        of: only parts of these trials. None: all.

    Returns:
        The number of trials in the tables.

    Raises:
        LostLease: another run has taken the store over.
    """
    names = [name for name in part_names(store) if of is None or trial_of(name) in of]
    read = gather(store, names, *SCHEMAS)
    tables = with_references(read.tables, references or {})
    _set_aside(store, read.faults)
    plan = {trial["trial_id"]: trial["arm"] for trial in study.get("plan", [])}
    trials = tables["trials"]
    if plan and len(trials):
        arms = [plan.get(i, a) for i, a in zip(trials["trial_id"].to_pylist(), trials["arm"].to_pylist(), strict=True)]
        trials = trials.set_column(trials.schema.get_field_index("arm"), "arm", pa.array(arms, pa.string()))
        tables["trials"] = _with_gap_closed(trials, study)
    write_edition(store, tables, read.origin, read.editions)
    for name in read.parts:
        check_held(store)
        (store / "parts").remove(name)
    rows = len(trials)
    del read, tables, trials
    pa.default_memory_pool().release_unused()  # hundreds of megabytes, which Arrow would keep for itself
    return rows


def _with_gap_closed(trials: pa.Table, study: Mapping[str, Any]) -> pa.Table:
    """The trials with `gap_closed` of the planned ones: the fraction of the gap between baseline and teacher.

    0 is the baseline of the same seed, 1 the teacher, by the metric of the study. It is null for the baseline, and if
    the teacher is not better than the baseline.
    """
    metric = METRICS.get(str(study.get("metric")), METRICS[DEFAULT])
    frame = trials.select(["trial_id", "seed", "arm", "state", metric.column, metric.teacher]).to_pandas()
    planned = frame["trial_id"].isin([trial["trial_id"] for trial in study["plan"]])
    done = planned & (frame["state"] == "completed")
    guided = frame["arm"] != study.get("baseline")
    baseline = frame[done & ~guided].drop_duplicates("seed").set_index("seed")[metric.column]
    start = frame["seed"].map(baseline)
    gap = frame[metric.teacher] - start
    closed = ((frame[metric.column] - start) / gap).where(done & guided & (metric.sign * gap > 0))
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
    """Add the rows that belong to no trial: `labels`, the true classes, and the predictions of teachers, by id.

    Raises:
        LostLease: another run has taken the store over.
    """
    read = gather(store, [], *SCHEMAS)
    stored = reference_rows(read.tables["predictions"], rows)
    if stored != {name: row.tolist() for name, row in rows.items()}:
        _set_aside(store, read.faults)
        write_edition(store, with_references(read.tables, rows), read.origin, read.editions)


def reference_rows(predictions: pa.Table, names: Iterable[str]) -> dict[str, list[int]]:
    """The predictions of these names. As lists, those of all trials would take four times the memory of the table."""
    known = predictions.filter(pc.is_in(predictions["trial_id"], pa.array(list(names), pa.string())))
    return dict(zip(known["trial_id"].to_pylist(), known["predicted"].to_pylist(), strict=True))


def with_references(tables: Mapping[str, pa.Table], rows: Mapping[str, np.ndarray]) -> dict[str, pa.Table]:
    """The tables with these reference rows among the predictions."""
    new = pa.Table.from_pydict(
        {"trial_id": list(rows), "predicted": [v.astype(np.uint16) for v in rows.values()]}, schema=PREDICTIONS
    )
    old = tables["predictions"]
    others = pa.array([i not in rows for i in old["trial_id"].to_pylist()], pa.bool_())
    return {**tables, "predictions": joined([old.filter(others), new])}


@dataclass(frozen=True)
class Gathered:
    """The rows of tables and parts. parts, editions: names of those in them. origin: by table, as in Found."""

    tables: dict[str, pa.Table]
    origin: dict[str, tuple[str, ...]]
    parts: list[str]
    editions: list[str]
    faults: list[Fault]


def gather(store: Folder, part_names: Sequence[str], *files: str) -> Gathered:
    """The tables named in `files` with the rows of these parts, one row per trial (and epoch).

    Beside a run that compacts, no row is missed: parts are read before the tables into which they are moved, and the
    trials before their epochs and predictions, since `compact` writes in the other order.
    """
    groups, faults, parts = list[Group](), list[Fault](), list[str]()
    for read in _read_parts(store, part_names):
        faults += [part for part in read.values() if isinstance(part, Fault)]
        tables_of = {name: part for name, part in read.items() if isinstance(part, pa.Table)}
        found, foreign = _grouped(tables_of, len(parts))
        groups, faults, parts = [*groups, *found], [*faults, *foreign], [*parts, *tables_of]
    wrong = {fault.file.removeprefix("parts/") for fault in faults}
    editions = read_editions(store, *dict.fromkeys(["trials", *files]))
    tables = _chosen([{file: found.table for file, found in each.items()} for each in editions.values()], groups)
    faults += [fault for each in editions.values() for found in each.values() for fault in found.faults]
    origin = {
        file: tuple(dict.fromkeys(text for each in editions.values() for text in each[file].origin)) for file in tables
    }
    return Gathered(tables, origin, [name for name in parts if name not in wrong], list(editions), faults)


def _read_parts(store: Folder, names: Sequence[str]) -> Iterator[dict[str, pa.Table | Fault | None]]:
    """Parts by name, some at a time, so that thousands of small tables, which take more memory than their rows, are not
    there at once. Several are read at once, since an object store takes tens of milliseconds for each."""
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(names), AT_A_TIME):
            some = names[start : start + AT_A_TIME]
            yield dict(zip(some, pool.map(lambda name: read_part(store, name), some), strict=True))


def _chosen(editions: Sequence[Mapping[str, pa.Table]], groups: Sequence[Group]) -> dict[str, pa.Table]:
    """The tables with the rows of all editions and parts. Of a trial's rows a completed one stays, else that of the
    latest run. Runs are counted in the store, since a clock may be set back; rows without a count are the oldest, and
    among equals a part is later than a table."""
    old = [edition["trials"] for edition in editions]
    rows = _in_order([(group.at, group.trials) for group in groups]) if groups else old[0].slice(0, 0)
    every = joined([*old, rows])
    # `source` is the part of a row; negative numbers are editions.
    source = [i - len(old) for i, table in enumerate(old) for _ in range(len(table))]
    source += sorted(int(at) for group in groups for at in group.at)
    frame = pd.DataFrame(
        {
            "trial_id": every["trial_id"].to_pylist(),
            "done": np.array(every["state"].to_pylist(), dtype=object) == "completed",
            "run": every["run"].to_pandas(),
            "part": np.array(source) >= 0,
            "ended": every["ended"].to_pandas(),
            "source": source,
            "row": range(len(every)),
        }
    )
    ordered = frame.sort_values(["done", "run", "part", "ended", "source"], kind="stable", na_position="first")
    chosen = ordered.drop_duplicates("trial_id", keep="last").sort_values("row")
    nested = {"epochs": _epochs_of, "predictions": _predictions_of}
    out = {"trials": every.take(pa.array(chosen["row"].to_numpy()))}
    for file in editions[0].keys() - out.keys():
        kept: list[pa.Table] = []
        for i, edition in enumerate(editions):
            # What belongs to no trial (true classes, teachers' predictions) comes from the first edition that has it.
            elsewhere = {*chosen.loc[chosen["source"] != i - len(old), "trial_id"]}
            here = {*chosen.loc[chosen["source"] == i - len(old), "trial_id"]}
            elsewhere |= {other for table in kept for other in pc.unique(table["trial_id"]).to_pylist()} - here
            kept.append(_without(edition[file], elsewhere))
        new = [nested[file](group) for group in _select(groups, chosen.loc[chosen["source"] >= 0, "source"])]
        out[file] = joined([*kept, *([_in_order(new)] if new else [])])
    return out


def _without(table: pa.Table, trials: Collection[str]) -> pa.Table:
    """The rows of other trials. Without any to leave out the table itself, since a copy of all epochs is large."""
    if not trials:
        return table
    return table.filter(pc.invert(pc.is_in(table["trial_id"], value_set=pa.array(sorted(trials), pa.string()))))


@dataclass(frozen=True)
class Group:
    """Parts of one schema: their indices among all parts, their rows of `trials`, and what is nested in them."""

    at: np.ndarray
    trials: pa.Table
    nested: pa.Table

    def reduced(self, mask: np.ndarray) -> Group:
        """The parts at which the mask is true; itself if all are, since a copy of all epochs is large."""
        if mask.all():
            return self
        keep = pa.array(mask)
        return Group(self.at[mask], self.trials.filter(keep), self.nested.filter(keep))


def _grouped(parts: Mapping[str, pa.Table], before: int) -> tuple[list[Group], list[Fault]]:
    """The parts in groups, since handling thousands one by one would be slow; and those that hold no trial.

    before: how many parts there are before these.
    """
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
        groups.append(Group(before + np.array(at), trials, table.select(["trial_id", *NESTED])).reduced(mask))
    return groups, faults


def _select(groups: Sequence[Group], wanted: pd.Series) -> Iterator[Group]:
    """The groups, reduced to the wanted parts."""
    for group in groups:
        chosen = np.isin(group.at, wanted)
        if chosen.any():
            yield group.reduced(chosen)


def _in_order(groups: Sequence[tuple[np.ndarray, pa.Table]]) -> pa.Table:
    """One table of all groups, its rows sorted by the index of their part."""
    table = joined([group for _, group in groups])
    index = np.concatenate([at for at, _ in groups])
    if (index[1:] >= index[:-1]).all():
        return table  # as of parts of one schema; a copy of all epochs is large
    return table.take(pa.array(np.argsort(index, kind="stable")))


def _epochs_of(group: Group) -> tuple[np.ndarray, pa.Table]:
    nested = group.nested["nested_epochs"].combine_chunks()
    epochs, _ = conformed(pa.Table.from_struct_array(nested.flatten()), "epochs")
    return np.repeat(group.at, nested.value_lengths().to_numpy()), epochs


def _predictions_of(group: Group) -> tuple[np.ndarray, pa.Table]:
    there = group.nested["nested_predicted"].is_valid().to_numpy()
    table = group.nested.filter(pa.array(there))
    return group.at[there], pa.Table.from_arrays([table["trial_id"], table["nested_predicted"]], schema=PREDICTIONS)
