"""Students that keep the teacher's classifier, behind a projector (Chen et al., CVPR 2022)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from scl.errors import UserError
from scl.models.networks import tensors_of
from scl.study.config import Config
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec

CLASSIFIER = ("classifier.weight", "classifier.bias")  # of scl's networks


def with_projector(config: Config, teacher: Config) -> Config:
    """A student's configuration as it trains under this teacher: with a projector to the channels that the teacher's
    classifier reads, if a loss needs one.

    Raises:
        UserError: the teacher has no classifier that a student could keep, or the projector has other channels.
    """
    if not config.reusing:
        return config
    wanted = _width(config, teacher)
    if config.projector not in (0, wanted):
        raise UserError(
            f"loss {config.reusing[0]!r} keeps the teacher's classifier, which reads {wanted} channels, and projector "
            f"is {config.projector}; leave projector out, since it is filled in"
        )
    return config.replace(projector=wanted)


def with_classifier(trial: TrialSpec, teacher: Teacher | None) -> TrialSpec:
    """A trial whose initial weights hold the teacher's classifier, if its student keeps that.

    Raises:
        UserError: see `with_projector`; or the student has no projector.
    """
    if teacher is None or not trial.config.reusing:
        return trial
    if with_projector(trial.config, teacher.config) != trial.config:
        raise UserError(
            f"loss {trial.config.reusing[0]!r} needs a student with a projector: set projector to the channels of the "
            "teacher's deepest map"
        )
    rows = list(teacher.inputs.columns) if teacher.inputs and teacher.inputs.columns else slice(None)
    kept = {name: teacher.weights[name][rows] for name in CLASSIFIER}
    return replace(trial, weights={**(trial.weights or {}), **kept})


def _width(config: Config, teacher: Config) -> int:
    """The channels that the teacher's classifier reads: those of its deepest guided map."""
    if teacher.is_foreign or teacher.has_self_taught:
        what = "has self-taught neurons, which it reads too" if teacher.has_self_taught else "is no network of scl"
        raise UserError(
            f"loss {config.reusing[0]!r} keeps the teacher's classifier, which must read the mean of the deepest "
            f"guided map alone, and {teacher.model_name} {what}; choose one of scl's networks "
            "(--teacher-model vgg13), or other losses (--arms)"
        )
    return _read(str(teacher.model), teacher.width, teacher.projector)


@cache
def _read(model: str, width: float, projector: int) -> int:
    """The channels that the classifier of such a network reads, whatever the classes and images. A study may have
    thousands of arms under one teacher."""
    network = Config(model=model, width=width, projector=projector)
    return tensors_of(network, 2, (3, 32, 32))[CLASSIFIER[0]].shape[1]
