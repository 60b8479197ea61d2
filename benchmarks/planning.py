"""Seconds and memory of planning 10,000 cells, beside those of importing what planning needs.

    uv run python benchmarks/planning.py            # 2,001 arms × 5 seeds, then 10,001 arms × 1 seed

Planning is all that happens before a first worker starts: resolving arms, refusing twins, building what can be
built, ids, what the store has, cohorts. The timing probe of `--plan` comes on top, a second or two. Each case runs in
a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time

from scl.cli.flags import parser
from scl.plan.packing import plan_cohorts
from scl.plan.plan import make_plan, missing
from scl.store.files import open_folder
from scl.study.config import Config
from scl.study.designs import grid
from scl.study.options import Options
from scl.study.study import Study

CASES = ((2000, 5), (10_000, 1))


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(arms: int, seeds: int) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    import sklearn.datasets  # noqa: F401  the digits

    imported, imported_cpu, memory = time.perf_counter(), time.process_time(), megabytes()
    rates = [0.01 + 0.0001 * i for i in range(arms // 4)]
    study = Study(
        name="planning",
        question="How long does planning take?",
        arms={"baseline": {}} | grid({"lr": rates, "self_taught": [1, 2, 4, 8]}),
        base=Config(model="plain5", width=0.125, losses={"kd": 1.0}),
        teacher=Config(model="plain11", width=0.25),
    )
    with tempfile.TemporaryDirectory() as out:
        options = Options(**vars(parser(study).parse_args(["--seeds", str(seeds), "--out", out])))
        made = make_plan(study, options, open_folder(out))
        plan_cohorts(made, missing(made))
    print(
        f"{len(made.trials):,} cells, {len(made.arms):,} arms: {time.perf_counter() - imported:.1f} s "
        f"({time.process_time() - imported_cpu:.1f} s of CPU), {megabytes() - memory:.0f} MB; imports before it "
        f"{imported - began:.1f} s ({imported_cpu - cpu:.1f} s of CPU), {memory:.0f} MB"
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), int(sys.argv[2]))
    else:
        for arms, seeds in CASES:
            subprocess.run([sys.executable, __file__, str(arms), str(seeds)], check=True)
