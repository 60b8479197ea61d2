"""Reading a store: trials and epochs as frames, and the study."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from scl.errors import UserError, shown, unknown
from scl.store.faults import stops, tell
from scl.store.files import Folder, open_folder
from scl.store.latencies import read_latencies
from scl.store.logits import read_logits
from scl.store.parts import part_names, strangers
from scl.store.pictures import Pictures, read_pictures
from scl.store.predictions import Predicted, read_predictions
from scl.store.progress import read_progress
from scl.store.study_file import faults_before_a_run, study_and_faults
from scl.store.tables import gather
from scl.study.config import Config
from scl.study.params import column, params

# The columns that each trial has, with their defaults; several self-taught counts stand in a column of their own.
DEFAULTS = {column(name): value for name, value in params(Config()).items() if name != "self_taught"}
FIRST = column("lr")  # of every version


@dataclass(frozen=True)
class Results:
    """The content of a store.

    trials, epochs: a row per trial, and per trial and epoch. study: the dict of study.json.
    damaged: names of the damaged files that were set aside. remarks: what is wrong with the store's files, a sentence
    for each; empty if all are as scl wrote them. store: the folder they are from; None if they are from none. running:
    what the live run of this store does, as `scl.store.progress` keeps it; None if nothing runs. without_pictures: show
    none, as if the store had none.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    study: dict[str, Any]
    damaged: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    store: Folder | None = None
    running: dict[str, Any] | None = None
    without_pictures: bool = False

    @functools.cached_property
    def pictures(self) -> Pictures:
        """What `read_pictures` returns, of a store that may have pictures; else empty."""
        hidden = self.without_pictures or self.study.get("pictures") is False
        return {} if hidden or self.store is None else read_pictures(self.store)

    @functools.cached_property
    def predictions(self) -> Predicted:
        """What `read_predictions` returns, read when it is first asked for; empty without a store."""
        return read_predictions(self.store) if self.store is not None else {}

    def find(self, trial: str) -> Mapping[str, Any]:
        """The row of a trial.

        Args:
            trial: ARM/SEED of the present plan, as in `scl/0`, or the beginning of its id.

        Returns:
            Column of `trials` → value.

        Raises:
            UserError: no trial matches, or several do.

        Example:
            import scl

            row = scl.load("results/ablation").find("scl/0")
            print(row["test_acc"], row["params"])
        """
        planned = self.planned()
        arm, _, seed = trial.rpartition("/")
        if arm and re.fullmatch("[0-9]{1,18}", seed):
            rows = planned[(planned["arm"] == arm) & (planned["seed"] == int(seed))]
            if len(rows):
                return dict(rows.iloc[-1])
        rows = self.trials[self.trials["trial_id"].str.startswith(trial)] if trial else self.trials[:0]
        if len(rows) == 1:
            return dict(rows.iloc[0])
        if len(rows) > 1:
            raise UserError(f"trial {shown(trial)}: {len(rows)} ids begin with it; give more characters, or ARM/SEED")
        if not len(self.trials):
            raise UserError(f"trial {shown(trial)}: no trial of this study has ended yet; run it first")
        names = [f"{arm}/{seed}" for arm, seed in zip(planned["arm"], planned["seed"], strict=True)]
        raise UserError(f"{unknown('trial', trial, names)}; or the beginning of a trial's id")

    def logits(self, trial: str, part: str = "test") -> NDArray[np.float16]:
        """The logits (N, K) of a completed trial, float16, in the order of the part's images.

        Args:
            trial: ARM/SEED of the present plan, or the beginning of an id.
            part: `test` or `val`.

        Raises:
            UserError: no trial matches; its logits were not stored, are lost or damaged; there is no such part.
            RunFailed: the file cannot be opened, or there is not enough memory.

        Example:
            import scl

            logits = scl.load("results/ablation").logits("scl/0", "val")
        """
        row = self.find(trial)
        if self.store is None or not row["logits_bytes"] > 0:  # NaN: not stored
            raise UserError(
                f"no logits of {row['arm']}/{row['seed']} are stored: the trial did not complete, ran with --no-logits "
                "or in a run of more than 2 GB of logits without --logits, or an earlier version of scl trained it"
            )
        return read_logits(self.store, row["trial_id"], part)[0]

    @functools.cached_property
    def latencies(self) -> list[dict[str, Any]]:
        """What `read_latencies` returns: latencies of exported students, on any device; empty without a store."""
        return read_latencies(self.store) if self.store is not None else []

    def plan_states(self) -> pd.DataFrame:
        """The present plan, a row per trial: arm, seed, trial_id and state, which may be `missing`."""
        plan = pd.DataFrame(self.study.get("plan", []), columns=["arm", "seed", "trial_id"])
        states = self.trials.set_index("trial_id")["state"]
        plan["state"] = plan["trial_id"].map(states).astype(object).fillna("missing")
        return plan

    def planned(self) -> pd.DataFrame:
        """The rows of `trials` that belong to the present plan, in its order."""
        order = {trial["trial_id"]: i for i, trial in enumerate(self.study.get("plan", []))}
        rows = self.trials[self.trials["trial_id"].isin(list(order))]
        return rows.iloc[np.argsort(rows["trial_id"].map(order).to_numpy(), kind="stable")].reset_index(drop=True)


