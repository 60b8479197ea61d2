"""From a study and a command line to what would run: data, teachers, cells, costs. Trains nothing."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from scl import checkpoint, data, datasets, memory, models, results
from scl.cli import Options
from scl.cohort import Job, World, data_of, load_teacher
from scl.config import Config, UserError, canonical_json, params, requested, sha256
from scl.models import Features
from scl.networks import build_student, example_features
from scl.nodes import slots, survey
from scl.objective import Objective
from scl.probe import Probe
from scl.space import FRESH_SEED
from scl.storage import Folder
from scl.study import MOST, Cell, Study, cells, cohorts, effective, teacher_id
from scl.teachers import adopt, start_from_pretrained
from scl.track import Tracker
from scl.trial import Data

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
    seeds: list[int]  # of the arms; a search has a seed of its own besides
    bench: Bench
    about_data: dict[str, Any]  # for study.json
    slots: int
    tracker: Tracker = field(default_factory=Tracker)


@dataclass(frozen=True)
class Cost:
    """What a student is in inference: parameters, multiply-accumulates of one image, ms of one image."""

    params: int
    macs: int
    latency_ms: float | None


def make_plan(study: Study, options: Options, out: Folder) -> Plan:
    """Resolve, check and number everything; trains nothing. Raises UserError."""
    cores = len(os.sched_getaffinity(0))
    if options.cpus_per_trial > cores and not options.address:
        raise UserError(f"--cpus-per-trial {options.cpus_per_trial}: this machine has {cores}; give 1 to {cores}")
    arms, guide = study.resolve(
        options.data, options.arms, options.student_changes(), options.teacher_changes(), options.published
    )
    if study.search is not None and options.val == 0:
        raise UserError("--val 0: a search selects on validation images; hold some out, as in --val 0.1")
    cache = Path(out.path) / "cache" if out.is_local else Path.home() / ".cache" / "scl"
    dataset = datasets.load(options.data, cache, options.label)
    classes = len(dataset.classes)
    train, val = data.split(
        dataset.train_labels, val=options.val, seed=options.split_seed, limit=options.limit, classes=classes
    )
    fingerprint = data.split_fingerprint(dataset, train, val)
    mean, std = data.normalisation(dataset)
    first = FRESH_SEED if study.search else 0
    count = 0 if study.search and study.search.winners == 0 else options.seeds or study.seeds
    seeds = list(range(first, first + count))
    weights = checkpoint.load_weights(options.teacher_file) if options.teacher_file else None

    def guide_id(seed: int) -> str:
        if options.teacher_file:
            return hashlib.sha256(Path(options.teacher_file).read_bytes()).hexdigest()
        return teacher_id(guide, seed if options.teacher_per_seed else 0, fingerprint)

    own = [*seeds, study.search.seed] if study.search else seeds
    if options.teacher_file or not options.teacher_per_seed:
        teacher_ids = dict.fromkeys(own, guide_id(0))
    else:
        teacher_ids = {seed: guide_id(seed) for seed in own}
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
        adopt(world, weights, guide, guide_id(0), options.teacher_file or "")
    elif guide.pretrained:
        world = start_from_pretrained(world, guide)
    bench = Bench(guide, tensors, world)
    bench.check(study, arms)
    return Plan(
        study=study,
        options=options,
        world=world,
        cells=cells(arms, seeds, fingerprint, teacher_ids.__getitem__),
        arms=arms,
        teacher=guide,
        teacher_ids=teacher_ids,
        seeds=seeds,
        bench=bench,
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
        slots=slots_of(options, world.device),
    )


def with_arms(plan: Plan, arms: Mapping[str, Config], seeds: Sequence[int] | None = None) -> Plan:
    """The plan with more cells: these arms at these seeds (None: the plan's). Raises UserError for what cannot be."""
    plan.bench.check(plan.study, {**plan.arms, **arms})
    chosen = plan.seeds if seeds is None else seeds
    teacher_ids = dict(plan.teacher_ids)
    jobs = dict(plan.world.jobs)
    for seed in chosen:
        if seed not in teacher_ids:
            per_seed = plan.options.teacher_per_seed and not plan.options.teacher_file
            known = next(iter(teacher_ids.values()))
            teacher_ids[seed] = teacher_id(plan.teacher, seed, plan.world.fingerprint) if per_seed else known
            jobs.setdefault(teacher_ids[seed], Job(plan.teacher, seed if plan.options.teacher_per_seed else 0))
    have = {c.trial_id for c in plan.cells}
    more = [c for c in cells(arms, chosen, plan.world.fingerprint, teacher_ids.__getitem__) if c.trial_id not in have]
    return replace(
        plan,
        arms={**plan.arms, **arms},
        cells=[*plan.cells, *more],
        teacher_ids=teacher_ids,
        seeds=sorted({*plan.seeds, *chosen}),
        world=replace(plan.world, jobs=jobs),
    )


class Bench:
    """Builds each architecture, and each objective on it, once: what cannot be built is refused here, before
    anything trains, and so are arms that come to the same. 10,000 arms of a few architectures cost a few builds.
    """

    def __init__(self, teacher: Config, tensors: Data, world: World) -> None:
        self.teacher, self.tensors, self.device, self.store = teacher, tensors, world.device, world.store
        self.teacher_macs = models.macs(build_student(teacher, tensors, 0), tensors.image_shape)
        here = torch.device(world.device if torch.cuda.is_available() else "cpu")
        self.probe = Probe(teacher, tensors, here, world.threads, self.macs)
        self.guides: dict[tuple[Any, ...], Features] = {}  # by where maps are taken
        self.models: dict[tuple[Any, ...], tuple[Features, list[Any]]] = {}
        self.built: dict[str, str] = {}
        self.costs: dict[tuple[Any, ...], Cost] = {}
        self._latencies: dict[str, float] | None = None

    def check(self, study: Study, arms: Mapping[str, Config]) -> None:
        """Raises UserError, with all reasons, where an arm cannot be built, or two arms come to the same."""
        same, wrong = {}, []
        for arm, config in arms.items():
            try:
                same[arm] = self.comes_to(config)
            except UserError as error:
                wrong.append(f"arm {arm!r}: {error}")
        if wrong:
            raise UserError("\n".join(wrong))
        study.refuse_twins(same)

    def comes_to(self, config: Config) -> str:
        """A hash of what a configuration trains on this data: shapes of the network, terms where they compare,
        recipe. Equal ones differ in words alone, such as widths that round to the same channels."""
        features, shapes = self._model(config)
        built = self._objective(config, features)
        plain = effective(config)
        plain.pop("connector", None)  # what it came to is in `built`
        terms = {
            name: {k: v for k, v in term.items() if k != "layers"} for name, term in plain.get("losses", {}).items()
        }
        recipe = {k: v for k, v in plain.items() if k not in ("losses", "width", "self_taught", "guided")}
        flip, cuda = self.tensors.flip, self.device != "cpu"
        if config.augment == "auto":
            recipe["augment"] = "crop+flip" if flip else "crop"
        if config.precision == "auto":
            recipe["precision"] = "bf16" if cuda else "fp32"
        return sha256({"recipe": recipe, "student": config.student, "shapes": shapes, "terms": terms, "built": built})

    def _model(self, config: Config) -> tuple[Features, list[Any]]:
        key = tuple(getattr(config, name) for name in (*ARCHITECTURE, "guided", "tap"))
        if key not in self.models:
            model = build_student(config, self.tensors, 0)
            features = example_features(model, self.tensors, config.tap)
            shapes = [[name, list(p.shape)] for name, p in model.named_parameters()]
            self.models[key] = features, [*shapes, [list(m.shape[1:]) for m in features.maps]]
        return self.models[key]

    def _guide(self, config: Config) -> Features:
        look = (config.tap, config.teacher_layers)
        if look not in self.guides:
            model = build_student(self.teacher, self.tensors, 0, config.teacher_layers)
            self.guides[look] = example_features(model, self.tensors, config.tap)
        return self.guides[look]

    def _objective(self, config: Config, features: Features) -> str:
        structure = {name: {**term, "weight": 0} for name, term in effective(config).get("losses", {}).items()}
        look = (*ARCHITECTURE, "guided", "tap", "teacher_layers", "connector")
        key = sha256([[getattr(config, name) for name in look], structure])
        if key not in self.built:
            objective = Objective(config, features, self._guide(config))
            parts = [[name, list(p.shape)] for name, p in objective.named_parameters()]
            self.built[key] = sha256([objective.pairs, parts])
        return self.built[key]

    def cost(self, config: Config, idle: bool = True) -> Cost:
        """What a student is in inference. Latency is taken only on an idle machine, before anything trains, once an
        architecture: the median of 30 forwards of one image on one thread; an earlier figure is kept."""
        key = tuple(getattr(config, name) for name in ARCHITECTURE)
        cost = self.costs.get(key)
        if cost is None or (idle and cost.latency_ms is None):
            model = build_student(config, self.tensors, 0)
            shape = self.tensors.image_shape
            parameters = sum(p.numel() for p in model.parameters())
            latency = self._latency(config, model) if idle else None
            self.costs[key] = cost = Cost(parameters, models.macs(model, shape), latency)
        return cost

    def _latency(self, config: Config, model: torch.nn.Module) -> float:
        if self._latencies is None:
            rows = results.read_trials(self.store).dropna(subset=["latency_ms"])
            self._latencies = dict(zip(rows["config_id"], rows["latency_ms"], strict=True))
        known = self._latencies.get(sha256(requested(config)))
        return known if known is not None else _latency_ms(model, self.tensors.image_shape)

    def macs(self, config: Config) -> int:
        return self.cost(config, idle=False).macs


def device(options: Options) -> str:
    """cpu or cuda. On a cluster its nodes' GPUs count, or what --gpus-per-trial asks for."""
    if options.device == "cuda" and not options.address and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device on this machine; valid here: auto, cpu")
    if options.device == "auto" and options.address:
        wanted = options.gpus_per_trial
        if wanted is None:
            wanted = max(node.resources.get("GPU", 0.0) for node in survey(options.address))
        return "cuda" if wanted > 0 else "cpu"
    if options.device == "auto":
        return "cuda" if torch.cuda.is_available() or (options.gpus_per_trial or 0) > 0 else "cpu"
    return options.device


def _latency_ms(model: torch.nn.Module, shape: tuple[int, int, int]) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model.eval().to(memory_format=torch.channels_last)
    image = torch.zeros(1, *shape)
    times = []
    with torch.inference_mode():
        for _ in range(35):
            began = time.perf_counter()
            model(image)
            times.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return statistics.median(times[5:]) * 1e3


def missing(plan: Plan) -> list[Cell]:
    """Cells that are neither completed nor pruned; failed ones are tried again."""
    rows = results.read_trials(plan.world.store)
    done = set(rows.loc[rows["state"].isin(["completed", "pruned"]), "trial_id"])
    return [cell for cell in plan.cells if cell.trial_id not in done]


def plan_cohorts(plan: Plan, todo: Sequence[Cell]) -> list[list[Cell]]:
    """Cohorts that end together, by what a step of each configuration and the teacher's forward cost here.

    With one slot, or a size that is asked for, nothing depends on it but an order: multiply-accumulates tell that, a
    student's step being three forwards and the teacher's one.
    """
    configs = {c.config_id: c.config for c in todo}
    epochs = max(c.config.total_epochs for c in todo)
    if plan.slots == 1 or plan.options.cohort_size is not None:
        own = {key: 3.0 * plan.bench.macs(config) for key, config in configs.items()}
        forward = float(plan.bench.teacher_macs)
    else:
        own = {key: s / configs[key].batch_size for key, s in plan.bench.probe.own(configs).items()}
        forward = plan.bench.probe.forward(1)
    size = plan.options.cohort_size
    return cohorts(
        todo,
        plan.slots,
        size,
        forward * epochs,
        lambda cell: own[cell.config_id] * cell.config.total_epochs,
        most=min(MOST, room(plan, todo)),
    )


# Bytes a parameter that a student of a cohort keeps between its steps: weight, gradient, momentum.
KEPT = 12


def room(plan: Plan, todo: Sequence[Cell]) -> int:
    """Students of a cohort whose weights fit into half of this machine's memory, or of its GPU's; the other half is
    for their steps, of which a few run at once. Of a cluster's nodes nothing is known here: a cohort that does not fit
    is halved."""
    if plan.options.address:
        return MOST
    if plan.bench.probe.device.type == "cuda":
        total, cohorts_at_once = torch.cuda.mem_get_info()[1], max(1.0, 1 / (plan.options.gpus_per_trial or 1.0))
    else:
        total, cohorts_at_once = memory.physical(), plan.slots
    largest = max(plan.bench.cost(c.config, idle=False).params for c in todo)
    return max(1, int(total / 2 / cohorts_at_once / (KEPT * largest)))


def student_jobs(plan: Plan, todo: Sequence[Cell], numbers: Mapping[str, int] | None = None) -> dict[str, Job]:
    """The jobs of cells, with the columns that are known beforehand.

    Args:
        numbers: trial_id → the order in which a search suggested it. Given while a search runs, so that no latency is
            taken on a busy machine.
    """
    accuracy = {}
    for identity in {cell.teacher_id for cell in todo}:
        found = load_teacher(plan.world, identity, plan.teacher)
        assert found is not None
        accuracy[identity] = found[1]["metrics"]["test_acc"]
    jobs = {}
    for cell in todo:
        cost = plan.bench.cost(cell.config, idle=numbers is None)
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
            "number": None if numbers is None else numbers[cell.trial_id],
            **{f"param.{name}": value for name, value in params(cell.config).items()},
        }
        jobs[cell.trial_id] = Job(cell.config, cell.seed, cell.teacher_id, columns)
    return jobs


def slots_of(options: Options, on: str) -> int:
    """Cohorts that run at once: on the nodes of a cluster as they are now, else on this machine's cores."""
    if options.inline:
        return 1
    if options.address:
        gpus = gpus_of_cohort(options, on)
        room = slots(survey(options.address), options.cpus_per_trial, gpus)
    else:
        room = len(os.sched_getaffinity(0)) // options.cpus_per_trial
    return min(max(1, room), options.max_concurrent or room or 1)


def gpus_of_cohort(options: Options, on: str) -> float:
    return options.gpus_per_trial if options.gpus_per_trial is not None else float(on == "cuda")
