"""Values by epoch, of the completed trials of arms."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scl.report.facts import Facts


def epochs_by_arm(facts: Facts, arms: list[str], columns: list[str]) -> pd.DataFrame:
    """The epochs of the completed trials of these arms, with the arm. float64, so that the mean of equals is equal."""
    arm_of = facts.completed.set_index("trial_id")["arm"]
    epochs = facts.results.epochs
    # By distinct id: a million ids as strings of Python would take more memory than all numbers of the epochs.
    which, ids = pd.factorize(epochs["trial_id"])
    trial = pd.Index(arm_of.index).get_indexer(ids)
    codes = np.append(pd.Index(arms).get_indexer(arm_of), -1)[trial][which]  # -1: no trial of these arms
    frame = epochs.loc[codes >= 0, ["epoch", *columns]].astype(dict.fromkeys(columns, "float64"))
    return frame.assign(arm=pd.Categorical.from_codes(codes[codes >= 0], categories=arms))
