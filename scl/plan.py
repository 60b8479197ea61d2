"""From a study and a command line to what would run: data, teachers, cells, costs. Trains nothing."""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from scl import checkpoint, data, datasets, models, results, trainer
from scl.cli import Options
from scl.cohort import Job, World, data_of, load_teacher, save_teacher
from scl.config import Config, UserError, canonical_json, params, requested
from scl.objective import Objective
from scl.progress import clock
from scl.storage import Folder
from scl.study import Cell, Study, cells, cohorts, makespan, teacher_id
from scl.track import Tracker
from scl.trainer import Teacher

# The fields of a configuration that make its network.
ARCHITECTURE = ("student", "width", "self_taught", "self_taught_at", "self_taught_from")


@dataclass(frozen=True)
class Plan:
    """A resolved study: its world, its cells in order, and the teacher of each."""

    study: Study
    options: Options
    world: World
    cells: list[Cell]
    arms: Mapping[str, Config]
    teacher: Config
    teacher_ids: Mapping[int, str]  # by seed
    costs: Mapping[str, Cost]  # by config_id
    teacher_macs: int
    about_data: dict[str, Any]  # for study.json
    slots: int
    tracker: Tracker = field(default_factory=Tracker)


@dataclass(frozen=True)
class Cost:
    """What a student is in inference: parameters, multiply-accumulates of one image, ms of one image."""

    params: int
    macs: int
    latency_ms: float


def make_plan(study: Study, options: Options, out: Folder) -> Plan:
    """Resolve, check and number everything; trains nothing. Raises UserError."""
    cores = len(os.sched_getaffinity(0))
    if options.cpus_per_trial > cores and not options.address:
        raise UserError(f"--cpus-per-trial {options.cpus_per_trial}: this machine has {cores}; give 1 to {cores}")
    arms, guide = study.resolve(
        options.data, options.arms, options.student_changes(), options.teacher_changes(), options.published
    )
    cache = Path(out.path) / "cache" if out.is_local else Path.home() / ".cache" / "scl"
    dataset = datasets.load(options.data, cache, options.label)
    classes = len(dataset.classes)
    train, val = data.split(
        dataset.train_labels, val=options.val, seed=options.split_seed, limit=options.limit, classes=classes
    )
    fingerprint = data.split_fingerprint(dataset, train, val)
    mean, std = data.normalisation(dataset)
    seeds = list(range(options.seeds or study.seeds))
    weights = checkpoint.load_weights(options.teacher_file) if options.teacher_file else None

    def guide_id(seed: int) -> str:
        if options.teacher_file:
            return hashlib.sha256(Path(options.teacher_file).read_bytes()).hexdigest()
        return teacher_id(guide, seed if options.teacher_per_seed else 0, fingerprint)

    teacher_ids = {seed: guide_id(seed) for seed in seeds}
    every = cells(arms, seeds, fingerprint, teacher_ids.__getitem__)
    world = World(
        images={
            "train": dataset.train_images[train],
            "val": dataset.train_images[val],
            "test": dataset.test_images,
        },
        labels={
            "train": dataset.train_labels[train],
            "val": dataset.train_labels[val],
            "test": dataset.test_labels,
        },
        mean=mean,
        std=std,
        classes=classes,
        class_names=dataset.classes,
        flip=dataset.flip,
        fingerprint=fingerprint,
        jobs={i: Job(guide, s if options.teacher_per_seed else 0) for s, i in reversed(teacher_ids.items())},
        out=out,
        study=study.name,
        device=device(options),
        threads=options.cpus_per_trial,
        deterministic=options.deterministic,
    )
    tensors = data_of(world)
    if weights is not None:
        adopt_teacher(world, weights, guide, teacher_ids[0], options.teacher_file or "")
    elif guide.pretrained:
        world = start_from_pretrained(world, guide)
    return Plan(
        study=study,
        options=options,
        world=world,
        cells=every,
        arms=arms,
        teacher=guide,
        teacher_ids=teacher_ids,
        costs=measure({c.config_id: c.config for c in every}, guide, tensors, world.store),
        teacher_macs=models.macs(trainer.build_student(guide, tensors, 0), tensors.image_shape),
        about_data={
            "name": dataset.name,
            "fingerprint": fingerprint,
            **{part: len(labels) for part, labels in world.labels.items()},
            "classes": classes,
            **dict(zip(("channels", "height", "width"), tensors.image_shape, strict=True)),
            "limit": options.limit,
            "val_share": options.val,
            "split_seed": options.split_seed,
            "note": dataset.note,
        },
        slots=1 if options.inline or options.address else local_slots(options),
    )


def device(options: Options) -> str:
    """cpu or cuda. On a cluster the workers' devices count, and they are asked for by --gpus-per-trial."""
    if options.device == "cuda" and not options.address and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device on this machine; valid here: auto, cpu")
    if options.device == "auto":
        return "cuda" if torch.cuda.is_available() or (options.gpus_per_trial or 0) > 0 else "cpu"
    return options.device


