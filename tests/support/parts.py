"""Parts with made-up numbers, and the table of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scl.store.files import Folder
from scl.store.parts import write_part
from scl.store.schema import now
from scl.store.tables import read_tables


def put_part(
    store: Folder, trial_id: str, state: str = "completed", accuracy: float = 0.5, epochs: int = 2, **columns: Any
) -> None:
    row = {
        "trial_id": trial_id, "study": "s", "arm": "a", "config_id": "c", "seed": 0, "state": state,
        "test_acc": accuracy, "ended": now(), "param.lr": 0.1, "param.weight.kd": 1.0,
    }  # fmt: skip
    history = [{"trial_id": trial_id, "epoch": e + 1, "lr": 0.1, "term.kd": 1.5} for e in range(epochs)]
    write_part(store, {**row, **columns}, history, np.arange(5) if state == "completed" else None)


def read_predictions(store: Folder) -> pd.DataFrame:
    """Columns `trial_id` (a trial, a teacher, or `labels`) and `predicted`: the class of each test image."""
    return read_tables(store, (store / "parts").names(), "predictions")[0].to_pandas()
