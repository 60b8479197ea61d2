"""Students out of a store: as an object in Python, or as a file for other programs.

A student is the network alone, without connectors and other parts that served training. By default it takes pixels in
[0, 1] and normalises them.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scl.errors import Damaged, UserError, first_line, how_to_install, shown, unknown
from scl.models.networks import build_network, renormalising, start_from, tensors_of
from scl.models.streams import random_streams_kept
from scl.store.files import open_folder
from scl.store.lookup import find_trial
from scl.store.networks import STUDENT
from scl.store.output import output_file
from scl.study.config import ARCHITECTURE, MODELS, Config
from scl.study.identity import from_stored
from scl.study.network import model_problem, same_network
from scl.train import checkpoint
from scl.train.weights import difference, regular_file

SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx", "torchscript": ".pt"}
TOLERANCE = 1e-4  # largest difference of a logit between an exported model and the network
MOST_PIXELS = 1 << 26  # numbers in an image: 4096 × 4096 in colour
LEAST_STD = 1e-12  # of pixels in [0, 1]


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
    [0, 1] and normalises them; without, it takes images that are normalised as (pixel − mean) / std.

    record: `classes` (K names), `image_shape` (C, H, W), `mean`, `std` (one number for each channel), `config`,
    `test_acc`, `trial_id`, `study`, `arm`, `seed`.
    """

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

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std if self.normalise else images)


def load_student(
    place: str, trial: str | None = None, normalise: bool = True, model: Callable[..., Any] | None = None
) -> Student:
    """A trained student. Its weights are verified against the checksum that was stored with them.

    Args:
        place: a folder of results or of one study (`results`, `s3://bucket/results/ablation`), with `trial`; or a
            .safetensors file of a student, without.
        trial: STUDY/ARM/SEED, ARM/SEED, as in `scl/0`, or a trial's id or the beginning of it.
        normalise: take pixels in [0, 1]; see `Student`.
        model: the class (or function) of the user's that the student was made of; None for other students.

    Raises:
        UserError: there is no such store, trial or file; the trial did not complete; the file is damaged or no student;
            or its network is another than `model`.
    """
    if trial is None:
        try:
            path = regular_file(place)
            content = path.read_bytes()
        except UserError as error:
            raise UserError(f"{error}; for a folder of results, name a trial too, as in ARM/SEED") from None
        except OSError as error:
            raise UserError(f"{place} cannot be read: {error.strerror}") from None
        return _student(content, str(path), normalise, model)
    _, store, row = find_trial(place, trial)
    if row["state"] != "completed":
        raise UserError(f"trial {trial} is {row['state']}, so it has no student; choose a completed trial")
    files = store / "checkpoints" / row["trial_id"]
    if not files.exists(STUDENT):
        raise UserError(
            f"{files}/{STUDENT} is not there; was the folder copied without its checkpoints? The study's command with "
            "--remake-students trains it again"
        )
    return _student(files.read(STUDENT), f"{files}/{STUDENT}", normalise, model)


def _student(content: bytes, where: str, normalise: bool, model: Callable[..., Any] | None) -> Student:
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
        if problem := _misdescribed(record):
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
            f"scl export … --model FILE.py:{name}"
        )
    if model is None:
        return ""
    if not isinstance(own, Mapping):
        return f"it is a student of {own}, not of a class of your own; leave out the class {shown(model)}"
    if problem := model_problem(model, MODELS):
        return problem
    return same_network(model, dict(own))


def model_of(record: Mapping[str, Any]) -> str:
    """The name of a student's network, from its record."""
    own = from_stored(record["config"]).get("model", Config.model)
    return str(own.get("network")) if isinstance(own, Mapping) else str(own)


def _misdescribed(record: Mapping[str, Any]) -> str:
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


# ------------------------------------------------------------------------------------------------------ as a file


def save(student: Student, path: str | Path, form: str, force: bool = False) -> float:
    """Write a student as a file and compare it with the network; returns the largest difference of a logit.

    Raises:
        UserError: an extra is not installed, the file exists (without `force`) or cannot be written, or its logits
            differ by more than TOLERANCE; then nothing is written.
    """
    if form not in SUFFIXES:
        raise UserError(unknown("format", form, SUFFIXES))
    file = output_file(path, force)
    content, run = {"safetensors": _safetensors, "onnx": _onnx, "torchscript": _torchscript}[form](student)
    difference = max(
        (run(images) - student(images)).abs().max().item() for images in (_examples(student, n) for n in (1, 5))
    )
    if not difference <= TOLERANCE:
        raise UserError(
            f"the {form} model's logits differ from the network's by {difference:.2g}, more than {TOLERANCE:g}; "
            "nothing was written: choose another --format"
        )
    try:
        open_folder(file.parent).write(file.name, content)
    except OSError as error:
        raise UserError(f"--out {path}: {error.strerror or error}; name a file you can write") from None
    return difference


Made = tuple[bytes, Callable[[Tensor], Tensor]]
"""The bytes of a file, and the model in it as a function of images."""


def _examples(student: Student, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, *student.record["image_shape"]), generator=generator).float() / 255
    return pixels if student.normalise else (pixels - student.mean) / student.std


def _safetensors(student: Student) -> Made:
    content = checkpoint.pack(student.network.state_dict(), student.record)
    return content, _student(content, "the exported file", student.normalise, student.model)


def _torchscript(student: Student) -> Made:
    with _quiet():
        traced = torch.jit.trace(student, _examples(student, 2))  # type: ignore[no-untyped-call]
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, _extra_files={"record.json": json.dumps(_described(student))})
        loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))  # type: ignore[no-untyped-call]
    return buffer.getvalue(), loaded


def _onnx(student: Student) -> Made:
    try:
        import onnx  # noqa: PLC0415
        import onnxruntime  # noqa: PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise UserError(f"--format onnx: {error.name} is not installed; {how_to_install('onnx')}") from None
    buffer = io.BytesIO()
    batch = torch.export.Dim("batch")
    with _quiet():
        torch.onnx.export(
            student,
            (_examples(student, 2),),
            buffer,  # type: ignore[arg-type]
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            verbose=False,
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in _described(student).items()})
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _described(student: Student) -> dict[str, Any]:
    return {**student.record, "input": takes(student)}


def takes(student: Student) -> str:
    """The images that the model takes, in one line."""
    channels, height, width = student.record["image_shape"]
    shape = f"float32 (B, {channels}, {height}, {width})"
    if student.normalise:
        return f"{shape}, pixels in [0, 1]; the model normalises them"
    mean, std = ([round(v, 4) for v in student.record[k]] for k in ("mean", "std"))
    return f"{shape}, normalised: (pixel in [0, 1] − {mean}) / {std}, one number for each channel"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporters: they warn about shapes that tracing reads, and about a deprecated format that was chosen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
