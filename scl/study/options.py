"""What a run is asked for: one declaration for the flags of every study file and the keywords of `scl.run`.

A field of `Options` is a flag: `batch_size` is `--batch-size` on the command line and `batch_size=` in Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scl.errors import UserError, shown, unknown
from scl.plain import plain
from scl.study.checks import (
    LARGEST_WHOLE,
    Check,
    address,
    assignments,
    cohort_size,
    gpus,
    looks,
    margin,
    model,
    number,
    one_of,
    place,
    seed_list,
    several,
    switch,
    text,
    whole,
)  # fmt: skip
from scl.study.config import HUBS, LARGEST, TIMM, TORCHVISION, WORDS, Config
from scl.study.params import FIELDS, parsed
from scl.study.recipes import RECIPES, at_length
from scl.study.space import FRESH_SEED, MOST_TRIALS, Search
from scl.study.study import Study

TRACKERS = ("tensorboard", "mlflow", "wandb")
DATA = ("digits", "cifar10", "cifar100", "fashion_mnist")
DEVICES = ("auto", "cpu", "cuda")
PILOT_SEEDS = 5  # the fewest that show a spread
NARROWEST = 1e-6  # an interval: a difference of one image in a million


@dataclass(frozen=True)
class Flag:
    """How one option is asked for. `help` may depend on the study; `needs`: the part that a study must have
    (`search` or `scales`), else the option does not exist for it."""

    group: str
    check: Check
    metavar: str
    help: str | Callable[[Study], str]
    needs: str = ""
    repeatable: bool = False


def option(
    default: Any, group: str, check: Check, metavar: str, help: str | Callable[[Study], str], **more: Any
) -> Any:
    return field(default=default, metadata={"flag": Flag(group, check, metavar, help, **more)})


def _sized(study: Study, otherwise: object) -> object:
    return "the scale's" if study.scales else otherwise


def _teacher_epochs(study: Study) -> str:
    default = "the students'" if study.teacher.epochs == Config.epochs else str(study.teacher.epochs)
    on = {name: s.teacher["epochs"] for name, s in study.settings.items() if "epochs" in s.teacher}
    several = ", ".join([default, *(f"on {name} {epochs}" for name, epochs in on.items())])
    return f"epochs of the teacher (default: {several}; with --recipe: the students')"


def _teachers(study: Study) -> str:
    default = "one for each seed" if study.teacher_per_seed else study.teachers or 1
    return f"train M teachers, seeds 0 to M-1; the students of seed s learn from teacher s mod M (default: {default})"


def _scales(study: Study) -> str:
    default = next(iter(study.scales), "")
    return f"size of the study: {', '.join(study.scales)} (default: {default}); other flags override it"


STUDY, SEARCH, DATASET = "what to study", "search", "data"
TRAINING, PLACE, RESULTS = "how to train", "where to run", "results"


@dataclass(frozen=True)
class Options:
    """What a run is asked for, checked. None means: the study's default."""

    # fmt: off
    arms: tuple[str, ...] | None = option(None, STUDY, several("kd,scl"), "A,B",
        "run only these arms and the baseline (default: all but the optional ones)")
    scale: str | None = option(None, STUDY, text, "NAME", _scales, needs="scales")
    seeds: int | None = option(None, STUDY, whole(1, MOST_TRIALS), "N",
        lambda s: f"seeds 0 to N-1 (default: {_sized(s, s.seeds)})")
    seed_list: tuple[int, ...] | None = option(None, STUDY, seed_list, "A,B-C",
        "run exactly these seeds, as in 3,4 or 0-2,7; `scl merge` joins the parts of a study (default: see --seeds)")
    student: str | None = option(None, STUDY, model, "NAME", lambda s: f"student network (default: {s.base.model})")
    width: float | None = option(None, STUDY, number(0, LARGEST["width"], including="high"), "F",
        "factor on the student's channels")
    teacher_model: str | None = option(None, STUDY, model, "NAME",
        lambda s: f"teacher network: a student's name, {TORCHVISION}NAME or {TIMM}NAME (default: {s.teacher.model})")
    teacher_width: float | None = option(None, STUDY, number(0, LARGEST["width"], including="high"), "F",
        "factor on the teacher's channels")
    teacher: str | None = option(None, STUDY, place, "PATH",
        f"use this checkpoint (safetensors or a state dict) and train no teacher; or {TORCHVISION}NAME, {TIMM}NAME: "
        "start from published weights, and fine-tune them if the classes differ")
    teacher_layers: tuple[str, ...] | None = option(None, STUDY, several("layer2,layer3"), "A,B",
        "module paths of a torchvision or timm teacher's guided layers, as in layer2,layer3 (default: one a stage)")
    teacher_per_seed: bool = option(False, STUDY, switch, "",
        lambda s: "train a teacher for each seed" + ("; this study does, without --teachers" * s.teacher_per_seed))
    teachers: int | None = option(None, STUDY, whole(1, MOST_TRIALS), "M", _teachers)
    set: Mapping[str, Any] | None = option(None, STUDY, assignments, "NAME=VALUE",
        "set a field of every arm's configuration, or a loss's weight, option, layers, warmup, end or stage in the "
        "arms that have it, as in weight_decay=0, weight.kd=2, kd.temperature=2 or kd.warmup=5; "
        "teacher.NAME=VALUE sets the teacher's. Repeatable",
        repeatable=True)
    interval: float | None = option(None, STUDY, number(NARROWEST, 1, including="low"), "F",
        "after a pilot, add seeds once so that the 95 %% interval of --between is F wide (0.01: one point)")
    between: tuple[str, ...] | None = option(None, STUDY, several("kd,baseline"), "A,B",
        "the two arms whose difference --interval measures")
    max_seeds: int = option(50, STUDY, whole(2, MOST_TRIALS), "N", "most seeds that --interval may use (default: 50)")

    margin: float | None = option(None, STUDY, margin, "F",
        "the largest difference that does not matter, a fraction (0.005: half a point): the page then says which arms "
        "are shown to be no worse, and the store keeps it (default: none)")
    looks: tuple[int, ...] | None = option(None, STUDY, looks, "A,B,C",
        "the numbers of seeds at which you will look at the results, as in 3,5,10; declared with the first run of a "
        "store, which keeps them (default: none)")

    trials: int | None = option(None, SEARCH, whole(1, MOST_TRIALS), "N",
        lambda s: f"configurations to try (default: {s.search.trials if s.search else ''})", needs="search")
    storage: str | None = option(None, SEARCH, text, "URL",
        "database for Optuna's trials, as postgresql+psycopg://… or sqlite:///… (default: a file in --out)",
        needs="search")
    start_from: str | None = option(None, SEARCH, place, "DIR",
        "try the best configurations of these results first, as in results/ablation", needs="search")
    fix: Mapping[str, Any] | None = option(None, SEARCH, assignments, "NAME=VALUE",
        "hold parameters of the search at a value", needs="search")

    data: str | None = option(None, DATASET, place, "NAME|DIR",
        lambda s: f"{', '.join(DATA)}, a folder of Hugging Face image Parquet, or train/CLASS/*.png "
        f"(default: {_sized(s, 'digits')})")
    label: str | None = option(None, DATASET, text, "COLUMN", "label column, if a Parquet folder has several")
    limit: int | None = option(None, DATASET, whole(1), "N",
        lambda s: f"use N training images, stratified (default: {_sized(s, 'all')})")
    val: float | None = option(None, DATASET, number(0, 1, including="low"), "F",
        lambda s: f"share of training images held out for validation (default: {_sized(s, '0.1')}, or the recipe's)")
    split_seed: int = option(0, DATASET, whole(0), "N", "seed of the split (default: 0)")

    recipe: str | None = option(None, TRAINING, one_of("recipe", tuple(RECIPES)), "NAME",
        f"one of {', '.join(RECIPES)}; crd is the published one for CIFAR-100, with its weights for arms that "
        "are named after a loss")
    epochs: int | None = option(None, TRAINING, whole(1, LARGEST["epochs"]), "N", "epochs of the students")
    teacher_epochs: int | None = option(None, TRAINING, whole(1, LARGEST["epochs"]), "N", _teacher_epochs)
    batch_size: int | None = option(None, TRAINING, whole(2, LARGEST["batch_size"]), "N", "images a step")
    lr: float | None = option(None, TRAINING, number(0), "F", "peak learning rate of the students")
    precision: str | None = option(None, TRAINING, one_of("precision", WORDS["precision"]), "P",
        "auto (default), fp32 or bf16")
    device: str = option("auto", TRAINING, one_of("device", DEVICES), "D", "auto (default), cpu or cuda")
    deterministic: bool = option(False, TRAINING, switch, "", "exact kernels on a GPU, at some cost in speed")

    address: str | None = option(None, PLACE, address, "A",
        "a running Ray cluster: auto or HOST:PORT from a machine that is part of it, ray://HOST:PORT from outside "
        "(default: a local Ray)")
    inline: bool = option(False, PLACE, switch, "", "run in this process, without Ray; the numbers are the same")
    cohort_size: int | None = option(None, PLACE, cohort_size(MOST_TRIALS), "N",
        "trials that train side by side: auto (default) or a number")
    cpus_per_trial: int = option(1, PLACE, whole(1, 4096), "N", "threads of a cohort (default: 1)")
    gpus_per_trial: float | None = option(None, PLACE, gpus, "F",
        "GPUs of a cohort (default: 1 on cuda)")
    max_concurrent: int | None = option(None, PLACE, whole(1, MOST_TRIALS), "N",
        "cohorts at once (default: as many as fit)")
    time_budget: float | None = option(None, PLACE, number(0), "S", "stop cleanly after S seconds")

    out: str = option("results", RESULTS, place, "DIR",
        "folder for the results, or s3://… or gs://… (default: results)")
    track: str | None = option(None, RESULTS, one_of("tracker", TRACKERS), "NAME",
        f"also log trials to {', '.join(TRACKERS)} (install the extra of the same name; default: none)")
    plan: bool = option(False, RESULTS, switch, "",
        "print what would run, what is done, and what the rest would cost; train nothing")
    report_only: bool = option(False, RESULTS, switch, "", "rebuild the page from the store; train nothing")
    remake_students: bool = option(False, RESULTS, switch, "",
        "train completed trials again whose network is missing or damaged, and their teacher; no row changes")
    page: str | None = option(None, RESULTS, place, "FILE",
        "with --report-only: write the page to this file; the store is only read, beside a live run too")
    force: bool = option(False, RESULTS, switch, "", "with --page: replace the file if it exists")
    # fmt: on

    # Not flags: how the run was asked for, and the study's file, for the record.
    command: str = ""
    script: str = ""

    @property
    def val_share(self) -> float:
        """Share held out: the flag's, else the recipe's, else 0.1."""
        return self.val if self.val is not None else RECIPES[self.recipe].val if self.recipe else 0.1

    @property
    def recipe_arms(self) -> Mapping[str, Mapping[str, Any]]:
        """The recipe's setting of arms that are named after a loss."""
        return RECIPES[self.recipe].arms if self.recipe else {}

    @property
    def teacher_file(self) -> str | None:
        """The checkpoint to use; None if `teacher` is not given or names a model of torchvision or timm."""
        return None if self.teacher is None or self.teacher.startswith(HUBS) else self.teacher

    def teacher_seed(self, seed: int) -> int:
        """The seed of the teacher of this seed's students. It depends on their seed alone, so that a study that grows
        keeps its trials."""
        return seed if self.teacher_per_seed else seed % (self.teachers or 1)

    def student_changes(self) -> dict[str, Any]:
        """Fields of the students' base configuration that flags change."""
        changes = at_length(RECIPES[self.recipe], self.epochs) if self.recipe else {}
        fields = ("width", "epochs", "batch_size", "lr", "precision", "teacher_layers")
        named = {"model": self.student, **{name: getattr(self, name) for name in fields}}
        return changes | _unit_width(self.student) | {k: v for k, v in named.items() if v is not None}

    def teacher_changes(self) -> dict[str, Any]:
        """Fields of the teacher's configuration that flags change."""
        # As many epochs as the students, unless --teacher-epochs says otherwise.
        recipe = at_length(RECIPES[self.recipe], self.teacher_epochs or self.epochs) if self.recipe else {}
        recipe.pop("tap", None)  # students choose where maps are taken: it changes no teacher
        hub = self.teacher if self.teacher and self.teacher_file is None else None
        named = {
            "model": hub or self.teacher_model,
            "pretrained": True if hub else None,
            "width": self.teacher_width,
            "epochs": self.teacher_epochs,
            "precision": self.precision,
        }
        return recipe | _unit_width(hub or self.teacher_model) | {k: v for k, v in named.items() if v is not None}


