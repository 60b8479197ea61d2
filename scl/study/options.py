"""What a run is asked for: one declaration for the flags of every study file and the keywords of `scl.run`.

A field of `Options` is a flag: `batch_size` is `--batch-size` on the command line and `batch_size=` in Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scl.errors import UserError, unknown
from scl.plain import plain
from scl.study.augment import GRAMMAR, augmentation
from scl.study.checks import (
    Check,
    address,
    assignments,
    at_most,
    cohort_size,
    gpus,
    looks,
    margin,
    model,
    number,
    numbers,
    one_of,
    place,
    seed_list,
    several,
    switch,
    text,
    whole,
)  # fmt: skip
from scl.study.config import Config
from scl.study.fields import HUBS, LARGEST, TIMM, TORCHVISION, WORDS
from scl.study.metrics import COSTS, METRICS
from scl.study.network import Model
from scl.study.params import of_another_network
from scl.study.recipes import RECIPES, at_length
from scl.study.search import FRESH_SEED, MOST_TRIALS, PRUNERS, SAMPLERS
from scl.study.study import Study

TRACKERS = ("tensorboard", "mlflow", "wandb")
DATA = ("digits", "cifar10", "cifar100", "fashion_mnist")
DEVICES = ("auto", "cpu", "cuda")
FITS = ("crop", "stretch", "pad")
LARGEST_IMAGE = 4096  # pixels of a side
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


def _field(study: Study, name: str, of: str = "base") -> object:
    """A field of the students' configuration (`base`) or of the `teacher`'s, and what data sets change in it."""
    changes = {data: s.teacher if of == "teacher" else s.student for data, s in study.settings.items()}
    on = [f"on {data} {changed[name]}" for data, changed in changes.items() if name in changed]
    value = getattr(getattr(study, of), name)
    if (of, name, value) == ("teacher", "epochs", Config.epochs):
        value = "the students'"
    return _sized(study, ", ".join([f"{value:g}" if isinstance(value, float) else str(value), *on]))


def _teachers(study: Study) -> str:
    default = "one for each seed" if study.teacher_per_seed else study.teachers or 1
    return f"train M teachers, seeds 0 to M-1; the students of seed s learn from teacher s mod M (default: {default})"


def _scales(study: Study) -> str:
    default = next(iter(study.scales), "")
    return f"size of the study: {', '.join(study.scales)} (default: {default}); other flags override it"


def _of_search(study: Study, name: str) -> Any:
    return getattr(study.search, name) if study.search else ""


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
    student: Model | None = option(None, STUDY, model, "NAME",  # noqa: RUF009
        lambda s: f"student network: {TORCHVISION}NAME, {TIMM}NAME, FILE.py:CLASS, or one of scl's "
        f"(default: {s.base.model_name})")
    student_layers: tuple[str, ...] | None = option(None, STUDY, several("layer2,layer3"), "A,B",
        "module paths of the student's guided layers, if it is not one of scl's, as in layer2,layer3 (default: one a "
        "stage)")
    student_weights: str | None = option(None, STUDY, place, "FILE",
        "start students from the weights in this file; a last layer for other classes starts fresh (default: from the "
        "seed)")
    width: float | None = option(None, STUDY, number(0, LARGEST["width"], including="high"), "F",
        lambda s: f"factor on the student's channels (default: {_field(s, 'width')})")
    teacher_model: Model | None = option(None, STUDY, model, "NAME",  # noqa: RUF009
        lambda s: f"teacher network: as for --student (default: {s.teacher.model_name})")
    teacher_width: float | None = option(None, STUDY, number(0, LARGEST["width"], including="high"), "F",
        lambda s: f"factor on the teacher's channels (default: {_field(s, 'width', 'teacher')})")
    teacher: str | None = option(None, STUDY, place, "PATH",
        f"use this checkpoint (safetensors or a state dict), or a folder with one and its configuration, and train no "
        f"teacher; or {TORCHVISION}NAME, {TIMM}NAME: "
        "start from published weights, and fine-tune them if the classes differ (default: train one)")
    teacher_mean: tuple[float, ...] | None = option(None, STUDY, numbers(0, 1, including="low and high"), "A,B,C",
        "what the teacher of --teacher FILE was normalised by, of pixels in [0, 1], one number a channel (default: "
        "what its configuration says, else the data's)")
    teacher_std: tuple[float, ...] | None = option(None, STUDY, numbers(0, 1, including="high"), "A,B,C",
        "the same for the standard deviation (default: likewise)")
    teacher_size: int | None = option(None, STUDY, whole(1, 1 << 14), "N",
        "the side in pixels of the teacher's images; the students' are resized to it for the teacher alone "
        "(default: what its configuration says, else the students')")
    teacher_classes: str | None = option(None, STUDY, text, "FILE|A,B,C",
        "the teacher's classes in the order of its logits: names, or a file with a name a line or JSON "
        "(default: what its configuration says, else the data's)")
    teacher_finetune: bool = option(False, STUDY, switch, "",
        "give the teacher of --teacher FILE a fresh last layer, and fine-tune it here by the teacher's recipe")
    teacher_features: bool = option(False, STUDY, switch, "",
        "use the feature maps of --teacher FILE alone, not its last layer, which may be of other classes")
    teacher_anyway: bool = option(False, STUDY, switch, "",
        "go on with a teacher that is no better than guessing, or far below what its file says it reached")
    teacher_layers: tuple[str, ...] | None = option(None, STUDY, several("layer2,layer3"), "A,B",
        "module paths of a torchvision or timm teacher's guided layers, as in layer2,layer3 (default: one a stage)")
    teacher_per_seed: bool = option(False, STUDY, switch, "",
        lambda s: "train a teacher for each seed" + ("; this study does, without --teachers" * s.teacher_per_seed))
    teachers: int | None = option(None, STUDY, whole(1, MOST_TRIALS), "M", _teachers)
    set: Mapping[str, Any] | None = option(None, STUDY, assignments, "NAME=VALUE",
        "set a field of every arm's configuration, or a loss's weight, share, option, layers, warmup, end or stage in "
        "the arms that have it, as in weight_decay=0, weight.kd=2, kd.temperature=2 or kd.warmup=5; "
        "teacher.NAME=VALUE sets the teacher's; repeatable (default: none)",
        repeatable=True)
    interval: float | None = option(None, STUDY, number(NARROWEST, 1, including="low"), "F",
        "after a pilot, add seeds once so that the 95 %% interval of --between is F wide, as in 0.01: one point "
        "(default: add none)")
    between: tuple[str, ...] | None = option(None, STUDY, several("kd,baseline"), "A,B",
        "the two arms whose difference --interval measures (default: none)")
    max_seeds: int = option(50, STUDY, whole(2, MOST_TRIALS), "N", "most seeds that --interval may use (default: 50)")

    metric: str | None = option(None, STUDY, one_of("metric", tuple(METRICS)), "NAME",
        lambda s: f"what the study is judged by: {', '.join(METRICS)} (default: {s.metric})")
    at_most: Mapping[str, float] | None = option(None, STUDY, at_most, "NAME=NUMBER",
        lambda s: f"bounds of costs that a winner must keep, of {', '.join(COSTS)}, as in latency_ms=5,params=1e6; "
        f"repeatable (default: {', '.join(f'{n}={b:g}' for n, b in s.constraints.items()) or 'none'})",
        repeatable=True)
    margin: float | None = option(None, STUDY, margin, "F",
        "the largest difference that does not matter, a fraction (0.005: half a point; with test_loss in nats): the "
        "page then says which arms "
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
        "try the best configurations of these results first, as in results/ablation (default: none)", needs="search")
    sampler: str | None = option(None, SEARCH, one_of("sampler", tuple(SAMPLERS)), "NAME",
        lambda s: f"how configurations are suggested: {', '.join(SAMPLERS)} (default: {_of_search(s, 'sampler')})",
        needs="search")
    pruner: str | None = option(None, SEARCH, one_of("pruner", tuple(PRUNERS)), "NAME",
        lambda s: f"how weak trials are stopped early: {', '.join(PRUNERS)} (default: {_of_search(s, 'pruner_name')})",
        needs="search")
    trial_seeds: int | None = option(None, SEARCH, whole(1, FRESH_SEED), "N",
        lambda s: f"train each configuration on N seeds, judged by their mean (default: {_of_search(s, 'seeds')})",
        needs="search")
    terminate: int | None = option(None, SEARCH, whole(1, MOST_TRIALS), "N",
        lambda s: "end the search once N configurations in a row have not improved on the best (default: "
        f"{_of_search(s, 'terminator') or 'never'})",
        needs="search")
    fix: Mapping[str, Any] | None = option(None, SEARCH, assignments, "NAME=VALUE",
        "hold parameters of the search at a value; repeatable (default: none)", needs="search", repeatable=True)

    data: str | None = option(None, DATASET, place, "NAME|DIR",
        lambda s: f"{', '.join(DATA)}, or a folder or file of yours: images in class folders or with a list of labels, "
        f"Hugging Face Parquet or save_to_disk, or WebDataset tars (default: {_sized(s, 'digits')})")
    label: str | None = option(None, DATASET, text, "COLUMN",
        "label column, if a table has several (default: the only one)")
    drop_class: tuple[str, ...] | None = option(None, DATASET, several("cat,dog"), "A,B",
        "leave out these classes of your data, by name (default: none)")
    test: float | None = option(None, DATASET, number(0, 1), "F",
        "share of the images set aside as test part if your data have none (default: 0.2)")
    image_size: int | None = option(None, DATASET, whole(4, LARGEST_IMAGE), "N",
        "bring your images to N×N pixels (default: their own size if all have one, else by their median)")
    image_fit: str | None = option(None, DATASET, one_of("fit", FITS), "FIT",
        "how: crop scales the shorter side and keeps the middle, stretch, or pad with black (default: crop)")
    limit: int | None = option(None, DATASET, whole(1), "N",
        lambda s: f"use N training images, stratified (default: {_sized(s, 'all')})")
    no_flip: bool = option(False, DATASET, switch, "",
        "a mirrored image is not of its class, as of signs and text: augment = auto then mirrors none")
    val: float | None = option(None, DATASET, number(0, 1, including="low"), "F",
        lambda s: f"share of training images held out for validation, if the data have no validation part "
        f"(default: {_sized(s, '0.1')}, or the recipe's)")
    split_seed: int = option(0, DATASET, whole(0), "N", "seed of the split (default: 0)")

    recipe: str | None = option(None, TRAINING, one_of("recipe", tuple(RECIPES)), "NAME",
        f"one of {', '.join(RECIPES)}; crd is the published one for CIFAR-100, with its weights for arms that "
        "are named after a loss (default: the study's own)")
    epochs: int | None = option(None, TRAINING, whole(1, LARGEST["epochs"]), "N",
        lambda s: f"epochs of the students (default: {_field(s, 'epochs')})")
    teacher_epochs: int | None = option(None, TRAINING, whole(1, LARGEST["epochs"]), "N",
        lambda s: f"epochs of the teacher (default: {_field(s, 'epochs', 'teacher')}; with --recipe: the students')")
    batch_size: int | None = option(None, TRAINING, whole(2, LARGEST["batch_size"]), "N",
        lambda s: f"images a step, of the students (default: {_field(s, 'batch_size')})")
    lr: float | None = option(None, TRAINING, number(0), "F",
        lambda s: f"peak learning rate of the students (default: {_field(s, 'lr')})")
    augment: str | None = option(None, TRAINING, augmentation, "WORDS",
        f"how images change before each step, for students and teacher: {GRAMMAR} (default: the study's, or auto)")
    optimizer: str | None = option(None, TRAINING, one_of("optimizer", WORDS["optimizer"]), "NAME",
        lambda s: f"optimizer of the students, with its --lr: {', '.join(WORDS['optimizer'])} "
        f"(default: {s.base.optimizer}); --set teacher.optimizer=NAME,teacher.lr=F sets the teacher's")
    shared_batches: bool = option(False, TRAINING, switch, "",
        "all seeds see the same batches and augmentation, so cohorts span seeds and one forward of the teacher serves "
        "them; seeds then differ in initial weights and the random numbers of a step (dropout), and intervals cover "
        "no other order of images")
    precision: str | None = option(None, TRAINING, one_of("precision", WORDS["precision"]), "P",
        "arithmetic of a step: fp32, bf16, or auto: bf16 on a GPU, fp32 on a CPU (default: auto)")
    device: str = option("auto", TRAINING, one_of("device", DEVICES), "D",
        "cpu, cuda, or auto: a GPU if there is one (default: auto)")
    deterministic: bool = option(False, TRAINING, switch, "", "exact kernels on a GPU, at some cost in speed")

    address: str | None = option(None, PLACE, address, "A",
        "a running Ray cluster: auto or HOST:PORT from a machine that is part of it, ray://HOST:PORT from outside "
        "(default: a local Ray)")
    inline: bool = option(False, PLACE, switch, "", "run in this process, without Ray; the numbers are the same")
    cohort_size: int | None = option(None, PLACE, cohort_size(MOST_TRIALS), "N",
        "trials that train side by side: auto or a number (default: auto)")
    cpus_per_trial: int = option(1, PLACE, whole(1, 4096), "N", "threads of a cohort (default: 1)")
    gpus_per_trial: float | None = option(None, PLACE, gpus, "F",
        "GPUs of a cohort (default: 1 on cuda)")
    max_concurrent: int | None = option(None, PLACE, whole(1, MOST_TRIALS), "N",
        "cohorts at once (default: as many as fit)")
    checkpoint_every: float = option(0.0, PLACE, number(0, including="low"), "S",
        "least seconds between checkpoints, which a killed worker repeats at most (default: 0, one after each epoch)")
    time_budget: float | None = option(None, PLACE, number(0), "S", "stop cleanly after S seconds (default: never)")

    out: str = option("results", RESULTS, place, "DIR",
        "folder for the results, or s3://… or gs://… (default: results)")
    track: str | None = option(None, RESULTS, one_of("tracker", TRACKERS), "NAME",
        f"also log trials to {', '.join(TRACKERS)}; install the extra of the same name (default: none)")
    plan: bool = option(False, RESULTS, switch, "",
        "print what would run, what is done, and what the rest would cost; train nothing")
    declare: bool = option(False, RESULTS, switch, "",
        "before the first run: write contrasts, arms, seeds, rule and commit into study.json and, signed by its hash, "
        "into declared.json; train nothing. The page then keeps apart what was declared and what came later")
    logits: bool = option(False, RESULTS, switch, "",
        "store the logits of each trial even if all of them take more than 2 GB")
    no_logits: bool = option(False, RESULTS, switch, "", "store no logits; they take 2 bytes an image and class")
    no_pictures: bool = option(False, RESULTS, switch, "",
        "keep no pictures of test images, in the store and on its page, as of private data; a store keeps this choice")
    report_only: bool = option(False, RESULTS, switch, "", "rebuild the page from the store; train nothing")
    remake_students: bool = option(False, RESULTS, switch, "",
        "train completed trials again whose network is missing or damaged, and their teacher; no row changes")
    page: str | None = option(None, RESULTS, place, "FILE",
        "with --report-only: write the page to this file; the store is only read, beside a live run too "
        "(default: report.html in the store)")
    force: bool = option(False, RESULTS, switch, "", "with --page: replace the file if it exists")
    # fmt: on

    # Not flags: how the run was asked for, and the study's file, for the record; and the scale's share held out.
    command: str = ""
    script: str = ""
    scale_val: float = 0.1

    @property
    def val_share(self) -> float:
        """Share held out: the flag's, else the recipe's, else the scale's."""
        return self.val if self.val is not None else RECIPES[self.recipe].val if self.recipe else self.scale_val

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
        fields = ("width", "epochs", "batch_size", "optimizer", "lr", "augment", "precision", "teacher_layers")
        of_network = {} if self.student is None else of_another_network(self.student)
        named = {
            "model": self.student,
            "layers": self.student_layers,
            "initial_weights": self.student_weights,
            "shared_batches": self.shared_batches or None,
            **{name: getattr(self, name) for name in fields},
        }
        return changes | of_network | {k: v for k, v in named.items() if v is not None}

    def teacher_changes(self) -> dict[str, Any]:
        """Fields of the teacher's configuration that flags change."""
        # As many epochs as the students, unless --teacher-epochs says otherwise.
        recipe = at_length(RECIPES[self.recipe], self.teacher_epochs or self.epochs) if self.recipe else {}
        recipe.pop("tap", None)  # students choose where maps are taken: it changes no teacher
        hub = self.teacher if self.teacher and self.teacher_file is None else None
        model = hub or self.teacher_model
        named = {
            "model": model,
            "pretrained": True if hub else None,
            "width": self.teacher_width,
            "epochs": self.teacher_epochs,
            "augment": self.augment,
            "precision": self.precision,
        }
        return (
            recipe
            | ({} if model is None else of_another_network(model))
            | {k: v for k, v in named.items() if v is not None}
        )


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
