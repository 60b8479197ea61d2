"""A study from its command line to its page: plan, teachers, cohorts, results. Ray is used here and in trainable."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from scl import checkpoint, data, datasets, models, results, trainer
from scl.cli import Options
from scl.cohort import Job, World, data_of, execute, load_teacher, save_teacher
from scl.config import Config, UserError, canonical_json, params, requested, sha256
from scl.objective import Objective
from scl.progress import Progress, clock
from scl.storage import Folder, check_writable, explain, locked, open_folder
from scl.study import Cell, Study, cells, cohorts, makespan, teacher_id
from scl.trainer import EpochDone, Teacher

SELECTION = "validation alone selects; test accuracy is that of the last epoch"
MAX_FAILURES = 3  # of a worker, before its cohort's unfinished trials count as failed


@dataclass
class Stop:
    """Why a run should end early: a signal, or its time budget."""

    budget: float | None
    began: float = field(default_factory=time.monotonic)
    signalled: bool = False

    @property
    def over_budget(self) -> bool:
        return self.budget is not None and time.monotonic() - self.began > self.budget

    def __call__(self) -> bool:
        return self.signalled or self.over_budget


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
    slots: int


@dataclass(frozen=True)
class Cost:
    """What a student is in inference: parameters, multiply-accumulates of one image, ms of one image."""

    params: int
    macs: int
    latency_ms: float


def run(study: Study, options: Options) -> int:
    """Run a study; returns the exit code of the contract. Raises UserError before anything has started."""
    out = open_folder(options.out)
    store = out / study.name
    if options.report_only:
        results.read_study(store)
        with locked(store):
            return report(store)
    check_writable(out)
    if options.plan:
        return show_plan(make_plan(study, options, out))
    with locked(store), stopping(options.time_budget) as stop:
        try:
            return _run(make_plan(study, options, out), stop)
        except OSError as error:
            print(f"error: {store}: {explain(error)}", file=sys.stderr)
            return 1


def _run(plan: Plan, stop: Stop) -> int:
    world, began = plan.world, time.time()
    store = world.store
    todo = missing(plan)
    print(f"{plan.study.name}: {len(plan.cells)} trials, {len(plan.cells) - len(todo)} done, {len(todo)} to train", file=sys.stderr)
    record = study_record(plan)
    results.write_study(store, record)
    results.write_reference_predictions(store, {"labels": world.labels["test"]})
    if todo:
        with executor(plan, stop) as train:
            teachers = {i: plan.teacher for i in set(plan.teacher_ids.values())}
            untrained = [i for i in teachers if load_teacher(world.out, i, plan.teacher) is None]
            if untrained:
                train("teacher", [[i] for i in sorted(untrained)], {i: "teacher" for i in untrained})
            absent = [i for i in untrained if load_teacher(world.out, i, plan.teacher) is None]
            if absent and not stop():
                print("error: the teacher could not be trained; see the message above", file=sys.stderr)
                return 1
            if not absent:
                # Only now are the teachers' accuracies known, which every row carries.
                jobs = student_jobs(plan, todo)
                labels = {c.trial_id: f"{c.arm} · seed {c.seed}" for c in todo}
                chosen = plan_cohorts(plan, todo)
                train("students", [[c.trial_id for c in cohort] for cohort in chosen], labels, jobs)
    teachers_done = {i: load_teacher(world.out, i, plan.teacher) for i in set(plan.teacher_ids.values())}
    accuracies = {i: found[1]["metrics"]["test_acc"] for i, found in teachers_done.items() if found}
    record["teacher"]["test_acc"] = {seed: accuracies.get(i) for seed, i in record["teacher"]["ids"].items()}
    record["wall_seconds"] = round(time.time() - began, 1)
    record["ended"] = results.now().isoformat()
    results.write_study(store, record)
    results.compact(store, record)
    results.write_reference_predictions(
        store, {i: found[0].test_logits.argmax(1).numpy() for i, found in teachers_done.items() if found}
    )
    if not todo:
        print("nothing to train: every trial of this plan is done", file=sys.stderr)
    code = report(store)
    if stop.signalled:
        print("interrupted; what was finished is kept, the same command goes on", file=sys.stderr)
        return 130
    return 3 if stop.over_budget and code != 1 and missing(plan) else code


def report(store: Folder) -> int:
    """Write the page, print the table and the verdict; 0 when every cell is completed or pruned, else 1."""
    read = results.read(store)
    states = read.cells()["state"]
    failed = int((states == "failed").sum())
    try:
        from scl import report as page
    except ModuleNotFoundError as error:
        print(f"no page was written, {error.name} is not installed; elsewhere: --report-only", file=sys.stderr)
    else:
        page.write(store)
        page.print_summary(read)
        print(f"page: {store}/report.html", file=sys.stderr)
    if failed:
        print(f"{failed} trials failed; the page says which and why. The same command tries them again.", file=sys.stderr)
    return 1 if failed else 0


# --- planning ---------------------------------------------------------------------------------------------------


def make_plan(study: Study, options: Options, out: Folder) -> Plan:
    """Resolve, check and number everything; trains nothing. Raises UserError."""
    arms, guide = study.resolve(options.data, options.arms, options.student_changes(), options.teacher_changes())
    cache = Path(out.path) / "cache" if out.is_local else Path.home() / ".cache" / "scl"
    dataset = datasets.load(options.data, cache, options.label)
    classes = len(dataset.classes)
    train, val = data.split(
        dataset.train_labels, val=options.val, seed=options.split_seed, limit=options.limit, classes=classes
    )
    fingerprint = data.split_fingerprint(dataset.fingerprint, train, val)
    mean, std = datasets.normalisation(dataset)
    seeds = list(range(options.seeds or study.seeds))
    weights = checkpoint.load_weights(options.teacher) if options.teacher else None

    def guide_id(seed: int) -> str:
        if options.teacher:
            return hashlib.sha256(Path(options.teacher).read_bytes()).hexdigest()
        return teacher_id(guide, seed if options.teacher_per_seed else 0, fingerprint)

    teacher_ids = {seed: guide_id(seed) for seed in seeds}
    every = cells(arms, seeds, fingerprint, teacher_ids.__getitem__)
    world = World(
        images={
            "train": dataset.train_images[train],
            "val": dataset.train_images[val],
            "test": dataset.test_images,
        },
        labels={"train": dataset.train_labels[train], "val": dataset.train_labels[val], "test": dataset.test_labels},
        mean=mean,
        std=std,
        classes=classes,
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
        adopt_teacher(world, weights, guide, teacher_ids[0], options.teacher or "")
    teacher = trainer.build_student(guide, tensors, 0)
    plan = Plan(
        study=study,
        options=options,
        world=world,
        cells=every,
        arms=arms,
        teacher=guide,
        teacher_ids=teacher_ids,
        costs=measure({c.config_id: c.config for c in every}, teacher, tensors, world.store),
        teacher_macs=models.macs(teacher, tensors.image_shape),
        slots=1 if options.inline or options.address else local_slots(options),
    )
    write_dataset_note(plan, dataset)
    return plan


_NOTES: dict[str, dict[str, Any]] = {}


def write_dataset_note(plan: Plan, dataset: datasets.Dataset) -> None:
    images = plan.world.images
    _NOTES[plan.world.fingerprint] = {
        "name": dataset.name,
        "fingerprint": plan.world.fingerprint,
        **{part: len(images[part]) for part in ("train", "val", "test")},
        "classes": plan.world.classes,
        **dict(zip(("channels", "height", "width"), map(int, images["train"].shape[1:]), strict=True)),
        "limit": plan.options.limit,
        "val_share": plan.options.val,
        "split_seed": plan.options.split_seed,
        "note": dataset.note,
    }


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
    wanted = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    given = {k: tuple(v.shape) for k, v in weights.items() if k in wanted}
    wrong = [f"{k} is {given.get(k, 'absent')}, wanted {shape}" for k, shape in wanted.items() if given.get(k) != shape]
    if wrong:
        raise UserError(
            f"--teacher {path!r} does not fit {config.student} at width {config.width:g} with {world.classes} classes "
            f"({len(wrong)} of {len(wanted)} tensors, the first: {wrong[0]}); "
            "name its architecture with --teacher-model and --teacher-width, and give data with its classes"
        )
    kept = {k: v.to(model.state_dict()[k].dtype) for k, v in weights.items() if k in wanted}
    built = trainer.build_teacher(Teacher(config, kept, torch.empty(0)), tensors, torch.device("cpu"))
    (logits,) = trainer.evaluate([built], tensors.test, tensors)
    accuracy = (logits.argmax(1) == tensors.test.labels).double().mean().item()
    save_teacher(world.out / "teachers" / identity, kept, logits, {"metrics": {"test_acc": accuracy}})


def measure(
    configs: Mapping[str, Config], teacher: torch.nn.Module, tensors: trainer.Data, store: Folder
) -> dict[str, Cost]:
    """Build every arm once: what cannot be built is refused here, before anything trains.

    Latency is the median of 30 forwards of one image on one thread of the driver's CPU, taken before anything
    trains, once an architecture; earlier figures in the store are kept.
    """
    known = results.read_trials(store).dropna(subset=["latency_ms"]).groupby("config_id")["latency_ms"].last()
    by_architecture: dict[tuple[Any, ...], Cost] = {}
    costs = {}
    guide = trainer.example_features(teacher, tensors)
    threads = torch.get_num_threads()
    for config_id, config in configs.items():
        model = trainer.build_student(config, tensors, 0)
        Objective(config, trainer.example_features(model, tensors), guide)
        architecture = (config.student, config.width, config.self_taught, config.self_taught_at)
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
        return 3.0 * plan.costs[cell.config_id].macs * cell.config.epochs

    epochs = max(c.config.epochs for c in todo)
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
    print(f"study {plan.study.name}: {plan.study.question}")
    print(f"  data       {plan.options.data}: " + ", ".join(f"{len(v)} {k}" for k, v in plan.world.labels.items()))
    print(f"  cells      {len(plan.cells)} = {len(plan.arms)} arms × {len(plan.teacher_ids)} seeds")
    print(f"  done       {len(plan.cells) - len(todo)}")
    print(f"  to train   {len(todo)}, in {len(chosen)} cohorts of {', '.join(str(len(c)) for c in chosen)}" if todo else "  to train   0")
    ready = all(load_teacher(plan.world.out, i, plan.teacher) for i in plan.teacher_ids.values())
    print(f"  teacher    {plan.teacher.student} × {plan.teacher.width:g}, {plan.teacher.epochs} epochs: {'trained' if ready else 'to train'}")
    if todo:
        tensors = data_of(plan.world)
        torch.set_num_threads(plan.options.cpus_per_trial)
        guide, own = trainer.probe(plan.teacher, {c.config_id: c.config for c in todo}, tensors)
        steps = -(-len(tensors.train.labels) // plan.arms[plan.study.baseline].batch_size)
        spent = [
            steps * (guide * max(c.config.epochs for c in cohort) + sum(own[c.config_id] * c.config.epochs for c in cohort))
            for cohort in chosen
        ]
        extra = 0.0 if ready else 3.0 * guide * steps * plan.teacher.epochs * len(set(plan.teacher_ids.values()))
        print(
            f"  estimate   {clock(makespan(spent, plan.slots) + extra)} of wall time on {plan.slots} slots, "
            f"{(sum(spent) + extra) / 3600:.2f} device hours (3 steps of each arm timed on this machine's CPU; evaluation not counted)"
        )
    from scl.stats import smallest_effect

    print(f"  can show   {smallest_effect(len(plan.arms), len(plan.teacher_ids))}")
    return 0


# --- execution --------------------------------------------------------------------------------------------------


def local_slots(options: Options) -> int:
    slots = max(1, len(os.sched_getaffinity(0)) // options.cpus_per_trial)
    return min(slots, options.max_concurrent or slots)


@contextmanager
def stopping(budget: float | None) -> Iterator[Stop]:
    """Ctrl-C and SIGTERM ask the run to stop; a second Ctrl-C ends it at once."""
    stop = Stop(budget)

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.signalled:
            raise KeyboardInterrupt
        stop.signalled = True
        print("stopping: finished trials are kept", file=sys.stderr)

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


@contextmanager
def executor(plan: Plan, stop: Stop) -> Iterator[Any]:
    """A function that trains lists of job ids: in this process, or on Ray, which lives as long as the context."""
    if plan.options.inline:
        yield lambda title, chosen, labels, jobs=None: _inline(plan, stop, title, chosen, labels, jobs or {})
        return
    with ray_session(plan.options):
        yield lambda title, chosen, labels, jobs=None: _on_ray(plan, stop, title, chosen, labels, jobs or {})


def _progress(world: World, title: str, labels: Mapping[str, str]) -> Progress:
    return Progress(title, labels, {i: world.jobs[i].config.epochs for i in labels})


def _inline(plan: Plan, stop: Stop, title: str, chosen: list[list[str]], labels: Mapping[str, str], jobs: Mapping[str, Job]) -> None:
    world = replace(plan.world, jobs={**plan.world.jobs, **jobs})
    with _progress(world, title, labels) as progress:
        for cohort in chosen:
            if stop():
                return
            for event in execute(world, cohort, stop):
                if isinstance(event, EpochDone):
                    progress.epoch(event.trial_id, event.row["epoch"], event.row.get("val_acc", -1.0))
                else:
                    progress.ended(event.trial_id, event.metrics["state"], event.metrics["error"] or "")


@contextmanager
def ray_session(options: Options) -> Iterator[None]:
    """A local Ray that listens on 127.0.0.1 alone, or a connection to a running cluster."""
    # Set before Ray is imported: a driver under `uv run` would start each worker through uv, in a copy of the folder.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "3600"  # the store says what is finished, not Tune's state
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if options.address is None:
        ray.init(
            address="local",
            num_cpus=max(len(os.sched_getaffinity(0)), options.cpus_per_trial),
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            **quiet,
        )
    else:
        _check_answers(options.address)
        os.environ.setdefault("RAY_AUTH_MODE", os.environ.get("RAY_AUTH_MODE", ""))
        package = str(Path(__file__).parent)
        with _deadline(25, options.address):
            try:
                ray.init(address=options.address, runtime_env={"py_modules": [package]}, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UserError(_no_cluster(options.address, str(error).splitlines()[0])) from None
    try:
        yield
    finally:
        ray.shutdown()


def _no_cluster(address: str, reason: str) -> str:
    return f"--address {address!r}: no Ray cluster answers ({reason}); start one with `ray start --head`, or leave --address out"


def _check_answers(address: str) -> None:
    """A closed port is said at once, where Ray would try for long."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise UserError(f"--address {address!r}; valid: auto, HOST:PORT, ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(_no_cluster(address, str(error))) from None


