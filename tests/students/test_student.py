"""Students out of the store: they are the networks that were trained, and refuse what they were not made for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from scl.cli.command import main
from scl.data.named import load_dataset
from scl.errors import UserError
from scl.models.build import build_model
from scl.store.files import open_folder
from scl.store.results import load
from scl.students import export
from scl.students.student import Student, load_student
from scl.study.config import Config
from scl.train import checkpoint
from tests.support import networks
from tests.support.checkpoints import BAD, ESCAPES, POINTER, nested, special_files
from tests.support.networks import Net, Tied
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


def test_a_student_whose_map_was_expanded_is_the_plain_network(tmp_path: Path) -> None:
    """It predicts what was stored, from a file of the same size, and in another format."""
    data = write_images(tmp_path / "images", classes=3, size=12, grey=True)
    expanded: dict[str, Any] = {"norm": {"losses": {"norm": 1.0}, "self_taught": 3}, "control": {"expansion": 40}}
    study = replace(SMALL, arms={"baseline": {}, "plain": {"self_taught": 3}, **expanded}, seeds=1)
    assert run_study(study, "--out", str(tmp_path / "results"), "--data", str(data)) == 0
    store = tmp_path / "results" / "small"
    predictions = read_predictions(open_folder(str(store))).set_index("trial_id")["predicted"]
    trials = load(str(store)).trials.set_index("arm")
    images = test_pixels(store)
    for arm, plain in (("norm", "plain"), ("control", "baseline")):
        student, other = (load_student(str(store), f"{name}/0") for name in (arm, plain))
        assert student(images).argmax(1).tolist() == list(predictions[student.record["trial_id"]])
        assert [p.shape for p in student.parameters()] == [p.shape for p in other.parameters()]
        assert list(trials.loc[arm, ["params", "macs"]]) == list(trials.loc[plain, ["params", "macs"]])
        assert export.save(student, tmp_path / f"{arm}.pt", "torchscript") <= 1e-6


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
    with pytest.raises(UserError, match="normalise=False"):
        inside(given)


def test_an_exported_student_is_a_teacher(small: Path, tmp_path: Path) -> None:
    """Born again: its weights fit by name, and it teaches with the accuracy that it had."""
    student = load_student(str(small), "baseline/0")
    export.save(student, tmp_path / "s.safetensors", "safetensors")
    data = str(small.parents[1] / "images")
    flags = ["--teacher-model", "plain5", "--teacher-width", "0.125", "--arms", "scl", "--seeds", "1"]
    place = ["--out", str(tmp_path), "--data", data, "--teacher", str(tmp_path / "s.safetensors"), "--teacher-anyway"]
    assert run_study(SMALL, *place, *flags) == 0
    study = load(str(tmp_path / "small")).study
    assert study["teacher"]["test_acc"]["all"] == pytest.approx(student.record["test_acc"])


def test_trials_go_by_arm_and_seed_or_by_their_id(small: Path) -> None:
    whole = load_student(str(small), "a/branch/1").record["trial_id"]
    assert load_student(str(small), whole[:10]).record["arm"] == "a/branch"
    for wrong, message in (
        ("scl/7", r"did you mean 'scl/[01]'.*valid: scl/1"),
        ("", "must not be empty"),
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


def a_student() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A network and its record, as a file holds them."""
    record = {
        "trial_id": "0", "study": "s", "arm": "a", "seed": 0, "config": {"student": "plain3", "width": 0.0625},
        "test_acc": 0.5, "classes": ["x", "y"], "image_shape": [1, 8, 8], "mean": [0.5], "std": [0.25],
    }  # fmt: skip
    return build_model("plain3", 2, 1, 0.0625).state_dict(), record


