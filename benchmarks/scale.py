"""What a trial costs beside its training, and what thousands of them cost at the end: compaction, page, memory.

    uv run benchmarks/scale.py                            # 1,000 trials on Ray and inline, then a store of 10,000
    uv run benchmarks/scale.py --trials 100 --stored 500 --rounds 1
    uv run benchmarks/scale.py --json scale.json

1. A study of 1,000 tiny trials (200 arms × 5 seeds of a 3-layer student, one epoch of 64 digits), on Ray with 2 slots
   and `--inline`. Overhead of a trial: (wall × slots − time inside steps) / trials. Time inside steps is what the
   trainer counts as a trial's training, the teacher's forwards with it; evaluation, which is work as well, is in the
   overhead. Said three times: for the whole command, imports, Ray's start, teacher, compaction and page with it; for
   the part in which the students train, workers' start with it; and for one trial more, from a fifth as many beside it.
2. 10,000 trials × 100 epochs as workers leave them, a file each: seconds to fold them into the tables and to write the
   page, and the peak memory of the process that does it. The numbers are made up (`report.py`).

Each figure comes from a process of its own, on 2 cores (`--cores`) for the first and one for the second; medians of the
rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from scl.cli.flags import parser
from scl.plan.plan import make_plan
from scl.run.backend import Executor
from scl.run.run import run_study
from scl.run.summary import report
from scl.store.files import open_folder
from scl.store.parts import write_part
from scl.store.results import load, read_results
from scl.store.study_file import read_study, write_study
from scl.store.tables import compact
from scl.study.config import Config
from scl.study.designs import grid
from scl.study.options import Options
from scl.study.study import Study

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.study import machine

GOALS = {"s_a_trial": 0.02, "stored_s": 15.0, "stored_mb": 2000.0}


# ------------------------------------------------------------------------------------------- in a process of its own


def tiny_study(trials: int, seeds: int, inline: bool, out: str) -> dict[str, float]:
    """Run it as the command does; seconds by part."""

    rates = [0.01 + 0.001 * i for i in range(trials // seeds - 1)]
    tiny = {"model": "plain3", "width": 0.0625, "epochs": 1, "batch_size": 32}
    study = Study(
        name="tiny",
        question="What does a trial cost beside its training?",
        arms={"baseline": {}} | grid({"lr": rates}),
        base=Config(**tiny, losses={"kd": 1.0}),
        teacher=Config(**tiny),
    )
    given = ["--seeds", str(seeds), "--limit", "64", "--out", out, *(["--inline"] if inline else [])]
    options = Options(**vars(parser(study).parse_args(given)))
    spent: dict[str, float] = {}

    def clocked(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - began

        return timed

    make_plan = clocked("plan", make_plan)
    Executor.teachers = clocked("teacher", Executor.teachers)  # type: ignore[method-assign]
    Executor.students = clocked("students", Executor.students)  # type: ignore[method-assign]
    runner.results.compact = clocked("compact", compact)
    report = clocked("page", report)
    code = run_study(study, options)
    if code:
        raise SystemExit(code)
    rows = load(f"{out}/tiny").trials
    return spent | {"trials": len(rows), "in_steps": rows["train_seconds"].sum()}


def fill(folder: str, trials: int, epochs: int) -> None:
    """A store of many arms × 5 seeds of which nothing is compacted yet."""
    from benchmarks.report import made_up

    made = made_up(Path(folder) / "made", max(trials // 5, 2), 5, epochs, False)
    read = read_results(made)
    store = open_folder(f"{folder}/store")
    write_study(store, read.study)
    by_trial = dict(iter(read.epochs.groupby("trial_id", sort=False)))
    for row in read.trials.to_dict("records"):
        present = {k: v for k, v in row.items() if v is not None and v == v}
        rows = by_trial[row["trial_id"]].to_dict("records")
        write_part(store, present, rows, None)


def stored(folder: str) -> dict[str, float]:
    """Fold the parts in, write the page; seconds and megabytes."""
    from scl import report

    store = open_folder(f"{folder}/store")
    began = time.perf_counter()
    compact(store, read_study(store))
    compacted = time.perf_counter()
    after = peak()
    report.write(store)
    return {
        "compact_s": compacted - began,
        "page_s": time.perf_counter() - compacted,
        "stored_s": time.perf_counter() - began,
        "compact_mb": after,
        "stored_mb": peak(),
        "page_mb": len(store.read("report.html")) / 1e6,
        "store_mb": sum(len(store.read(n)) for n in store.names() if n.endswith(".parquet")) / 1e6,
    }


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---------------------------------------------------------------------------------------------------- around them


def apart(cores: int, *arguments: Any) -> tuple[float, dict[str, float]]:
    """This file in another process: its wall time, and what it tells in its last line."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--apart", *map(str, arguments)],
        preexec_fn=lambda: os.sched_setaffinity(0, chosen), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{arguments} ended with code {done.returncode}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - began, json.loads(done.stdout.strip().splitlines()[-1] or "{}")


