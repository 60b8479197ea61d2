"""What a configuration's fields may not be: values out of their bounds, and fields that contradict each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scl.errors import shown, unknown
from scl.study.augment import mixes
from scl.study.fields import (
    EMA_TEACHER,
    LARGEST,
    MODEL_NAMES,
    MODELS,
    OWN_TEACHER,
    STUDY_TEACHER,
    TIMM,
    TORCHVISION,
    UNTAUGHT,
    WORDS,
    generation_of,
    of_library,
    projector_problem,
)
from scl.study.term import loss_row

if TYPE_CHECKING:
    from scl.study.config import Config


def problems_of(config: Config) -> list[str]:
    """Values out of their bounds, and fields that contradict each other."""
    problems = []
    if not config.is_foreign and config.model not in MODELS:
        problems.append(unknown("model", config.model, MODEL_NAMES))
    for name, valid in WORDS.items():
        if getattr(config, name) not in valid:
            problems.append(unknown(name, getattr(config, name), valid))
    for name, low, open_below, high in (
        ("width", 0.0, True, LARGEST["width"]),
        ("projector", 0, False, LARGEST["projector"]),
        ("expansion", 0, False, LARGEST["expansion"]),
        ("ce", 0.0, False, math.inf),
        ("label_smoothing", 0.0, False, 1.0),
        ("epochs", 1, False, LARGEST["epochs"]),
        ("batch_size", 2, False, LARGEST["batch_size"]),
        ("lr", 0.0, True, math.inf),
        ("momentum", 0.0, False, 1.0),
        ("eps", 0.0, True, 1.0),
        ("weight_decay", 0.0, False, math.inf),
        ("clip_norm", 0.0, False, math.inf),
        ("accumulate", 1, False, LARGEST["accumulate"]),
        ("head_lr", 0.0, False, math.inf),
        ("layer_decay", 0.0, True, 1.0),
        ("ema", 0.0, False, 1.0),
        ("patience", 0, False, LARGEST["epochs"]),
        ("dropout", 0.0, False, 1.0),
        ("drop_path", 0.0, False, 1.0),
        ("lr_decay", 0.0, True, 1.0),
        ("warmup_epochs", 0, False, LARGEST["epochs"]),
        ("pretrain_epochs", 0, False, LARGEST["epochs"]),
    ):
        value = getattr(config, name)
        if value is None:
            continue
        if not math.isfinite(value) or value < low or (open_below and value == low) or value > high:
            rule = f"above {low:g}" if open_below else f"{low:g} or more"
            bound = "" if math.isinf(high) else f" and at most {high:g}"
            problems.append(f"{name} must be finite, {rule}{bound}, got {value}")
    stages = {term.stage for term in config.losses.values() if term.weight > 0}
    problems += _of_stages(config)
    if mixes(config.augment):
        problems += [
            f"loss {name!r} remembers each training image, and augment {config.augment!r} mixes two; leave out mixup "
            "and cutmix, or the loss"
            for name, term in config.losses.items()
            if term.weight > 0 and loss_row(term).remembers
        ]
        problems += [
            f"loss {name!r} needs the one class of each image, and augment {config.augment!r} mixes images of two; "
            "leave out mixup and cutmix, or the loss"
            for name, term in config.losses.items()
            if term.weight > 0 and loss_row(term).needs_target
        ]
    if (config.pretrain_epochs > 0) != ("pretrain" in stages):
        problems.append(
            "a loss with stage='pretrain' needs pretrain_epochs of 1 or more, and those need such a loss; "
            f"got {config.pretrain_epochs} epochs and {'one' if 'pretrain' in stages else 'none'}"
        )
    if config.pretrained and not of_library(config.model):
        problems.append(f"pretrained is for {TORCHVISION}NAME and {TIMM}NAME, got {config.model_name!r}")
    if config.pretrained and config.initial_weights:
        problems.append(f"pretrained and initial_weights {shown(config.initial_weights)} exclude each other; give one")
    if config.normalisation == "published" and not of_library(config.model):
        problems.append(
            f"normalisation 'published' is for {TORCHVISION}NAME and {TIMM}NAME, got {config.model_name!r}; an own "
            "network normalises its images itself, in its forward"
        )
    if config.is_foreign and config.width != 1:
        problems.append(f"{config.model_name} has no width factor; width must be 1, got {config.width:g}")
    if config.layers and not config.is_foreign:
        problems.append(
            "layers (--student-layers) can be named for models of torchvision and timm and for own networks; those of "
            f"{config.model} are fixed"
        )
    if len(set(config.layers)) < len(config.layers):
        problems.append(f"layers must be different module paths, got {shown(config.layers)}")
    if config.self_taught_at == "penultimate" and isinstance(config.self_taught, tuple):
        problems.append(f"self_taught_at 'penultimate' is one layer: one whole number, got {config.self_taught}")
    if config.self_taught_from == "taken" and config.self_taught_at == "branch":
        problems.append("self_taught_from 'taken' and self_taught_at 'branch' exclude each other")
    return problems + _of_recipe(config) + _of_teachers(config) + _of_projector(config) + _of_expansion(config)


def _of_projector(config: Config) -> list[str]:
    """What a projector, or a loss whose student keeps the teacher's classifier, cannot have beside it."""
    problems = []
    if config.projector and config.is_foreign:
        problems.append(projector_problem(config.model_name))
    for name in config.reusing:
        if config.is_foreign and not config.projector:
            problems.append(f"loss {name!r} needs a student with a projector: {projector_problem(config.model_name)}")
        if config.losses[name].layers not in (None, (-1,)):
            problems.append(
                f"loss {name!r} compares the map that the teacher's classifier reads; leave layers out, or give (-1,), "
                f"got {config.losses[name].layers}"
            )
        if config.tap != "relu":
            problems.append(
                f"loss {name!r} compares the map that the teacher's classifier reads, which is that after the ReLU; "
                f"give this arm tap='relu', got {config.tap!r}"
            )
        if config.head_lr != 1:
            problems.append(
                f"loss {name!r} keeps the teacher's classifier as it is, so head_lr has no effect; give this arm "
                f"head_lr=1, got {config.head_lr:g}"
            )
    if config.has_self_taught and (config.projector or config.reusing):
        problems.append(UNTAUGHT)
    return problems