def _unit_width(model: str | None) -> dict[str, float]:
    """Models of other libraries have no width factor: the study's own width must not reach them."""
    return {"width": 1.0} if model is not None and model.startswith(HUBS) else {}


def flags_of(study: Study) -> dict[str, Flag]:
    """The options that exist for a study, by name, in the order of the declaration."""
    found = {f.name: f.metadata["flag"] for f in dataclasses.fields(Options) if f.metadata}
    return {name: flag for name, flag in found.items() if not flag.needs or getattr(study, flag.needs)}


def no_such_option(study: Study, name: str, spell: Callable[[str], str] = str, kind: str = "option") -> str:
    """The message for an option that does not exist for this study."""
    every = {f.name: f.metadata["flag"] for f in dataclasses.fields(Options) if f.metadata}
    if name not in every:
        return unknown(kind, spell(name), map(spell, flags_of(study)))
    need = {"search": "a search", "scales": "scales"}[every[name].needs]
    valid = ", ".join(map(spell, flags_of(study)))
    return f"{spell(name)} is for studies with {need}, and study {study.name!r} has none; valid: {valid}"


def options_for(study: Study, given: Mapping[str, Any], spell: Callable[[str], str] = str) -> Options:
    """Options from flags or keywords.

    Args:
        given: option → text of its flag, or value of its keyword; None leaves the default.
        spell: how messages write an option's name.

    Raises:
        UserError: an option does not exist for this study, or its value is refused.
    """
    flags = flags_of(study)
    problems, values = [], {}
    for name, value in given.items():
        if name not in flags:
            problems.append(no_such_option(study, name, spell))
        elif value is not None:
            try:
                values[name] = flags[name].check(plain(value))
            except ValueError as error:
                problems.append(f"{spell(name)}: {error}")
    if problems:
        raise UserError("\n".join(problems))
    return Options(**values)


