"""`scl results`: every study in a folder of results."""

from __future__ import annotations

from argparse import Namespace

from rich.table import Table
from rich.text import Text

from scl.store.lookup import stores
from scl.store.results import read_results
from scl.streams import console, showable


def run(given: Namespace) -> int:
    out = console()
    table = Table("study", "data", "done", "failed", "missing", "best arm", "test acc, %")
    pages = []
    for name, store in stores(given.place).items():
        read = read_results(store)
        states = read.plan_states()["state"]
        rows = read.planned()
        means = rows[rows["state"] == "completed"].groupby("arm")["test_acc"].mean()
        done = int(states.isin(["completed", "pruned"]).sum())
        pages.append(f"{store}/report.html" if store.exists("report.html") else f"{store} has no page yet")
        table.add_row(
            Text(showable(name)),
            Text(showable(str(read.study.get("data", {}).get("name", "?")))),
            f"{done}/{len(states)}",
            str(int((states == "failed").sum())),
            str(int((states == "missing").sum())),
            Text(showable(str(means.idxmax()) if len(means) else "—")),
            f"{100 * means.max():.2f}" if len(means) else showable("—"),
        )
    out.print(table)
    out.print("best arm: the highest mean; the page says how sure that is")
    for page in pages:
        out.print(Text(page), soft_wrap=True)
    return 0
