"""`scl results`: every study in a folder of results."""

from __future__ import annotations

from argparse import Namespace

from rich.table import Table

from scl.errors import RunFailed, UserError
from scl.report.formatting import UNITS
from scl.store.lookup import stores
from scl.store.networks import in_words, lost_networks
from scl.store.progress import in_a_line
from scl.store.results import read_results
from scl.streams import console
from scl.study.metrics import DEFAULT, METRICS
from scl.terminal import cell, say


def run(given: Namespace) -> int:
    out = console()
    table = Table("study", "data", "done", "failed", "missing", "best arm", "mean", "of test")
    pages = []
    code = 0
    for name, store in stores(given.place).items():
        try:
            read = read_results(store)
        except (UserError, RunFailed) as error:  # one that cannot be read hides no other
            say(f"error: {error}")
            code = 2 if isinstance(error, UserError) else 1
            continue
        states = read.plan_states()["state"]
        rows = read.planned()
        metric = METRICS.get(str(read.study.get("metric")), METRICS[DEFAULT])
        means = rows[rows["state"] == "completed"].groupby("arm")[metric.column].mean().dropna()
        means = means.sort_values(ascending=metric.sign < 0, kind="stable")
        done = int(states.isin(["completed", "pruned"]).sum())
        planned = rows.to_dict("records")
        try:
            lost = lost_networks(store, planned)
        except RunFailed as error:
            say(f"error: {error}")
            code, lost = 1, {}
        if (running := read.running) is not None:
            say(f"{store}: {in_a_line(running)}")
        if lost:
            say(f"{store}: {in_words(lost, planned)}; its command with --remake-students trains what is lost again")
        pages.append(f"{store}/report.html" if store.exists("report.html") else f"{store} has no page yet")
        table.add_row(
            cell(name),
            cell(read.study.get("data", {}).get("name", "?")),
            f"{done}/{len(states)}",
            str(int((states == "failed").sum())),
            str(int((states == "missing").sum())),
            cell(means.index[0] if len(means) else "—"),
            cell(UNITS[metric.unit].value(means.iloc[0], 2) if len(means) else "—"),
            metric.words,
        )
    if code and not table.rows:
        return code
    out.print(table)
    out.print("best arm: the best mean; the page says how sure that is")
    for page in pages:
        out.print(cell(page), soft_wrap=True)
    return code
