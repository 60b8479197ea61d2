"""The preprocessing as part of the network: the pixels of Pillow, on photos of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from scl.data.preprocessing import Preprocessing, prepare
from scl.errors import UserError
from scl.students import export
from scl.students.photo import FromPhoto
from scl.students.predict import predict, preprocessing_of
from scl.students.student import Student, load_student
from scl.study.options import FITS


class Seen(nn.Module):
    """A student that keeps the pixels which reach it."""

    normalise = True
    pixels: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        self.pixels = pixels
        return pixels.mean((2, 3))


def photo(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(32, 32), (33, 32), (20, 25), (31, 64), (100, 200), (5, 400), (300, 7), (2, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_are_those_of_pillow_but_for_ties(fit: str, size: tuple[int, int], channels: int) -> None:
    how, given, seen = Preprocessing(24, 32, channels, fit), photo(*size, channels), Seen()
    FromPhoto(seen, how)(torch.from_numpy(given))  # type: ignore[arg-type]
    expected = prepare(Image.fromarray(given[..., 0] if channels == 1 else given), how).astype(int)
    difference = np.abs((255 * seen.pixels[0]).round().numpy() - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.5  # scaled by whole factors, many pixels are ties


def test_onnx_takes_photos_of_any_size(small: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="onnx is an extra")
    runtime = pytest.importorskip("onnxruntime", reason="onnx is an extra")
    student = load_student(str(small), "scl/0")
    student.record["preprocessing"] = {"fit": "crop", "interpolation": "bilinear"}
    assert export.save(student, tmp_path / "s.onnx", "onnx", photo=True) <= 1e-4
    session = runtime.InferenceSession(str(tmp_path / "s.onnx"), providers=["CPUExecutionProvider"])
    for size in ((12, 12), (40, 31), (9, 200)):
        Image.fromarray(photo(*size, 1)[..., 0]).save(tmp_path / "photo.png")
        (logits,) = session.run(None, {"photo": photo(*size, 1)})
        (one,) = predict(student, [tmp_path / "photo.png"], preprocessing_of(student))
        np.testing.assert_allclose(torch.from_numpy(logits)[0].softmax(0).numpy(), one.probabilities, atol=0.01)


def test_what_contradicts_is_refused(small: Path, tmp_path: Path) -> None:
    student = load_student(str(small), "scl/0")
    for form in ("safetensors", "torchscript"):
        with pytest.raises(UserError, match="written as onnx alone"):
            export.save(student, tmp_path / "s", form, photo=True)
    outside = Student(student.network, student.record, normalise=False)
    with pytest.raises(UserError, match="--input normalised does not"):
        FromPhoto(outside, preprocessing_of(outside))
    with pytest.raises(UserError, match="trained with bicubic"):
        FromPhoto(student, Preprocessing(12, 12, 1, "crop", "bicubic"))
