"""From a study and its options to what would run: data, teachers, trials and their jobs. Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scl.data.batches import normalisation
from scl.data.caveats import caveats
from scl.data.dataset import Dataset
from scl.data.named import load_dataset
from scl.data.split import parts_of, split_fingerprint
from scl.data.stored import taken
from scl.errors import UserError
from scl.plan.capacity import Node, check_threads, device_of, slots_of
from scl.plan.context import Job, RunContext, data_of
from scl.plan.feasibility import Feasibility
from scl.plan.given import Given, architecture, id_of, inputs_of, open_given, told, with_flags
from scl.plan.rehearsal import rehearse_apart
from scl.plan.teachers import import_teacher, load_teacher, start_from_file, start_from_pretrained
from scl.store.files import Folder
from scl.store.logits import MOST_BYTES, bytes_of
from scl.store.tables import read_trials
from scl.streams import name_of
from scl.study.augment import without_auto
from scl.study.config import Config
from scl.study.fields import of_library
from scl.study.identity import Trial, canonical_json, mean_id, requested, sha256, teacher_id, trials_of
from scl.study.metrics import DEFAULT, chance
from scl.study.options import Options
from scl.study.params import column, params
from scl.study.settled import resolved, seeds_of
from scl.study.space import ranges
from scl.study.study import Study
from scl.study.taught import Taught, check_taught, teachers_of
from scl.terminal import say
from scl.train.evaluation import scores
from scl.train.inputs import Inputs
from scl.train.reused import with_projector


@dataclass(frozen=True)
class Plan:
    """A resolved study: what its cohorts share, its trials in order, and the teacher of each.

    seeds: of the arms; a search has a seed beside them. about_data, about_teacher: for study.json. run: which run of
    the store this is, of those that wrote rows, from 1. decoding: seconds that decoding the images would take, if a
    plan has not done it: then their fingerprint and so the ids of trials are not known, and none counts as done.
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
    decoding: float | None = None
    about_teacher: Mapping[str, Any] = field(default_factory=dict)

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
    dataset = load_dataset(
        str(options.data),
        cache,
        options.label,
        keep,
        drop=options.drop_class or (),
        test=options.test,
        size=options.image_size,
        fit=options.image_fit,
        plan=out.reading,
    )
    if options.no_flip:
        dataset = replace(dataset, flip=False)
    classes = len(dataset.classes)
    if study.metric == "test_acc5" and classes <= 5:
        raise UserError(f"--metric test_acc5: with {classes} classes every image is right; valid from 6 classes on")
    train, val = parts_of(
        dataset, val=options.val, share=options.val_share, seed=options.split_seed, limit=options.limit
    )
    val_images = taken(dataset.train_images, val) if dataset.val_images is None else dataset.val_images
    val_labels = dataset.train_labels[val] if dataset.val_labels is None else dataset.val_labels
    if study.search is not None and not len(val_labels):
        raise UserError("--val 0: a search selects on validation images; hold some out, as in --val 0.1")
    fingerprint = split_fingerprint(dataset, train, val)
    mean, std = normalisation(dataset)
    seeds = seeds_of(study, options)
    given, inputs, fed = None, None, ""
    if options.teacher_file:
        given, teacher, inputs, fed = _given(options, options.teacher_file, teacher, dataset, mean, std)
    arms = with_projectors(arms, teacher)
    every = [*seeds, *(study.search.seed_range if study.search else [])]
    teacher_ids = _teacher_ids(options, teacher, fingerprint, every, given, inputs)
    template = study.searched(study.base_on(str(options.data), options.student_changes())) if study.search else None
    elsewhere = given is not None or teacher.pretrained
    check_taught(arms, teacher, template, ranges(study.search.space) if study.search else (), elsewhere)
    taught, more_jobs = taught_jobs(options, arms, teacher, fingerprint, seeds)
    device = device_of(options, nodes)
    context = RunContext(
        images={"train": taken(dataset.train_images, train), "val": val_images, "test": dataset.test_images},
        labels={"train": dataset.train_labels[train], "val": val_labels, "test": dataset.test_labels},
        mean=mean,
        std=std,
        classes=classes,
        class_names=dataset.classes,
        flip=dataset.flip,
        fingerprint=fingerprint,
        jobs={i: Job(teacher, 0 if given else options.teacher_seed(s)) for s, i in reversed(teacher_ids.items())}
        | more_jobs,
        out=out,
        study=study.name,
        device=device,
        threads=options.cpus_per_trial,
        deterministic=options.deterministic,
        checkpoint_every=options.checkpoint_every,
        preprocessing=dataset.how,
        teacher_inputs=inputs,
        teacher_features=options.teacher_features,
    )
    count = len(arms) * len(seeds) + ((options.trials or study.search.trials) if study.search else 0)
    context = replace(context, logits=keeps_logits(options, context, count))
    tensors = data_of(context)
    auto = without_auto("auto", tensors.flip, max(tensors.image_shape[1:]))
    about_teacher: dict[str, Any] = {}
    decoded = dataset.decoding is None  # else nobody knows what a teacher makes of the images
    if decoded and given:
        only, suspected = next(iter(teacher_ids.values())), ""
        if options.teacher_finetune:
            context = start_from_file(context, teacher, given)
        else:
            suspected = import_teacher(context, teacher, only, given, options.teacher_anyway)
        about_teacher = told(given, options, fed, suspected, inputs)
    elif decoded and teacher.pretrained:
        context = start_from_pretrained(context, teacher)
    found = [*dataset.remarks, *caveats(context.images, dataset.skipped)]
    feasibility = Feasibility(teacher, tensors, context)
    feasibility.check(study, arms)
    found += feasibility.bounded(arms)
    plan = Plan(
        study=study,
        options=options,
        context=context,
        trials=trials_of(arms, seeds, fingerprint, teacher_ids.__getitem__, teacher.model, taught),
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
            "val_share": 0.0 if dataset.val_labels is not None else options.val_share,  # of the training images
            "split_seed": options.split_seed,
            **({"auto_augment": auto} if auto.startswith("rrc") or options.no_flip else {}),
            "note": dataset.note,
            **({"preprocessing": asdict(dataset.how)} if dataset.how.fit != "exact" else {}),
            **({"caveats": found} if found else {}),
        },
        slots=slots_of(options, nodes, device),
        run=1 + int(max(read_trials(context.store)["run"].fillna(0), default=0)),
        decoding=dataset.decoding,
        about_teacher=about_teacher,
    )
    to_train = [trial.config for trial in missing(plan)] + ([plan.template] if study.search else [])
    here = torch.device(device if torch.cuda.is_available() else "cpu")
    rehearse_apart(to_train, teacher, tensors, here, inputs)
    return plan


