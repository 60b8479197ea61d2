"""Students as files: the same logits in every format, and the same refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scl.data.named import load_dataset
from scl.errors import UserError
from scl.students import export
from scl.students.student import load_student

ARMS = ("baseline", "scl", "a/branch")


def test_pixels(small: Path) -> Tensor:
    """The test images of the small study, in [0, 1], in the order of its predictions."""

    dataset = load_dataset(str(small.parents[1] / "images"), small.parent / "cache")
    return torch.from_numpy(dataset.test_images).float() / 255


test_pixels.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("normalise", [True, False])
def test_safetensors_and_torchscript_come_back_as_they_were(
    small: Path, tmp_path: Path, arm: str, normalise: bool
) -> None:
    student = load_student(str(small), f"{arm}/0", normalise)
    images = torch.rand(7, 1, 12, 12)
    assert export.save(student, tmp_path / "s.safetensors", "safetensors") == 0
    again = load_student(str(tmp_path / "s.safetensors"), normalise=normalise)
    assert torch.equal(again(images), student(images))
    assert again.record == student.record
    assert export.save(student, tmp_path / "s.pt", "torchscript") <= 1e-6
    files = {"record.json": ""}
    script = torch.jit.load(tmp_path / "s.pt", _extra_files=files)
    torch.testing.assert_close(script(images), student(images))
    assert json.loads(files["record.json"])["classes"] == student.classes
    assert ("the model normalises" in json.loads(files["record.json"])["input"]) == normalise


@pytest.mark.parametrize("arm", ["scl", "a/branch"])
def test_onnx_runs_elsewhere_with_the_same_logits(small: Path, tmp_path: Path, arm: str) -> None:
    reason = "onnx is an extra"
    onnx = pytest.importorskip("onnx", reason=reason)
    pytest.importorskip("onnxscript", reason=reason)
    runtime = pytest.importorskip("onnxruntime", reason=reason)
    student = load_student(str(small), f"{arm}/0")
    assert export.save(student, tmp_path / "s.onnx", "onnx") <= 1e-4
    onnx.checker.check_model(str(tmp_path / "s.onnx"), full_check=True)
    session = runtime.InferenceSession(str(tmp_path / "s.onnx"), providers=["CPUExecutionProvider"])
    pixels = test_pixels(small)
    (logits,) = session.run(None, {"images": pixels.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), student(pixels), atol=1e-4, rtol=0)
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["classes"]) == student.classes
    assert "pixels in [0, 1]" in json.loads(properties["input"])


def test_a_model_that_would_differ_is_not_written(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = load_student(str(small), "scl/0")
    monkeypatch.setattr(export, "_torchscript", lambda s: (b"", lambda images: s(images) + 2e-4))
    with pytest.raises(UserError, match="nothing was written"):
        export.save(student, tmp_path / "s.pt", "torchscript")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("normalise", [True, False])
def test_torchscript_refuses_what_the_network_was_not_made_for(small: Path, tmp_path: Path, normalise: bool) -> None:
    export.save(load_student(str(small), "scl/0", normalise), tmp_path / "s.pt", "torchscript")
    script = torch.jit.load(tmp_path / "s.pt")
    right = torch.rand(2, 1, 12, 12)
    for images in (right[0], torch.rand(2, 1, 24, 24), torch.rand(2, 3, 12, 12), (right * 255).byte(), right.double()):
        with pytest.raises(torch.jit.Error, match=r"takes float32 images \(B, C, H, W\) with C, H, W = \[1, 12, 12\]"):
            script(images)
    if normalise:
        with pytest.raises(torch.jit.Error, match="divide 8-bit pixels by 255"):
            script(right * 255)
    assert script(right[:0]).shape == (0, 3)