def adopt_teacher(world: World, weights: Mapping[str, torch.Tensor], config: Config, identity: str, path: str) -> None:
    """Check a user's checkpoint against the teacher's architecture and keep it with its test logits."""
    if load_teacher(world.out, identity, config) is not None:
        return
    tensors = data_of(world)
    model = trainer.build_student(config, tensors, 0)
    wanted = model.state_dict()
    kept = fitted(weights, wanted)
    if kept is None:
        given = {k: tuple(v.shape) for k, v in weights.items()}
        shapes = {k: tuple(v.shape) for k, v in wanted.items()}
        wrong = [f"{k} is {given.get(k, 'absent')}, wanted {s}" for k, s in shapes.items() if given.get(k) != s]
        raise UserError(
            f"--teacher {path!r} does not fit {config.student} at width {config.width:g} with {world.classes} classes "
            f"({len(wrong)} of {len(wanted)} tensors, the first: {wrong[0]}); "
            "name its architecture with --teacher-model and --teacher-width, and give data with its classes"
        )
    accuracy = keep_untrained(world, config, kept, identity)
    how = "" if wanted.keys() <= weights.keys() else ", tensors matched by their order and shapes, their names differ"
    print(f"teacher {path}: test accuracy {accuracy:.2%}{how}", file=sys.stderr)


