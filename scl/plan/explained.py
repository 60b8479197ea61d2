"""What is in a checkpoint, for people, and the same as a safetensors file with its configuration."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from scl.errors import UserError
from scl.models.networks import tensors_of
from scl.plan.given import Given, Shapes, as_metadata, fitted
from scl.report.formatting import plural
from scl.store.files import open_folder
from scl.store.output import output_file
from scl.study.config import Config
from scl.study.fields import MODELS, TORCHVISION

MOST_SHOWN = 12  # keys, or classes, in a line
COUNTED = ("epoch", "epochs", "step", "global_step", "best_epoch", "current_epoch")


def explained(given: Given, model: str) -> dict[str, str]:
    """What a checkpoint holds: a line for each topic.

    Args:
        model: the network's name for scl; '' if it is unknown.
    """
    shard, shapes, said = given.shards[0], given.shapes, given.described
    numbers = sum(math.prod(shape) for shape in shapes.values())
    key = ".".join(shard.key) or "the outermost level"
    lines = {
        "file": ", ".join(str(file) for file in given.files[:MOST_SHOWN]),
        "holds": _listed([f"{name}: {text}" for name, text in shard.keys.items()]),
        "network": f"{plural(len(shapes), 'tensor')} of {numbers:,} numbers, under {key}"
        if shard.ordered or shard.key
        else f"{plural(len(shapes), 'tensor')} of {numbers:,} numbers",
        "weights": "averaged over training (EMA), which are preferred" if shard.averaged else "",
        "names": _names(shapes),
        "epoch": ", ".join(f"{name} {shard.beside[name]}" for name in COUNTED if _is_number(shard.beside.get(name))),
        "architecture": f"{model}" if model else "not recognised; name it with --teacher-model",
        "outputs": str(outputs) if (outputs := head_of(shapes)) else "",
        "mean": ",".join(f"{v:.6g}" for v in said.mean) or "not said; give --teacher-mean",
        "std": ",".join(f"{v:.6g}" for v in said.std) or "not said; give --teacher-std",
        "size": f"{said.size} pixels" if said.size else "not said; give --teacher-size",
        "classes": _listed([f"{i} {name}" for i, name in enumerate(said.classes)])
        or "not said; give --teacher-classes, or their order is taken from the data",
        "accuracy": f"{said.accuracy:.2%}, as it says" if said.accuracy is not None else "",
        "said by": said.where,
        "note": "; ".join(said.notes),
    }
    return {topic: text for topic, text in lines.items() if text}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more


def _names(shapes: Shapes) -> str:
    first, last = next(iter(shapes)), list(shapes)[-1]
    shared = first.partition(".")[0] + "."
    wrapped = len(shapes) > 1 and all(name.startswith(shared) for name in shapes)
    return f"{first} … {last}" + (f"; all begin with {shared}, which is left out" if wrapped else "")


def head_of(shapes: Shapes) -> int | None:
    """The number of logits: the rows of the last matrix with a bias of as many; None if it cannot be seen."""
    for name, shape in reversed(list(shapes.items())):
        if len(shape) == 2 and shapes.get(f"{name.removesuffix('weight')}bias") == shape[:1]:
            return shape[0]
    return None


def recognised(given: Given) -> tuple[str, float]:
    """The network's name for scl and its width, by what is said of it, else by the names and shapes of its tensors;
    '' if it is unknown. No weights are read."""
    said, shapes = given.described, given.shapes
    if said.model:
        return said.model, said.width or 1.0
    outputs, channels = head_of(shapes) or 10, 3
    for four in (shape for shape in shapes.values() if len(shape) == 4):
        channels = four[1] if four[1] in (1, 3) else channels
    for model in MODELS:
        whole = {n: tuple(t.shape) for n, t in tensors_of(Config(model=model), outputs, (channels, 32, 32)).items()}
        if len(whole) == len(shapes):
            first, mine = next(iter(whole.values()))[0], next(iter(shapes.values()))
            for width in {1.0, mine[0] / first if mine else 1.0}:
                if 0 < width <= 64:
                    scaled = tensors_of(Config(model=model, width=width), outputs, (channels, 32, 32))
                    if fitted(shapes, {n: tuple(t.shape) for n, t in scaled.items()}, by_order=False):
                        return model, width
    return _of_torchvision(shapes), 1.0


def _of_torchvision(shapes: Shapes) -> str:
    from torchvision import models  # noqa: PLC0415

    for name in models.list_models(module=models):
        if name.startswith("regnet"):  # its initialisation computes with numbers
            continue
        options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
        with torch.device("meta"):
            built = models.get_model(name, weights=None, **options).state_dict()
        wanted = {key: tuple(tensor.shape) for key, tensor in built.items()}
        body = {key: shape for key, shape in wanted.items() if 1000 not in shape[:1]}
        if abs(len(shapes) - len(wanted)) <= 2 and fitted({**_headless(shapes)}, body, by_order=False):
            return f"{TORCHVISION}{name}"
    return ""


def _headless(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    outputs = head_of(shapes)
    return {
        name: shape for name, shape in shapes.items() if outputs is None or shape[:1] != (outputs,) or len(shape) > 2
    }


def as_safetensors(given: Given, model: str, width: float) -> bytes:
    """The checkpoint's weights, in the types that it has, with what is said of them in the metadata.

    Raises:
        UserError: the file cannot be read.
    """
    weights: dict[str, Tensor] = {
        name: t.contiguous().clone() for name, t in given.weights().items() if name in given.shapes
    }
    said = dataclasses.replace(given.described, model=model, width=width if model in MODELS else None)
    return save_tensors(weights, as_metadata(said, list(given.shapes)))


def write(content: bytes, path: str, force: bool) -> Path:
    """Write a file where a user names it. Raises UserError: it exists (without `force`), or cannot be written."""
    file = output_file(path, force)
    try:
        open_folder(file.parent).write(file.name, content)
    except OSError as error:
        raise UserError(f"--out {path}: {error.strerror or error}; name a file you can write") from None
    return file
