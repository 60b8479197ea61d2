"""A whole study, three ways: cohorts, a reused process for trials one by one, and a fresh process for each trial.

    uv run benchmarks/study.py                            # ablation.py on digits, 3 rounds, 2 cores: about 12 minutes
    uv run benchmarks/study.py --seeds 1 --epochs 3 --rounds 1
    uv run benchmarks/study.py --json study.json

A  the command as it is: cohorts as `auto` cuts them
B  `--cohort-size 1`: each trial alone, in actors that Ray Tune uses again
C  Tune as it is by default: each trial in a process of its own (`reuse_actors=False`), with Tune's loggers

All three are the same command otherwise, teacher and page included, each in a process and a store of its own; they take
turns, in another order each round. Their numbers must be the same, bitwise: exit code 1 where one is not.

Whole wall time is that of the command. Training alone is the time in which slots hold a cohort, from its first student
to its last row: evaluation, checkpoints and reports with it, and no start of a process. Sharing the teacher can make it
shorter by ΣS / (ΣS − ΣT + ΣC) at most: the bound. S is what each student's steps took in B, T and C are the teacher's
forwards for a trial alone and for a cohort, each as far as it is read, measured after each way in as many processes as
there are slots. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache, reduce
from operator import or_
from pathlib import Path
from statistics import median
from typing import Any

from scl.cli.flags import parser
from scl.cli.main import main
from scl.data.batches import training_batches
from scl.models.networks import build_student, move_to_device
from scl.plan.packing import plan_cohorts
from scl.plan.plan import make_plan
from scl.run.execute import execute
from scl.store.files import open_folder
from scl.store.results import Results, load
from scl.study.options import Options
from scl.train.teacher import TeacherForward
from scl.train.types import EpochDone

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # as workers see it: chaos.py is benchmarks.chaos

from benchmarks.chaos import compare, read  # noqa: E402

FORWARDS = 30
WAYS = {"A": "cohorts", "B": "trials one by one, processes reused", "C": "a process a trial"}


def ablation() -> Any:
    spec = importlib.util.spec_from_file_location("ablation", ROOT / "studies" / "ablation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.STUDY


# ------------------------------------------------------------------------------------ in the process of a command


def command(way: str, arguments: list[str]) -> None:
    """One of the commands, on the cores that this process may use."""

    if way == "C":
        QUIET = {"RAY_AIR_NEW_OUTPUT": "0"}
        train_on_ray = a_process_a_trial
    sys.argv = ["ablation.py", *arguments, *(["--cohort-size", "1"] if way == "B" else [])]
    main(ablation())


def a_process_a_trial(plan: Any, stop: Any, title: str, chosen: Any, labels: Any, jobs: Mapping[str, Any]) -> None:
    """In place of `scl.cluster.train_on_ray`: Tune with its own defaults over the same trials."""
    from dataclasses import replace

    from ray import tune

    def train(config: dict[str, Any], context: Any) -> None:
        for event in execute(context, [config["trial"]]):
            row = event.row if isinstance(event, EpochDone) else event.metrics
            tune.report({k: v for k, v in row.items() if isinstance(v, (int, float))})

    context = replace(plan.context, jobs={**plan.context.jobs, **jobs})
    with tempfile.TemporaryDirectory() as scratch:
        grid = tune.Tuner(
            tune.with_resources(tune.with_parameters(train, context=context), {"cpu": plan.options.cpus_per_trial}),
            param_space={"trial": tune.grid_search([i for cohort in chosen for i in cohort])},
            tune_config=tune.TuneConfig(reuse_actors=False),
            run_config=tune.RunConfig(name=title, storage_path=scratch, verbose=0),
        ).fit()
    if grid.errors:
        raise grid.errors[0]


def about(arguments: list[str]) -> None:
    """Print the cohorts that the command makes, and the seconds that a teacher's forwards take, one thread a process,
    in all trials alone and in all cohorts."""
    import torch

    from benchmarks.step import forward_of, read_of_teacher

    study = ablation()
    options = Options(**vars(parser(study).parse_args(arguments)))
    plan = make_plan(study, options, open_folder(options.out))
    torch.set_num_threads(1)
    data, config = plan.feasibility.tensors, plan.trials[0].config
    network = move_to_device(build_student(plan.teacher, data, 0), data, torch.device("cpu")).eval().requires_grad_(False)
    heard = {cell.trial_id: read_of_teacher(cell.config, data, network) for cell in plan.trials}
    guide = TeacherForward(network, config.tap, bf16=False)
    batches = training_batches(
        data.train, batch_size=config.batch_size, seed=0, epoch=1, augment="crop", mean=data.mean, std=data.std
    )
    images = [batch for batch, _ in batches]
    steps = len(images) * config.total_epochs

    @cache
    def seconds(wanted: Any) -> float:
        return steps * forward_of(images, guide, wanted, FORWARDS)

    cohorts = [[cell.trial_id for cell in cohort] for cohort in plan_cohorts(plan, plan.trials)]
    told = {
        "cohorts": cohorts,
        "teacher_alone": sum(map(seconds, heard.values())),
        "teacher_shared": sum(seconds(reduce(or_, [heard[i] for i in cohort])) for cohort in cohorts),
    }
    print(json.dumps(told))


# ---------------------------------------------------------------------------------------------------- around them


def here(*arguments: str, cores: int, **how: Any) -> subprocess.Popen[bytes]:
    """This file in another process, which may use so many cores."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], preexec_fn=lambda: os.sched_setaffinity(0, chosen), **how
    )


