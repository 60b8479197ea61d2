"""Reading a store: trials and epochs as frames, and the study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scl.store.files import Folder, open_folder
from scl.store.study_file import read_study
from scl.store.tables import read_present


@dataclass(frozen=True)
class Results:
    """The content of a store.

    trials, epochs: a row per trial, and per trial and epoch. study: the dict of study.json.
    damaged: names of the damaged files that were set aside.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    study: dict[str, Any]
    damaged: tuple[str, ...] = ()

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
    """Read the store at a path or URI (`results/ablation`, `s3://bucket/results/ablation`).

    Raises:
        UserError: there is no store, its study.json is damaged, or a newer version of scl wrote it.
    """
    return read_results(open_folder(path, reading=True))


def read_results(store: Folder) -> Results:
    """What `load` returns, from a folder."""
    study = read_study(store)
    trials, epochs = read_present(store, "trials", "epochs")
    return Results(trials.to_pandas(), epochs.to_pandas(), study, tuple((store / "damaged").names()))