def load(path: str) -> Results:
    """Read the store at a path or URI (`results/ablation`, `s3://bucket/results/ablation`). Nothing in it changes.

    What cannot be used is named on stderr and in `remarks`, and the rest is read.

    Raises:
        UserError: there is no store, its study.json is damaged, or a newer version of scl wrote it.
        RunFailed: a file cannot be opened, or there is not enough memory.
    """
    return read_results(open_folder(path, reading=True))


def read_results(store: Folder, coded: bool = False) -> Results:
    """What `load` returns, from a folder.

    coded: `trial_id` of the epochs is a category. As text, the ids take more memory than the numbers beside them.
    """
    study, faults = study_and_faults(store)
    read = gather(store, part_names(store), "trials", "epochs")
    faults += [*strangers(store), *read.faults]
    tell(store, faults)
    with stops(f"{store}/damaged"):
        damaged = (store / "damaged").names()
    if coded:
        epochs = read.tables["epochs"]
        place, ids = epochs.schema.get_field_index("trial_id"), epochs["trial_id"].dictionary_encode()
        read.tables["epochs"] = epochs.set_column(place, "trial_id", ids)
        del epochs
    # Each table goes when its frame is there, since millions of epochs would be in memory twice.
    trials, epochs = (read.tables.pop(file).to_pandas() for file in ("trials", "epochs"))
    pa.default_memory_pool().release_unused()
    fill_params(trials)
    return Results(trials, epochs, study, tuple(damaged), tuple(map(str, faults)), store, read_progress(store))


def fill_params(trials: pd.DataFrame) -> None:
    """Give trials of earlier versions, in place, the defaults of the fields of `Config` that are newer: they were
    trained so, and must not look different from trials of this version."""
    if FIRST not in trials:
        return
    old = trials[FIRST].notna()
    for name, default in DEFAULTS.items():
        if name in trials and (absent := old & trials[name].isna()).any():
            filled = trials[name].astype(object)
            filled[absent] = default
            trials[name] = filled.infer_objects()


def inspect(store: Folder) -> None:
    """Name on stderr what is wrong with the files of a store that a run would use; there may be none yet.

    Raises:
        UserError: a newer version of scl wrote a file.
        RunFailed: a file cannot be opened, or there is not enough memory.
    """
    read = gather(store, part_names(store), "trials", "epochs")
    tell(store, [*faults_before_a_run(store), *strangers(store), *read.faults])
    with stops(f"{store}/damaged"):
        (store / "damaged").names()