def settled(study: Study, options: Options) -> tuple[Study, Options]:
    """A study of one size and its options, after scale, fixed parameters and defaults; every name is checked.

    Raises:
        UserError: a name does not exist, or options contradict each other.
    """
    if study.scales:
        name = options.scale or next(iter(study.scales))
        sized, scale = study.at(name), study.scales[name]
        options = dataclasses.replace(
            options,
            scale=name,
            data=options.data or scale.data,
            limit=options.limit if options.limit is not None else scale.limit,
            val=scale.val if options.val is None and options.recipe is None else options.val,
        )
        study = sized
    options = dataclasses.replace(options, data=options.data or "digits")
    if options.fix and study.search is not None:
        study = dataclasses.replace(study, search=study.search.without(options.fix))
    if options.set and study.search is not None:
        study = dataclasses.replace(study, search=_search_with(study.search, options.set))
    arms, _ = resolved(study, options)
    _check_interval(list(arms), options, study.search is not None)
    _check_seed_list(options, study.search is not None)
    if options.interval is not None:
        pilot = None if options.seed_list else max(PILOT_SEEDS, options.seeds or study.seeds)
        options = dataclasses.replace(options, seeds=pilot)
    _check_size(len(arms), len(options.seed_list or ()) or options.seeds or study.seeds)
    options = _with_teachers(study, options)
    if options.inline and options.address:
        raise UserError("--inline runs in this process and --address on a cluster; give one of them")
    if options.teacher and options.teacher_model and options.teacher_file is None:
        raise UserError(f"--teacher {options.teacher} already names the network; drop --teacher-model")
    if options.device == "cpu" and options.gpus_per_trial:
        raise UserError(f"--device cpu and --gpus-per-trial {options.gpus_per_trial:g} exclude each other; drop one")
    if options.plan and options.report_only:
        raise UserError("--plan and --report-only exclude each other; give one of them")
    if options.remake_students and options.report_only:
        raise UserError("--remake-students trains and --report-only does not; give one of them")
    if options.report_only and (options.margin is not None or options.looks):
        raise UserError(
            "--margin and --looks are recorded by a run, and --report-only shows what is recorded; drop --report-only: "
            "finished trials are kept"
        )
    if options.page and not options.report_only:
        raise UserError(f"--page {options.page}: a run writes its page into its store; --page goes with --report-only")
    if options.force and not options.page:
        raise UserError("--force replaces the file of --page; name one, as in --page report.html")
    if study.search is not None and options.val_share == 0:
        raise UserError("--val 0: a search selects on validation images; hold some out, as in --val 0.1")
    return study, options


