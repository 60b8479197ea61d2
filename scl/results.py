"""The store of a study: every number of every trial, in Parquet.

    OUT/STUDY/study.json            what was planned, by which command, on what
              trials.parquet        a row a trial
              epochs.parquet        a row a trial × epoch
              predictions.parquet   a row a trial: the predicted class of each test image
              parts/                finished trials not yet folded into the three files above
              copies/               the three files once more, for the day on which one is damaged
              damaged/              files that were not what was once written: set aside, and said on the page

A worker writes one part file when a trial ends: one row with its epochs and predictions nested, so that a trial
is there whole or not at all. `compact` folds parts in. Reading never needs it: `load` reads parts as well.

Every file carries a checksum of all its bytes, which is looked at whenever it is read.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scl.config import UserError
from scl.storage import Folder, open_folder
from scl.tables import Damaged, from_parquet, from_part, to_parquet, to_part

SCHEMA_VERSION = 1

_STRINGS = ("trial_id", "study", "arm", "config_id")
_TIME = pa.timestamp("ms", tz="UTC")

# Besides these, a typed `param.*` column for each field of the configuration.
TRIALS = pa.schema(
    [
        *[pa.field(name, pa.string()) for name in _STRINGS],
        pa.field("seed", pa.int64()),
        pa.field("state", pa.string()),  # completed, pruned, failed
        pa.field("error", pa.string()),
        pa.field("config_json", pa.string()),
        pa.field("teacher_id", pa.string()),
        *[
            pa.field(name, pa.float64())
            for name in (
                "teacher_test_acc",
                "val_acc",  # of the last epoch reached, as test_acc
                "test_acc",
                "test_acc_at_best_val",
                "test_acc_best",  # chosen on the test set itself: optimistic
                "test_acc5",
                "test_loss",
                "agreement",  # share of test images on which student and teacher predict the same class
                "teacher_kl",  # mean KL(teacher ‖ student) on the test set, in nats
                "ece",  # expected calibration error on the test set, 15 equal bins
                "gap_closed",  # (test_acc − the baseline's) / (teacher_test_acc − the baseline's), of the same seed
                "test_acc_muted",  # with self-taught channels at zero; none where there are none
            )
        ],
        pa.field("params", pa.int64()),
        pa.field("macs", pa.int64()),
        pa.field("latency_ms", pa.float64()),
        pa.field("epochs", pa.int64()),
        pa.field("best_epoch", pa.int64()),
        pa.field("train_seconds", pa.float64()),
        pa.field("images_per_second", pa.float64()),
        pa.field("device", pa.string()),
        pa.field("cohort_size", pa.int64()),
        pa.field("restarts", pa.int64()),
        pa.field("number", pa.int64()),  # the order in which a search suggested it; null for other trials
        pa.field("started", _TIME),
        pa.field("ended", _TIME),
    ]
)

# Besides these, float32 columns `term.NAME` and `weighted.NAME` for each loss term.
EPOCHS = pa.schema(
    [
        pa.field("trial_id", pa.string()),
        pa.field("epoch", pa.int32()),  # from 1
        *[
            pa.field(name, pa.float32())
            for name in ("lr", "train_loss", "train_acc", "val_loss", "val_acc", "test_acc")
        ],
    ]
)

PREDICTIONS = pa.schema([pa.field("trial_id", pa.string()), pa.field("predicted", pa.list_(pa.uint16()))])

SCHEMAS = {"trials": TRIALS, "epochs": EPOCHS, "predictions": PREDICTIONS}


@dataclass(frozen=True)
class Results:
    """A store as read: `trials` and `epochs` as frames, `study` as the dict of study.json.

    damaged: names of files that were found damaged and set aside.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    study: dict[str, Any]
    damaged: tuple[str, ...] = ()

    def cells(self) -> pd.DataFrame:
        """The present plan, a row a cell: arm, seed, trial_id and state, which may be `missing`."""
        plan = pd.DataFrame(self.study.get("plan", []), columns=["arm", "seed", "trial_id"])
        states = self.trials.set_index("trial_id")["state"]
        plan["state"] = plan["trial_id"].map(states).fillna("missing")
        return plan

    def planned(self) -> pd.DataFrame:
        """The rows of `trials` that belong to the present plan, in the plan's order."""
        order = {cell["trial_id"]: i for i, cell in enumerate(self.study.get("plan", []))}
        rows = self.trials[self.trials["trial_id"].isin(list(order))]
        return rows.iloc[np.argsort(rows["trial_id"].map(order).to_numpy(), kind="stable")].reset_index(drop=True)


