"""Which way of distilling is best for your images and networks, by how much, and at what cost?

    uv run studies/own.py --data photos --teacher teacher.safetensors --teacher-model timm:resnet18 \\
        --student timm:mobilenetv3_small_050,plain5 --at-most latency_ms=5 --time-budget 7200
    uv run studies/own.py                                   # built-in digits: does everything run?

1. Compare: each network of --student learns alone and in three ways (WAYS), at N seeds (3 or more).
2. Search: the arm that is best on validation images is searched: its loss weights, temperature and learning rate. The
   best two configurations train again on the seeds of the comparison.
3. Export: the student that is best on validation images is written as a file that takes photos.

Best is by --metric. A network that costs more than --at-most allows does not train. All of it is one study with one
page. Test images choose nothing. The same command continues where it was stopped, and trains only what is missing.
--time-budget is for all of it: the comparison gets COMPARING of it, the search the rest.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scl import Config, Float, RunFailed, Search, Setting, Study, Term, UserError
from scl.cli.exits import exit_with
from scl.cli.flags import parsed_with
from scl.cli.main import run_options
from scl.masking import masked_command
from scl.store.files import open_folder
from scl.store.results import Results, read_results
from scl.streams import name_of
from scl.study.checks import model
from scl.study.fields import MODELS
from scl.study.limits import in_words, kept
from scl.study.metrics import METRICS, Metric
from scl.study.network import Model
from scl.study.options import Options
from scl.study.search import FRESH_SEED
from scl.study.settled import settled
from scl.study.space import Range
from scl.terminal import say, show

if TYPE_CHECKING:
    import pandas as pd

COMPARING = 0.6  # of --time-budget
LEAST_SEEDS = 3
DEEP = (-2, -1)  # guided layers that correlations compare
# As loud as cross-entropy on any data and network: the gradient of each has a share of 1.
CORRELATIONS = {"channel": Term(share=1.0, layers=DEEP), "spatial": Term(share=1.0, layers=DEEP)}

DIGITS = Setting(student={"width": 0.125, "epochs": 15}, teacher={"width": 0.25, "epochs": 40})

# Cross-entropy alone, and three ways: the teacher's answers (KD), their relations (DIST), and KD with the correlations
# of feature maps (student-centric learning). Weights of KD and DIST are published ones.
ALONE = "alone"
WAYS: dict[str, dict[str, Any]] = {
    ALONE: {},
    "kd": {"ce": 0.1, "losses": {"kd": 0.9}},
    "dist": {"losses": {"dist": Term(2.0, options={"temperature": 4.0})}},
    "kd+scl": {"ce": 0.1, "losses": {"kd": 0.9, **CORRELATIONS}},
}
# What the search varies of each way.
SPACE: dict[str, dict[str, Range]] = {
    ALONE: {"weight_decay": Float(1e-5, 3e-3, log=True), "label_smoothing": Float(0.01, 0.3, log=True)},
    "kd": {"weight.kd": Float(0.1, 10.0, log=True), "kd.temperature": Float(1.0, 16.0, log=True)},
    "dist": {"weight.dist": Float(0.1, 10.0, log=True), "dist.temperature": Float(1.0, 8.0, log=True)},
    "kd+scl": {
        "weight.kd": Float(0.1, 10.0, log=True),
        "kd.temperature": Float(1.0, 16.0, log=True),
        "share.channel": Float(0.1, 3.0, log=True),
        "share.spatial": Float(0.1, 3.0, log=True),
    },
}


def arm(way: str, student: str, several: bool) -> str:
    """The name of an arm: the way alone, if --student names one network."""
    return f"{way} · {student}" if several else way


def comparison(students: Sequence[str], several: bool) -> Study:
    """Every way for every network. several: --student names more than one, of which these may be a part."""
    names = {(way, student): arm(way, student, several) for student in students for way in WAYS}
    networks = {student: network(student) for student in students}
    # Only our networks have a width factor: a setting of the first network must not reach others.
    ours = {student: student in MODELS for student in students}
    return Study(
        name="own",
        question="Which way of distilling is best for your images and networks, by how much, and at what cost?",
        base=Config(model=networks[students[0]], epochs=30, batch_size=64, lr=0.05, warmup_epochs=1),
        teacher=Config(model="plain11", batch_size=64, lr=0.05, warmup_epochs=1),
        arms={
            name: {
                **WAYS[way],
                **({} if student == students[0] else {"model": networks[student]}),
                **({} if student == students[0] or ours[student] else {"width": 1.0}),
            }
            for (way, student), name in names.items()
        },
        baseline=names[ALONE, students[0]],
        contrasts={
            f"Does {way} help {student}?": (names[way, student], names[ALONE, student])
            for student in students
            for way in WAYS
            if way != ALONE
        },
        seeds=LEAST_SEEDS,
        settings={"digits": DIGITS} if ours[students[0]] else {},
    )


def searching(study: Study, best: str, trials: int) -> Study:
    """The comparison, and a search of one of its arms. Arms and winners train at the same, fresh seeds."""
    way = best.partition(" · ")[0]
    space = {**SPACE[way], "lr": Float(0.005, 0.2, log=True)}
    return dataclasses.replace(
        study,
        contrasts={**study.contrast_weights, f"Is the best of the search better than {best}?": ("winner-1", best)},
        search=Search(space=space, template=study.arms[best], trials=trials, winners=2),
    )


def affordable(students: Sequence[str], options: Options) -> list[str]:
    """The networks that keep --at-most by what they cost in inference, which is known before anything trains. Raises
    UserError if none does, or if one cannot be built."""
    if not options.at_most:
        return list(students)
    several = len(students) > 1
    study = comparison(students, several)
    alone = tuple(arm(ALONE, student, several) for student in students)
    study, here = settled(study, dataclasses.replace(options, arms=alone))
    costs = import_module("scl.run.run").costs_of(study, here)
    within = []
    for student, name in zip(students, alone, strict=True):
        if kept(study.constraints, costs[name]):
            within.append(student)
        else:
            cost = ", ".join(f"{of} {costs[name][of]:,.10g}" for of in study.constraints)
            say(f"{student} does not train: --at-most is {in_words(study.constraints)}, and it has {cost}")
    if not within:
        raise UserError("no network of --student keeps --at-most; allow more, or name smaller networks")
    return within


def ranked(read: Results, metric: Metric, at_most: Mapping[str, float]) -> list[str]:
    """Arms by their mean of a metric on validation images, the best first. Of arms that cost no more than they may,
    only those with the most completed seeds count: a mean over fewer may be luck."""
    rows = scored(read, metric)
    for cost, most in at_most.items():
        rows = rows[rows[cost] <= most]
    by_arm = rows.groupby("arm")[metric.validation]
    means = by_arm.mean()[by_arm.size() == by_arm.size().max()]
    return list(means.sort_values(ascending=metric.direction == "min", kind="stable").index)


def scored(read: Results, metric: Metric) -> "pd.DataFrame":
    """Completed trials of the arms and winners, with a value of the metric on validation images."""
    rows = read.planned()
    return rows[(rows["state"] == "completed") & rows[metric.validation].notna() & (rows["seed"] >= FRESH_SEED)]


def network(student: str) -> Model:
    """A network of --student. Raises UserError if there is none of this name."""
    try:
        return model(student)
    except ValueError as error:
        raise UserError(f"--student {error}") from None


STUDY = comparison(["plain5"], several=False)  # without --student


def split_students(flags: Sequence[str]) -> tuple[list[str], list[str]]:
    """The networks of --student A,B,C, and the flags without it; raises UserError if it names none."""
    p = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    p.add_argument("--student")
    given, rest = p.parse_known_args(flags)
    students = [name.strip() for name in (given.student or "plain5").split(",") if name.strip()]
    if not students or len(set(students)) < len(students):
        raise UserError(f"--student {given.student!r}: name different networks, as in plain5,timm:resnet18")
    return students, rest


def several_networks() -> argparse.ArgumentParser:
    """What `--help` says of --student beyond what it is in other studies; the flag itself is read before."""
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument_group(
        "several networks in this study",
        "--student A,B,C, as in --student plain5,timm:resnet18: each network learns alone and in every way, and one\n"
        "page compares them (default: plain5)",
    )
    return p


def main() -> None:
    exit_with(lambda: work(sys.argv[0], sys.argv[1:]))


def work(script: str, flags: Sequence[str]) -> int:
    students, rest = split_students(flags)
    several = len(students) > 1
    study = comparison(students, several)
    # The flags of a search exist for studies that have one.
    options, _ = parsed_with(searching(study, study.baseline, trials=40), script, rest, several_networks())
    options = dataclasses.replace(options, command=name_of(masked_command([Path(script).name, *flags])))
    if (seeds := options.seeds or study.seeds) < LEAST_SEEDS:
        raise UserError(f"--seeds {seeds}: {LEAST_SEEDS} or more, or the intervals say nothing")
    if options.val_share == 0:
        asked = "--val 0" if options.recipe is None else f"--recipe {options.recipe}"
        raise UserError(f"{asked} holds no images out, and this study chooses on validation images; give --val 0.1")
    for name in ("seed_list", "interval", "report_only"):
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} is not for this study, which runs in two steps; drop it")
    began = time.monotonic()
    students = affordable(students, first_step(options, seeds))
    study = comparison(students, several)
    code = run_options(study, first_step(options, seeds))
    if options.plan or code == 130:
        return code
    store = open_folder(options.out, reading=True) / study.name
    metric, bounds = METRICS[options.metric or study.metric], options.at_most or {}
    if not (arms := ranked(read_results(store), metric, bounds)):
        if code == 3:
            return code  # what is missing has been said, and that the same command continues
        raise RunFailed("no arm has completed within --at-most; allow more, name other networks, or give more time")
    say(f"best by {metric.words} on validation images: {arms[0]}; its weights are searched now")
    left = None if options.time_budget is None else max(1.0, options.time_budget - (time.monotonic() - began))
    study = searching(study, arms[0], options.trials or 40)
    after = run_options(study, dataclasses.replace(options, seeds=seeds, time_budget=left))
    if after == 130:
        return after
    read = read_results(store)
    export(read, metric, ranked(read, metric, bounds)[0])
    return after  # it has the trials of the comparison too


def first_step(options: Options, seeds: int) -> Options:
    """Options of the comparison: at the seeds that the search will call fresh, in a part of the time."""
    budget = None if options.time_budget is None else COMPARING * options.time_budget
    fresh = tuple(range(FRESH_SEED, FRESH_SEED + seeds))
    return dataclasses.replace(
        options, seeds=None, seed_list=fresh, time_budget=budget, trials=None, storage=None, start_from=None, fix=None
    )


def export(read: Results, metric: Metric, best: str) -> None:
    """Write the student of an arm that is best on validation images as a file: ONNX that takes photos or, where the
    extra `onnx` is not installed, TorchScript."""
    # Imported only now: a mistyped flag is answered before torch is imported.
    files, students = import_module("scl.students.export"), import_module("scl.students.student")
    assert read.store is not None
    rows = scored(read, metric)
    rows = rows[rows["arm"] == best].sort_values(metric.validation, ascending=metric.direction == "min", kind="stable")
    chosen = rows.iloc[0]
    student = students.load_student(str(read.store), f"{best}/{chosen['seed']}")
    onnx = all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))
    form = "onnx" if onnx else "torchscript"
    folder = Path(read.store.path) if read.store.is_local else Path()
    path = folder / f"student{files.SUFFIXES[form]}"
    shown = ("{:.2%}" if metric.unit == "%" else "{:.4g} nats").format
    files.save(student, path, form, force=True, photo=onnx)
    show(
        f"best on validation images: {best}, seed {chosen['seed']}, {chosen['params']:,} parameters; {metric.words} "
        f"{shown(chosen[metric.validation])} on validation images, {shown(chosen[metric.column])} on test images\n"
        f"exported to {path}, " + ("which takes photos" if onnx else "which takes pixels in [0, 1]")
    )


if __name__ == "__main__":
    main()