def _given(
    options: Options, file: str, teacher: Config, dataset: Dataset, mean: np.ndarray, std: np.ndarray
) -> tuple[Given, Config, Inputs | None, str]:
    """The user's teacher, its network, what it takes and gives, and that in words."""
    given = open_given(file)
    said = with_flags(given, options)
    teacher = architecture(teacher, said, options)
    columns = not (options.teacher_finetune or options.teacher_features)
    grey = given.takes_colour and not of_library(teacher.model)
    inputs, fed = inputs_of(said, dataset, mean, std, columns, grey)
    for line in [*said.notes, fed] if said.where else said.notes:
        say(f"teacher {file}: {line}")
    return replace(given, described=said), teacher, inputs, fed


def with_projectors(arms: Mapping[str, Config], teacher: Config) -> dict[str, Config]:
    """The arms as they train under this teacher, see `with_projector`. Raises UserError with all reasons."""
    found, wrong = {}, []
    for arm, config in arms.items():
        try:
            found[arm] = with_projector(config, teacher)
        except UserError as error:
            wrong.append(f"arm {arm!r}: {error}")
    if wrong:
        raise UserError("\n".join(wrong))
    return found


def keeps_logits(options: Options, context: RunContext, trials: int) -> bool:
    """Whether a run stores the logits of its trials: as asked for, or else if all of them are small."""
    images = len(context.labels["test"]) + len(context.labels["val"])
    size = bytes_of(trials, images, context.classes)
    if options.logits or options.no_logits or size <= MOST_BYTES:
        return not options.no_logits
    if not options.plan and not context.out.reading:
        say(
            f"note: logits of {trials:,} trials would take {size / 2**30:.1f} GB, more than {MOST_BYTES / 2**30:g}, so "
            "they are not stored; --logits stores them"
        )
    return False


def cache_of(out: Folder) -> Path:
    """Where decoded and downloaded data are kept: beside the results or, if these are in an object store or are only
    read, in the home folder."""
    beside = Path(out.path) / "cache"
    return beside if out.is_local and (not out.reading or beside.is_dir()) else Path.home() / ".cache" / "scl"


def _teacher_ids(
    options: Options,
    teacher: Config,
    fingerprint: str,
    seeds: Sequence[int],
    given: Given | None,
    inputs: Inputs | None,
) -> dict[int, str]:
    """The teacher's id by seed: the hash of the user's file and how it is fed, or of the recipe with its seed and data;
    of both if the file is fine-tuned."""
    if given is None:
        return {seed: teacher_id(teacher, options.teacher_seed(seed), fingerprint) for seed in seeds}
    own = id_of(given, inputs, options.teacher_features)
    if options.teacher_finetune:
        own = sha256({"start": own, "recipe": teacher_id(teacher, 0, fingerprint)})
    return dict.fromkeys(seeds, own)


