"""The names and bounds of a configuration's fields: networks, words, largest values. Plain data."""

from __future__ import annotations

import re

from scl.study.network import Model

MODELS = (
    *(f"plain{layers}" for layers in (3, 5, 7, 9, 11, 13, 15, 17)),
    *(f"vgg{layers}" for layers in (8, 11, 13, 16, 19)),
    *(f"resnet{layers}" for layers in (8, 14, 20, 32, 44, 56, 110)),
    "resnet8x4",
    "resnet32x4",
    "wrn_16_1",
    "wrn_16_2",
    "wrn_40_1",
    "wrn_40_2",
)
# Prefixes of any classification model of these libraries. Whether a name exists is checked when it is built.
TORCHVISION = "torchvision:"
TIMM = "timm:"
HUBS = (TORCHVISION, TIMM)
MODEL_NAMES = (*MODELS, *(f"{hub}NAME" for hub in HUBS), "FILE.py:CLASS")

# The valid values of the fields that are words.
WORDS = {
    "self_taught_at": ("layers", "penultimate", "branch"),
    "self_taught_from": ("added", "taken"),
    "guided": ("first", "all"),
    "tap": ("relu", "bn", "block"),
    "connector": ("auto", "always"),
    "mean_of": ("logits", "losses"),
    "optimizer": ("sgd", "adamw", "adam", "nadam", "radam"),
    "schedule": ("cosine", "multistep", "onecycle"),
    "class_weights": ("none", "balanced"),
    "sampling": ("shuffled", "balanced"),
    "precision": ("auto", "fp32", "bf16"),
    "kernels": ("torch", "fused"),
    "normalisation": ("auto", "data", "published"),
}
# The fields that only some optimizers read.
READ_BY = {
    "momentum": ("sgd",),
    "nesterov": ("sgd",),
    "betas": ("adamw", "adam", "nadam", "radam"),
    "eps": ("adamw", "adam", "nadam", "radam"),
}
# The names in `taught_by` that are no model: the study's teacher, the student's own network and recipe, and the average
# of its weights. `self:K` is the student's network after K generations, see `generation_of`.
STUDY_TEACHER, OWN_TEACHER, EMA_TEACHER = "teacher", "self", "ema"
# The largest values of fields; what is larger is a slip, and would fill the memory.
LARGEST = {
    "width": 64, "self_taught": 65_536, "projector": 65_536, "expansion": 65_536, "epochs": 100_000,
    "batch_size": 1_000_000, "accumulate": 1_000_000,
}  # fmt: skip
# The fields that determine a network. `guided` decides in addition what losses see of it.
ARCHITECTURE = ("model", "width", "self_taught", "self_taught_at", "self_taught_from", "projector", "layers")
# Trials of a cohort share these and the seed of their batches: one stream of batches and one forward of the teacher.
SHARED_IN_COHORT = ("batch_size", "augment", "sampling", "shared_batches", "precision", "tap", "teacher_layers")


def generation_of(name: str) -> int | None:
    """The generation of a teacher that has the student's own network and recipe: 0 for `self`, which learns from the
    labels, K for `self:K`, a born-again student of generation K − 1; None for other names."""
    found = re.fullmatch(rf"{OWN_TEACHER}(?::([1-9][0-9]?))?", name)
    return int(found[1] or 0) if found else None


def of_library(model: Model) -> bool:
    """True for the name of a network of torchvision or timm."""
    return isinstance(model, str) and model.startswith(HUBS)


def neurons_problem(name: str, at: str, source: str) -> str:
    """Why a network of a library or of the user cannot have such self-taught neurons; "" if it can."""
    if at == "branch":
        return (
            f"{name} cannot have a branch of self-taught neurons, only scl's own networks can; give "
            "self_taught_at='layers' and self_taught_from='taken'"
        )
    if source == "added":
        return (
            f"{name} cannot be widened by self-taught neurons, only scl's own networks can; give "
            "self_taught_from='taken' (--set self_taught_from=taken), and the last k channels of each guided layer are "
            "self-taught"
        )
    return ""


def projector_problem(name: str, part: str = "a projector") -> str:
    """Why a network of a library or of the user cannot have a projector, or a transform that expands its map."""
    return (
        f"{name} cannot have {part}, only scl's own networks can, because their classifier reads the mean of the "
        "deepest guided map"
    )


# A projector mixes all channels before it.
UNTAUGHT = (
    "self_taught and projector exclude each other: the projector mixes the self-taught neurons of the deepest layer "
    "into its guided map; set self_taught=0 for this arm, or choose a loss without a projector"
)
