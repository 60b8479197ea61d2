"""Options and a study put together: scale, defaults and seeds settled, and every contradiction refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from scl.errors import UserError, shown, unknown
from scl.study.augment import words_of
from scl.study.checks import LARGEST_WHOLE
from scl.study.config import Config
from scl.study.limits import OBJECTIVES
from scl.study.metrics import DEFAULT, METRICS, Metric
from scl.study.options import Options
from scl.study.params import ADD_A_LOSS, FIELDS, assignments, of_loss, parsed, with_params
from scl.study.recipes import RECIPES
from scl.study.search import FRESH_SEED, MOST_TRIALS, Search
from scl.study.space import Choice, ranges
from scl.study.study import Study

PILOT_SEEDS = 5  # the fewest that show a spread
NOT_DECLARING = ("plan", "report_only", "remake_students")  # what --declare excludes


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
            scale_val=scale.val,
        )
        study = sized
    options = dataclasses.replace(options, data=options.data or "digits")
    if (setting := study.settings.get(str(options.data))) is not None and setting.search is not None:
        study = dataclasses.replace(study, search=setting.search)
    bounds = {**study.constraints, **(options.at_most or {})}
    study = dataclasses.replace(study, metric=options.metric or study.metric, constraints=bounds)
    if study.search is not None:
        study = dataclasses.replace(study, search=_search_by(study.search, METRICS[study.metric]))
    if options.fix and study.search is not None:
        study = _searching(study, options, study.search.without(options.fix), f"--fix {assignments(options.fix)}")
    if study.search is not None:
        study = dataclasses.replace(study, search=_search_asked(study.search, options, bounds))
    if options.set and study.search is not None:
        search = _search_with(study.search, options.set)
        study = _searching(study, options, search, f"--set {assignments(options.set)}")
    arms, teacher = resolved(study, options)
    if options.no_flip:
        _check_mirrored(study, arms, teacher)
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
    _check_teacher(options)
    if options.device == "cpu" and options.gpus_per_trial:
        raise UserError(f"--device cpu and --gpus-per-trial {options.gpus_per_trial:g} exclude each other; drop one")
    if options.logits and options.no_logits:
        raise UserError("--logits and --no-logits exclude each other; give one of them")
    if options.plan and options.report_only:
        raise UserError("--plan and --report-only exclude each other; give one of them")
    others = [f"--{name.replace('_', '-')}" for name in NOT_DECLARING if getattr(options, name)]
    if options.declare and others:
        raise UserError(f"--declare writes what will be trained, and {others[0]} does something else; give one of them")
    if options.remake_students and options.report_only:
        raise UserError("--remake-students trains and --report-only does not; give one of them")
    if options.report_only and (options.margin is not None or options.looks or options.metric or options.at_most):
        raise UserError(
            "--margin, --looks, --metric and --at-most are recorded by a run, and --report-only shows what is "
            "recorded; drop --report-only: "
            "finished trials are kept"
        )
    if options.page and not options.report_only:
        raise UserError(f"--page {options.page}: a run writes its page into its store; --page goes with --report-only")
    if options.force and not options.page:
        raise UserError("--force replaces the file of --page; name one, as in --page report.html")
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


def _check_teacher(options: Options) -> None:
    """Raises UserError for options of a teacher from a file that contradict each other, or that have no file."""
    fed = ("teacher_mean", "teacher_std", "teacher_size", "teacher_classes")
    used = ("teacher_finetune", "teacher_features", "teacher_anyway")
    given = ["--" + name.replace("_", "-") for name in (*fed, *used) if getattr(options, name)]
    if given and options.teacher_file is None:
        raise UserError(f"{given[0]} is for a teacher from a file or a folder: give --teacher PATH too, or drop it")
    if options.teacher_finetune and options.teacher_features:
        raise UserError(
            "--teacher-finetune and --teacher-features exclude each other: the first trains a new last layer, the "
            "second uses none"
        )
    if options.teacher_classes and (options.teacher_finetune or options.teacher_features):
        other = "--teacher-finetune" if options.teacher_finetune else "--teacher-features"
        raise UserError(
            f"--teacher-classes names the logits of a last layer, which {other} does not use; drop one of them"
        )


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


def _search_asked(search: Search, options: Options, bounds: Mapping[str, float]) -> Search:
    """A search with what flags say of its sampler, pruner, constraints, seeds and end. bounds: of the study's costs."""
    asked: dict[str, Any] = {
        "trials": options.trials,
        "sampler": options.sampler,
        "pruner": options.pruner,
        "prune": None if options.pruner is None else True,
        "seeds": options.trial_seeds,
        "terminator": options.terminate,
        "constraints": {**bounds, **search.constraints, **(options.at_most or {})},
    }
    return dataclasses.replace(search, **{name: value for name, value in asked.items() if value is not None})


