"""`scl export`: one student as a file."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scl.cli.command import FORMATS, main
from scl.students import export
from scl.students.student import Student, load_student


def test_the_command(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.pt"
    assert main(["export", str(small), "scl/0", "--format", "torchscript", "--out", str(target)]) == 0
    assert "pixels in [0, 1]; the model normalises them" in capsys.readouterr().out
    assert isinstance(torch.jit.load(io.BytesIO(target.read_bytes()))(torch.rand(2, 1, 12, 12)), Tensor)
    for wrong in (["--format", "onxn"], ["--input", "raw"], ["--out", "/proc/x/y.safetensors"]):
        assert main(["export", str(small), "scl/0", *wrong]) == 2
    assert "did you mean 'onnx'" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "scl/0"]) == 2


def test_a_file_is_replaced_only_with_force_and_a_pipe_never(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, pipe = tmp_path / "old.safetensors", tmp_path / "pipe"
    target.write_text("mine")
    os.mkfifo(pipe)
    assert main(["export", str(small), "scl/0", "--out", str(target)]) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert target.read_text() == "mine"
    for force in ([], ["--force"]):
        assert main(["export", str(small), "scl/0", "--out", str(pipe), *force]) == 2
    assert pipe.is_fifo()
    assert main(["export", str(small), "scl/0", "--out", str(target), "--force"]) == 0
    assert isinstance(load_student(str(target)), Student)


def test_a_study_in_a_folder_of_results_is_named_with_the_trial(small: Path, tmp_path: Path) -> None:
    assert main(["export", str(small.parent), "small/scl/0", "--out", str(tmp_path / "t.safetensors")]) == 0
    assert (tmp_path / "t.safetensors").exists()


def test_the_name_of_the_file_is_safe(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(small), "a/branch/0"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["small-a_branch-seed0.safetensors"]
    assert isinstance(load_student("small-a_branch-seed0.safetensors"), Student)


def test_normalised_input_is_left_to_the_caller(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.safetensors"
    assert main(["export", str(small), "scl/0", "--input", "normalised", "--out", str(file)]) == 0
    assert "the model normalises them" not in capsys.readouterr().out
    images = torch.rand(2, 1, 12, 12)
    assert torch.equal(
        load_student(str(file), normalise=False)(images), load_student(str(small), "scl/0", False)(images)
    )


def test_the_formats_of_the_command_are_those_of_the_library() -> None:
    """The names stand in `scl.cli.command` too, so that `--help` imports no torch."""
    assert set(FORMATS) == set(export.SUFFIXES)
