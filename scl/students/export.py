"""Students as files for other programs: safetensors, ONNX and TorchScript, each compared with the network."""

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
from torch import Tensor

from scl.errors import UserError, how_to_install, unknown
from scl.store.files import open_folder
from scl.store.output import output_file
from scl.students.photo import FromPhoto
from scl.students.predict import preprocessing_of
from scl.students.student import Student, read_student
from scl.train import checkpoint

SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx", "torchscript": ".pt"}
TOLERANCE = 1e-4  # largest difference of a logit between an exported model and the network


def save(student: Student, path: str | Path, form: str, force: bool = False, photo: bool = False) -> float:
    """Write a student as a file and compare it with the network; returns the largest difference of a logit.

    Args:
        photo: the model takes a decoded photo of any size and does the preprocessing of the training itself (ONNX).

    Raises:
        UserError: an extra is not installed, the file exists (without `force`) or cannot be written, or its logits
            differ by more than TOLERANCE; then nothing is written.
    """
    if form not in SUFFIXES:
        raise UserError(unknown("format", form, SUFFIXES))
    file = output_file(path, force)
    if photo and form != "onnx":
        raise UserError(f"a model that takes photos is written as onnx alone, got the format {form}")
    onnx = _onnx_of_photos if photo else _onnx
    content, run = {"safetensors": _safetensors, "onnx": onnx, "torchscript": _torchscript}[form](student)
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
    return content, read_student(content, "the exported file", student.normalise, student.model)


def _torchscript(student: Student) -> Made:
    with _quiet():
        traced = torch.jit.trace(_Guarded(student), _examples(student, 2))  # type: ignore[no-untyped-call]
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, _extra_files={"record.json": json.dumps(_described(student))})
        loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))  # type: ignore[no-untyped-call]
    return buffer.getvalue(), loaded


def _right_images(images: Tensor, channels: int, height: int, width: int, pixels: bool) -> Tensor:
    """The images, if they are such as the network was trained on. A trace alone would take any size and answer."""
    shape = [channels, height, width]
    if images.dim() != 4 or list(images.shape[1:]) != shape or images.dtype != torch.float32:
        raise RuntimeError("this student takes float32 images (B, C, H, W) with C, H, W = " + str(shape))
    if pixels and images.numel() > 0 and not (float(images.min()) >= -1e-3 and float(images.max()) <= 1.001):
        raise RuntimeError("this student takes pixels in [0, 1]: divide 8-bit pixels by 255")
    return images


class _Guarded(torch.nn.Module):
    """A student for TorchScript, with checks that a trace keeps."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        self.checked = torch.jit.script(_right_images)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.student(self.checked(images, *self.student.image_shape, self.student.normalise))
        return logits


def _onnx(student: Student) -> Made:
    batch = torch.export.Dim("batch")
    model = _exported(student, _examples(student, 2), "images", {0: batch})
    content, session = _with_record(model, _described(student))
    return content, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _onnx_of_photos(student: Student) -> Made:
    """For one photo of any size; on images of the size of training it is compared with the network."""
    how = preprocessing_of(student)
    image = torch.zeros(how.height + 5, how.width + 3, how.channels, dtype=torch.uint8)
    exact = how.fit == "exact"
    sizes = {} if exact else {0: torch.export.Dim("height", min=2), 1: torch.export.Dim("width", min=2)}
    example = image[: how.height, : how.width] if exact else image
    model = _exported(FromPhoto(student, how).eval(), example, "photo", sizes)
    content, session = _with_record(model, {**student.record, "input": takes_photo(student)})

    def run(images: Tensor) -> Tensor:
        photos = (images * 255).round().byte().permute(0, 2, 3, 1)
        return torch.cat([torch.from_numpy(session.run(None, {"photo": photo.numpy()})[0]) for photo in photos])

    return content, run


def _exported(model: torch.nn.Module, example: Tensor, name: str, sizes: dict[int, Any]) -> bytes:
    """A model of one input as ONNX."""
    try:
        import onnx  # noqa: F401, PLC0415
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise UserError(f"--format onnx: {error.name} is not installed; {how_to_install('onnx')}") from None
    buffer = io.BytesIO()
    with _quiet():
        torch.onnx.export(
            model,
            (example,),
            buffer,  # type: ignore[arg-type]
            input_names=[name],
            output_names=["logits"],
            dynamic_shapes=(sizes or None,),
            dynamo=True,
            verbose=False,
        )
    return buffer.getvalue()


def _with_record(model: bytes, record: Mapping[str, Any]) -> tuple[bytes, Any]:
    """An ONNX model with its record as metadata, and a session of onnxruntime."""
    import onnx  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    loaded = onnx.load_model_from_string(model)
    onnx.helper.set_model_props(loaded, {key: json.dumps(value) for key, value in record.items()})
    content = loaded.SerializeToString()
    return content, onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


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


def takes_photo(student: Student) -> str:
    """The same of a model that takes photos."""
    how = preprocessing_of(student)
    size = f"({how.height}, {how.width}" if how.fit == "exact" else "(height, width"
    scaled = "" if how.fit == "exact" else f" scales (fit {how.fit}) and"
    return f"uint8 {size}, {how.channels}): one decoded photo, upright; the model{scaled} normalises it"


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