def resolved(study: Study, options: Options) -> tuple[dict[str, Config], Config]:
    """The arms' configurations and the teacher's under these options. Raises UserError as `Study.resolve` does."""
    data, student, teacher = options.data or "digits", options.student_changes(), options.teacher_changes()
    return study.resolve(data, options.arms, student, teacher, options.recipe_arms, options.set)


def seeds_of(study: Study, options: Options) -> list[int]:
    """The seeds of the arms. Those beside a search are fresh: the search has not used them."""
    if study.search is not None and study.search.winners == 0:
        return []
    first = 0 if study.search is None else FRESH_SEED
    return list(options.seed_list or range(first, first + (options.seeds or study.seeds)))


def _with_teachers(study: Study, options: Options) -> Options:
    """The options with the study's number of teachers if no flag gives one; `teachers` is None for a single one.

    Raises:
        UserError: another option decides which teachers there are, or a teacher would have no student.
    """
    count, seeds = options.teachers, seeds_of(study, options)
    if options.teacher_file:
        if (count or 1) > 1:
            raise UserError(
                f"--teachers {count}: --teacher {shown(options.teacher_file)} is one teacher; drop --teachers, or drop "
                f"--teacher and train {count} teachers by the study's recipe"
            )
        return dataclasses.replace(
            options, teachers=None, teacher_per_seed=options.teacher_per_seed or study.teacher_per_seed
        )
    if options.teacher_per_seed and count is not None and seeds != list(range(count)):
        raise UserError(
            f"--teachers {count} and --teacher-per-seed exclude each other here: the second trains a teacher for each "
            f"of {len(seeds)} seeds; drop one"
        )
    if options.teacher_per_seed or (count is None and study.teacher_per_seed):
        return dataclasses.replace(options, teachers=None, teacher_per_seed=True)
    count = count or study.teachers or 1
    if count > 1:
        _check_teachers(count, seeds, options)
    return dataclasses.replace(options, teachers=count if count > 1 else None)


