"""The cost of a trial beside its training, and the cost of thousands at the end: compaction, page, memory.

    uv run benchmarks/scale.py                            # 1,000 trials on Ray and inline, then a store of 10,000
    uv run benchmarks/scale.py --trials 100 --stored 500 --rounds 1
    uv run benchmarks/scale.py --json benchmarks/results/scale.json
    uv run benchmarks/scale.py --cluster                  # 100 and 1,000 trials on 4 and 16 slots of a loopback cluster
    uv run benchmarks/scale.py --cluster --long --slots 4 --json benchmarks/results/scale-cluster.json   # and 10,000
    uv run benchmarks/scale.py --cluster --slots 64 --share   # 64 slots, with less memory each

1. A study of 1,000 tiny trials (200 arms × 5 seeds of a 3-layer student, one epoch of 64 digits), on Ray with 2 slots
   and with `--inline`. The overhead of a trial is (wall time × slots − time inside steps) / trials. The time inside
   steps is what the trainer counts as training, with the teacher's forwards; evaluation counts as overhead. There are
   three figures: for the whole command, which includes imports, Ray's start, teacher, compaction and page; for the part
   in which the students train, which includes the workers' start; and for one additional trial, by comparison with a
   study of a fifth of the size.
2. 10,000 trials × 100 epochs as workers leave them, in a file each: seconds to fold them into the tables and to write
   the page, and the peak memory of the process. Their numbers are random (`report.py`).

Each figure comes from a separate process, on 2 cores (`--cores`) for the first part and one for the second. Figures are
medians of the rounds.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from statistics import median
from typing import Any

from benchmarks.clusters import in_words, measure
from benchmarks.record import parsed, record
from benchmarks.report import random_store
from scl import Config, Study, Term, designs, report
from scl.store.files import open_folder
from scl.store.parts import write_part
from scl.store.results import load, read_results
from scl.store.study_file import read_study, write_study
from scl.store.tables import compact
from scl.study.options import options_for
from scl.study.settled import settled

GOALS = {"s_a_trial": 0.02, "stored_s": 15.0, "stored_mb": 2000.0}
# Part of a run → the function that `scl.run.run` calls for it.
PARTS = {
    "plan": "make_plan",
    "teacher": "train_teachers",
    "students": "train_students",
    "compact": "compact",
    "page": "report",
}


# ------------------------------------------------------------------------------------------- in a separate process


def run_tiny_study(trials: int, seeds: int, inline: bool, out: str, address: str | None = None) -> dict[str, float]:
    """Run it as a command does; returns the seconds of each part. address: of a cluster, where each trial is a cohort
    of its own."""
    run = import_module("scl.run.run")  # imports torch, whose memory would count in `finish`
    spent = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[part] += time.perf_counter() - began

        return call

    for part, name in PARTS.items():
        setattr(run, name, timed(part, getattr(run, name)))
    rates = [0.01 + 0.001 * i for i in range(trials // seeds - 1)]
    tiny = Config(model="plain3", width=0.0625, epochs=1, batch_size=32)
    study = Study(
        name="tiny",
        question="What does a trial cost beside its training?",
        arms={"baseline": {}} | designs.grid({"lr": rates}),
        base=tiny.replace(losses={"kd": Term(1.0)}),
        teacher=tiny,
    )
    where = {"address": address, "cohort_size": 1} if address else {"inline": inline}
    options = options_for(study, {"seeds": seeds, "limit": 64, "out": out, **where})
    code = run.run_study(*settled(study, options))
    if code:
        raise SystemExit(code)
    rows = load(f"{out}/tiny").trials
    return spent | {"trials": len(rows), "in_steps": rows["train_seconds"].sum()}


def run_on_cluster(trials: int, seeds: int, out: str, address: str) -> dict[str, float]:
    """The same on a cluster, with the listings of folders below `out` here, the bytes of the names that they gave, and
    the calls of workers' files."""
    rpc = import_module("scl.run.ray.rpc")
    counted = {"listings": 0, "listed": 0, "letters": 0}
    scandir, folder_function = os.scandir, rpc.folder_function

    def counting_scandir(path: Any = ".") -> Any:  # os.walk calls it too
        if str(path).startswith(out):
            counted["listings"] += 1
            with scandir(path) as entries:
                counted["listed"] += sum(len(os.fsencode(entry.name)) + 1 for entry in entries)
        return scandir(path)

    def counting_calls(*arguments: Any, **named: Any) -> Callable[..., Any]:
        function = folder_function(*arguments, **named)

        def call(*letter: Any) -> Any:
            counted["letters"] += 1
            return function(*letter)

        return call

    setattr(os, "scandir", counting_scandir)  # noqa: B010
    setattr(rpc, "folder_function", counting_calls)  # noqa: B010
    return run_tiny_study(trials, seeds, False, out, address) | counted