def timed(way: str, out: Path, arguments: list[str], cores: int) -> float:
    began = time.perf_counter()
    with open(out.with_suffix(".log"), "wb") as log:
        code = here("--command", way, *arguments, "--out", str(out), cores=cores, stdout=log, stderr=log).wait()
    if code:
        raise SystemExit(f"{way} ended with code {code}:\n{out.with_suffix('.log').read_text()[-3000:]}")
    return time.perf_counter() - began


def asked_about(out: Path, arguments: list[str], cores: int) -> list[dict[str, Any]]:
    """What `about` tells while all slots are at it."""
    asked = [here("--about", *arguments, "--out", str(out), cores=cores, stdout=subprocess.PIPE) for _ in range(cores)]
    return [json.loads(one.communicate()[0]) for one in asked]


def occupied(store: Results, cohorts: list[list[str]]) -> float:
    """Seconds in which slots held a cohort: from its first student to its last row, added up."""
    rows = store.trials.set_index("trial_id")
    return sum((rows["ended"][ids].max() - rows["started"][ids].min()).total_seconds() for ids in cohorts)


def one_round(ways: str, arguments: list[str], cores: int) -> dict[str, float]:
    """Figures of one turn of each way. Ends the program where their numbers are not the same."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        asked: list[dict[str, Any]] = []
        for way in ways:
            found[f"wall_{way}"] = timed(way, Path(folder) / way, arguments, cores)
            asked += asked_about(Path(folder) / "about", arguments, cores)
        stores = {way: load(f"{folder}/{way}/ablation") for way in ways}
    first, cohorts = stores[ways[0]], asked[0]["cohorts"]
    # Other work on the machine can double a single one.
    teacher, once = (median(one[name] for one in asked) for name in ("teacher_alone", "teacher_shared"))
    for way in ways[1:]:
        differences = compare(first, stores[way])
        if any(differences[what] for what in ("lost", "more", "duplicated", "different")):
            raise SystemExit(f"{ways[0]} and {way} differ: {dict(differences)}")
        found["cells_compared"] = differences["compared"]
    shared = occupied(stores["A"], cohorts)
    alone = occupied(stores["B"], [[i] for cohort in cohorts for i in cohort])
    steps = stores["B"].trials["train_seconds"].sum()
    bound = steps / (steps - teacher + once)
    gain = alone / shared
    faster = found["wall_C"] / found["wall_A"]
    return found | {
        "C/A": faster, "B/A": found["wall_B"] / found["wall_A"], "training_A": shared, "training_B": alone,
        "gain": gain, "bound": bound, "share_of_bound": gain / bound, "trials": len(first.trials),
        "cohorts": len(cohorts),
    }  # fmt: skip


def run(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("seeds", "epochs", "teacher_epochs", "arms")}
    arguments = [part for k, v in given.items() if v is not None for part in ("--" + k.replace("_", "-"), str(v))]
    rounds = []
    for i in range(options.rounds):
        ways = "".join(sorted(WAYS))
        rounds.append(one_round(ways[i % 3 :] + ways[: i % 3], arguments, options.cores))
        print(f"round {i + 1}: " + ", ".join(f"{k} {v:.4g}" for k, v in rounds[-1].items()), flush=True)
    middle = {name: median(r[name] for r in rounds) for name in rounds[0]}
    print(
        f"{middle['trials']:.0f} trials, {options.cores} slots, medians of {len(rounds)}, all numbers the same: "
        + ", ".join(f"{way} {middle[f'wall_{way}']:.1f} s" for way in sorted(WAYS))
        + f"; C/A {middle['C/A']:.2f} (goal 3), B/A {middle['B/A']:.2f}; training alone, A against B: "
        f"{middle['gain']:.2f} of a bound of {middle['bound']:.2f}, {middle['share_of_bound']:.0%} of it (goal 85 %)"
    )
    if options.json:
        about = {"machine": machine(), "slots": options.cores, "arguments": arguments, "ways": WAYS}
        text = json.dumps({**about, "median": middle, "rounds": rounds}, indent=1)
        Path(options.json).write_text(text + "\n", encoding="utf-8")


def machine() -> str:
    names = re.findall(r"model name\s*:\s*(.+)", read("/proc/cpuinfo")) or [platform.machine()]
    load = os.getloadavg()[0]
    # Python then compiles each module at each start, and starts take two to three times as long.
    uncached = ", bytecode not cached (PYTHONDONTWRITEBYTECODE)" if sys.dont_write_bytecode else ""
    return f"{names[0]}, {os.cpu_count()} cores, load {load:.1f} at the end{uncached}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="slots of the study (default: 2)")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--teacher-epochs", type=int)
    parser.add_argument("--arms")
    parser.add_argument("--json", metavar="FILE")
    run(parser.parse_args())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--command"]:
        command(sys.argv[2], sys.argv[3:])
    elif sys.argv[1:2] == ["--about"]:
        about(sys.argv[2:])
    else:
        main()
