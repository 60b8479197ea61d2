"""A trained student out of a store or a file: the network alone, checked, ready for images.

It has no connectors and no other parts that served training. By default it takes pixels in [0, 1] and normalises them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scl.errors import Damaged, UserError, first_line, shown
from scl.models.networks import build_network, renormalising, start_from, tensors_of
from scl.models.streams import random_streams_kept
from scl.store.lookup import find_trial
from scl.store.networks import STUDENT
from scl.study.config import Config
from scl.study.fields import ARCHITECTURE, MODELS
from scl.study.identity import from_stored
from scl.study.network import model_name, model_problem, same_network
from scl.train import checkpoint
from scl.train.weights import difference, regular_file, type_name

MOST_PIXELS = 1 << 26  # numbers in an image: 4096 × 4096 in colour
LEAST_STD = 1e-12  # of pixels in [0, 1]
ROUNDING = 1e-3  # by which a pixel may lie outside of [0, 1]: resizing overshoots, and half of a level is 0.002


def _numbers(value: Any, kind: Any, low: float, high: float) -> bool:
    """True for a list of numbers of a type, from `low` to `high`; a boolean is none."""
    numbers: list[Any] = value if isinstance(value, list) else [None]
    return all(isinstance(n, kind) and not isinstance(n, bool) and low <= n <= high for n in numbers)


# What a student's record must hold.
RECORD: dict[str, Callable[[Any], bool]] = {
    **{name: lambda value: isinstance(value, str) for name in ("trial_id", "study", "arm")},
    "seed": lambda value: type(value) is int,
    "config": lambda value: isinstance(value, dict),
    "classes": lambda value: isinstance(value, list) and len(value) > 1 and all(isinstance(c, str) for c in value),
    "image_shape": lambda value: _numbers(value, int, 1, MOST_PIXELS) and len(value) == 3,
    "mean": lambda value: _numbers(value, float | int, 0, 1),
    "std": lambda value: _numbers(value, float | int, LEAST_STD, 1),
    "test_acc": lambda value: _numbers([value], float | int, 0, 1),
}
# The fields of a configuration that determine its network.
NETWORK = (*ARCHITECTURE, "guided")


class Student(nn.Module):
    """A trained network, ready for use, in evaluation mode.

    Takes float32 images (B, C, H, W) and returns logits (B, K). With `normalise` (the default) it takes pixels in
    [0, 1] and normalises them; without, it takes images that are normalised as (pixel − mean) / std. It refuses images
    that it was not made for, because a network of convolutions would answer them all, and wrongly.

    Attributes:
        record: `classes` (K names), `image_shape` (C, H, W), `mean`, `std` (one number for each channel), `config`,
            `test_acc`, `trial_id`, `study`, `arm`, `seed`.
        classes: the K names of the classes, in the order of the logits.
        image_shape: (C, H, W) of the images that it takes.
        network: the nn.Module inside, which takes normalised images; to train it further.
        mean: of the training images, for each channel; a tensor (1, C, 1, 1).
        std: their standard deviation, likewise.
        normalise: whether it takes pixels in [0, 1].

    Example:
        import scl
        import torch

        student = scl.load_student("results/ablation", "scl/0")
        images = torch.rand(5, *student.image_shape)
        names = [student.classes[i] for i in student(images).argmax(1)]
    """

    network: nn.Module
    record: dict[str, Any]
    normalise: bool
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        record: Mapping[str, Any],
        normalise: bool = True,
        model: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.model = model  # the user's class
        self.record = dict(record)
        self.normalise = normalise
        self.register_buffer("mean", torch.tensor(record["mean"], dtype=torch.float32).view(1, -1, 1, 1), False)
        self.register_buffer("std", torch.tensor(record["std"], dtype=torch.float32).view(1, -1, 1, 1), False)
        self.eval().requires_grad_(False)

    @property
    def classes(self) -> list[str]:
        return list(self.record["classes"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.record["image_shape"]
        return channels, height, width

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W).

        Raises:
            UserError: the images have another shape, type or range than those that the network was trained on.
        """
        if problem := self.misfit(images):
            raise UserError(problem)
        return self.network((images - self.mean) / self.std if self.normalise else images)

    def misfit(self, images: Tensor) -> str:
        """Why these are no images for this student, and what to do; '' if they are."""
        shape, given = self.image_shape, tuple(getattr(images, "shape", ()))
        rule = f"this student takes images (B, {shape[0]}, {shape[1]}, {shape[2]}) of {type_name(self.mean.dtype)}"
        if not isinstance(images, Tensor):
            return f"{rule}, got {type(images).__name__}; make a tensor of them"
        if given == shape:
            return f"{rule}, got one image without a batch dimension, {given}; give images[None]"
        if len(given) != 4 or given[1:] != shape:
            return f"{rule}, got {given}; {_way_to(shape, given)}"
        if images.dtype != self.mean.dtype:
            whole = " / 255" if images.dtype == torch.uint8 and self.normalise else ""
            return f"{rule}, got {type_name(images.dtype)}; convert them, as in images.to(student.mean.dtype){whole}"
        if self.normalise and not _exporting() and len(images):
            low, high = (float(end) for end in images.aminmax())
            if not (low >= -ROUNDING and high <= 1 + ROUNDING):
                return (
                    f"{rule} with pixels in [0, 1], got values from {low:.4g} to {high:.4g}; divide 8-bit pixels by "
                    "255, and for images that are normalised already load it with normalise=False"
                )
        return ""

    def train(self, mode: bool = True) -> Student:
        """Evaluation mode alone: its weights are frozen.

        Raises:
            UserError: `mode` is true; the message says how to continue training.
        """
        if mode:
            raise UserError(
                "a loaded student is for use: it is frozen and normalises its images. To continue its training, train "
                "its network on normalised images: network = scl.load_student(…).network.requires_grad_(True).train()"
            )
        return super().train(False)