WEIGHTS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "none": lambda w: {"x": torch.zeros(1)},
    "one too few": lambda w: dict(list(w.items())[1:]),
    "one too many": lambda w: {**w, "x": torch.zeros(1)},
    "a teacher's": lambda w: {**w, "test_logits": torch.zeros(5, 2)},
    "other shapes": lambda w: {name: t[..., :1] if t.ndim else t for name, t in w.items()},
    "flat": lambda w: {name: t.reshape(-1) for name, t in w.items()},
    "half": lambda w: {name: t.half() for name, t in w.items()},
    "int8": lambda w: {name: t.to(torch.int8) for name, t in w.items()},
    "complex": lambda w: {name: t.to(torch.complex64) for name, t in w.items()},
    "bool": lambda w: {name: t.bool() for name, t in w.items()},
    "nan": lambda w: {name: t * float("nan") if t.ndim else t for name, t in w.items()},
    "inf": lambda w: {name: t + float("inf") if t.ndim else t for name, t in w.items()},
    "escapes": lambda w: {**w, ESCAPES: torch.zeros(1)},
}
RECORDS: dict[str, object] = {
    **{f"config {i}": {"config": value} for i, value in enumerate(
        [None, 3, [], "x", {"student": 7}, {"student": "nosuch"}, {"student": ESCAPES}, {"width": 10**9}, {"width": -1},
         {"width": "1"}, {"width": float("nan")}, {"student": "plain11"}, {"student": "torchvision:nosuch"},
         {"self_taught": 65536, "student": "plain11", "width": 64}, {"self_taught": [[[]]]}])},
    **{f"image_shape {i}": {"image_shape": value} for i, value in enumerate(
        [None, 3, "abc", [], [1, 8], [1, 8, 8, 8], [0, 8, 8], [1, -8, 8], [1, 8.5, 8], [True, 8, 8], ["1", 8, 8],
         [1, 200_000, 400_000], [1, 10**30, 1], [10**6, 8, 8], [[1], 8, 8], [3, 8, 8]])},
    **{f"classes {i}": {"classes": value} for i, value in enumerate(
        [None, 2, "xy", [], ["x"], ["x", 2], {"x": 0, "y": 1}, ["x", "y", "z"], [None, None]])},
    **{f"{name} {i}": {name: value} for name in ("mean", "std") for i, value in enumerate(
        [None, 0.5, "x", [], [0.5, 0.5], ["0.5"], [None], [float("nan")], [float("inf")], [10**400], [-1], [True]])},
    "std 0": {"std": [0.0]},
    **{f"test_acc {i}": {"test_acc": value} for i, value in enumerate([None, "1", float("nan"), 2, -1, [0.5], True])},
    **{f"{name} {i}": {name: value} for name in ("study", "arm", "trial_id", "seed") for i, value in enumerate(
        [None, [], {}, 1.5, float("nan")])},
}  # fmt: skip