def _check_teachers(count: int, seeds: Sequence[int], options: Options) -> None:
    """Raises UserError if a teacher would have no student, or seeds are added as if they had no teacher in common."""
    asked = f"--teachers {count}" + ("" if options.teachers else ", as this study has by default")
    if count > len(seeds):
        raise UserError(
            f"{asked}: {count} teachers need {count} seeds or more, and this run has {len(seeds)}; give more --seeds, "
            "or fewer --teachers"
        )
    if idle := sorted(set(range(count)) - {seed % count for seed in seeds}):
        raise UserError(
            f"{asked}: no seed of --seed-list uses teacher {idle[0]}, because seed s uses teacher "
            f"s mod {count}; add seed {idle[0]}, give --teachers 1, or give each seed its own with --teacher-per-seed"
        )
    if options.interval is not None:
        raise UserError(
            f"--interval with {asked}: it adds seeds as if they were independent, and seeds that share a teacher are "
            "not; give each seed its own with --teacher-per-seed, or give --teachers 1"
        )


def _search_with(search: Search, changes: Mapping[str, Any]) -> Search:
    """A search whose template has what `--set` sets, if the template has such a name."""
    searched = [name for name in changes if name in search.space]
    if searched:
        raise UserError(f"--set {searched[0]}: the search varies it; hold it with --fix {searched[0]}=VALUE")
    losses = {n.removeprefix("weight.") for n in (*search.space, *search.template) if n.startswith("weight.")}
    losses |= set(search.template.get("losses", {}))
    mine = {
        name: parsed(name, name, value)
        for name, value in changes.items()
        if name in FIELDS or name.removeprefix("weight.").partition(".")[0] in losses
    }
    return dataclasses.replace(search, template={**search.template, **mine})


