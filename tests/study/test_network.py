"""Own networks in configurations: what is one, its name, its identity, and its way through files and pickles."""

from __future__ import annotations

import functools
import importlib
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from scl.errors import UserError
from scl.study.checks import model
from scl.study.config import Config
from scl.study.designs import grid
from scl.study.identity import canonical_json, requested, teacher_id
from scl.study.network import arguments, model_name, network_identity, same_network
from scl.study.params import params, with_params
from scl.study.study import Study
from tests.support.networks import Net, Tied, small_transformer

CODE = """
from torch import nn
{extra}
class Mine(nn.Module):
    def __init__(self, num_classes, in_channels=3, image_size=32):
        super().__init__()
        self.fc = nn.Linear(in_channels * image_size ** 2, num_classes)

    def forward(self, x):
        return {result}

def another(num_classes):
    return nn.Linear(3, num_classes)
"""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    names, path = set(sys.modules), [*sys.path]
    yield
    for name in set(sys.modules) - names:
        if name.startswith("mine"):
            del sys.modules[name]
    sys.path[:] = path


def written(folder: Path, result: str = "self.fc(x.flatten(1))", extra: str = "", name: str = "mine") -> str:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(CODE.format(result=result, extra=extra))
    return str(folder / f"{name}.py")


def test_an_own_network_in_ids_columns_and_names() -> None:
    config = Config(model=Net, lr=0.1)
    plain = requested(config)
    assert set(plain["student"]) == {"network", "sha256"}
    assert json.loads(canonical_json(plain))["student"]["network"] == "Net"
    assert (config.model_name, params(config)["model"]) == ("Net", "Net")
    assert requested(Config(model=Tied))["student"] != plain["student"]
    assert teacher_id(config, 0, "data") != teacher_id(Config(model=Tied, lr=0.1), 0, "data")
    assert model_name(small_transformer) == "small_transformer"


def test_networks_of_a_library_are_told_apart_by_their_full_names() -> None:
    from torchvision import models

    one = network_identity(models.resnet18)
    assert one["library"] == "torchvision.models.resnet.resnet18"
    assert network_identity(models.resnet34) != one
    assert "library" not in network_identity(Net)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nn.Linear(2, 2), "Linear is given as an object; give the class, model=Linear"),
        (lambda num_classes: nn.Linear(2, num_classes), "a lambda has no name"),
        (int, "class int is no torch.nn.Module"),
        (dict, "class dict is no torch.nn.Module"),
        (functools.partial(Net, in_channels=3), "must be a name, or a class"),
        (3, "must be a name, or a class"),
        (None, "must be a name, or a class"),
        (nn.Linear, r"Linear\(in_features, out_features, bias, device, dtype\) takes no num_classes"),
        (type("plain5", (Net,), {}), "'plain5' is the name of a built-in network"),
        ("plain6", "unknown model 'plain6'"),
    ],
)
def test_what_is_no_network(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(model=given)


def test_parameters_without_a_value_are_named() -> None:
    class Deep(nn.Module):
        def __init__(self, num_classes: int, depth: int) -> None:
            super().__init__()

    with pytest.raises(UserError, match="Deep needs depth, which it is not given"):
        Config(model=Deep)


def test_it_gets_what_its_signature_names() -> None:
    def sized(num_classes: int, image_size: Any) -> None: ...
    def any_name(**options: Any) -> None: ...

    assert arguments(Net, 7, (1, 8, 8)) == {"num_classes": 7, "in_channels": 1}
    assert arguments(sized, 7, (1, 8, 8)) == {"num_classes": 7, "image_size": 8}
    assert arguments(sized, 7, (1, 8, 9)) == {"num_classes": 7, "image_size": (8, 9)}
    assert arguments(any_name, 7, (1, 8, 8)) == {"num_classes": 7}


def test_its_source_is_its_identity_wherever_the_file_lies(tmp_path: Path) -> None:
    one = model(f"{written(tmp_path / 'a')}:Mine")
    same = model(f"{written(tmp_path / 'b', name='mine_too')}:Mine")
    other = model(f"{written(tmp_path / 'c', 'self.fc(x.flatten(1)) * 2', name='mine_other')}:Mine")
    assert network_identity(one) == network_identity(same)
    assert same_network(one, network_identity(same)) == ""
    assert "another Mine" in same_network(one, network_identity(other))
    assert "give Net" in same_network(one, network_identity(Net))
    assert model(f"{tmp_path / 'a' / 'mine.py'}:Mine") is one  # imported once
    opaque = model(f"{written(tmp_path / 'd', 'self.fc(x) + len(open(NAME).read())', 'NAME = 1', 'mine_opaque')}:Mine")
    with pytest.raises(UserError, match=r"network Mine reaches open.*cannot be part of the trial's id"):
        requested(Config(model=opaque))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent.py:Mine", "no such file"),
        ("{folder}/mine.py:Yours", "has no Yours"),
        ("{folder}/mine_broken.py:Mine", "cannot be imported: NameError"),
        ("{folder}/mine.py", "unknown model"),
    ],
)
def test_files_of_networks(tmp_path: Path, text: str, message: str) -> None:
    written(tmp_path)
    written(tmp_path, extra="1 / nothing", name="mine_broken")
    with pytest.raises(ValueError, match=message):
        model(text.format(folder=tmp_path))


