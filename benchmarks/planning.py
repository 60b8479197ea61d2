"""Seconds and memory of planning 10,000 trials, and of the imports that planning needs.

    uv run python benchmarks/planning.py            # 2,001 arms × 5 seeds, then 10,001 arms × 1 seed
    uv run python benchmarks/planning.py --json benchmarks/results/planning.json

Planning is everything before the first worker starts: resolving arms, refusing equal ones, building each kind of
network, ids, reading the store, cohorts. The timing of a few steps by `--plan` is not included; it takes a second or
two. Each case runs in a separate process.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import resource
import subprocess
import tempfile
import time

import sklearn.datasets  # noqa: F401  # the digits

from benchmarks.record import parsed, record
from scl import Config, Study, Term, designs
from scl.plan.packing import plan_cohorts
from scl.plan.plan import make_plan, missing
from scl.store.files import open_folder
from scl.study.options import options_for
from scl.study.settled import settled

CASES = ((2000, 5), (10_000, 1))


def megabytes() -> float:
    """Peak memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(arms: int, seeds: int, started: float) -> dict[str, float]:
    """Plan a study with the baseline and so many arms.

    Args:
        started: when this process was started, by `time.time()`.
    """
    imported, cpu, memory = time.time(), time.process_time(), megabytes()
    rates = [0.01 + 0.0001 * i for i in range(arms // 4)]
    study = Study(
        name="planning",
        question="How long does planning take?",
        arms={"baseline": {}} | designs.grid({"lr": rates, "self_taught": [1, 2, 4, 8]}),
        base=Config(model="plain5", width=0.125, losses={"kd": Term(1.0)}),
        teacher=Config(model="plain11", width=0.25),
    )
    with tempfile.TemporaryDirectory() as out:
        plan = make_plan(*settled(study, options_for(study, {"seeds": seeds, "out": out})), open_folder(out))
        plan_cohorts(plan, missing(plan))
    return {
        "trials": len(plan.trials),
        "arms": len(plan.arms),
        "seconds": time.time() - imported,
        "cpu_seconds": time.process_time() - cpu,
        "mb": megabytes() - memory,
        "import_seconds": imported - started,
        "import_cpu_seconds": cpu,
        "import_mb": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parsed(parser)
    if options.one:
        arms, seeds, started = options.one
        print(json.dumps(measure(int(arms), int(seeds), float(started))))
        return
    figures = []
    for arms, seeds in CASES:
        command = [sys.executable, __file__, "--one", str(arms), str(seeds), str(time.time())]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
        found = json.loads(done.stdout)
        figures.append(found)
        print(
            f"{found['trials']:,} trials, {found['arms']:,} arms: {found['seconds']:.1f} s "
            f"({found['cpu_seconds']:.1f} s of CPU), {found['mb']:.0f} MB; imports "
            f"before it {found['import_seconds']:.1f} s ({found['import_cpu_seconds']:.1f} s of CPU), "
            f"{found['import_mb']:.0f} MB",
            flush=True,
        )
    record("planning", figures, options.json, n=1)


if __name__ == "__main__":
    main()