def overhead(how: str, trials: int, seeds: int, cores: int) -> dict[str, float]:
    slots = 1 if how == "inline" else cores
    with tempfile.TemporaryDirectory() as out:
        wall, told = apart(cores, how, trials, seeds, out)
    count = told["trials"]
    return told | {
        "wall": wall,
        "s_a_trial": (wall * slots - told["in_steps"]) / count,
        "s_a_trial_in_training": (told["students"] * slots - told["in_steps"]) / count,
    }


def more(most: dict[str, float], few: dict[str, float]) -> float:
    """Overhead of each trial that a study has more, in seconds: what is spent once drops out."""
    added = most["trials"] - few["trials"]
    return (most["s_a_trial"] * most["trials"] - few["s_a_trial"] * few["trials"]) / added


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(r[name] for r in rounds), 4) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="of the tiny study, 20 or more; 0 leaves it out")
    parser.add_argument("--seeds", type=int, default=5, help="of the tiny study")
    parser.add_argument("--stored", type=int, default=10_000, help="trials of the store; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=100, help="of each trial of the store")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="slots on Ray (default: 2)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    found: dict[str, Any] = {"rounds": options.rounds, "goals": GOALS}
    if options.trials:
        each: dict[str, list[dict[str, float]]] = {"ray": [], "inline": []}
        for _ in range(options.rounds):
            for how, rounds in each.items():
                few = overhead(how, max(3 * options.seeds, options.trials // 5), options.seeds, options.cores)
                most = overhead(how, options.trials, options.seeds, options.cores)
                rounds.append(most | {"s_a_trial_more": more(most, few)})
        for how, rounds in each.items():
            found[how] = m = middle(rounds)
            print(
                f"{m['trials']:,.0f} trials, {how}: {m['s_a_trial']:.4f} s a trial beside its steps (goal "
                f"{GOALS['s_a_trial']} s), {m['s_a_trial_in_training']:.4f} s while students train, "
                f"{m['s_a_trial_more']:.4f} s for one more; {m['wall']:.1f} s of wall time, of which "
                f"{m['students']:.1f} s students, {m['compact']:.1f} s compaction, {m['page']:.1f} s page; "
                f"{m['in_steps']:.1f} s inside steps",
                flush=True,
            )
    if options.stored:
        with tempfile.TemporaryDirectory() as folder:
            rounds = []
            apart(1, "fill", folder, options.stored, options.epochs)
            for i in range(options.rounds):
                copy = f"{folder}/{i}"
                subprocess.run(["cp", "-r", f"{folder}/store", f"{copy}-store"], check=True)
                os.makedirs(copy)
                os.rename(f"{copy}-store", f"{copy}/store")
                rounds.append(apart(1, "stored", copy)[1])
        found["stored"] = m = middle(rounds)
        print(
            f"{options.stored:,} trials × {options.epochs} epochs: {m['stored_s']:.1f} s (goal {GOALS['stored_s']:g}), "
            f"of which compaction {m['compact_s']:.1f} s and page {m['page_s']:.1f} s; peak memory "
            f"{m['stored_mb']:,.0f} MB (goal {GOALS['stored_mb']:,.0f} MB); tables of {m['store_mb']:.1f} MB, "
            f"a page of {m['page_mb']:.1f} MB"
        )
    found["machine"] = machine()
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def alone(what: str, *arguments: str) -> None:
    if what == "fill":
        fill(arguments[0], int(arguments[1]), int(arguments[2]))
        told: dict[str, float] = {}
    elif what == "stored":
        told = stored(arguments[0])
    else:
        told = tiny_study(int(arguments[0]), int(arguments[1]), what == "inline", arguments[2])
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--apart"]:
        alone(*sys.argv[2:])
    else:
        main()
