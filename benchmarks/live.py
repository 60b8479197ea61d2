"""What it costs that others can watch: 1,000 tiny trials with and without progress.json and the live page.

    uv run python benchmarks/live.py                      # three runs of each kind, in turn; in this process
    uv run python benchmarks/live.py --arms 10 --rounds 1 # a quick look
    uv run python benchmarks/live.py --json benchmarks/results/live.json

The runs alternate, because other work on a machine moves their times more than what is measured. Times are those of
this process's CPU, by their medians. Beside them stands what the run itself spends on telling, by the wall clock.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import scl
from benchmarks.record import parsed, record
from scl import Config, Study, Term
from scl.run import run as life
from scl.run.live import Live
from scl.store.files import Folder

SEEDS = 10


class Counted(Live):
    """Counts what it writes, and the seconds that this takes."""

    def __init__(self, store: Folder, command: str) -> None:
        super().__init__(store, command)
        self.counts = {"records": 0, "pages": 0}
        self.seconds = {"records": 0.0, "pages": 0.0}
        runs.append(self)

    def tell(self) -> None:
        self._timed("records", super().tell)

    def _page(self, store: Folder, rendered: Any) -> None:
        self._timed("pages", lambda: super(Counted, self)._page(store, rendered))

    def _timed(self, what: str, write: Callable[[], None]) -> None:
        began = time.perf_counter()
        write()
        self.counts[what] += 1
        self.seconds[what] += time.perf_counter() - began


runs: list[Counted] = []
KINDS: dict[str, Callable[[Folder, str], Live]] = {"with": Counted, "without": lambda store, command: Live(None)}


def study_of(arms: int) -> Study:
    arms_of: dict[str, dict[str, Any]] = {f"kd {i}": {"losses": {"kd": Term(0.01 * i)}} for i in range(1, arms)}
    return Study(
        name="live",
        question="What does watching cost?",
        arms={"baseline": {}, **arms_of},
        base=Config(model="plain3", width=0.125, epochs=2, batch_size=32),
        teacher=Config(model="plain3", width=0.125, epochs=1),
    )


def measure(arms: int, kind: str) -> dict[str, float]:
    """Seconds of a run of `arms` × SEEDS trials."""
    setattr(life, "Live", KINDS[kind])  # noqa: B010  # a module's own name, as a test patches it
    cpu, wall = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as out, open(os.devnull, "w", encoding="utf-8") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            results = scl.run(study_of(arms), inline=True, seeds=SEEDS, limit=100, out=out)
        assert (results.trials["state"] == "completed").sum() == arms * SEEDS
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    p.add_argument("--arms", type=int, default=100, help=f"each has {SEEDS} trials")
    p.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    given = parsed(p)
    measure(2, "without")  # imports and first calls
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for round_ in range(given.rounds):
        for kind in sorted(KINDS, reverse=bool(round_ % 2)):
            found[kind].append(measure(given.arms, kind))
    trials = given.arms * SEEDS
    figures: dict[str, Any] = {"trials": trials}
    for kind, times in found.items():
        for name in ("cpu_s", "wall_s"):
            figures[f"{kind}_{name}"] = round(statistics.median(one[name] for one in times), 2)
    figures["cpu_ratio"] = round(figures["with_cpu_s"] / figures["without_cpu_s"], 4)
    for what in ("records", "pages"):
        figures[what] = statistics.median(run.counts[what] for run in runs)
        figures[f"{what}_s"] = round(statistics.median(run.seconds[what] for run in runs), 3)
    figures["share"] = round((figures["records_s"] + figures["pages_s"]) / figures["with_wall_s"], 4)
    print(
        f"{trials:,} trials: {figures['with_cpu_s']} s of CPU with, {figures['without_cpu_s']} s without, ratio "
        f"{figures['cpu_ratio']}\n{figures['records']:g} records in {figures['records_s']} s, {figures['pages']:g} "
        f"pages in {figures['pages_s']} s: {100 * figures['share']:.2f} % of {figures['with_wall_s']} s"
    )
    record("live", figures, given.json, n=given.rounds)


if __name__ == "__main__":
    main()
