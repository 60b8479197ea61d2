"""The flags that every study shares. Answers `--help` and mistyped flags without importing torch or Ray."""

from __future__ import annotations

import argparse
import math
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scl.config import HUBS, MODEL_NAMES, MODELS, PRECISIONS, TIMM, TORCHVISION, Config, UserError, unknown
from scl.exits import exit_with
from scl.recipes import RECIPES, at_length
from scl.study import Study

TRACKERS = ("tensorboard", "mlflow", "wandb")
PILOT_SEEDS = 5  # the fewest from which a spread can be told
DATA = ("digits", "cifar10", "cifar100", "fashion_mnist")


@dataclass(frozen=True)
class Options:
    """A command line, checked. None means: the study's own choice."""

    address: str | None
    data: str
    label: str | None
    limit: int | None
    arms: tuple[str, ...] | None
    seeds: int | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    student: str | None
    teacher_model: str | None
    width: float | None
    teacher_width: float | None
    teacher_epochs: int | None
    recipe: str | None
    precision: str | None
    device: str
    deterministic: bool
    split_seed: int
    val_share: float | None
    teacher: str | None
    teacher_layers: tuple[str, ...] | None
    teacher_per_seed: bool
    cohort_size: int | None
    gpus_per_trial: float | None
    cpus_per_trial: int
    max_concurrent: int | None
    time_budget: float | None
    out: str
    inline: bool
    plan: bool
    report_only: bool
    track: str | None = None
    interval: float | None = None
    between: tuple[str, ...] | None = None
    max_seeds: int = 50
    trials: int | None = None
    storage: str | None = None
    start_from: str | None = None
    fix: Mapping[str, str] | None = None
    scale: str | None = None

    @property
    def val(self) -> float:
        """Share held out: as the flag says, else as the recipe, else 0.1."""
        return self.val_share if self.val_share is not None else RECIPES[self.recipe].val if self.recipe else 0.1

    @property
    def published(self) -> Mapping[str, Mapping[str, Any]]:
        """The recipe's own setting of arms that are named after a loss."""
        return RECIPES[self.recipe].arms if self.recipe else {}

    @property
    def teacher_file(self) -> str | None:
        """The checkpoint to use, where --teacher names one and not a model of torchvision or timm."""
        return None if self.teacher is None or self.teacher.startswith(HUBS) else self.teacher

    def student_changes(self) -> dict[str, Any]:
        changes = at_length(RECIPES[self.recipe], self.epochs) if self.recipe else {}
        named = {
            "student": self.student,
            "width": self.width,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "precision": self.precision,
            "teacher_layers": self.teacher_layers,
        }
        return changes | _plain_width(self.student) | {k: v for k, v in named.items() if v is not None}

    def teacher_changes(self) -> dict[str, Any]:
        # As many epochs as the students, unless --teacher-epochs says otherwise.
        recipe = at_length(RECIPES[self.recipe], self.teacher_epochs or self.epochs) if self.recipe else {}
        recipe.pop("tap", None)  # where maps are taken is the students' affair: it changes no teacher
        hub = self.teacher if self.teacher and self.teacher_file is None else None
        named = {
            "student": hub or self.teacher_model,
            "pretrained": True if hub else None,
            "width": self.teacher_width,
            "epochs": self.teacher_epochs,
            "precision": self.precision,
        }
        return recipe | _plain_width(hub or self.teacher_model) | {k: v for k, v in named.items() if v is not None}


def _plain_width(model: str | None) -> dict[str, float]:
    """Other libraries' models have no width factor: one that a study sets for its own networks does not reach them."""
    return {"width": 1.0} if model is not None and model.startswith(HUBS) else {}


def _whole(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"must be a whole number of {low} or more, got {text!r}")
        return value

    return parse


