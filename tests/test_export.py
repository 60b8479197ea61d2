"""Students out of the store: they are the networks that were trained, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scl import export
from scl.data.named import load_dataset
from scl.errors import UserError
from scl.export import load_student
from scl.store.files import open_folder
from scl.store.results import load
from scl.train import checkpoint
from tests.support.parts import read_predictions
from tests.support.studies import SMALL, run_study, write_images

ARMS = ("baseline", "scl", "a/branch")


def test_pixels(small: Path) -> Tensor:
    """The test images of the small study, in [0, 1], in the order of its predictions."""

    dataset = load_dataset(str(small.parents[1] / "images"), small.parent / "cache")
    return torch.from_numpy(dataset.test_images).float() / 255


test_pixels.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("arm", ARMS)
def test_a_loaded_student_predicts_what_was_stored(small: Path, arm: str) -> None:
    student = load_student(str(small), f"{arm}/1")
    predictions = read_predictions(open_folder(str(small))).set_index("trial_id")["predicted"]
    predicted = student(test_pixels(small)).argmax(1)
    assert predicted.tolist() == predictions[student.record["trial_id"]].tolist()
    accuracy = (predicted.numpy() == predictions["labels"]).mean()
    assert accuracy == pytest.approx(student.record["test_acc"])
    assert student.classes == ["class-0", "class-1", "class-2"]
    assert (student.record["arm"], student.record["seed"]) == (arm, 1)


def test_only_the_network_is_in_it(small: Path) -> None:
    student = load_student(str(small), "scl/0")
    row = load(str(small)).planned().set_index(["arm", "seed"]).loc[("scl", 0)]
    assert sum(p.numel() for p in student.network.parameters()) == row["params"]
    assert not any("connector" in name or name.startswith("objective") for name in student.state_dict())


def test_normalisation_is_inside_or_left_to_the_caller(small: Path) -> None:
    pixels = test_pixels(small)
    inside, outside = (load_student(str(small), "scl/0", normalise=n) for n in (True, False))
    given = (pixels - outside.mean) / outside.std
    assert torch.equal(inside(pixels), outside(given))
    assert not torch.equal(inside(pixels), inside(given))


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


def test_an_exported_student_is_a_teacher(small: Path, tmp_path: Path) -> None:
    """Born again: its weights fit by name, and it teaches with the accuracy that it had."""
    student = load_student(str(small), "baseline/0")
    export.save(student, tmp_path / "s.safetensors", "safetensors")
    data = str(small.parents[1] / "images")
    flags = ["--teacher-model", "plain5", "--teacher-width", "0.125", "--arms", "scl", "--seeds", "1"]
    place = ["--out", str(tmp_path), "--data", data, "--teacher", str(tmp_path / "s.safetensors")]
    assert run_study(SMALL, *place, *flags) == 0
    study = load(str(tmp_path / "small")).study
    assert study["teacher"]["test_acc"]["all"] == pytest.approx(student.record["test_acc"])


def test_trials_go_by_arm_and_seed_or_by_their_id(small: Path) -> None:
    whole = load_student(str(small), "a/branch/1").record["trial_id"]
    assert load_student(str(small), whole[:10]).record["arm"] == "a/branch"
    for wrong, message in (
        ("scl/7", r"did you mean 'scl/[01]'.*valid: scl/1"),
        ("", "unknown trial"),
        ("zzzz", "unknown trial"),
    ):
        with pytest.raises(UserError, match=message):
            load_student(str(small), wrong)


def test_a_study_without_an_ended_trial_says_so(small: Path, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_bytes((small / "study.json").read_bytes())
    with pytest.raises(UserError, match="no trial of this study has ended yet"):
        load_student(str(tmp_path), "scl/0")


def test_a_damaged_file_is_refused(small: Path, tmp_path: Path) -> None:
    export.save(load_student(str(small), "scl/0"), tmp_path / "s.safetensors", "safetensors")
    content = bytearray((tmp_path / "s.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "s.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"s\.safetensors is damaged.*checksum"):
        load_student(str(tmp_path / "s.safetensors"))
    (tmp_path / "t.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="damaged, or no student"):
        load_student(str(tmp_path / "t.safetensors"))
    with pytest.raises(UserError, match="no such file"):
        load_student(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    "record", [{}, {"config": {"model": "plain5"}}, {"config": {"student": 7}, "image_shape": [1, 2]}, {"config": []}]
)
def test_a_file_that_describes_no_student_is_refused(tmp_path: Path, record: dict[str, object]) -> None:
    (tmp_path / "s.safetensors").write_bytes(checkpoint.pack({"x": torch.zeros(1)}, record))
    with pytest.raises(UserError, match=r"does not describe a student|must be of type str"):
        load_student(str(tmp_path / "s.safetensors"))


@pytest.mark.parametrize(("classes", "size", "grey"), [(2, 8, False), (5, 64, True), (12, 33, False)])
def test_data_sets_of_other_shapes_run_from_end_to_end(tmp_path: Path, classes: int, size: int, grey: bool) -> None:
    data = write_images(tmp_path / "images", classes, size, grey, train=8, test=4)
    flags = ["--epochs", "1", "--teacher-epochs", "1", "--seeds", "1", "--arms", "scl"]
    assert run_study(SMALL, "--out", str(tmp_path), "--data", str(data), *flags) == 0
    student = load_student(str(tmp_path / "small"), "scl/0")
    assert student.record["image_shape"] == [1 if grey else 3, size, size]
    assert len(student.classes) == classes
