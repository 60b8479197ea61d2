"""`scl show`: one trial, its configuration and its results."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from math import isnan
from typing import Any

from rich.table import Table
from rich.text import Text

from scl.store.lookup import find_trial
from scl.streams import console, showable

ABOVE_THE_TABLE = {
    "trial_id", "study", "arm", "config_id", "seed", "state", "error", "config_json", "teacher_id",
}  # fmt: skip


def run(given: Namespace) -> int:
    name, store, row = find_trial(given.results, given.trial)
    out = console()
    out.print(Text(f"{name}: {row['arm']}, seed {row['seed']}, {row['state']}", style="bold"))
    if isinstance(row["error"], str) and row["error"]:
        out.print(Text(row["error"].strip(), style="red"))
    table = Table.grid(padding=(0, 2))
    for key in ("trial_id", "config_id", "teacher_id"):
        table.add_row(key, Text(str(row[key]), overflow="fold"))
    table.add_row("configuration", Text(showable(json.dumps(json.loads(row["config_json"]), ensure_ascii=False))))
    for key, value in row.items():
        if key not in ABOVE_THE_TABLE and not key.startswith("param.") and not _is_missing(value):
            table.add_row(key, Text(showable(f"{value:.4f}" if isinstance(value, float) else str(value))))
    out.print(table)
    if row["state"] == "completed":
        file = f"{store}/checkpoints/{row['trial_id']}/student.safetensors"
        out.print(Text(f"network: {file}"), soft_wrap=True)
        command = shlex.join(["scl", "export", str(store), f"{row['arm']}/{row['seed']}", "--format", "onnx"])
        out.print(Text(f"as a file: {command}"), soft_wrap=True)
    return 0


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))