def _of_expansion(config: Config) -> list[str]:
    """What a transform that expands the deepest map, or a loss that has one, cannot have beside it."""
    problems: list[str] = []
    terms = config.expanding
    if not terms and not config.expansion:
        return problems
    if config.is_foreign:
        problems.append(projector_problem(config.model_name, "a transform that expands its deepest map"))
    if config.projector or config.reusing:
        problems.append(
            "a projector and the transform of expansion, or of the loss 'norm', exclude each other: each stands "
            "between the deepest map and the classifier; choose one for this arm"
        )
    if terms and config.expansion:
        problems.append(
            f"loss {terms[0]!r} expands the student's map to its segments × the teacher's channels, and expansion is "
            f"{config.expansion}; leave expansion out, or give the loss other segments"
        )
    if len(terms) > 1:
        problems.append(
            f"losses {terms[0]!r} and {terms[1]!r} expand one map, and a student has one transform; give one"
        )
    problems += [
        f"loss {name!r} compares the deepest map; leave layers out, or give (-1,), got {config.losses[name].layers}"
        for name in terms
        if config.losses[name].layers not in (None, (-1,))
    ]
    return problems


def _of_teachers(config: Config) -> list[str]:
    """Teachers that do not exist, or that a loss of this objective cannot have."""
    if config.mean_of == "losses" and len(config.taught_by) < 2:
        got = f"got {', '.join(config.taught_by) or 'none'}"
        return [f"mean_of 'losses' is a mean over teachers: name two or more in taught_by, {got}"]
    if not config.taught_by:
        return []
    valid = (STUDY_TEACHER, OWN_TEACHER, EMA_TEACHER, *MODELS)
    shown_valid = (*valid[:2], f"{OWN_TEACHER}:K (K from 1 to 99)", *valid[2:])
    wrong = [name for name in config.taught_by if name not in valid and generation_of(name) is None]
    problems = [unknown("teacher in taught_by", name, shown_valid) for name in wrong]
    problems += [
        f"loss {name!r} compares {loss_row(term).compares}, and teachers in taught_by have logits alone; "
        "leave out taught_by, or choose losses of logits such as kd"
        for name, term in config.losses.items()
        if term.weight > 0 and loss_row(term).compares != "logits"
    ]
    if config.teacher_layers:
        problems.append("taught_by and teacher_layers exclude each other: logits have no layers")
    averages = config.taught_by.count(EMA_TEACHER)
    if averages > 1:
        problems.append(f"taught_by has {EMA_TEACHER!r} {averages} times; a student has one average of its weights")
    if averages and config.ema == 0:
        problems.append(f"taught_by {EMA_TEACHER!r} needs the decay of that average: set ema, as in ema=0.99")
    return problems


def _of_recipe(config: Config) -> list[str]:
    """Fields of the recipe that contradict each other, or have no effect on this network."""
    problems = []
    if config.optimizer == "sgd" and config.nesterov and config.momentum == 0:
        problems.append("nesterov needs a momentum above 0, got 0.0")
    if not of_library(config.model) and (config.dropout is not None or config.drop_path is not None):
        problems.append(
            f"dropout and drop_path set what networks of libraries have, {TORCHVISION}NAME and {TIMM}NAME; "
            f"{config.model_name} has neither"
        )
    rates = ("ema", "dropout", "drop_path")
    problems += [f"{name} must be below 1, got 1.0" for name in rates if getattr(config, name) == 1]
    if config.schedule == "onecycle" and config.warmup_epochs:
        problems.append(
            f"schedule 'onecycle' has a warm-up of its own; set warmup_epochs=0, got {config.warmup_epochs}"
        )
    if config.schedule == "multistep" and not config.milestones:
        problems.append("schedule 'multistep' needs milestones, the epochs after which lr is decayed")
    if list(config.milestones) != sorted(set(config.milestones)) or any(m < 1 for m in config.milestones):
        problems.append(f"milestones must be rising epochs from 1, got {config.milestones}")
    return problems


def _of_stages(config: Config) -> list[str]:
    """Every epoch needs something to train on."""
    problems = []
    for stage, epochs in (("train", config.epochs), ("pretrain", config.pretrain_epochs)):
        terms = [t for t in config.losses.values() if t.weight > 0]
        ends = [epochs if t.end is None else t.end for t in terms if t.stage == stage]
        if (stage == "pretrain" or config.ce == 0) and max(ends, default=0) < epochs:
            ce = "ce is 0 and " if stage == "train" else ""
            problems.append(
                f"an objective needs a term in every epoch: {ce}no loss of the stage {stage!r} has a weight "
                f"after epoch {max(ends, default=0)} of {epochs}"
            )
    return problems