def now() -> datetime:
    return datetime.now(UTC)


def write_part(
    store: Folder,
    trial: Mapping[str, Any],
    epochs: list[dict[str, Any]],
    predicted: np.ndarray | None,
) -> None:
    """Write one ended trial: its row, its epochs and its test predictions, in one atomic file."""
    schema = _widened(TRIALS, [trial])
    for name in trial:
        if name not in schema.names:
            raise ValueError(f"{name!r} is not a column of trials.parquet")
    epoch_schema = _widened(EPOCHS, epochs)
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


def compact(store: Folder, study: Mapping[str, Any]) -> None:
    """Fold the part files into the three tables. Safe to be killed anywhere: parts go last.

    Rows are kept for ever; of several rows of one trial a completed one stays, else the latest. Rows that the
    present plan names take its arm names, so that renaming an arm retrains nothing.
    """
    names = (store / "parts").names()
    trials, epochs, predictions = _tables(store, names, *SCHEMAS)
    plan = {cell["trial_id"]: cell["arm"] for cell in study.get("plan", [])}
    if plan and len(trials):
        arms = [plan.get(i, a) for i, a in zip(trials["trial_id"].to_pylist(), trials["arm"].to_pylist(), strict=True)]
        trials = trials.set_column(trials.schema.get_field_index("arm"), "arm", pa.array(arms, pa.string()))
        trials = _with_gap_closed(trials, study)
    # Trials last: it says what is finished, so nothing it names may still be missing beside it.
    for file, table in (("predictions", predictions), ("epochs", epochs), ("trials", trials)):
        _write_table(store, file, table)
    for name in names:
        (store / "parts").remove(name)


def _with_gap_closed(trials: pa.Table, study: Mapping[str, Any]) -> pa.Table:
    """The share of the gap between baseline and teacher that a planned trial closes, against its own seed's pair.

    1 is the teacher's accuracy, 0 the baseline's; none for the baseline and where the teacher is not above it.
    """
    frame = trials.select(["trial_id", "seed", "arm", "state", "test_acc", "teacher_test_acc"]).to_pandas()
    planned = frame["trial_id"].isin([cell["trial_id"] for cell in study["plan"]])
    done = planned & (frame["state"] == "completed")
    guided = frame["arm"] != study.get("baseline")
    baseline = frame[done & ~guided].drop_duplicates("seed").set_index("seed")["test_acc"]
    start = frame["seed"].map(baseline)
    gap = frame["teacher_test_acc"] - start
    closed = ((frame["test_acc"] - start) / gap).where(done & guided & (gap > 0))
    if "gap_closed" in trials.schema.names:
        kept = trials["gap_closed"].to_pandas().astype(float)
        closed = closed.where(planned, kept)
        trials = trials.drop_columns(["gap_closed"])
    column = pa.array(closed.to_numpy(dtype=float, na_value=np.nan), pa.float64(), from_pandas=True)
    at = TRIALS.get_field_index("gap_closed")
    return trials.add_column(min(at, len(trials.schema)), "gap_closed", column)


def write_study(store: Folder, study: Mapping[str, Any]) -> None:
    store.write("study.json", json.dumps({**study, "sha256": _study_digest(study)}, indent=1, allow_nan=False).encode())


