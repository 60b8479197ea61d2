"""Teachers that are not trained from scratch: a user's checkpoint, the public weights of torchvision and timm."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from scl import models
from scl.cohort import TEACHER_FILE, World, adopted_file, data_of, load_teacher, save_teacher, use_of
from scl.config import Config, UserError
from scl.evaluation import evaluate
from scl.networks import build_student, build_teacher
from scl.trial import Teacher


def adopt(world: World, weights: Mapping[str, Tensor], config: Config, identity: str, path: str) -> None:
    """Check a user's checkpoint against the teacher's architecture and keep it with its logits on these test images.

    Its id is the hash of the file alone, so what is kept from before serves only for the same network and data.
    """
    if load_teacher(world, identity, config) is not None:
        return
    wanted = build_student(config, data_of(world), 0).state_dict()
    kept = fitted(weights, wanted)
    if kept is None:
        raise UserError(
            f"--teacher {path!r} does not fit {config.student} at width {config.width:g} with {world.classes} classes "
            f"and {data_of(world).image_shape[0]} channels ({misfit(weights, wanted)}); name its architecture with "
            "--teacher-model and --teacher-width, and give data with its classes"
        )
    broken = [name for name, tensor in kept.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(
            f"--teacher {path!r}: {broken[0]} has numbers that are not finite; give a checkpoint that trained"
        )
    accuracy = keep(world, config, kept, identity, adopted=True)
    how = "" if wanted.keys() <= weights.keys() else ", tensors matched by their order and shapes, their names differ"
    print(f"teacher {path}: test accuracy {accuracy:.2%}{how}", file=sys.stderr)


def fitted(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """A checkpoint's tensors under the names of a model, or None where it does not fit.

    By name; or, where names differ, by order and shape: published code registers the layers of these
    architectures in the order in which they stand here, under names of its own. A deeper network's checkpoint has
    tensors left over and does not fit; another library's may, of auxiliary heads that are not built here.
    """
    by_name = {k: weights.get(k, weights.get(k.removeprefix("net."))) for k in wanted}
    by_order = dict(zip(wanted, weights.values(), strict=False)) if len(weights) == len(wanted) else {}
    if len(weights) > len(wanted) and not any(k.startswith("net.") for k in wanted):
        return None
    for found in (by_name, by_order):
        kept = {k: t.to(old.dtype) for k, old in wanted.items() if (t := found.get(k)) is not None}
        if kept.keys() == wanted.keys() and all(kept[k].shape == old.shape for k, old in wanted.items()):
            return kept
    return None


def misfit(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Where a checkpoint departs from a model: the first tensor by order, where there are as many, else by name."""
    if len(weights) == len(wanted):
        for (name, old), (given, tensor) in zip(wanted.items(), weights.items(), strict=True):
            if tensor.shape != old.shape:
                return f"by order, {given} is {tuple(tensor.shape)} where {name} is {tuple(old.shape)}"
    over = [name for name in weights if name not in wanted]
    if len(weights) > len(wanted) and over:
        return f"it has {len(weights)} tensors, wanted {len(wanted)}; {over[0]} is one too many"
    absent = [name for name in wanted if name not in weights]
    if absent:
        return f"it has {len(weights)} tensors, wanted {len(wanted)}; {absent[0]} is absent"
    name = next(name for name, old in wanted.items() if weights[name].shape != old.shape)
    return f"{name} is {tuple(weights[name].shape)}, wanted {tuple(wanted[name].shape)}"


def keep(world: World, config: Config, weights: dict[str, Tensor], identity: str, adopted: bool = False) -> float:
    """Store a teacher that is used as it comes; returns its test accuracy. adopted: from a file of the user's."""
    tensors = data_of(world)
    built = build_teacher(Teacher(config, weights, torch.empty(0)), tensors, torch.device("cpu"))
    (logits,) = evaluate([built], tensors.test, tensors)
    accuracy = (logits.argmax(1) == tensors.test.labels).double().mean().item()
    record = {"metrics": {"test_acc": accuracy}, "use": use_of(world, config) if adopted else None}
    name = adopted_file(world, config) if adopted else TEACHER_FILE
    save_teacher(world.teacher_files(identity), weights, logits, record, name)
    return accuracy


def start_from_pretrained(world: World, config: Config) -> World:
    """The world with public weights in the jobs of teachers that are not there yet.

    Where the weights know as many classes as the data have, they are the teacher; else the teacher's recipe tunes
    them, with a fresh last layer.
    """
    tensors = data_of(world)
    jobs = dict(world.jobs)
    for identity, job in world.jobs.items():
        if load_teacher(world, identity, config) is None:
            model = build_student(config, tensors, job.seed)
            weights, whole = models.pretrained(config.student, model)
            if whole:
                keep(world, config, weights, identity)
            else:
                jobs[identity] = replace(job, weights=weights)
    return replace(world, jobs=jobs)