def _check_size(arms: int, seeds: int) -> None:
    """Raises UserError for more trials than a study can have, before a list of them fills the memory."""
    if arms * seeds > MOST_TRIALS:
        raise UserError(
            f"{arms:,} arms × {seeds:,} seeds are {arms * seeds:,} trials, and a study has at most {MOST_TRIALS:,}; "
            f"give --seeds {max(1, MOST_TRIALS // arms):,} or fewer, or fewer --arms"
        )


def _check_interval(arms: Sequence[str], options: Options, search: bool) -> None:
    """Raises UserError for an interval that names no two arms."""
    between = options.between
    if (options.interval is None) != (between is None):
        raise UserError("--interval F and --between A,B go together: a width, and the two arms that differ")
    if between is None:
        return
    if search:
        raise UserError("--interval is for studies of arms; a search's winners run on --seeds N fresh seeds")
    if len(between) != 2 or between[0] == between[1]:
        raise UserError(f"--between takes two different arms, as in kd,baseline; got {','.join(between)}")
    wrong = [unknown("arm of this run", arm, arms) for arm in between if arm not in arms]
    if wrong:
        raise UserError(f"--between: {wrong[0]}")
    if options.looks:
        raise UserError("--interval adds seeds once, by the pilot's spread, and --looks names other numbers; drop one")
    if options.seed_list is not None and len(options.seed_list) < PILOT_SEEDS:
        raise UserError(
            f"--interval needs a pilot of {PILOT_SEEDS} seeds or more; --seed-list gives {len(options.seed_list)}"
        )
    if options.seed_list is not None and options.seed_list[-1] > LARGEST_WHOLE - options.max_seeds:
        raise UserError(f"--interval adds seeds after the last one, {options.seed_list[-1]}; give smaller seeds")


def _check_seed_list(options: Options, search: bool) -> None:
    """Raises UserError if something else says which seeds run."""
    if options.seed_list is None:
        return
    if options.seeds is not None:
        raise UserError(
            "--seeds and --seed-list exclude each other: N seeds from 0, or exactly the seeds that you list"
        )
    if search:
        raise UserError("--seed-list is for studies of arms; a search's winners run on --seeds N fresh seeds from 1000")


def moved_milestones(options: Options) -> str:
    """A sentence if a recipe runs at another length than its own, else ''."""
    recipe = RECIPES[options.recipe] if options.recipe else None
    if recipe is None or "milestones" not in recipe.fields:
        return ""
    moved = {
        name: changes["milestones"]
        for name, changes in (("students", options.student_changes()), ("teacher", options.teacher_changes()))
        if changes["epochs"] != recipe.fields["epochs"]
    }
    each = "; ".join(f"{name} {', '.join(map(str, at))}" for name, at in moved.items())
    length = recipe.fields["epochs"]
    return f"recipe {options.recipe} has {length} epochs; its milestones move in proportion: {each}" if each else ""
