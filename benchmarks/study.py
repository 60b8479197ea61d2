"""A whole study in three ways: in cohorts, trials one by one in reused processes, and a new process for each trial.

    uv run benchmarks/study.py                            # ablation.py on digits, 3 rounds, 2 cores: about 12 minutes
    uv run benchmarks/study.py --seeds 1 --epochs 3 --rounds 1
    uv run benchmarks/study.py --json benchmarks/results/study.json

A  the command as it is: cohorts of the size that `auto` chooses
B  `--cohort-size 1`: each trial alone, in actors that Ray Tune reuses
C  Tune's defaults: each trial in a new process (`reuse_actors=False`), with Tune's loggers

Otherwise all three are the same command with teacher and page, each in a separate process with a separate store. They
take turns, in another order each round. Their numbers must be the same, bitwise; if not, the exit code is 1.

The wall time is that of the whole command. Training alone is the time in which slots hold a cohort, from its first
student to its last row: evaluation, checkpoints and reports included, starts of processes not. Sharing the teacher can
shorten it by the factor ΣS / (ΣS − ΣT + ΣC) at most: the bound. S is the time of each student's steps in B. T and C are
the times of the teacher's forwards for a trial alone and for a cohort, each up to the deepest layer that is read;
`forwards.py` measures them after each way, in as many processes as there are slots. Figures are medians of the rounds.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from scl.cli.exits import exit_with
from scl.cli.main import run_flags
from scl.plan.context import Job, RunContext
from scl.plan.plan import Plan
from scl.run.backend import Work
from scl.run.execute import execute
from scl.run.ray import session
from scl.run.ray.backend import RayBackend
from scl.store.results import Results, load
from scl.train.types import EpochDone

ROOT = Path(__file__).parents[1]

from benchmarks.chaos import compare
from benchmarks.record import parsed, record
from studies.ablation import STUDY

COMMAND = str(ROOT / "studies" / "ablation.py")
FORWARDS = str(ROOT / "benchmarks" / "forwards.py")
WAYS = {
    "A": [COMMAND],
    "B": [COMMAND, "--cohort-size", "1"],
    "C": [__file__, "--process-per-trial"],
}


# ------------------------------------------------------------------------------------------------------------ way C


def process_per_trial(flags: list[str]) -> None:
    """`ablation.py` with these flags, but with Tune's defaults."""

    def train(self: RayBackend, plan: Plan, work: Work) -> None:
        if work.jobs:
            self._on_ray(lambda runs: tune_with_defaults(plan, work))
        else:  # the teacher, as in the other ways
            self.inline.train(plan, work)

    RayBackend.train = train  # type: ignore[method-assign]
    session.QUIET = {"RAY_AIR_NEW_OUTPUT": "0"}
    exit_with(lambda: run_flags(STUDY, COMMAND, flags))


def tune_with_defaults(plan: Plan, work: Work) -> None:
    """Train each trial of the work in a new process."""
    from ray import tune  # noqa: PLC0415  # only now: the session sets the environment that Ray reads at its import

    def train(config: Mapping[str, Any], context: RunContext) -> None:
        for event in execute(context, [config["trial"]]):
            row = event.row if isinstance(event, EpochDone) else event.metrics
            tune.report({k: v for k, v in row.items() if isinstance(v, (int, float))})

    jobs: dict[str, Job] = {**plan.context.jobs, **work.jobs}
    context = replace(plan.context, jobs=jobs)
    with tempfile.TemporaryDirectory() as scratch:
        grid = tune.Tuner(
            tune.with_resources(tune.with_parameters(train, context=context), {"cpu": plan.options.cpus_per_trial}),
            param_space={"trial": tune.grid_search([i for cohort in work.cohorts for i in cohort])},
            tune_config=tune.TuneConfig(reuse_actors=False),
            run_config=tune.RunConfig(name=work.title, storage_path=scratch, verbose=0),
        ).fit()
    if grid.errors:
        raise grid.errors[0]


# ----------------------------------------------------------------------------------------- the benchmark's process