def refused(content: bytes, folder: Path) -> None:
    (folder / "s.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"s\.safetensors") as error:
        load_student(str(folder / "s.safetensors"))
    text = str(error.value)
    assert "\x1b" not in text
    assert "allocate memory" not in text
    assert len(text) < 2000  # valid names are listed


def test_a_right_student_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.safetensors").write_bytes(checkpoint.pack(*a_student()))
    assert load_student(str(tmp_path / "s.safetensors"))(torch.rand(2, 1, 8, 8)).shape == (2, 2)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_are_no_students_are_refused(kind: str, tmp_path: Path) -> None:
    weights, record = a_student()
    refused(checkpoint.pack(WEIGHTS[kind](weights), record), tmp_path)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_of_other_values_is_refused(kind: str, tmp_path: Path) -> None:
    weights, record = a_student()
    refused(checkpoint.pack(weights, record | RECORDS[kind]), tmp_path)  # type: ignore[operator]


@pytest.mark.parametrize("name", a_student()[1])
def test_a_record_that_lacks_a_field_is_refused(name: str, tmp_path: Path) -> None:
    weights, record = a_student()
    refused(checkpoint.pack(weights, {k: v for k, v in record.items() if k != name}), tmp_path)


@pytest.mark.parametrize("kind", BAD)
def test_files_that_are_no_student_are_refused(kind: str, tmp_path: Path) -> None:
    refused(BAD[kind][0](), tmp_path)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path, message in special_files(tmp_path).values():
        with pytest.raises(UserError, match=message):
            load_student(str(path))


def test_a_damaged_student_of_a_store_is_refused_by_every_command(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(small, tmp_path / "small")
    (file,) = (tmp_path / "small" / "checkpoints").glob(f"{trial_id(small)}/student.safetensors")
    for content, message in ((POINTER, "git lfs pull"), (b"", "is empty"), (nested(10**5), "nested too deeply")):
        file.write_bytes(content)
        assert main(["export", str(tmp_path / "small"), "scl/0"]) == 2
        assert message in capsys.readouterr().err
    file.unlink()
    os.mkfifo(file)
    assert main(["export", str(tmp_path / "small"), "scl/0"]) == 2
    assert main(["show", str(tmp_path / "small"), "scl/0"]) == 0


def trial_id(store: Path) -> str:
    return str(load(str(store)).planned().set_index(["arm", "seed"]).loc[("scl", 0), "trial_id"])


@pytest.mark.parametrize(("classes", "size", "grey"), [(2, 8, False), (5, 64, True), (12, 33, False)])
def test_data_sets_of_other_shapes_run_from_end_to_end(tmp_path: Path, classes: int, size: int, grey: bool) -> None:
    data = write_images(tmp_path / "images", classes, size, grey, train=8, test=4)
    flags = ["--epochs", "1", "--teacher-epochs", "1", "--seeds", "1", "--arms", "scl"]
    assert run_study(SMALL, "--out", str(tmp_path), "--data", str(data), *flags) == 0
    student = load_student(str(tmp_path / "small"), "scl/0")
    assert student.record["image_shape"] == [1 if grey else 3, size, size]
    assert len(student.classes) == classes


def test_a_student_of_an_own_class_needs_that_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = replace(
        SMALL, name="own", arms={"baseline": {}}, seeds=1, base=Config(model=Net, epochs=1, batch_size=16, lr=0.02)
    )
    assert run_study(study, "--out", str(tmp_path), "--limit", "60") == 0
    place = str(tmp_path / "own")
    student = load_student(place, "baseline/0", model=Net)
    row = load(place).trials.iloc[0]
    assert row["param.student"] == "Net"
    for model, message in (
        (None, r"it is a student of Net, a class of your own; give the class too"),
        (Tied, "it is a student of Net, and model is Tied"),
        (type("Net", (Tied,), {"__qualname__": "Net"}), "it is a student of another Net"),
        (3, "model must be a name, or a class"),
    ):
        with pytest.raises(UserError, match=message):
            load_student(place, "baseline/0", model=model)  # type: ignore[arg-type]
    file = tmp_path / "net.safetensors"
    assert export.save(student, file, "safetensors") == 0
    again = load_student(str(file), model=Net)
    pixels = torch.rand(3, 1, 8, 8)
    assert torch.equal(again(pixels), student(pixels))
    export.save(student, tmp_path / "net.pt", "torchscript")
    traced = torch.jit.load(str(tmp_path / "net.pt"))
    assert torch.allclose(traced(pixels), student(pixels), atol=1e-5)
    monkeypatch.chdir(tmp_path)
    named = f"{networks.__file__}:Net"
    assert main(["export", place, "baseline/0", "--model", named, "--out", str(tmp_path / "cli.safetensors")]) == 0
    assert main(["latency", str(file), "--model", named, "--runs", "1", "--results", str(tmp_path)]) == 0
    assert main(["latency", str(tmp_path / "net.pt"), "--model", named]) == 2
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    assert main(["predict", str(file), str(tmp_path / "photo.png"), "--model", named]) == 0
    assert main(["predict", str(file), str(tmp_path / "photo.png")]) == 2
    assert main(["predict", str(file), str(tmp_path / "photo.png"), "--model", "plain5"]) == 2


def test_a_class_for_a_student_of_scls_own_is_refused(small: Path) -> None:
    with pytest.raises(UserError, match="it is a student of plain5, not of a class of your own"):
        load_student(str(small), "baseline/0", model=Net)


# --- what it refuses --------------------------------------------------------------------------------------------------

GREY = torch.rand(2, 1, 8, 8)
WRONG: dict[str, tuple[Any, str]] = {
    "no batch": (GREY[0], r"without a batch dimension, \(1, 8, 8\); give images\[None\]"),
    "larger": (torch.rand(2, 1, 192, 192), "resize them"),
    "smaller": (torch.rand(2, 1, 7, 8), "resize them"),
    "colour": (torch.rand(2, 3, 8, 8), "trained on grey images"),
    "channels last": (torch.rand(2, 8, 8, 1), r"permute\(0, 3, 1, 2\)"),
    "flat": (torch.rand(2, 64), "channels first"),
    "scalar": (torch.tensor(0.5), "channels first"),
    "five dimensions": (torch.rand(1, 2, 1, 8, 8), "channels first"),
    "uint8": ((GREY * 255).byte(), r"got uint8; .*/ 255"),
    "float64": (GREY.double(), r"got float64; convert them"),
    "float16": (GREY.half(), "got float16"),
    "0 to 255": (GREY * 255, r"values from .*divide 8-bit pixels by 255"),
    "normalised": ((GREY - 0.5) / 0.25, "normalise=False"),
    "not a number": (GREY * torch.nan, "values from nan to nan"),
    "numpy": (GREY.numpy(), "got ndarray; make a tensor"),
    "a list": ([1.0], "got list"),
    "nothing": (None, "got NoneType"),
}


@pytest.fixture
def student(tmp_path: Path) -> Student:
    (tmp_path / "s.safetensors").write_bytes(checkpoint.pack(*a_student()))
    return load_student(str(tmp_path / "s.safetensors"))


@pytest.mark.parametrize("kind", WRONG)
def test_images_that_it_was_not_made_for_are_refused(student: Student, kind: str) -> None:
    images, message = WRONG[kind]
    with pytest.raises(UserError, match=rf"^this student takes images \(B, 1, 8, 8\) of float32.*{message}"):
        student(images)


def test_right_images_are_taken(student: Student) -> None:
    assert student(GREY[:0]).shape == (0, 2)
    assert student(GREY.clamp(0, 1)).shape == student(torch.zeros(2, 1, 8, 8)).shape == (2, 2)
    student.normalise = False
    assert student(GREY * 9 - 4).shape == (2, 2)  # any range
    assert student.double()(GREY.double()).dtype == torch.float64


def test_it_is_frozen_and_says_how_to_continue_training(student: Student) -> None:
    assert not student.training
    assert student.eval() is student.train(False) is student
    with pytest.raises(UserError, match=r"network = scl\.load_student.*requires_grad_\(True\)\.train\(\)"):
        student.train()
    network = student.network.requires_grad_(True).train()
    network(GREY).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
