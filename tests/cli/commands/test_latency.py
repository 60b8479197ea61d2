"""`scl latency`: prints what it measured, and keeps it with the study that trained the student."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scl.cli.command import main
from scl.store.files import open_folder
from scl.store.latencies import read_latencies


@pytest.fixture
def file(small: Path, tmp_path: Path) -> str:
    assert main(["export", str(small), "scl/0", "--out", str(tmp_path / "s.safetensors")]) == 0
    return str(tmp_path / "s.safetensors")


def test_a_measurement_is_printed_and_kept(
    small: Path, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(small, tmp_path / "results" / "small")
    assert main(["latency", file, "--runs", "3"]) == 0
    assert "ms for an image" in capsys.readouterr().out
    results = ["--results", str(tmp_path / "results")]
    assert main(["latency", file, "--runs", "3", "--batch", "2", "--device", "here", *results]) == 0
    assert main(["latency", file, "--ms", "3.5", "--device", "a phone", *results]) == 0
    found = read_latencies(open_folder(str(tmp_path / "results" / "small")))
    assert [(one["device"], one["batch"]) for one in found] == [("here", 2), ("a phone", 1)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--runs", "0"], "--runs: must be a whole number"),
        (["--ms", "3"], "--device 'Pixel 8, NNAPI'"),
        (["--ms", "-1", "--device", "x"], "--ms: must be a finite number, above 0"),
        (["--threads", "many"], "--threads"),
        (["--results", "nowhere"], "no results in"),
    ],
)
def test_mistakes_are_refused(file: str, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latency", file, *flags]) == 2
    assert message in capsys.readouterr().err