@contextmanager
def _deadline(seconds: int, address: str) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise UserError(_no_cluster(address, f"no answer in {seconds} s"))

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _on_ray(plan: Plan, stop: Stop, title: str, chosen: list[list[str]], labels: Mapping[str, str], jobs: Mapping[str, Job]) -> None:
    import ray
    from ray import tune

    from scl import trainable

    world = replace(plan.world, jobs={**plan.world.jobs, **jobs})
    progress = _progress(world, title, labels)
    options = plan.options
    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else float(world.device == "cuda")
    available = ray.cluster_resources()
    slots = int(available.get("CPU", 1) // options.cpus_per_trial)
    if gpus:
        slots = min(slots, int(available.get("GPU", 0) / gpus))
    if slots < 1:
        raise UserError(
            f"a cohort wants {options.cpus_per_trial} CPUs and {gpus:g} GPUs, the cluster has "
            f"{available.get('CPU', 0):g} and {available.get('GPU', 0):g}; lower --cpus-per-trial or --gpus-per-trial"
        )
    slots = min(slots, options.max_concurrent or slots)
    if jobs and options.cohort_size is None and slots != plan.slots:
        # On a cluster the slots are known only now.
        todo = [c for c in plan.cells if c.trial_id in labels]
        chosen = [[c.trial_id for c in cohort] for cohort in plan_cohorts(replace(plan, slots=slots), todo)]

    class Draw(tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            if "state" in result:
                progress.ended(result["job"], result["state"], result["error"])
            elif "job" in result:
                progress.epoch(result["job"], result["epoch"], result["val_acc"])

    class Stopper(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return stop()

        def stop_all(self) -> bool:
            return stop()

    with tempfile.TemporaryDirectory(prefix="scl-tune-") as scratch, progress:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trainable.train, world=world), {"cpu": options.cpus_per_trial, "gpu": gpus}
            ),
            param_space={"cohort": tune.grid_search(chosen)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=slots),
            run_config=tune.RunConfig(
                name=title,
                storage_path=scratch,
                stop=Stopper(),
                callbacks=[Draw()],
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                verbose=0,
            ),
        )
        grid = tuner.fit()
    for result in grid:
        if result.error is not None and not stop():
            _mark_failed(world, result.config["cohort"], str(result.error), progress)