def start(command: list[str], cores: int, **how: Any) -> subprocess.Popen[bytes]:
    """A Python command in another process, which may use so many cores."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    return subprocess.Popen([sys.executable, *command], preexec_fn=lambda: os.sched_setaffinity(0, chosen), **how)


def timed(way: str, out: Path, arguments: list[str], cores: int) -> float:
    """Run the study in this way; returns the wall time in seconds. Exits if the study fails."""
    began = time.perf_counter()
    with open(out.with_suffix(".log"), "wb") as log:
        code = start([*WAYS[way], *arguments, "--out", str(out)], cores, stdout=log, stderr=log).wait()
    if code:
        raise SystemExit(f"{way} ended with code {code}:\n{out.with_suffix('.log').read_text()[-3000:]}")
    return time.perf_counter() - began


def measured_forwards(out: Path, arguments: list[str], cores: int) -> list[dict[str, Any]]:
    """What `forwards.py` prints, from a process on each core at the same time."""
    command = [FORWARDS, *arguments, "--out", str(out)]
    processes = [start(command, cores, stdout=subprocess.PIPE) for _ in range(cores)]
    return [json.loads(process.communicate()[0]) for process in processes]


def occupied(store: Results, cohorts: list[list[str]]) -> float:
    """Seconds in which slots hold a cohort, from its first student to its last row, summed over cohorts."""
    rows = store.trials.set_index("trial_id")
    return sum((rows["ended"][ids].max() - rows["started"][ids].min()).total_seconds() for ids in cohorts)


def one_round(ways: str, arguments: list[str], cores: int) -> dict[str, float]:
    """The figures of one turn of each way. Exits if their numbers differ."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        forwards: list[dict[str, Any]] = []
        for way in ways:
            found[f"wall_{way}"] = timed(way, Path(folder) / way, arguments, cores)
            forwards += measured_forwards(Path(folder) / "forwards", arguments, cores)
        stores = {way: load(f"{folder}/{way}/ablation") for way in ways}
    first, cohorts = stores[ways[0]], forwards[0]["cohorts"]
    # Medians, because other work on the machine can double a single measurement.
    teacher_alone, teacher_shared = (median(f[name] for f in forwards) for name in ("teacher_alone", "teacher_shared"))
    for way in ways[1:]:
        differences = compare(first, stores[way])
        if any(differences[what] for what in ("lost", "more", "duplicated", "different")):
            raise SystemExit(f"{ways[0]} and {way} differ: {dict(differences)}")
        found["values_compared"] = differences["compared"]
    shared = occupied(stores["A"], cohorts)
    alone = occupied(stores["B"], [[i] for cohort in cohorts for i in cohort])
    steps = stores["B"].trials["train_seconds"].sum()
    bound = steps / (steps - teacher_alone + teacher_shared)
    gain = alone / shared
    return found | {
        "C/A": found["wall_C"] / found["wall_A"], "B/A": found["wall_B"] / found["wall_A"], "training_A": shared,
        "training_B": alone, "gain": gain, "bound": bound, "share_of_bound": gain / bound,
        "trials": len(first.trials), "cohorts": len(cohorts),
    }  # fmt: skip


def run(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("seeds", "epochs", "teacher_epochs", "arms")}
    arguments = [part for k, v in given.items() if v is not None for part in ("--" + k.replace("_", "-"), str(v))]
    rounds = []
    for i in range(options.rounds):
        ways = "".join(WAYS)
        rounds.append(one_round(ways[i % 3 :] + ways[: i % 3], arguments, options.cores))
        print(f"round {i + 1}: " + ", ".join(f"{k} {v:.4g}" for k, v in rounds[-1].items()), flush=True)
    middle = {name: median(r[name] for r in rounds) for name in rounds[0]}
    print(
        f"{middle['trials']:.0f} trials, {options.cores} slots, medians of {len(rounds)}, all numbers the same: "
        + ", ".join(f"{way} {middle[f'wall_{way}']:.1f} s" for way in WAYS)
        + f"; C/A {middle['C/A']:.2f} (goal 3), B/A {middle['B/A']:.2f}; training alone, B over A: "
        f"{middle['gain']:.2f} of a bound of {middle['bound']:.2f}, {middle['share_of_bound']:.0%} of it (goal 85 %)"
    )
    figures = {"slots": options.cores, "arguments": arguments, "median": middle, "rounds": rounds}
    record("study", figures, options.json, n=len(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="slots of the study (default: 2)")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--teacher-epochs", type=int)
    parser.add_argument("--arms")
    run(parsed(parser))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process-per-trial"]:
        process_per_trial(sys.argv[2:])
    else:
        main()