def _search_by(search: Search, metric: Metric) -> Search:
    """A search for the metric of its study on validation images, unless it names objectives of its own."""
    default = search.objectives == (METRICS[DEFAULT].validation,)
    return (
        dataclasses.replace(search, objectives=(metric.validation,))
        if default and metric.validation in OBJECTIVES
        else search
    )


def _search_with(search: Search, changes: Mapping[str, Any]) -> Search:
    """A search whose template has what `--set` sets, if the template has such a name."""
    every = ranges(search.space)
    searched = [name for name in changes if name in every]
    if searched:
        raise UserError(f"--set {searched[0]}: the search varies it; hold it with --fix {searched[0]}=VALUE")
    losses = set(search.template.get("losses", {}))
    losses |= {of_loss(n, losses)[0] for n in (*every, *search.template) if n.startswith(ADD_A_LOSS)}
    mine = {
        name: parsed(name, name, value)
        for name, value in changes.items()
        if name in FIELDS or of_loss(name, losses)[0] in losses
    }
    return dataclasses.replace(search, template={**search.template, **mine})


def _searching(study: Study, options: Options, search: Search, flag: str) -> Study:
    """The study with its search as a flag changes it; raises UserError, which names the flag, for a value that the
    configuration refuses."""
    base = study.base_on(str(options.data), options.student_changes())
    study.searched(base)  # the template as its author wrote it
    try:
        with_params(base, search.template)
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None
    return dataclasses.replace(study, search=search)


def _check_size(arms: int, seeds: int) -> None:
    """Raises UserError for more trials than a study can have, before a list of them fills the memory."""
    if arms * seeds > MOST_TRIALS:
        raise UserError(
            f"{arms:,} arms × {seeds:,} seeds are {arms * seeds:,} trials, and a study has at most {MOST_TRIALS:,}; "
            f"give --seeds {max(1, MOST_TRIALS // arms):,} or fewer, or fewer --arms"
        )


def _check_mirrored(study: Study, arms: Mapping[str, Config], teacher: Config) -> None:
    """Raises UserError if a configuration mirrors images although --no-flip is given."""
    asked = [(f"arm {name!r}", config.augment) for name, config in arms.items()] + [("the teacher", teacher.augment)]
    if study.search is not None:
        searched = study.search.space.get("augment")
        texts = searched.choices if isinstance(searched, Choice) else [study.search.template.get("augment", "none")]
        asked += [("the search", augment) for augment in texts]
    for name, augment in asked:
        if "flip" in words_of(augment):
            raise UserError(
                f"--no-flip says that a mirrored image is not of its class, and {name} mirrors, with augment "
                f"{augment!r}; leave out the word flip, or drop --no-flip"
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


def left_out(study: Study, options: Options) -> str:
    """A sentence if arms are left out because the student's network cannot have their self-taught neurons, else ''."""
    arms, _ = resolved(study, options)
    absent = [name for name in study.chosen(str(options.data), options.arms) if name not in arms]
    if not absent:
        return ""
    named = ", ".join(absent[:4]) + (f" and {len(absent) - 4} more" if len(absent) > 4 else "")
    return (
        f"left out: {named}, because this student cannot be widened by self-taught neurons; --set "
        "self_taught_from=taken takes them from the channels it has"
    )
