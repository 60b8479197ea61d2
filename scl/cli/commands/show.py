"""`scl show`: one trial, its configuration and its results."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from math import isnan
from typing import Any

from rich.table import Table

from scl.store.lookup import find_trial
from scl.store.networks import STUDENT, network_fault
from scl.streams import console
from scl.terminal import cell

ABOVE_THE_TABLE = {
    "trial_id", "study", "arm", "config_id", "seed", "state", "error", "config_json", "teacher_id",
}  # fmt: skip


def run(given: Namespace) -> int:
    name, store, row = find_trial(given.results, given.trial)
    out = console()
    out.print(cell(f"{name}: {row['arm']}, seed {row['seed']}, {row['state']}", style="bold"))
    if isinstance(row["error"], str) and row["error"]:
        out.print(cell(row["error"].strip(), style="red"))
    table = Table.grid(padding=(0, 2))
    for key in ("trial_id", "config_id", "teacher_id"):
        table.add_row(key, cell(row[key], overflow="fold"))
    table.add_row("configuration", cell(_configuration(row["config_json"])))
    for key, value in row.items():
        if key not in ABOVE_THE_TABLE and not key.startswith("param.") and not _is_missing(value):
            table.add_row(cell(key), cell(f"{value:.4f}" if isinstance(value, float) else value))
    out.print(table)
    if row["state"] == "completed":
        file = f"{store}/checkpoints/{row['trial_id']}/{STUDENT}"
        if fault := network_fault(store, row["trial_id"]):
            again = "the study's command with --remake-students trains it again"
            out.print(cell(f"network: {file} {fault}; {again}", style="red"), soft_wrap=True)
            return 0
        out.print(cell(f"network: {file}"), soft_wrap=True)
        command = shlex.join(["scl", "export", str(store), f"{row['arm']}/{row['seed']}", "--format", "onnx"])
        out.print(cell(f"as a file: {command}"), soft_wrap=True)
    return 0


def _configuration(stored: Any) -> str:
    """The stored JSON as people read it; what is no JSON is named and shown as it is."""
    try:
        return json.dumps(json.loads(stored), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f"config_json in trials.parquet is no JSON: {str(stored)[:200]!r}"


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))
