"""Trained teachers in their folders, and those that start elsewhere: a user's checkpoint, or published weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scl.errors import Damaged, UserError
from scl.models.build import pretrained
from scl.models.networks import build_student, renormalising, tensors_of
from scl.plan.context import RunContext, data_of
from scl.store.files import Folder
from scl.study.config import Config
from scl.study.identity import requested, sha256
from scl.terminal import say
from scl.train import checkpoint
from scl.train.evaluation import evaluate
from scl.train.teacher import Teacher, build_teacher
from scl.train.weights import FLOATS, difference, keeps_order, load_weights, type_name

TEACHER_FILE = "teacher.safetensors"


def load_teacher(context: RunContext, teacher_id: str, config: Config) -> tuple[Teacher, dict[str, Any]] | None:
    """A trained teacher and its record; None if it is missing or damaged."""
    files = context.teacher_files(teacher_id)
    for name in (imported_file(context, config), TEACHER_FILE):
        if not files.exists(name):  # a pipe would wait for ever
            continue
        try:
            tensors, record = checkpoint.unpack(files.read(name))
            if record.get("use") not in (None, use_of(context, config)):
                continue
            logits = tensors.pop("test_logits", torch.empty(0))
            if problem := _unusable(context, config, tensors, logits, record):
                raise Damaged(problem)
        except FileNotFoundError:
            continue
        except Damaged as damage:
            files.set_aside(name, str(damage))
            continue
        return Teacher(config, tensors, logits), record
    return None


def _unusable(
    context: RunContext, config: Config, weights: Mapping[str, Tensor], logits: Tensor, record: Mapping[str, Any]
) -> str:
    """Why a stored teacher cannot serve this network and data; '' if it can."""
    wanted = tensors_of(config, context.classes, data_of(context).image_shape) | renormalising(weights)
    if problem := difference(weights, wanted):
        return f"it is no {config.model_name} of this study: {problem}"
    if tuple(logits.shape) != (len(context.labels["test"]), context.classes) or logits.dtype not in FLOATS:
        return "it has no logits of the test images"
    metrics = record.get("metrics")
    accuracy = metrics.get("test_acc") if isinstance(metrics, Mapping) else None
    if isinstance(accuracy, bool) or not isinstance(accuracy, float | int) or not 0 <= accuracy <= 1:
        return "its record has no test accuracy"
    return ""


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
    files.write(name, checkpoint.pack({**weights, "test_logits": logits}, record), durable=True)


def import_teacher(context: RunContext, config: Config, identity: str, path: str) -> None:
    """Check a user's checkpoint against the teacher's architecture, and store it with its logits on the test images.

    Its id is the hash of the file alone, so a stored teacher serves only the same network and data.

    Raises:
        UserError: the file cannot be read safely, does not fit the network, or holds numbers that are not finite.
    """
    if load_teacher(context, identity, config) is not None:
        return
    weights = load_weights(path)
    wanted = tensors_of(config, context.classes, data_of(context).image_shape) | renormalising(weights)
    ordered = keeps_order(path)
    by_name = fitted(weights, wanted, by_order=False)
    found = by_name or (fitted(weights, wanted) if ordered else None)
    if found is None:
        raise UserError(
            f"--teacher {path!r} does not fit {config.model_name} at width {config.width:g} with {context.classes} "
            f"classes and {data_of(context).image_shape[0]} channels ({misfit(weights, wanted, ordered)}); name its "
            "architecture with --teacher-model and --teacher-width, and give data with its classes"
        )
    kept = {}
    for name, old in wanted.items():
        if old.is_floating_point() and not found[name].is_floating_point():
            raise UserError(
                f"--teacher {path!r}: {name} is {type_name(found[name].dtype)}, which holds no weights of a trained "
                f"network; give the checkpoint from before it was quantised, in {' or '.join(map(type_name, FLOATS))}"
            )
        # A copy, since the file is mapped and may change; a large float64 becomes infinite here.
        kept[name] = found[name].to(old.dtype, copy=True)
        if not torch.isfinite(found[name]).all() or not torch.isfinite(kept[name]).all():
            raise UserError(
                f"--teacher {path!r}: {name} has numbers that are not finite; give a checkpoint that trained"
            )
    accuracy = evaluate_and_save(context, config, kept, identity, imported=True)
    how = "" if by_name else "; names differ, so tensors were matched by order and shape"
    say(f"teacher {path}: test accuracy {accuracy:.2%}{how}")


def fitted(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], by_order: bool = True
) -> dict[str, Tensor] | None:
    """A checkpoint's tensors under the names of a model, or None if it does not fit. Only names and shapes are read.

    They are matched by name, after prefixes that all names share (`module.`, `backbone.`) if they are not the model's.
    Or else, with `by_order`, by order and shape: published code registers the layers of these architectures in the same
    order under other names. A checkpoint with more tensors fits only a model of another library, whose auxiliary heads
    are not built here.
    """
    if len(weights) > len(wanted) and not any(k.startswith("net.") for k in wanted):
        return None
    names = {k: k.removeprefix("net.") for k in wanted}
    candidates = [{k: bare.get(k, bare.get(short)) for k, short in names.items()} for bare in unprefixed(weights)]
    if by_order and len(weights) == len(wanted):
        candidates.append(dict(zip(wanted, weights.values(), strict=True)))
    for found in candidates:
        kept = {k: t for k, t in found.items() if t is not None}
        if kept.keys() == wanted.keys() and all(kept[k].shape == old.shape for k, old in wanted.items()):
            return kept
    return None


def unprefixed(weights: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """The tensors as they are named, and then without each prefix that all names share."""
    while True:
        yield weights
        first = next(iter(weights), "").partition(".")[0] + "."
        if not all(name.startswith(first) and name != first for name in weights):
            return
        weights = {name.removeprefix(first): tensor for name, tensor in weights.items()}


def misfit(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], by_order: bool = True) -> str:
    """The first difference between a checkpoint and a model: by order if they have as many tensors, else by name."""
    if len(weights) == len(wanted) and by_order:
        for (name, old), (given, tensor) in zip(wanted.items(), weights.items(), strict=True):
            if tensor.shape != old.shape:
                return f"by order, {given} is {tuple(tensor.shape)} where {name} is {tuple(old.shape)}"
    bare = max(unprefixed(weights), key=lambda named: len(named.keys() & wanted.keys()))
    count = f"it has {len(weights)} tensors, wanted {len(wanted)}"
    over = [name for name in bare if name not in wanted]
    if len(weights) > len(wanted) and over:
        return f"{count}; {over[0]} is one too many"
    if absent := [name for name in wanted if name not in bare]:
        # safetensors sorts tensors by type and name.
        order = "" if by_order else "; names must match, because a .safetensors file does not keep the order of layers"
        return f"{count}; {absent[0]} is absent{order}"
    name = next(name for name, old in wanted.items() if bare[name].shape != old.shape)
    return f"{name} is {tuple(bare[name].shape)}, wanted {tuple(wanted[name].shape)}"


def evaluate_and_save(
    context: RunContext, config: Config, weights: dict[str, Tensor], identity: str, imported: bool = False
) -> float:
    """Store a teacher that needs no training; returns its test accuracy. A plan, which only reads, stores none.

    imported: it comes from a user's file.
    """
    tensors = data_of(context)
    built = build_teacher(Teacher(config, weights, torch.empty(0)), tensors, torch.device("cpu"))
    (logits,) = evaluate([built], tensors.test, tensors)
    if imported and not torch.isfinite(logits).all():
        raise UserError("--teacher: the network's logits are not finite; give a checkpoint that trained")
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

    Raises:
        UserError: several teachers would be the same weights.
    """
    tensors = data_of(context)
    jobs = dict(context.jobs)
    for identity, job in context.jobs.items():
        if load_teacher(context, identity, config) is None:
            model = build_student(config, tensors, job.seed)
            weights, whole = pretrained(str(config.model), model)
            if whole and len(jobs) > 1:
                raise UserError(
                    f"--teacher {config.model}: its published weights have the {context.classes} classes of the data "
                    f"and are used unchanged, so {len(jobs)} teachers would be one and the same; drop --teachers and "
                    "--teacher-per-seed, or train teachers here with --teacher-model"
                )
            if whole:
                evaluate_and_save(context, config, weights, identity)
            else:
                jobs[identity] = replace(job, weights=weights)
    return replace(context, jobs=jobs)
