"""The latency of exported students: measured in each format, or taken from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.errors import UserError
from scl.store.latencies import problem_of
from scl.students import export, latency
from scl.students.student import load_student


@pytest.fixture(scope="module")
def files(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, student = tmp_path_factory.mktemp("files"), load_student(str(small), "scl/0")
    found = {}
    for form in ("safetensors", "torchscript"):
        found[form] = folder / f"s{export.SUFFIXES[form]}"
        export.save(student, found[form], form)
    return found


@pytest.mark.parametrize("form", ["safetensors", "torchscript"])
def test_a_file_is_measured(files: dict[str, Path], form: str) -> None:
    found = latency.measure(str(files[form]), runs=5, batch=2, threads=1)
    assert not problem_of(found)
    assert found["low_ms"] <= found["latency_ms"] <= found["high_ms"]
    assert (found["batch"], found["student"], found["arm"]) == (2, "plain5", "scl")
    assert found["bytes"] == files[form].stat().st_size
    assert found["device"] == latency.processor() != ""
    same = latency.measure(str(files["safetensors"]), runs=1, batch=1, threads=1, device="mine")
    assert (same["architecture"], same["device"]) == (found["architecture"], "mine")


def test_onnx_is_measured(small: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="onnx is an extra")
    export.save(load_student(str(small), "scl/0"), tmp_path / "s.onnx", "onnx")
    assert latency.measure(str(tmp_path / "s.onnx"), 3, 1, 1)["runtime"].startswith("onnxruntime ")


def test_a_figure_from_elsewhere_is_taken_as_it_is(files: dict[str, Path]) -> None:
    found = latency.given(str(files["torchscript"]), 3.5, 1, 4, "a phone")
    assert not problem_of(found)
    assert (found["latency_ms"], found["low_ms"], found["device"]) == (3.5, None, "a phone")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.pt", b"PK\x03\x04 no archive", "is damaged, or was not written by `scl export`"),
        ("s.safetensors", b"none", "is damaged, or no student"),
        ("s.tflite", b"x", r"a student is a file \.safetensors, \.onnx, \.pt"),
        ("s.pt", b"", "is empty"),
        ("s.onnx", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
)
def test_what_is_no_student_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        latency.measure(str(tmp_path / name), 1, 1, 1)
