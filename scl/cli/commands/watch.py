"""`scl watch`: the state of a live run, from wherever its results can be read."""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.live import Live
from rich.table import Table

from scl.report.formatting import about, duration
from scl.store.files import Folder, open_folder
from scl.store.progress import read_progress
from scl.store.schema import now
from scl.store.study_file import read_study
from scl.streams import console
from scl.terminal import cell, say, show

SECONDS = 3.0  # between two looks
LINE_SECONDS = 30.0  # between two lines where there is no terminal
QUIET_LOOKS = 3  # without a record before the run counts as ended: it writes none while it starts and ends


def run(given: Namespace) -> int:
    store = open_folder(given.place, reading=True)
    study = read_study(store).get("study") or given.place
    record = read_progress(store)
    if record is None:
        say(f"{store}: nothing runs here now; `scl results` shows what is done, {store}/report.html is its page")
        return 0
    if given.once:
        show(_line(record))
        return 0
    terminal = console()
    if not terminal.is_terminal:
        return _lines(store, record)
    quiet = 0
    with Live(_table(study, record), console=terminal, auto_refresh=False, transient=True) as screen:
        while quiet < QUIET_LOOKS:
            time.sleep(SECONDS)
            found = read_progress(store)
            quiet = quiet + 1 if found is None else 0
            record = found or record
            screen.update(_table(study, record), refresh=True)
    show(f"{_line(record)}; the run has ended: {store}/report.html")
    return 0


def _lines(store: Folder, record: dict[str, Any]) -> int:
    """For logs: a line whenever something has ended, and every LINE_SECONDS."""
    last, said, quiet = -1, -math.inf, 0
    while quiet < QUIET_LOOKS:
        if record["ended"] != last or time.monotonic() - said >= LINE_SECONDS:
            show(_line(record))
            last, said = record["ended"], time.monotonic()
        time.sleep(SECONDS)
        found = read_progress(store)
        quiet = quiet + 1 if found is None else 0
        record = found or record
    show(f"the run has ended: {store}/report.html")
    return 0


def _line(record: Mapping[str, Any]) -> str:
    left = record["seconds_left"]
    time_left = f", about {about(left)} left" if left is not None else ""
    failed = f", {record['failed']} failed" if record["failed"] else ""
    return f"{record['title']}: {record['ended']} of {record['expected']} ended{failed}{time_left}"


def _table(study: str, record: Mapping[str, Any]) -> Table:
    title = f"{study} · {_line(record)} · told {_age(record['updated'])} ago by {record['host']}"
    table = Table("trial", "epoch", "val acc", title=cell(title), title_justify="left")
    for one in record["running"]:
        known = [v for v in one["val_acc"] if not math.isnan(v)]
        table.add_row(cell(one["label"]), f"{one['epoch']}/{one['epochs']}", f"{known[-1]:.1%}" if known else "")
    return table


def _age(iso: str) -> str:
    try:
        return duration(max(0.0, (now() - datetime.fromisoformat(iso)).total_seconds()))
    except (ValueError, TypeError):
        return "?"