def _exporting() -> bool:
    """True while an exporter follows the network: it has no values to look at."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def _way_to(shape: tuple[int, int, int], given: tuple[int, ...]) -> str:
    if len(given) != 4:
        return "give a batch of images, channels first"
    if given[1:] == (*shape[1:], shape[0]):
        return "its channels come last; give images.permute(0, 3, 1, 2)"
    if given[1] != shape[0]:
        return f"it was trained on {'grey' if shape[0] == 1 else 'colour'} images; convert them"
    return "resize them as the training images were; `scl predict` does it"


def load_student(
    place: str, trial: str | None = None, normalise: bool = True, model: Callable[..., Any] | None = None
) -> Student:
    """A trained student. Its weights are verified against the checksum that was stored with them.

    Args:
        place: a folder of results or of one study (`results`, `s3://bucket/results/ablation`), with `trial`; or a
            .safetensors file of a student, without.
        trial: STUDY/ARM/SEED, ARM/SEED, as in `scl/0`, or the beginning of a trial's id.
        normalise: take pixels in [0, 1]; see `Student`.
        model: your class (or function) that made the network; None for networks of scl, torchvision and timm.

    Raises:
        UserError: there is no such store, trial or file; the trial did not complete; the file is damaged or no student;
            or its network is another than `model`.

    Example:
        import scl

        student = scl.load_student("results/ablation", "scl/0")
        network = student.network.requires_grad_(True).train()  # to continue training, on normalised images
    """
    if trial is None:
        try:
            path = regular_file(place)
            content = path.read_bytes()
        except UserError as error:
            raise UserError(f"{error}; for a folder of results, name a trial too, as in ARM/SEED") from None
        except OSError as error:
            raise UserError(f"{place} cannot be read: {error.strerror}") from None
        return read_student(content, str(path), normalise, model)
    _, store, row = find_trial(place, trial)
    if row["state"] != "completed":
        raise UserError(f"trial {trial} is {row['state']}, so it has no student; choose a completed trial")
    files = store / "checkpoints" / row["trial_id"]
    if not files.exists(STUDENT):
        raise UserError(
            f"{files}/{STUDENT} is not there; was the folder copied without its checkpoints? The study's command with "
            "--remake-students trains it again"
        )
    return read_student(files.read(STUDENT), f"{files}/{STUDENT}", normalise, model)


def read_student(content: bytes, where: str, normalise: bool, model: Callable[..., Any] | None = None) -> Student:
    """A student from the content of its file; see `load_student`."""
    try:
        weights, record = checkpoint.unpack(content)
    except Damaged as damage:
        raise UserError(
            f"{where} is damaged, or no student of scl ({damage}); use another copy of it, or let the "
            "study's command with --remake-students train it again"
        ) from None
    if problem := _other_class(record, model):
        raise UserError(f"{where}: {problem}")
    try:
        if problem := misdescribed(record):
            raise UserError(problem)
        # Losses and recipe served training only. The rest is checked like any configuration.
        config = Config(**_network(record, model))
        size = len(record["classes"]), tuple(record["image_shape"])
        # The shapes come first: a description of a huge network must not allocate one.
        if problem := difference(weights, tensors_of(config, *size) | renormalising(weights)):
            raise UserError(f"its weights are not those of its configuration: {problem}")
        with torch.random.fork_rng(devices=[]), random_streams_kept():
            network = build_network(config, *size)
        start_from(network, weights)
        return Student(network, record, normalise, model)
    except (UserError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise UserError(f"{where} does not describe a student of this version of scl ({first_line(error)})") from None


def _network(record: Mapping[str, Any], model: Callable[..., Any] | None) -> dict[str, Any]:
    """The fields of a student's configuration that determine its network."""
    fields = {k: v for k, v in from_stored(record["config"]).items() if k in NETWORK}
    return fields if model is None else {**fields, "model": model}


def _other_class(record: Mapping[str, Any], model: Callable[..., Any] | None) -> str:
    """Why a student is not one of the class `model`, or needs a class and has none; "" if nothing is wrong."""
    config = record.get("config")
    own = from_stored(config).get("model", Config.model) if isinstance(config, Mapping) else None
    if isinstance(own, Mapping) and model is None:
        name = own.get("network")
        return (
            f"it is a student of {name}, a class of your own; give the class too: load_student(…, model={name}), or "
            f"--model FILE.py:{name}"
        )
    if model is None:
        return ""
    if not isinstance(own, Mapping):
        given = model_name(model) if callable(model) else shown(model)
        return f"it is a student of {own}, not of a class of your own; leave out the class {given}"
    if problem := model_problem(model, MODELS):
        return problem
    return same_network(model, dict(own))


def model_of(record: Mapping[str, Any]) -> str:
    """The name of a student's network, from its record."""
    own = from_stored(record["config"]).get("model", Config.model)
    return str(own.get("network")) if isinstance(own, Mapping) else str(own)


def misdescribed(record: Mapping[str, Any]) -> str:
    """What is wrong in a student's record; '' if nothing is."""
    wrong = [name for name, right in RECORD.items() if name not in record or not right(record[name])]
    if wrong:
        return f"{wrong[0]} is {record[wrong[0]]!r:.80}" if wrong[0] in record else f"it has no {wrong[0]}"
    channels, height, width = record["image_shape"]
    if channels * height * width > MOST_PIXELS:
        return f"its images are {channels} × {height} × {width}"
    if not len(record["mean"]) == len(record["std"]) == channels:
        return f"mean and std are not one number for each of {channels} channels"
    return ""