def _number(low: float, high: float = math.inf, including: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < low or (value == low and not including) or value >= high:
            rule = f"{low:g} or more" if including else f"above {low:g}"
            below = "" if math.isinf(high) else f" and below {high:g}"
            raise argparse.ArgumentTypeError(f"must be a finite number, {rule}{below}, got {text!r}")
        return value

    return parse


def _one_of(kind: str, valid: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in valid:
            raise argparse.ArgumentTypeError(unknown(kind, text, valid))
        return text

    return parse


def _cohort_size(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return _whole(1)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be 'auto' or a whole number of 1 or more, got {text!r}") from None


def _model(text: str) -> str:
    # Which models torchvision and timm have is asked when one is built: importing them would slow every start.
    if not text.startswith(HUBS) and text not in MODELS:
        raise argparse.ArgumentTypeError(unknown("model", text, MODEL_NAMES))
    return text


def _paths(text: str) -> tuple[str, ...]:
    return tuple(path.strip() for path in text.split(",") if path.strip())


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("must name at least one arm, as in kd,scl")
    return names


def _examples(script: str, study: Study) -> str:
    other = next((arm for arm in study.arms if arm != study.baseline), study.baseline)
    lines = (
        (f"{script} --plan", "what would run, and its cost"),
        (f"{script} --arms {other} --seeds 5", "that arm beside the baseline, five seeds"),
        (f"{script} --data path/to/images", "train/CLASS/*.png, test/CLASS/*.png"),
        (f"{script} --teacher mine.pt --teacher-model resnet32x4", "a teacher of your own"),
        (f"{script} --address auto --out s3://bucket/results", "a running Ray cluster"),
    )
    width = max(len(line) for line, _ in lines) + 2
    return "examples:\n" + "\n".join(f"  {line:{width}}{what}" for line, what in lines)


def _assignments(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and sign and value.strip() for name, sign, value in pairs):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE or several with commas, got {text!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _teacher_epochs(study: Study) -> str:
    """The default of --teacher-epochs, in words."""
    own = "the students'" if study.teacher.epochs == Config.epochs else str(study.teacher.epochs)
    on = {name: s.teacher["epochs"] for name, s in study.settings.items() if "epochs" in s.teacher}
    return ", ".join([own, *(f"on {name} {epochs}" for name, epochs in on.items())]) + "; a recipe's: the students'"


def parser(study: Study) -> argparse.ArgumentParser:
    asked_for = f" Only when asked for: {', '.join(study.asked_for)}." if study.asked_for else ""
    arms = f"Arms: {', '.join(a for a in study.arms if a not in study.asked_for)}.{asked_for}"
    codes = "Exit codes: 0 all trials done, 1 some failed, 2 bad arguments, 3 time budget reached, 130 interrupted."
    script = Path(sys.argv[0]).name
    p = argparse.ArgumentParser(
        description=textwrap.fill(study.question, 100),
        epilog="\n\n".join([textwrap.fill(arms, 100), _examples(script, study), codes]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_flags(p, study)
    return p


def add_flags(p: argparse.ArgumentParser, study: Study) -> None:
    """The flags of a study, in groups; their help knows its defaults."""
    g = p.add_argument_group("what to study")
    g.add_argument(
        "--arms",
        type=_names,
        metavar="A,B",
        help="only these arms; the baseline always runs (default: all that need not be asked for)",
    )
    if study.scales:
        g.add_argument(
            "--scale",
            default=next(iter(study.scales)),
            metavar="NAME",
            help=f"how large: {', '.join(study.scales)} (default: {next(iter(study.scales))}); other flags come on top",
        )
    sized = "the scale's" if study.scales else ""  # a default, where there are scales
    g.add_argument("--seeds", type=_whole(1), metavar="N", help=f"seeds 0 to N-1 (default: {sized or study.seeds})")
    g.add_argument("--student", type=_model, metavar="NAME", help=f"student network (default: {study.base.student})")
    g.add_argument("--width", type=_number(0), metavar="F", help="factor on the student's channels")
    g.add_argument(
        "--teacher-model",
        type=_model,
        metavar="NAME",
        help=f"a student's name, {TORCHVISION}NAME or {TIMM}NAME (default: {study.teacher.student})",
    )
    g.add_argument("--teacher-width", type=_number(0), metavar="F", help="factor on the teacher's channels")
    g.add_argument(
        "--teacher",
        metavar="PATH",
        help=f"use this checkpoint (safetensors or a state dict), train none; or {TORCHVISION}NAME, {TIMM}NAME: their "
        "weights, fine-tuned by the teacher's recipe unless their classes are those of the data",
    )
    g.add_argument(
        "--teacher-layers",
        type=_paths,
        metavar="A,B",
        help="module paths of the guided layers of a teacher from torchvision or timm, as in layer2,layer3 "
        "(default: found by stage)",
    )
    always = "; this study always has one" if study.teacher_per_seed else ""
    g.add_argument(
        "--teacher-per-seed",
        action="store_true",
        default=study.teacher_per_seed,
        help=f"a teacher for each seed, not one for the study{always}",
    )

    g.add_argument(
        "--interval",
        type=_number(0, 1),
        metavar="F",
        help="after a pilot, add seeds once so that the 95 %% interval of --between is F wide (0.01: one point)",
    )
    g.add_argument("--between", type=_names, metavar="A,B", help="the two arms whose difference --interval is of")
    g.add_argument("--max-seeds", type=_whole(2), default=50, metavar="N", help="cap of --interval (default: 50)")

    if study.search is not None:
        g = p.add_argument_group("search")
        g.add_argument(
            "--trials", type=_whole(1), metavar="N", help=f"configurations to try (default: {study.search.trials})"
        )
        g.add_argument(
            "--storage",
            metavar="URL",
            help="database for Optuna's trials, as postgresql+psycopg://… or sqlite:///… (default: a file in --out)",
        )
        g.add_argument(
            "--start-from",
            metavar="DIR",
            help="try the best configurations of these results first, as in results/ablation",
        )
        g.add_argument("--fix", type=_assignments, metavar="P=V", help="hold parameters of the search at a value")

    g = p.add_argument_group("data")
    g.add_argument(
        "--data",
        default=None if study.scales else "digits",
        metavar="NAME|DIR",
        help=f"{', '.join(DATA)}, a folder of Hugging Face image Parquet, or train/CLASS/*.png "
        f"(default: {sized or 'digits'})",
    )
    g.add_argument("--label", metavar="COLUMN", help="label column, where a Parquet folder has several")
    g.add_argument(
        "--limit", type=_whole(1), metavar="N", help=f"N training images, stratified (default: {sized or 'all'})"
    )
    g.add_argument(
        "--val",
        type=_number(0, 1, True),
        dest="val_share",
        metavar="F",
        help=f"share held out (default: {sized or '0.1'}, or the recipe's)",
    )
    g.add_argument("--split-seed", type=_whole(0), default=0, metavar="N", help="seed of the split (default: 0)")

    g = p.add_argument_group("how to train")
    g.add_argument(
        "--recipe",
        type=_one_of("recipe", tuple(RECIPES)),
        metavar="NAME",
        help=f"one of {', '.join(RECIPES)}; crd is the published one for CIFAR-100, with its weights for arms that "
        "are named after a loss",
    )
    g.add_argument("--epochs", type=_whole(1), metavar="N", help="epochs of the students")
    g.add_argument(
        "--teacher-epochs",
        type=_whole(1),
        metavar="N",
        help=f"epochs of the teacher (default: {_teacher_epochs(study)})",
    )
    g.add_argument("--batch-size", type=_whole(2), metavar="N", help="images a step")
    g.add_argument("--lr", type=_number(0), metavar="F", help="peak learning rate of the students")
    g.add_argument(
        "--precision", type=_one_of("precision", PRECISIONS), metavar="P", help="auto (default), fp32 or bf16"
    )
    g.add_argument(
        "--device",
        type=_one_of("device", ("auto", "cpu", "cuda")),
        default="auto",
        metavar="D",
        help="auto (default), cpu or cuda",
    )
    g.add_argument("--deterministic", action="store_true", help="exactness over speed on a GPU")

    g = p.add_argument_group("where to run")
    g.add_argument(
        "--address",
        metavar="A",
        help="auto or HOST:PORT: a running Ray cluster that this machine is part of (default: local)",
    )
    g.add_argument("--inline", action="store_true", help="in this process, without Ray; the same numbers")
    g.add_argument(
        "--cohort-size",
        type=_cohort_size,
        default=None,
        metavar="N",
        help="trials side by side: auto (default) or a number",
    )
    g.add_argument("--cpus-per-trial", type=_whole(1), default=1, metavar="N", help="threads of a cohort (default: 1)")
    g.add_argument(
        "--gpus-per-trial",
        type=_number(0, including=True),
        metavar="F",
        help="GPUs of a cohort (default: 1 on cuda)",
    )
    g.add_argument("--max-concurrent", type=_whole(1), metavar="N", help="cohorts at once (default: what fits)")
    g.add_argument("--time-budget", type=_number(0), metavar="S", help="stop cleanly after so many seconds")

    g = p.add_argument_group("results")
    g.add_argument("--out", default="results", metavar="DIR", help="a folder, s3://… or gs://… (default: results)")
    g.add_argument(
        "--track",
        type=_one_of("tracker", TRACKERS),
        metavar="NAME",
        help=f"show trials in {', '.join(TRACKERS)} as well, as runs (an extra of the same name; default: none)",
    )
    g.add_argument(
        "--plan",
        action="store_true",
        help="say what would run, what is done, what it would cost; train nothing",
    )
    g.add_argument("--report-only", action="store_true", help="rebuild the page from the store; train nothing")


def main(study: Study) -> None:
    """Run a study as a script: parse, run, exit with the contract's code."""
    options = Options(**vars(parser(study).parse_args()))
    exit_with(lambda: run(*at_scale(study, options)))


def at_scale(study: Study, options: Options) -> tuple[Study, Options]:
    """The study and the command line at the scale that --scale names; as they are for a study of one size.

    Raises:
        UserError: the study has no such scale.
    """
    if not study.scales:
        return study, options
    sized = study.at(options.scale or next(iter(study.scales)))
    scale = study.scales[options.scale or next(iter(study.scales))]
    return sized, replace(
        options,
        data=options.data or scale.data,
        limit=options.limit if options.limit is not None else scale.limit,
        val_share=scale.val if options.val_share is None and options.recipe is None else options.val_share,
    )


def check_interval(arms: Sequence[str], between: tuple[str, ...] | None, interval: float | None, search: bool) -> None:
    """Raises UserError for an interval that names no two arms."""
    if (interval is None) != (between is None):
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


def moved_milestones(options: Options) -> str:
    """What is said where a recipe is run at another length than its own."""
    assert options.recipe is not None
    recipe = RECIPES[options.recipe]
    if "milestones" not in recipe.fields:
        return ""
    moved = {
        who: changes["milestones"]
        for who, changes in (("students", options.student_changes()), ("teacher", options.teacher_changes()))
        if changes["epochs"] != recipe.fields["epochs"]
    }
    each = "; ".join(f"{who} {', '.join(map(str, at))}" for who, at in moved.items())
    return (
        f"recipe {options.recipe} is of {recipe.fields['epochs']} epochs: milestones in proportion, {each}"
        if each
        else ""
    )


def run(study: Study, options: Options) -> int:
    """Check a command line against a study of one size, and run it. Raises UserError before anything has started."""
    if options.fix and study.search is not None:
        study = replace(study, search=study.search.without(options.fix))
    # Names first: a mistyped arm is answered before torch and Ray are imported.
    arms, _ = study.resolve(
        options.data, options.arms, options.student_changes(), options.teacher_changes(), options.published
    )
    if options.recipe and (told := moved_milestones(options)):
        print(told, file=sys.stderr)
    check_interval(list(arms), options.between, options.interval, study.search is not None)
    if options.interval is not None:
        options = replace(options, seeds=max(PILOT_SEEDS, options.seeds or study.seeds))
    if options.inline and options.address:
        raise UserError("--inline runs in this process and --address on a cluster; give one of them")
    if options.teacher and options.teacher_model and options.teacher_file is None:
        raise UserError(
            f"--teacher {options.teacher} names the network, so --teacher-model says nothing; give one of them"
        )
    if options.plan and options.report_only:
        raise UserError("--plan and --report-only exclude each other; give one of them")
    from scl import runner

    return runner.run(study, options)
