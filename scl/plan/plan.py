"""From a study and its options to what would run: data, teachers, trials and their jobs. Trains nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from scl.data.batches import normalisation
from scl.data.caveats import caveats
from scl.data.named import load_dataset
from scl.data.split import split, split_fingerprint
from scl.errors import UserError, shown
from scl.plan.capacity import Node, check_threads, device_of, slots_of
from scl.plan.context import Job, RunContext, data_of
from scl.plan.feasibility import Feasibility
from scl.plan.rehearsal import rehearse_apart
from scl.plan.teachers import import_teacher, load_teacher, start_from_pretrained
from scl.store.files import Folder
from scl.store.tables import read_trials
from scl.streams import name_of
from scl.study.config import Config
from scl.study.identity import Trial, canonical_json, requested, teacher_id, trials_of
from scl.study.options import Options
from scl.study.params import column, params
from scl.study.settled import resolved, seeds_of
from scl.study.study import Study
from scl.train.weights import regular_file


@dataclass(frozen=True)
class Plan:
    """A resolved study: what its cohorts share, its trials in order, and the teacher of each.

    seeds: of the arms; a search has a seed beside them. about_data: for study.json. run: which run of the store this
    is, of those that wrote rows, from 1.
    """

    study: Study
    options: Options
    context: RunContext
    trials: list[Trial]
    arms: Mapping[str, Config]
    teacher: Config
    teacher_ids: Mapping[int, str]  # by the students' seed
    seeds: list[int]
    feasibility: Feasibility
    about_data: dict[str, Any]
    slots: int
    run: int

    @property
    def template(self) -> Config:
        """What every configuration of the search starts from."""
        return self.study.searched(self.study.base_on(str(self.options.data), self.options.student_changes()))


def make_plan(study: Study, options: Options, out: Folder, nodes: Sequence[Node] = ()) -> Plan:
    """Resolve, check and number everything; trains nothing.

    Args:
        study, options: as `scl.study.settled.settled` returns them.
        nodes: of the cluster; none on this machine.

    Raises:
        UserError: data, a teacher or an arm cannot be what the options ask for, or a custom loss or an own network
            cannot be resumed.
    """
    check_threads(options)
    arms, teacher = resolved(study, options)
    cache = cache_of(out)
    keep = not (out.reading and cache.is_relative_to(out.path))
    dataset = load_dataset(str(options.data), cache, options.label, keep)
    classes = len(dataset.classes)
    train, val = split(
        dataset.train_labels, val=options.val_share, seed=options.split_seed, limit=options.limit, classes=classes
    )
    fingerprint = split_fingerprint(dataset, train, val)
    mean, std = normalisation(dataset)
    seeds = seeds_of(study, options)
    teacher_ids = _teacher_ids(options, teacher, fingerprint, [*seeds, *([study.search.seed] if study.search else [])])
    device = device_of(options, nodes)
    context = RunContext(
        images={"train": dataset.train_images[train], "val": dataset.train_images[val], "test": dataset.test_images},
        labels={"train": dataset.train_labels[train], "val": dataset.train_labels[val], "test": dataset.test_labels},
        mean=mean,
        std=std,
        classes=classes,
        class_names=dataset.classes,
        flip=dataset.flip,
        fingerprint=fingerprint,
        jobs={i: Job(teacher, options.teacher_seed(s)) for s, i in reversed(teacher_ids.items())},
        out=out,
        study=study.name,
        device=device,
        threads=options.cpus_per_trial,
        deterministic=options.deterministic,
    )
    tensors = data_of(context)
    if options.teacher_file:
        import_teacher(context, teacher, next(iter(teacher_ids.values())), options.teacher_file)
    elif teacher.pretrained:
        context = start_from_pretrained(context, teacher)
    feasibility = Feasibility(teacher, tensors, context)
    feasibility.check(study, arms)
    plan = Plan(
        study=study,
        options=options,
        context=context,
        trials=trials_of(arms, seeds, fingerprint, teacher_ids.__getitem__),
        arms=arms,
        teacher=teacher,
        teacher_ids=teacher_ids,
        seeds=seeds,
        feasibility=feasibility,
        about_data={
            "name": name_of(dataset.name),
            "fingerprint": fingerprint,
            **{part: len(labels) for part, labels in context.labels.items()},
            "classes": classes,
            **dict(zip(("channels", "height", "width"), tensors.image_shape, strict=True)),
            "limit": options.limit,
            "val_share": options.val_share,
            "split_seed": options.split_seed,
            "note": dataset.note,
            **({"caveats": found} if (found := caveats(context.images, dataset.skipped)) else {}),
        },
        slots=slots_of(options, nodes, device),
        run=1 + int(max(read_trials(context.store)["run"].fillna(0), default=0)),
    )
    to_train = [trial.config for trial in missing(plan)] + ([plan.template] if study.search else [])
    here = torch.device(device if torch.cuda.is_available() else "cpu")
    rehearse_apart(to_train, teacher, tensors, here)
    return plan


def cache_of(out: Folder) -> Path:
    """Where decoded and downloaded data are kept: beside the results or, if these are in an object store or are only
    read, in the home folder."""
    beside = Path(out.path) / "cache"
    return beside if out.is_local and (not out.reading or beside.is_dir()) else Path.home() / ".cache" / "scl"


def _teacher_ids(options: Options, teacher: Config, fingerprint: str, seeds: Sequence[int]) -> dict[int, str]:
    """The teacher's id by seed: the hash of the user's file, or of the recipe with its seed and data."""
    if options.teacher_file:
        if not os.path.isfile(options.teacher_file) and not os.path.exists(options.teacher_file):  # or too long a name
            raise UserError(f"--teacher {shown(options.teacher_file)}: no such file")
        file = regular_file(options.teacher_file, "--teacher")
        try:
            with file.open("rb") as stream:
                return dict.fromkeys(seeds, hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise UserError(f"--teacher {shown(options.teacher_file)} cannot be read: {error.strerror}") from None
    return {seed: teacher_id(teacher, options.teacher_seed(seed), fingerprint) for seed in seeds}


def with_arms(plan: Plan, arms: Mapping[str, Config], seeds: Sequence[int] | None = None) -> Plan:
    """The plan with these arms at these seeds too (None: the plan's). Raises UserError if one is impossible."""
    plan.feasibility.check(plan.study, {**plan.arms, **arms})
    chosen = plan.seeds if seeds is None else seeds
    teacher_ids = dict(plan.teacher_ids)
    jobs = dict(plan.context.jobs)
    for seed in chosen:
        if seed not in teacher_ids:
            at, known = plan.options.teacher_seed(seed), next(iter(teacher_ids.values()))
            given = plan.options.teacher_file is not None
            teacher_ids[seed] = known if given else teacher_id(plan.teacher, at, plan.context.fingerprint)
            jobs.setdefault(teacher_ids[seed], Job(plan.teacher, at))
    have = {c.trial_id for c in plan.trials}
    more = [
        c for c in trials_of(arms, chosen, plan.context.fingerprint, teacher_ids.__getitem__) if c.trial_id not in have
    ]
    return replace(
        plan,
        arms={**plan.arms, **arms},
        trials=[*plan.trials, *more],
        teacher_ids=teacher_ids,
        seeds=sorted({*plan.seeds, *chosen}),
        context=replace(plan.context, jobs=jobs),
    )


def missing(plan: Plan) -> list[Trial]:
    """Trials that are neither completed nor pruned; failed ones run again."""
    rows = read_trials(plan.context.store)
    done = set(rows.loc[rows["state"].isin(["completed", "pruned"]), "trial_id"])
    return [trial for trial in plan.trials if trial.trial_id not in done]


def student_jobs(plan: Plan, todo: Sequence[Trial], numbers: Mapping[str, int] | None = None) -> dict[str, Job]:
    """The jobs of trials, with the columns that are known before training.

    Args:
        numbers: trial_id → the order in which a search suggested it. Given while a search runs: then the machine is
            busy, and no latency is measured.
    """
    accuracy = {}
    for identity in {trial.teacher_id for trial in todo}:
        found = load_teacher(plan.context, identity, plan.teacher)
        assert found is not None
        accuracy[identity] = found[1]["metrics"]["test_acc"]
    jobs = {}
    for trial in todo:
        cost = plan.feasibility.cost(trial.config, idle=numbers is None)
        columns = {
            "trial_id": trial.trial_id,
            "study": plan.study.name,
            "arm": trial.arm,
            "config_id": trial.config_id,
            "seed": trial.seed,
            "config_json": canonical_json(requested(trial.config)),
            "teacher_id": trial.teacher_id,
            "teacher_test_acc": accuracy[trial.teacher_id],
            "params": cost.params,
            "macs": cost.macs,
            "latency_ms": cost.latency_ms,
            "number": None if numbers is None else numbers[trial.trial_id],
            "run": plan.run,
            **{column(name): value for name, value in params(trial.config).items()},
        }
        start = plan.feasibility.initial_weights(trial.config)
        jobs[trial.trial_id] = Job(trial.config, trial.seed, trial.teacher_id, columns, start)
    return jobs
