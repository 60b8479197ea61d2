"""What is in a checkpoint, in words, and the same as a safetensors file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scl.errors import UserError
from scl.models.build import build_model
from scl.plan.explained import as_safetensors, explained, head_of, recognised, write
from scl.plan.given import open_given
from tests.support.zoo import RIGHT


def test_a_checkpoint_is_explained_and_written(tmp_path: Path) -> None:
    state = build_model("vgg8", 7, 3, 0.25).state_dict()
    given = open_given(str(RIGHT["torchvision, references"](tmp_path, state)), flag="")
    assert recognised(given) == ("vgg8", 0.25)
    lines = explained(given, "vgg8")
    assert lines["weights"].startswith("averaged over training (EMA)")
    assert "args: an object of argparse.Namespace, which was not made" in lines["holds"]
    assert lines["epoch"] == "epoch 3"
    assert lines["outputs"] == "7"
    assert "give --teacher-mean" in lines["mean"]
    path = write(as_safetensors(given, "vgg8", 0.25), str(tmp_path / "o.safetensors"), force=False)
    assert all(torch.equal(t, state[name]) for name, t in load_file(path).items())
    again = open_given(str(path))
    assert list(again.shapes) == list(state)
    assert again.ordered
    assert (again.described.model, again.described.width) == ("vgg8", 0.25)
    with pytest.raises(UserError, match="exists"):
        write(b"", str(path), force=False)


@pytest.mark.parametrize(("name", "width"), [("plain5", 1.0), ("resnet8x4", 1.0), ("wrn_16_2", 1.0)])
def test_networks_of_scl_are_recognised(name: str, width: float, tmp_path: Path) -> None:
    torch.save(build_model(name, 5, 3, width).state_dict(), tmp_path / "t.pt")
    assert recognised(open_given(str(tmp_path / "t.pt"))) == (name, width)


def test_what_is_no_known_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    monkeypatch.setattr(models, "list_models", lambda module: ["alexnet"])
    torch.save({"a": torch.ones(3, 2), "b": torch.ones(3)}, tmp_path / "t.pt")
    given = open_given(str(tmp_path / "t.pt"))
    assert recognised(given) == ("", 1.0)
    assert explained(given, "")["architecture"] == "not recognised; name it with --teacher-model"
    torch.save(models.alexnet(num_classes=9).state_dict(), tmp_path / "u.pt")
    assert recognised(open_given(str(tmp_path / "u.pt")))[0] == "torchvision:alexnet"


def test_the_last_layer_is_found() -> None:
    assert head_of({"a.weight": (4, 3), "a.bias": (4,), "f.weight": (9, 4), "f.bias": (9,)}) == 9
    assert head_of({"a.weight": (4, 3, 1, 1)}) is None