def _mark_failed(world: World, cohort: Sequence[str], error: str, progress: Progress) -> None:
    """A cohort whose worker died too often: its unfinished trials are failed, with the reason."""
    rows = results.read_trials(world.store)
    ended = set(rows.loc[rows["ended"] >= rows["ended"].max(), "trial_id"]) if len(rows) else set()
    ended |= set(rows.loc[rows["state"] == "completed", "trial_id"])
    for job_id in cohort:
        columns = world.jobs[job_id].columns
        progress.ended(job_id, "failed", error)
        if columns is not None and job_id not in ended:
            results.write_part(world.store, {**columns, "state": "failed", "error": error, "ended": results.now()}, [], None)


# --- what study.json says ---------------------------------------------------------------------------------------


def study_record(plan: Plan) -> dict[str, Any]:
    options, world = plan.options, plan.world
    ids = (
        {str(seed): i for seed, i in plan.teacher_ids.items()}
        if options.teacher_per_seed and not options.teacher
        else {"all": plan.teacher_ids[0]}
    )
    try:
        looks = results.read_study(world.store).get("looks", [])
    except UserError:
        looks = []
    seeds = list(plan.teacher_ids)
    if not looks or looks[-1]["seeds"] != seeds:
        looks = [*looks, {"when": results.now().isoformat(), "seeds": seeds}]
    return {
        "schema_version": results.SCHEMA_VERSION,
        "study": plan.study.name,
        "question": plan.study.question,
        "baseline": plan.study.baseline,
        "arms": {name: requested(config) for name, config in plan.arms.items()},
        "factors": None,
        "search_space": None,
        "seeds": seeds,
        "metric": "test_acc",
        "direction": "max",
        "selection": SELECTION,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "git": git_state(),
        "versions": {
            "python": platform.python_version(),
            **{p: _version(p) for p in ("scl-studies", "torch", "torchvision", "ray", "numpy", "pandas", "pyarrow")},
        },
        "hardware": hardware(),
        "data": _NOTES[world.fingerprint],
        "teacher": {
            "model": plan.teacher.student,
            "width": plan.teacher.width,
            "epochs": plan.teacher.epochs,
            "config": requested(plan.teacher),
            "per_seed": options.teacher_per_seed,
            "source": "file" if options.teacher else "trained here",
            "ids": ids,
            "test_acc": {},
        },
        "plan": [{"arm": c.arm, "seed": c.seed, "trial_id": c.trial_id} for c in plan.cells],
        "looks": looks,
        "started": results.now().isoformat(),
        "slots": plan.slots,
        "cpus_per_trial": options.cpus_per_trial,
        "plan_id": sha256([c.trial_id for c in plan.cells]),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state() -> dict[str, Any] | None:
    """Commit of the checkout that the study script lies in, and whether files differ from it."""
    where = Path(sys.argv[0]).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": f"{platform.machine()} {platform.processor()}".strip(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory, 1),
        "gpus": gpus,
    }