def fitted(weights: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """A checkpoint's tensors under the names of a model, or None where it does not fit.

    By name; or, where names differ, by order and shape: published code registers the layers of these
    architectures in the order in which they stand here, under names of its own.
    """
    by_name = {k: weights.get(k, weights.get(k.removeprefix("net."))) for k in wanted}
    by_order = dict(zip(wanted, weights.values(), strict=False)) if len(weights) == len(wanted) else {}
    for found in (by_name, by_order):
        if all((given := found.get(k)) is not None and given.shape == old.shape for k, old in wanted.items()):
            return {k: found[k].to(old.dtype) for k, old in wanted.items()}  # type: ignore[union-attr]
    return None


def keep_untrained(world: World, config: Config, weights: dict[str, torch.Tensor], identity: str) -> float:
    """Store a teacher that is used as it comes; returns its test accuracy."""
    tensors = data_of(world)
    built = trainer.build_teacher(Teacher(config, weights, torch.empty(0)), tensors, torch.device("cpu"))
    (logits,) = trainer.evaluate([built], tensors.test, tensors)
    accuracy = (logits.argmax(1) == tensors.test.labels).double().mean().item()
    save_teacher(world.out / "teachers" / identity, weights, logits, {"metrics": {"test_acc": accuracy}})
    return accuracy


def start_from_pretrained(world: World, config: Config) -> World:
    """The world with published weights in the jobs of teachers that are not there yet.

    Where the weights know as many classes as the data have, they are the teacher; else the teacher's recipe tunes
    them, with a fresh last layer.
    """
    tensors = data_of(world)
    jobs = dict(world.jobs)
    for identity, job in world.jobs.items():
        if load_teacher(world.out, identity, config) is None:
            model = trainer.build_student(config, tensors, job.seed)
            weights, whole = models.pretrained(config.student, model)
            if whole:
                keep_untrained(world, config, weights, identity)
            else:
                jobs[identity] = replace(job, weights=weights)
    return replace(world, jobs=jobs)


def measure(configs: Mapping[str, Config], teacher: Config, tensors: trainer.Data, store: Folder) -> dict[str, Cost]:
    """Build every arm once: what cannot be built is refused here, before anything trains.

    Latency is the median of 30 forwards of one image on one thread of the driver's CPU, taken before anything
    trains, once an architecture; earlier figures in the store are kept.
    """
    known = results.read_trials(store).dropna(subset=["latency_ms"]).groupby("config_id")["latency_ms"].last()
    by_architecture: dict[tuple[Any, ...], Cost] = {}
    costs = {}
    guides: dict[tuple[Any, ...], models.Features] = {}
    threads = torch.get_num_threads()
    for config_id, config in configs.items():
        model = trainer.build_student(config, tensors, 0)
        look = (config.tap, config.teacher_layers)
        if look not in guides:
            guide = trainer.build_student(teacher, tensors, 0, config.teacher_layers)
            guides[look] = trainer.example_features(guide, tensors, config.tap)
        Objective(config, trainer.example_features(model, tensors, config.tap), guides[look])
        architecture = tuple(getattr(config, name) for name in ARCHITECTURE)
        if architecture not in by_architecture:
            latency = float(known[config_id]) if config_id in known.index else _latency_ms(model, tensors.image_shape)
            by_architecture[architecture] = Cost(
                sum(p.numel() for p in model.parameters()), models.macs(model, tensors.image_shape), latency
            )
        costs[config_id] = by_architecture[architecture]
    torch.set_num_threads(threads)
    return costs


def _latency_ms(model: torch.nn.Module, shape: tuple[int, int, int]) -> float:
    torch.set_num_threads(1)
    model.eval().to(memory_format=torch.channels_last)
    image = torch.zeros(1, *shape)
    times = []
    with torch.inference_mode():
        for _ in range(35):
            began = time.perf_counter()
            model(image)
            times.append(time.perf_counter() - began)
    return statistics.median(times[5:]) * 1e3


def missing(plan: Plan) -> list[Cell]:
    """Cells that are neither completed nor pruned; failed ones are tried again."""
    rows = results.read_trials(plan.world.store)
    done = set(rows.loc[rows["state"].isin(["completed", "pruned"]), "trial_id"])
    return [cell for cell in plan.cells if cell.trial_id not in done]


def plan_cohorts(plan: Plan, todo: Sequence[Cell]) -> list[list[Cell]]:
    """Cohorts balanced by multiply-accumulates: a student's step is three forwards, the teacher's is one."""

    def cost(cell: Cell) -> float:
        return 3.0 * plan.costs[cell.config_id].macs * cell.config.total_epochs

    epochs = max(c.config.total_epochs for c in todo)
    return cohorts(todo, plan.slots, plan.options.cohort_size, float(plan.teacher_macs * epochs), cost)


def student_jobs(plan: Plan, todo: Sequence[Cell]) -> dict[str, Job]:
    accuracy = {}
    for identity in set(plan.teacher_ids.values()):
        found = load_teacher(plan.world.out, identity, plan.teacher)
        assert found is not None
        accuracy[identity] = found[1]["metrics"]["test_acc"]
    jobs = {}
    for cell in todo:
        cost = plan.costs[cell.config_id]
        columns = {
            "trial_id": cell.trial_id,
            "study": plan.study.name,
            "arm": cell.arm,
            "config_id": cell.config_id,
            "seed": cell.seed,
            "config_json": canonical_json(requested(cell.config)),
            "teacher_id": cell.teacher_id,
            "teacher_test_acc": accuracy[cell.teacher_id],
            "params": cost.params,
            "macs": cost.macs,
            "latency_ms": cost.latency_ms,
            **{f"param.{name}": value for name, value in params(cell.config).items()},
        }
        jobs[cell.trial_id] = Job(cell.config, cell.seed, cell.teacher_id, columns)
    return jobs


def show_plan(plan: Plan) -> int:
    """Print what would run and what it would cost, from a short timing of each arm on this machine."""
    todo = missing(plan)
    chosen = plan_cohorts(plan, todo) if todo else []
    sizes = ", ".join(str(len(cohort)) for cohort in chosen)
    guide, images = plan.teacher, plan.world.labels
    ready = all(load_teacher(plan.world.out, i, guide) for i in plan.teacher_ids.values())
    print(f"study {plan.study.name}: {plan.study.question}")
    print(f"  data       {plan.options.data}: " + ", ".join(f"{len(images[k])} {k}" for k in images))
    print(f"  cells      {len(plan.cells)} = {len(plan.arms)} arms × {len(plan.teacher_ids)} seeds")
    print(f"  done       {len(plan.cells) - len(todo)}")
    print(
        f"  to train   {len(todo)}" + (f", in {len(chosen)} cohorts of {sizes}, on {plan.slots} slots" if todo else "")
    )
    print(f"  teacher    {guide.student} × {guide.width:g}, {guide.epochs} epochs: {'done' if ready else 'to train'}")
    if todo:
        wall, device_seconds = estimate(plan, chosen, ready)
        print(
            f"  estimate   {clock(wall)} of wall time, {device_seconds / 3600:.2f} device hours, evaluation not counted"
        )
        print("             (from a few steps of each arm, timed on this machine's CPU just now)")
    from scl.stats import smallest_effect

    arms, seeds = len(plan.arms), len(plan.teacher_ids)
    if arms > 1 and seeds > 1:
        effect = smallest_effect(arms, seeds)
        print(f"  can show   differences of {effect:.2f} sd of a paired difference, with 80 % power at {seeds} seeds")
    else:
        print("  can show   values and differences, no interval: that needs a second seed and a second arm")
    return 0


def estimate(plan: Plan, chosen: Sequence[Sequence[Cell]], teacher_ready: bool) -> tuple[float, float]:
    """Seconds of wall time and of device time that training the cohorts takes, from a few timed steps."""
    tensors = data_of(plan.world)
    torch.set_num_threads(plan.options.cpus_per_trial)
    forward, own = trainer.probe(plan.teacher, {c.config_id: c.config for cohort in chosen for c in cohort}, tensors)

    def seconds(cohort: Sequence[Cell]) -> float:
        steps = -(-len(tensors.train.labels) // cohort[0].config.batch_size)
        shared = forward * max(c.config.total_epochs for c in cohort)
        return steps * (shared + sum(own[c.config_id] * c.config.total_epochs for c in cohort))

    spent = [seconds(cohort) for cohort in chosen]
    guide = plan.teacher
    steps = -(-len(tensors.train.labels) // guide.batch_size) * guide.epochs
    teachers = 0.0 if teacher_ready else 3.0 * forward * steps * len(set(plan.teacher_ids.values()))
    return makespan(spent, plan.slots) + teachers, sum(spent) + teachers


def local_slots(options: Options) -> int:
    slots = max(1, len(os.sched_getaffinity(0)) // options.cpus_per_trial)
    return min(slots, options.max_concurrent or slots)
