"""Early stopping by a declared rule: a trial ends when its validation accuracy has not improved for some epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scl.study.config import Config


def best_row(config: Config, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row of the epoch with the best validation accuracy, the earliest of equals; None without such accuracies.
    With patience, pre-training is left out: it trains towards something else."""
    after = config.pretrain_epochs if config.patience else 0
    rows = [row for row in history if "val_acc" in row and row["epoch"] > after]
    return max(rows, key=lambda row: row["val_acc"], default=None)


def out_of_patience(config: Config, history: Sequence[Mapping[str, Any]]) -> bool:
    """True if the last `patience` epochs brought no better validation accuracy."""
    best = best_row(config, history) if config.patience else None
    return best is not None and history[-1]["epoch"] - best["epoch"] >= config.patience
