"""`scl show`: one trial, its configuration and its results."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from typing import Any

from rich.table import Table

from scl.report.questions.setting import setting
from scl.report.trial import described
from scl.store.lookup import find_trial
from scl.store.networks import STUDENT, network_fault
from scl.streams import console
from scl.terminal import cell

WIDE = 100  # columns of a terminal from which the columns of trials.parquet are named beside the values
ABOVE_THE_TABLE = {
    "trial_id", "study", "arm", "config_id", "seed", "state", "error", "config_json", "teacher_id",
}  # fmt: skip


def run(given: Namespace) -> int:
    name, store, row = find_trial(given.results, given.trial)
    out = console()
    out.print(cell(f"{name}: {row['arm']}, seed {row['seed']}, {row['state']}", style="bold"))
    if isinstance(row["error"], str) and row["error"]:
        out.print(cell(row["error"].strip(), style="red"))
    # Ids are whole lines: a table would break them, and nobody could copy them.
    for words, key in (("trial", "trial_id"), ("configuration", "config_id"), ("teacher", "teacher_id")):
        out.print(cell(f"id of the {words}: {row[key]}"), soft_wrap=True)
    out.print(cell(f"differs from the defaults in: {_configuration(row['config_json'])}"))
    with_columns = out.width >= WIDE
    for heading, values in described(row, ABOVE_THE_TABLE):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=heading, title_justify="left")
        table.add_column(overflow="fold", min_width=min(48, out.width // 2))
        table.add_column(overflow="fold")
        for words, value, column in values:
            table.add_row(cell(words), cell(value), *([cell(column, style="dim")] if with_columns else []))
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
    """The stored JSON in the words of the page; what is no configuration is named and shown as it is."""
    try:
        return setting(dict(json.loads(stored)))
    except (TypeError, ValueError, RecursionError, AttributeError):
        return f"config_json in trials.parquet is no configuration: {str(stored)[:200]!r}"
