"""What a run prints and writes at its end: the page, the main table in short, the verdict."""

from __future__ import annotations

from math import isnan
from typing import Any

from scl import report as page
from scl.report.results import read
from scl.search.trials import ARM
from scl.store.files import Folder
from scl.terminal import cell, say


def report(store: Folder) -> int:
    """Write the page, print the table and the verdict; 0 when every trial is completed or pruned, else 1."""
    results = read(store)
    failed = int((results.plan_states()["state"] == "failed").sum())
    print_summary(results.summary(), results.verdict())
    try:
        page.write(store)
    except ModuleNotFoundError as error:
        say(f"no page: {error.name} is not installed. Build it elsewhere with --report-only")
    else:
        say(f"page: {store}/report.html")
    if failed:
        say(f"{failed} trials failed; the page says which and why. The same command runs them again")
    return 1 if failed else 0


def print_summary(table: Any, verdict: str) -> None:
    """The main table in short and the verdict, on stdout; the page has the rest."""
    from rich.console import Console  # it draws random numbers when it is imported  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    shown = Table("arm", "n", "test acc ± sd, %", "difference [95 % interval]", "p")
    for row in table.to_dict("records"):
        if row["arm"] == ARM:
            continue  # many configurations under one name
        sd = "" if isnan(row["test_acc_sd"]) else f" ± {100 * row['test_acc_sd']:.2f}"
        mean = "—" if isnan(row["test_acc_mean"]) else f"{100 * row['test_acc_mean']:.2f}{sd}"
        low, high = 100 * row["difference_low"], 100 * row["difference_high"]
        interval = "" if isnan(low) else f" [{low:+.2f}, {high:+.2f}]"
        difference = "—" if isnan(row["difference"]) else f"{100 * row['difference']:+.2f}{interval}"
        shown.add_row(cell(row["arm"]), str(row["n"]), mean, difference, "—" if isnan(row["p"]) else f"{row['p']:.3f}")
    console.print(shown)
    console.print(cell(verdict))