def fill(folder: str, trials: int, epochs: int) -> dict[str, float]:
    """Write a store of many arms × 5 seeds of which nothing is compacted yet."""
    read = read_results(random_store(Path(folder) / "random", max(trials // 5, 2), 5, epochs, False))
    store = open_folder(f"{folder}/store")
    write_study(store, read.study)
    by_trial = dict(iter(read.epochs.groupby("trial_id", sort=False)))
    for row in read.trials.to_dict("records"):
        present = {k: v for k, v in row.items() if v is not None and v == v}
        rows = by_trial[row["trial_id"]].to_dict("records")
        write_part(store, present, rows, None)
    return {}


def finish(folder: str) -> dict[str, float]:
    """Fold the parts into the tables and write the page; returns seconds and megabytes."""
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
    """Peak memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---------------------------------------------------------------------------------------- in the benchmark's process


def apart(cores: int, *arguments: Any) -> tuple[float, dict[str, float]]:
    """Run this file in another process with a `--apart` command; returns its wall time and its figures."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--apart", *map(str, arguments)],
        preexec_fn=lambda: os.sched_setaffinity(0, chosen), capture_output=True, encoding="utf-8",
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{arguments} ended with code {done.returncode}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - began, json.loads(done.stdout.strip().splitlines()[-1])


def overhead(how: str, trials: int, seeds: int, cores: int) -> dict[str, float]:
    """Seconds of a tiny study and of a trial's overhead. how: `ray` or `inline`."""
    slots = 1 if how == "inline" else cores
    with tempfile.TemporaryDirectory() as out:
        wall, spent = apart(cores, how, trials, seeds, out)
    count = spent["trials"]
    return spent | {
        "wall": wall,
        "s_a_trial": (wall * slots - spent["in_steps"]) / count,
        "s_a_trial_in_training": (spent["students"] * slots - spent["in_steps"]) / count,
    }


def of_one_more(large: dict[str, float], small: dict[str, float]) -> float:
    """Overhead of an additional trial, in seconds, without what a study spends once."""
    added = large["trials"] - small["trials"]
    return (large["s_a_trial"] * large["trials"] - small["s_a_trial"] * small["trials"]) / added


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(r[name] for r in rounds), 4) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="of the tiny study, 20 or more; 0 skips it")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the tiny study")
    parser.add_argument("--stored", type=int, default=10_000, help="trials of the store; 0 skips it")
    parser.add_argument("--epochs", type=int, default=100, help="epochs of each trial of the store")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="slots on Ray (default: 2)")
    parser.add_argument("--cluster", action="store_true", help="CPU of each process of a cluster instead: clusters.py")
    parser.add_argument("--long", action="store_true", help="with --cluster: 10,000 trials too")
    parser.add_argument("--slots", default="4,16", help="with --cluster: each takes about 400 MB (default: 4,16)")
    parser.add_argument(
        "--share", action="store_true", help="with --cluster: workers share the memory of their imports"
    )
    options = parsed(parser)
    if options.cluster:
        sizes = [100, 1000, *([10_000] if options.long else [])]
        slots = map(int, options.slots.split(","))
        measured = [in_words(measure(trials, number, options.share)) for number in slots for trials in sizes]
        record("scale-slots" if options.share else "scale-cluster", measured, options.json, n=1)
        return
    found: dict[str, Any] = {"goals": GOALS}
    if options.trials:
        each: dict[str, list[dict[str, float]]] = {"ray": [], "inline": []}
        for _ in range(options.rounds):
            for how, rounds in each.items():
                small = overhead(how, max(3 * options.seeds, options.trials // 5), options.seeds, options.cores)
                large = overhead(how, options.trials, options.seeds, options.cores)
                rounds.append(large | {"s_a_trial_more": of_one_more(large, small)})
        for how, rounds in each.items():
            found[how] = m = medians(rounds)
            print(
                f"{m['trials']:,.0f} trials, {how}: overhead of {m['s_a_trial']:.4f} s a trial (goal "
                f"{GOALS['s_a_trial']} s), {m['s_a_trial_in_training']:.4f} s while students train, "
                f"{m['s_a_trial_more']:.4f} s for one more trial; {m['wall']:.1f} s of wall time, of which students "
                f"{m['students']:.1f} s, compaction {m['compact']:.1f} s, page {m['page']:.1f} s; "
                f"{m['in_steps']:.1f} s inside steps",
                flush=True,
            )
    if options.stored:
        with tempfile.TemporaryDirectory() as folder:
            rounds = []
            apart(1, "fill", folder, options.stored, options.epochs)
            for i in range(options.rounds):
                shutil.copytree(f"{folder}/store", f"{folder}/{i}/store")
                rounds.append(apart(1, "finish", f"{folder}/{i}")[1])
        found["stored"] = m = medians(rounds)
        print(
            f"{options.stored:,} trials × {options.epochs} epochs: {m['stored_s']:.1f} s (goal {GOALS['stored_s']:g}), "
            f"of which compaction {m['compact_s']:.1f} s and page {m['page_s']:.1f} s; peak memory "
            f"{m['stored_mb']:,.0f} MB (goal {GOALS['stored_mb']:,.0f} MB); tables of {m['store_mb']:.1f} MB, "
            f"a page of {m['page_mb']:.1f} MB"
        )
    record("scale", found, options.json, n=options.rounds)


def do_apart(command: str, *arguments: str) -> dict[str, float]:
    if command == "fill":
        return fill(arguments[0], int(arguments[1]), int(arguments[2]))
    if command == "finish":
        return finish(arguments[0])
    if command == "cluster":
        return run_on_cluster(int(arguments[0]), int(arguments[1]), arguments[2], arguments[3])
    return run_tiny_study(int(arguments[0]), int(arguments[1]), command == "inline", arguments[2])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--apart"]:
        print("\n" + json.dumps(do_apart(*sys.argv[2:])))
    else:
        main()