def read_study(store: Folder) -> dict[str, Any]:
    """The dict of study.json; raises UserError where there is none, or none that can be read."""
    again = "; the same command as before writes it again, the trials are kept"
    try:
        study = dict(json.loads(store.read("study.json")))
    except FileNotFoundError:
        raise UserError(f"no results in {store}: study.json is not there; run the study first") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{store}/study.json is damaged, it is not JSON: {error}{again}") from None
    digest = study.pop("sha256", None)
    if digest is not None and digest != _study_digest(study):
        raise UserError(f"{store}/study.json is damaged, its checksum does not match{again}")
    if study.get("schema_version", 0) > SCHEMA_VERSION:
        raise UserError(
            f"{store} was written by a newer scl (schema {study['schema_version']}, this one reads {SCHEMA_VERSION})"
        )
    return study


def _study_digest(study: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps({k: v for k, v in study.items() if k != "sha256"}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def check_study(store: Folder) -> None:
    """Set a damaged study.json aside before a run writes a new one."""
    if store.exists("study.json"):
        try:
            read_study(store)
        except UserError as error:
            if "is damaged" not in str(error):
                raise
            store.set_aside("study.json", "not as it was written")


def load(path: str) -> Results:
    """Read the store at a path or URI (`results/ablation`, `s3://bucket/results/ablation`).

    Raises:
        UserError: there is no store.
    """
    return read(open_folder(path))


def read(store: Folder) -> Results:
    study = read_study(store)
    trials, epochs = _tables(store, (store / "parts").names(), "trials", "epochs")
    return Results(trials.to_pandas(), epochs.to_pandas(), study, tuple((store / "damaged").names()))


def read_trials(store: Folder) -> pd.DataFrame:
    """The rows of all ended trials alone, parts included; empty where there are none."""
    return _tables(store, (store / "parts").names(), "trials")[0].to_pandas()


def ended_in_parts(store: Folder, trial_ids: Iterable[str]) -> set[str]:
    """Which of these trials were completed or pruned by a run that has not compacted its parts yet."""
    wanted = set(trial_ids)
    ended = set()
    for name in (store / "parts").names():
        if name.rpartition("-")[0] in wanted:
            part = _read_part(store, name)
            if part is not None and part["state"][0].as_py() in ("completed", "pruned"):
                ended.add(name.rpartition("-")[0])
    return ended


def read_predictions(store: Folder) -> pd.DataFrame:
    """trial_id and `predicted`, an array of the predicted class of each test image, in the data's order.

    The row `labels` holds the true classes, and a teacher stands under its own id.
    """
    return _tables(store, (store / "parts").names(), "predictions")[0].to_pandas()


def write_reference_predictions(store: Folder, rows: Mapping[str, np.ndarray]) -> None:
    """Add rows that belong to no trial: the true `labels`, the teachers' predictions."""
    old = _read_table(store, "predictions", PREDICTIONS)
    new = pa.Table.from_pydict(
        {"trial_id": list(rows), "predicted": [v.astype(np.uint16) for v in rows.values()]},
        schema=PREDICTIONS,
    )
    keep = pa.array([i not in rows for i in old["trial_id"].to_pylist()], pa.bool_())
    _write_table(store, "predictions", pa.concat_tables([old.filter(keep), new]))


def _widened(schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """The schema with the rows' own columns: typed `param.*`, float32 `term.*` and `weighted.*`."""
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    extra: dict[str, pa.DataType] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith("param."):
                extra[name] = types[type(value)]
            elif name.startswith(("term.", "weighted.")):
                extra[name] = pa.float32()
    return pa.schema([*schema, *[pa.field(name, kind) for name, kind in extra.items()]])


def _write_table(store: Folder, file: str, table: pa.Table) -> None:
    content = to_parquet(table)
    for folder in (store / "copies", store):
        folder.write(f"{file}.parquet", content, durable=True)


def _read_table(store: Folder, file: str, schema: pa.Schema) -> pa.Table:
    """One of the three files. A damaged one is set aside, and its copy serves and takes its place."""
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
            if folder != store:
                store.write(name, content)
                print(f"{store}/{name}: its copy serves", file=sys.stderr)
            return table
    return schema.empty_table()


def _read_part(store: Folder, name: str) -> pa.Table | None:
    """A part as a table; one that cannot be read (a disk's fault) is set aside and its trial runs again."""
    parts = replace(store / "parts", aside=f"{store.path}/damaged")
    try:
        content = parts.read(name)
        return from_parquet(content) if name.endswith(".parquet") else from_part(content)  # as they once were
    except FileNotFoundError:
        return None  # folded in by a live run since it was listed
    except Damaged as damage:
        parts.set_aside(name, str(damage))
        return None


def _tables(store: Folder, part_names: Sequence[str], *files: str) -> list[pa.Table]:
    """These of trials, epochs and predictions, with the parts folded in, one row a trial (× epoch)."""
    tables = {file: _read_table(store, file, SCHEMAS[file]) for file in dict.fromkeys(["trials", *files])}
    parts = [part for part in (_read_part(store, name) for name in part_names) if part is not None]
    if not parts:
        return [tables[file] for file in files]
    alike = _alike(parts)
    rows = _in_order([(at, group.drop_columns(["nested_epochs", "nested_predicted"])) for at, group in alike])
    every = pa.concat_tables([tables["trials"], rows], promote_options="permissive")
    # Of a trial's rows a completed one stays, else the latest; `source` says where the kept row came from.
    frame = pd.DataFrame(
        {
            "trial_id": every["trial_id"].to_pylist(),
            "done": np.array(every["state"].to_pylist(), dtype=object) == "completed",
            "ended": every["ended"].to_pandas(),
            "source": [-1] * len(tables["trials"]) + list(range(len(parts))),
            "row": range(len(every)),
        }
    )
    kept = frame.sort_values(["done", "ended", "source"], kind="stable").drop_duplicates("trial_id", keep="last")
    kept = kept.sort_values("row")
    fresh = kept[kept["source"] >= 0]
    replaced = pa.array(fresh["trial_id"].tolist(), pa.string())
    nested = {"epochs": _epochs_of, "predictions": _predictions_of}
    for file in files:
        if file == "trials":
            tables[file] = every.take(pa.array(kept["row"].to_numpy()))
            continue
        old = tables[file].filter(pc.invert(pc.is_in(tables[file]["trial_id"], value_set=replaced)))
        new = [nested[file](at, group) for at, group in _only(alike, fresh["source"])]
        if new:
            tables[file] = pa.concat_tables([old, _in_order(new)], promote_options="permissive")
    return [tables[file] for file in files]


def _alike(parts: Sequence[pa.Table]) -> list[tuple[np.ndarray, pa.Table]]:
    """The parts as few tables, each of those with the same columns, and which parts they are.

    Thousands of tables cost less so than one by one.
    """
    groups: list[tuple[pa.Schema, list[int]]] = []
    for i, part in enumerate(parts):
        group = next((at for schema, at in reversed(groups) if schema.equals(part.schema)), None)
        if group is None:
            groups.append((part.schema, [i]))
        else:
            group.append(i)
    return [(np.array(at), pa.concat_tables([parts[i] for i in at]).combine_chunks()) for _, at in groups]


def _only(groups: Sequence[tuple[np.ndarray, pa.Table]], wanted: pd.Series) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """What the groups have of the wanted parts."""
    for at, group in groups:
        keep = np.isin(at, wanted)
        if keep.any():
            yield at[keep], group.filter(pa.array(keep))


def _in_order(groups: Sequence[tuple[np.ndarray, pa.Table]]) -> pa.Table:
    """Tables as one, by the number that stands beside each row."""
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
