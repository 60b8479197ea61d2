"""Trained teachers in their folders, and those that start elsewhere: a user's checkpoint, or published weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scl.errors import Damaged, UserError
from scl.models.build import pretrained
from scl.models.networks import build_student, renormalising, tensors_of
from scl.plan.chance import misordered, remedy, suspicion
from scl.plan.context import RunContext, data_of
from scl.plan.given import Given, Shapes, fitted, misfit
from scl.store.files import Folder
from scl.store.node import read_once_a_node
from scl.study.config import Config
from scl.study.identity import requested, sha256
from scl.terminal import say
from scl.train import checkpoint
from scl.train.evaluation import evaluate
from scl.train.inputs import Inputs
from scl.train.teacher import Teacher, build_teacher, mean_teacher
from scl.train.weights import FLOATS, difference, type_name

TEACHER_FILE = "teacher.safetensors"
OF_SCL = "test_logits"  # beside the weights


def load_teacher(context: RunContext, teacher_id: str, config: Config) -> tuple[Teacher, dict[str, Any]] | None:
    """A trained teacher and its record; None if it is missing or damaged. Of several whose logits are averaged: all of
    them, and a record with the accuracy of the mean.

    Raises:
        UserError: it is another one than when the run began.
    """
    if (job := context.jobs.get(teacher_id)) is not None and job.members:
        return _load_mean(context, job.members)
    files = context.teacher_files(teacher_id)
    for name in (imported_file(context, config), TEACHER_FILE):
        if not files.exists(name):  # a pipe would wait for ever
            continue
        try:
            wanted, read = context.teacher_hashes.get(f"{teacher_id}/{name}"), partial(files.read, name)
            content = read_once_a_node("teacher", wanted, read) if wanted else read()
            tensors, record = checkpoint.unpack(content)
            if wanted and hashlib.sha256(content).hexdigest() != wanted:
                raise UserError(
                    f"teacher {teacher_id[:12]} was replaced in {files} by another run; run the study again"
                )
            if record.get("use") not in (None, use_of(context, config)):
                continue
            logits = tensors.pop(OF_SCL, None)
            if problem := _unusable(context, config, tensors, logits, record):
                raise Damaged(problem)
        except FileNotFoundError:
            continue
        except Damaged as damage:
            files.set_aside(name, str(damage))
            continue
        return Teacher(config, tensors, logits, context.teacher_inputs), record
    return None


def _load_mean(context: RunContext, members: Sequence[str]) -> tuple[Teacher, dict[str, Any]] | None:
    found = [load_teacher(context, i, context.jobs[i].config) for i in members]
    there = [of[0] for of in found if of is not None]
    if len(there) < len(members):
        return None
    teacher = mean_teacher(there)
    assert teacher.test_logits is not None
    right = teacher.test_logits.argmax(1) == torch.from_numpy(context.labels["test"])
    return teacher, {"metrics": {"test_acc": right.double().mean().item()}}


def teacher_hashes(context: RunContext, teachers: Mapping[str, Config]) -> dict[str, str]:
    """The hashes of the teachers' files that are there, as `RunContext` has them. teachers: id → configuration."""
    found = {}
    for teacher_id, config in teachers.items():
        files = context.teacher_files(teacher_id)
        for name in files.existing([imported_file(context, config), TEACHER_FILE]):
            found[f"{teacher_id}/{name}"] = hashlib.sha256(files.read(name)).hexdigest()
    return found


def _unusable(
    context: RunContext, config: Config, weights: Mapping[str, Tensor], logits: Tensor | None, record: Mapping[str, Any]
) -> str:
    """Why a stored teacher cannot serve this network and data; '' if it can."""
    if problem := difference(weights, _wanted(context, config, weights)):
        return f"it is no {config.model_name} of this study: {problem}"
    if context.teacher_features:
        return ""
    if (
        logits is None
        or tuple(logits.shape) != (len(context.labels["test"]), context.classes)
        or logits.dtype not in FLOATS
    ):
        return "it has no logits of the test images"
    metrics = record.get("metrics")
    accuracy = metrics.get("test_acc") if isinstance(metrics, Mapping) else None
    if isinstance(accuracy, bool) or not isinstance(accuracy, float | int) or not 0 <= accuracy <= 1:
        return "its record has no test accuracy"
    return ""


