"""`scl import-teacher`: what a checkpoint holds, and a safetensors file of it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from scl.cli.command import main
from scl.models.build import build_model


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(mean=[0.5] * 3, std=[0.25] * 3, img_size=24, lr=0.1)
    state = build_model("plain5", 4, 3, 0.25).state_dict()
    torch.save({"model": state, "args": args, "epoch": 7, "classes": ["a", "b\x1b[31m", "c", "d"]}, tmp_path / "t.pt")
    out = tmp_path / "t.safetensors"
    assert main(["import-teacher", str(tmp_path / "t.pt"), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    for text in ("plain5", "epoch 7", "0.5,0.5,0.5", "24 pixels", "argparse.Namespace", "use it as --teacher"):
        assert text in printed
    assert "\x1b[31m" not in printed
    assert main(["import-teacher", str(tmp_path / "t.pt"), "-o", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["import-teacher", str(tmp_path / "t.pt"), "-o", str(out), "--force"]) == 0


@pytest.mark.parametrize("wrong", ["absent.pt", "", "/dev/null"])
def test_what_is_no_checkpoint_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-teacher", wrong]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "--teacher " not in error
