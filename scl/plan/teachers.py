"""Trained teachers in their folders, and those that start elsewhere: a user's checkpoint, or published weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scl.errors import Damaged, UserError
from scl.models.build import pretrained
from scl.models.networks import build_student
from scl.plan.context import RunContext, data_of
from scl.store.files import Folder
from scl.study.config import Config
from scl.study.identity import requested, sha256
from scl.train import checkpoint
from scl.train.evaluation import evaluate
from scl.train.teacher import Teacher, build_teacher

TEACHER_FILE = "teacher.safetensors"


def load_teacher(context: RunContext, teacher_id: str, config: Config) -> tuple[Teacher, dict[str, Any]] | None:
    """A trained teacher and its record; None if it is missing or damaged."""
    files = context.teacher_files(teacher_id)
    for name in (imported_file(context, config), TEACHER_FILE):
        try:
            tensors, record = checkpoint.unpack(files.read(name))
        except FileNotFoundError:
            continue
        except Damaged as damage:
            files.set_aside(name, str(damage))
            continue
        if record.get("use") in (None, use_of(context, config)):
            return Teacher(config, tensors, tensors.pop("test_logits")), record
    return None


def use_of(context: RunContext, config: Config) -> dict[str, Any]:
    """What a user's checkpoint serves: one network on one data set. Its id is the hash of the file alone."""
    return {"config": requested(config), "data": context.fingerprint}


def imported_file(context: RunContext, config: Config) -> str:
    """A file for each use, so that studies of other data keep theirs."""
    return f"teacher-{sha256(use_of(context, config))[:16]}.safetensors"


def save_teacher(
    files: Folder,
    weights: Mapping[str, torch.Tensor],
    logits: torch.Tensor,
    record: dict[str, Any],
    name: str = TEACHER_FILE,
) -> None:
    files.write(name, checkpoint.pack({**weights, "test_logits": logits}, record))


def import_teacher(context: RunContext, config: Config, identity: str, path: str) -> None:
    """Check a user's checkpoint against the teacher's architecture, and store it with its logits on the test images.

    Its id is the hash of the file alone, so a stored teacher serves only the same network and data.

    Raises:
        UserError: the file cannot be read safely, does not fit the network, or holds numbers that are not finite.
    """
    if load_teacher(context, identity, config) is not None:
        return
    weights = checkpoint.load_weights(path)
    wanted = build_student(config, data_of(context), 0).state_dict()
    kept = fitted(weights, wanted)
    if kept is None:
        raise UserError(
            f"--teacher {path!r} does not fit {config.model} at width {config.width:g} with {context.classes} classes "
            f"and {data_of(context).image_shape[0]} channels ({misfit(weights, wanted)}); name its architecture with "
            "--teacher-model and --teacher-width, and give data with its classes"
        )
    broken = [name for name, tensor in kept.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(
            f"--teacher {path!r}: {broken[0]} has numbers that are not finite; give a checkpoint that trained"
        )
    accuracy = evaluate_and_save(context, config, kept, identity, imported=True)
    how = "" if wanted.keys() <= weights.keys() else "; names differ, so tensors were matched by order and shape"
    print(f"teacher {path}: test accuracy {accuracy:.2%}{how}", file=sys.stderr)


def fitted(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """A checkpoint's tensors under the names of a model, or None if it does not fit.

    They are matched by name or, if names differ, by order and shape: published code registers the layers of these
    architectures in the same order under other names. A checkpoint with more tensors fits only a model of another
    library, whose auxiliary heads are not built here.
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
    """The first difference between a checkpoint and a model: by order if they have as many tensors, else by name."""
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


def evaluate_and_save(
    context: RunContext, config: Config, weights: dict[str, Tensor], identity: str, imported: bool = False
) -> float:
    """Store a teacher that needs no training; returns its test accuracy. A plan, which only reads, stores none.

    imported: it comes from a user's file.
    """
    tensors = data_of(context)
    built = build_teacher(Teacher(config, weights, torch.empty(0)), tensors, torch.device("cpu"))
    (logits,) = evaluate([built], tensors.test, tensors)
    accuracy = (logits.argmax(1) == tensors.test.labels).double().mean().item()
    record = {"metrics": {"test_acc": accuracy}, "use": use_of(context, config) if imported else None}
    name = imported_file(context, config) if imported else TEACHER_FILE
    if not context.out.reading:
        save_teacher(context.teacher_files(identity), weights, logits, record, name)
    return accuracy


def start_from_pretrained(context: RunContext, config: Config) -> RunContext:
    """The context with published weights in the jobs of missing teachers.

    Weights with as many classes as the data are the teacher; others get a fresh last layer and are fine-tuned by the
    teacher's recipe.
    """
    tensors = data_of(context)
    jobs = dict(context.jobs)
    for identity, job in context.jobs.items():
        if load_teacher(context, identity, config) is None:
            model = build_student(config, tensors, job.seed)
            weights, whole = pretrained(config.model, model)
            if whole:
                evaluate_and_save(context, config, weights, identity)
            else:
                jobs[identity] = replace(job, weights=weights)
    return replace(context, jobs=jobs)