def test_a_pickled_configuration_brings_its_hashes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "w.bin"
    weights.write_bytes(b"1")
    written(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = Config(model=importlib.import_module("mine").Mine, initial_weights=str(weights))
    before = requested(config)
    packed = pickle.dumps(config)
    weights.unlink()
    there = pickle.loads(packed)
    assert requested(there) == before
    assert there == config
    with pytest.raises(UserError, match=r"initial_weights .* cannot be read"):
        requested(config)


def test_the_bytes_of_a_file_of_weights_are_in_the_id_and_its_place_is_not(tmp_path: Path) -> None:
    ids = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
        config = Config(initial_weights=str(tmp_path / name))
        ids.append(requested(config))
        assert params(config)["initial_weights"] == name
    assert ids[0] == ids[1] != ids[2]


def test_networks_are_levels_of_a_factor() -> None:
    study = Study(
        "s", "q", {"baseline": {}} | grid({"model": [Net, Tied, "torchvision:resnet18", "plain3"]}), Config(width=0.5)
    )
    arms, _ = study.resolve("digits", None, {}, {})
    assert list(arms) == ["baseline", "model=Net", "model=Tied", "model=torchvision:resnet18", "model=plain3"]
    assert study.design.levels["model=Net"] == {"model": "Net"}
    assert [config.width for config in arms.values()] == [0.5, 1, 1, 1, 0.5]  # only scl's own networks have a width


def test_two_networks_of_one_name_are_refused() -> None:
    other = type("Net", (Tied,), {"__qualname__": "Net"})
    study = Study("s", "q", {"baseline": {"model": Net}, "b": {"model": other}})
    with pytest.raises(UserError, match="'baseline' and 'b' have different networks of one name, Net"):
        study.resolve("digits", None, {}, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": Net, "width": 2.0}, "Net has no width factor; width must be 1, got 2"),
        ({"model": "timm:x", "width": 2.0}, "timm:x has no width factor"),
        ({"layers": ("a",)}, "those of plain5 are fixed"),
        ({"model": Net, "layers": ("a", "a")}, "layers must be different"),
        ({"model": Net, "layers": "ab"}, "layers must be a list of module paths"),
        ({"model": Net, "pretrained": True}, "pretrained is for"),
        ({"model": "timm:x", "pretrained": True, "initial_weights": "f"}, "exclude each other"),
        ({"model": Net, "normalisation": "published"}, "'published' is for"),
        ({"normalisation": "x"}, "unknown normalisation"),
    ],
)
def test_contradictions(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_params(Config(), changes)