def taught_jobs(
    options: Options,
    arms: Mapping[str, Config],
    teacher: Config,
    fingerprint: str,
    seeds: Sequence[int],
) -> tuple[dict[tuple[str, int], str], dict[str, Job]]:
    """The teachers of arms that name theirs: the id of an arm's teachers at a seed, and the jobs by id."""
    ids: dict[tuple[str, int], str] = {}
    jobs: dict[str, Job] = {}

    def job_of(taught: Taught) -> str:
        by = job_of(taught.by) if taught.by else None
        identity = teacher_id(taught.config, taught.seed, fingerprint, by)
        jobs.setdefault(identity, Job(taught.config, taught.seed, by))
        return identity

    for arm, config in arms.items():
        for seed in seeds:
            members = [job_of(each) for each in teachers_of(config, teacher, options.teacher_seed(seed))]
            if not members:
                continue
            ids[arm, seed] = mean_id(members)
            if len(members) > 1:
                jobs[ids[arm, seed]] = Job(teacher, options.teacher_seed(seed), members=tuple(members))
    return ids, jobs


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
    taught, more_jobs = taught_jobs(plan.options, arms, plan.teacher, plan.context.fingerprint, chosen)
    have = {c.trial_id for c in plan.trials}
    more = [
        c
        for c in trials_of(arms, chosen, plan.context.fingerprint, teacher_ids.__getitem__, plan.teacher.model, taught)
        if c.trial_id not in have
    ]
    return replace(
        plan,
        arms={**plan.arms, **arms},
        trials=[*plan.trials, *more],
        teacher_ids=teacher_ids,
        seeds=sorted({*plan.seeds, *chosen}),
        context=replace(plan.context, jobs=jobs | more_jobs),
    )


def missing(plan: Plan) -> list[Trial]:
    """Trials that are neither completed nor pruned; failed ones run again."""
    rows = read_trials(plan.context.store)
    done = set(rows.loc[rows["state"].isin(["completed", "pruned"]), "trial_id"])
    return [trial for trial in plan.trials if trial.trial_id not in done]


def missing_teachers(plan: Plan, every: bool = False) -> list[str]:
    """Ids of teachers that are not stored, in order: of trials that are missing, of a search, and of teachers that are
    missing. every: also those whose trials have all ended, which need them no more."""
    jobs = plan.context.jobs
    needed = {trial.teacher_id for trial in (plan.trials if every else missing(plan))}
    if every or plan.study.search:
        needed |= set(plan.teacher_ids.values())
    asked = {member for i in needed for member in (jobs[i].members or (i,))}
    found: set[str] = set()
    while asked:
        lost = {i for i in asked if load_teacher(plan.context, i, jobs[i].config) is None}
        found |= lost
        asked = {by for i in lost if (by := jobs[i].teacher_id) is not None} - found
    return sorted(found)


def student_jobs(plan: Plan, todo: Sequence[Trial], numbers: Mapping[str, int] | None = None) -> dict[str, Job]:
    """The jobs of trials, with the columns that are known before training.

    Args:
        numbers: trial_id → the order in which a search suggested it. Given while a search runs: then the machine is
            busy, and no latency is measured.
    """
    test = torch.from_numpy(plan.context.labels["test"])
    of_teacher: dict[str, dict[str, float]] = {}
    for identity in {trial.teacher_id for trial in todo}:
        found = load_teacher(plan.context, identity, plan.context.jobs[identity].config)
        assert found is not None
        teacher, record = found
        of_teacher[identity] = {"teacher_test_acc": record["metrics"]["test_acc"]}  # None if only its maps are used
        logits = teacher.test_logits
        if logits is not None and tuple(logits.shape) == (len(test), plan.context.classes):
            other = scores(logits.double(), test)
            of_teacher[identity] |= {f"teacher_{name}": value for name, value in other.items()}
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
            **of_teacher[trial.teacher_id],
            "chance": chance(DEFAULT, plan.context.class_counts["test"]).level,
            "params": cost.params,
            "macs": cost.macs,
            "latency_ms": cost.latency_ms,
            "file_bytes": cost.file_bytes,
            "number": None if numbers is None else numbers[trial.trial_id],
            "run": plan.run,
            **{column(name): value for name, value in params(trial.config).items()},
        }
        start = plan.feasibility.initial_weights(trial.config)
        jobs[trial.trial_id] = Job(trial.config, trial.seed, trial.teacher_id, columns, start)
    return jobs