def _wanted(context: RunContext, config: Config, given: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of the teacher's network, and the constants of `renormalising` if what is given has them: their
    names, shapes and types alone."""
    inputs = context.teacher_inputs or Inputs()
    shape = inputs.image_shape(data_of(context).image_shape)
    constants = {name: torch.empty(shape[0], 1, 1, device="meta") for name in renormalising(given)}
    return tensors_of(config, inputs.outputs or context.classes, shape) | constants


def use_of(context: RunContext, config: Config) -> dict[str, Any]:
    """What a user's checkpoint serves: one network on one data set. Its id is the hash of the file alone."""
    return {"config": requested(config), "data": context.fingerprint}


def imported_file(context: RunContext, config: Config) -> str:
    """A file for each use, so that studies of other data keep theirs."""
    return f"teacher-{sha256(use_of(context, config))[:16]}.safetensors"


def save_teacher(
    files: Folder,
    weights: Mapping[str, torch.Tensor],
    logits: torch.Tensor | None,
    record: dict[str, Any],
    name: str = TEACHER_FILE,
) -> None:
    judged = {} if logits is None else {OF_SCL: logits}
    files.write(name, checkpoint.pack({**weights, **judged}, record), durable=True)


def import_teacher(context: RunContext, config: Config, identity: str, given: Given, anyway: bool = False) -> str:
    """Check a user's checkpoint against the teacher's architecture, and store it with its logits on the test images.

    Its id is the hash of the file, and of how it is fed, so a stored teacher serves only the same network and data.

    Args:
        anyway: use it even if it is suspected of being fed wrongly.

    Returns:
        What it is suspected of; '' for nothing.

    Raises:
        UserError: the file cannot be read safely, does not fit the network, or holds numbers that are not finite; or it
            is no better than guessing, or far below what it reached.
    """
    path, stored = given.path, load_teacher(context, identity, config)
    if stored is not None:
        about = str(stored[1].get("suspected", ""))
        if about and not anyway:
            raise UserError(f"--teacher {path!r}: {about}. {_way_out(context, config, stored[0].weights)}")
        return about
    names, how = _names(context, config, given)
    wanted = _wanted(context, config, given.shapes)
    weights = _read(given, names, wanted)
    if context.teacher_features:
        head = {name: torch.zeros_like(t, device="cpu") for name, t in wanted.items() if name not in names}
        _store(context, config, {**weights, **head}, identity, None, use_of(context, config))
        say(f"teacher {path}: its feature maps alone are used{how}")
        return ""
    logits = _test_logits(context, config, weights, imported=True)
    labels, reached = data_of(context).test.labels, given.described.accuracy
    about = suspicion(logits.argmax(1), labels, context.classes, reached)
    about = about or misordered(config, weights, context.teacher_inputs, data_of(context), context.class_names)
    if about and not anyway:
        raise UserError(f"--teacher {path!r}: {about}. {_way_out(context, config, weights)}")
    accuracy = _store(context, config, weights, identity, logits, use_of(context, config), about)
    say(f"teacher {path}: test accuracy {accuracy:.2%}{how}{f'; used although {about}' if about else ''}")
    return about


def _way_out(context: RunContext, config: Config, weights: Mapping[str, Tensor]) -> str:
    """What most likely is wrong, what would mend it, and how to go on regardless."""
    found, present = remedy(config, weights, context.teacher_inputs, data_of(context), context.class_names)
    text = (
        "Most likely its images are normalised otherwise (--teacher-mean, --teacher-std) or of another size "
        "(--teacher-size), or its classes are in another order (--teacher-classes)"
    )
    if found:
        text = f"With {found.flags} it reaches {found.accuracy:.0%} of a sample of training images (now {present:.0%})"
    return f"{text}; --teacher-anyway uses it as it is"


def _names(context: RunContext, config: Config, given: Given) -> tuple[dict[str, str], str]:
    """The name in the file of each tensor of the network, without the last layer if that is not used; and what to say.

    Raises:
        UserError: the file does not fit.
    """
    wanted = {name: tuple(t.shape) for name, t in _wanted(context, config, given.shapes).items()}
    shapes, body = given.shapes, context.teacher_features
    names = without_head(context, config, given) if body else fitted(shapes, wanted, given.ordered)
    if names is None:
        raise UserError(_does_not_fit(context, config, given, wanted))
    by_name = body or fitted(shapes, wanted, by_order=False) is not None
    how = "" if by_name else "; names differ, so tensors were matched by order and shape"
    left = len(shapes) - len(names)
    return names, how + (f"; {left} of its {len(shapes)} tensors are not part of it" if left and not body else "")


def _does_not_fit(context: RunContext, config: Config, given: Given, wanted: Shapes) -> str:
    shape = (context.teacher_inputs or Inputs()).image_shape(data_of(context).image_shape)
    outputs = (context.teacher_inputs or Inputs()).outputs or context.classes
    text = (
        f"--teacher {given.path!r} does not fit {config.model_name} at width {config.width:g} with {outputs} classes "
        f"and {shape[0]} channels ({misfit(given.shapes, wanted, given.ordered)})"
    )
    if given.described.transformers:
        return (
            f"{text}. Its weights are those of {given.described.transformers} of transformers, and scl builds networks "
            "of timm and torchvision: give the same network of timm, if its weights are published there too"
        )
    body = without_head(context, config, given)
    if body is None:
        return f"{text}; name its architecture with --teacher-model and --teacher-width, and give data with its classes"
    said = len(given.described.classes)
    named = f": its configuration names {said}" if said else ""
    return (
        f"{text}. Only its last layer differs{named}. If its classes include those of the data, name them with "
        "--teacher-classes; --teacher-finetune gives it a fresh last layer and trains it here; --teacher-features uses "
        "its feature maps alone"
    )


def without_head(context: RunContext, config: Config, given: Given) -> dict[str, str] | None:
    """The name in the file of each tensor of the network but those of its last layer, which may be of other classes or
    absent; None if the file does not fit."""
    inputs = context.teacher_inputs or Inputs()
    size = inputs.image_shape(data_of(context).image_shape)
    one, other = (
        {name: tuple(t.shape) for name, t in tensors_of(config, count, size).items()}
        for count in (context.classes, context.classes + 1)
    )
    head = [name for name in one if one[name] != other[name]]
    shapes = given.shapes
    one |= renormalising(shapes)
    endings = {name.removeprefix("net.") for name in head}
    counts = {s[0] for name, s in shapes.items() if s and any(name == e or name.endswith(f".{e}") for e in endings)}
    counts |= {list(shapes.values())[-1][0]} if given.ordered and list(shapes.values())[-1] else set()
    for count in sorted(counts):
        wanted = {name: (count, *shape[1:]) if name in head else shape for name, shape in one.items()}
        if names := fitted(shapes, wanted, given.ordered):
            return {name: theirs for name, theirs in names.items() if name not in head}
    return fitted(shapes, {name: shape for name, shape in one.items() if name not in head}, given.ordered)


def _read(given: Given, names: Mapping[str, str], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file under the names of a network, in its types. Raises UserError: one cannot be used."""
    found, kept, path = given.weights(), {}, given.path
    for name, theirs in names.items():
        tensor, old = found[theirs], wanted[name]
        if old.is_floating_point() and not tensor.is_floating_point():
            raise UserError(
                f"--teacher {path!r}: {name} is {type_name(tensor.dtype)}, which holds no weights of a trained "
                f"network; give the checkpoint from before it was quantised, in {' or '.join(map(type_name, FLOATS))}"
            )
        # A copy, since the file is mapped and may change; a large float64 becomes infinite here.
        kept[name] = tensor.to(old.dtype, copy=True)
        if not torch.isfinite(tensor).all() or not torch.isfinite(kept[name]).all():
            raise UserError(
                f"--teacher {path!r}: {name} has numbers that are not finite; give a checkpoint that trained"
            )
    return kept


def _test_logits(context: RunContext, config: Config, weights: Mapping[str, Tensor], imported: bool) -> Tensor:
    """Logits (N, K) of the test images. Raises UserError: those of a user's network are not finite."""
    tensors, inputs = data_of(context), context.teacher_inputs
    built = build_teacher(Teacher(config, weights, None, inputs), tensors, torch.device("cpu"))
    (logits,) = evaluate([built], tensors.test, tensors)
    if imported and not torch.isfinite(logits).all():
        raise UserError("--teacher: the network's logits are not finite; give a checkpoint that trained")
    return logits


def _store(
    context: RunContext,
    config: Config,
    weights: dict[str, Tensor],
    identity: str,
    logits: Tensor | None,
    use: dict[str, Any] | None,
    suspected: str = "",
) -> float | None:
    """Store a teacher, unless this is a plan, which only reads; returns its test accuracy.

    Args:
        use: what a user's file serves; None for published weights.
    """
    labels = data_of(context).test.labels
    accuracy = None if logits is None else (logits.argmax(1) == labels).double().mean().item()
    record: dict[str, Any] = {"metrics": {"test_acc": accuracy}, "use": use}
    if suspected:
        record["suspected"] = suspected
    if not context.out.reading:
        name = TEACHER_FILE if use is None else imported_file(context, config)
        save_teacher(context.teacher_files(identity), weights, logits, record, name)
    return accuracy


def evaluate_and_save(
    context: RunContext, config: Config, weights: dict[str, Tensor], identity: str, imported: bool = False
) -> float:
    """Store a teacher that needs no training; returns its test accuracy. A plan, which only reads, stores none.

    imported: it comes from a user's file.
    """
    logits = _test_logits(context, config, weights, imported)
    accuracy = _store(context, config, weights, identity, logits, use_of(context, config) if imported else None)
    assert accuracy is not None
    return accuracy


def start_from_file(context: RunContext, config: Config, given: Given) -> RunContext:
    """The context with a user's weights, and a fresh last layer, in the job of the missing teacher.

    Raises:
        UserError: the file does not fit, or cannot be read.
    """
    jobs = dict(context.jobs)
    for identity, job in context.jobs.items():
        if load_teacher(context, identity, config) is None:
            names = without_head(context, config, given)
            if names is None:
                wanted = {name: tuple(t.shape) for name, t in _wanted(context, config, given.shapes).items()}
                raise UserError(_does_not_fit(context, config, given, wanted))
            jobs[identity] = replace(job, weights=_read(given, names, _wanted(context, config, given.shapes)))
    return replace(context, jobs=jobs)


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
