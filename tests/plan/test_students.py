"""The weights that students start from: files, published ones, and their normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.build import build_model, published_normalisation
from scl.models.networks import build_student, start_from
from scl.plan.students import initial_weights
from scl.store.results import load
from scl.students.student import load_student
from scl.study.config import Config
from scl.study.study import Study
from tests.support.networks import Net
from tests.support.studies import run_study

HEAD = {"net.fc.weight", "net.fc.bias"}


def state(classes: int, seed: int = 5) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return Net(classes, 1).state_dict()


def stored(folder: Path, tensors: dict[str, Tensor], pickled: bool = False) -> str:
    path = folder / ("w.pt" if pickled else "w.safetensors")
    if pickled:
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path)
    return str(path)


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("prefix", ["", "net.", "module.", "backbone.net."])
def test_a_file_of_the_same_network_fills_it(tiny: SplitData, tmp_path: Path, prefix: str, pickled: bool) -> None:
    path = stored(tmp_path, {prefix + name: t for name, t in state(10).items()}, pickled)
    weights = initial_weights(Config(model=Net, initial_weights=path), tiny)
    assert weights is not None
    model = build_student(Config(model=Net), tiny, 1)
    start_from(model, weights)
    assert {name.removeprefix("net."): t.tolist() for name, t in model.state_dict().items()} == {
        name: t.tolist() for name, t in state(10).items()
    }


def test_a_last_layer_for_other_classes_starts_fresh_from_the_seed(
    tiny: SplitData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = initial_weights(Config(model=Net, initial_weights=stored(tmp_path, state(7))), tiny)
    assert weights is not None
    assert "4 of 6 tensors; net.fc starts fresh" in capsys.readouterr().err
    one, two = (build_student(Config(model=Net), tiny, seed) for seed in (0, 1))
    before = [model.state_dict()["net.fc.weight"].clone() for model in (one, two)]
    for model, fresh in zip((one, two), before, strict=True):
        start_from(model, weights)
        assert torch.equal(model.state_dict()["net.fc.weight"], fresh)
        assert torch.equal(model.state_dict()["net.first.0.weight"], state(7)["first.0.weight"])
    assert not torch.equal(*before)
    headless = {name: t for name, t in state(10).items() if not name.startswith("fc")}
    again = initial_weights(Config(model=Net, initial_weights=stored(tmp_path, {**headless, "x": torch.ones(1)})), tiny)
    assert again is not None
    assert again.keys() == weights.keys()
    assert "1 of the file are not used (x)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: t for k, t in s.items() if k != "first.0.weight"}, "first.0.weight is absent"),
        (lambda s: {**s, "first.0.weight": torch.ones(3)}, r"first.0.weight is \(3,\), wanted \(4, 1, 3, 3\)"),
        (lambda s: {k: t for k, t in s.items() if k != "fc.bias"}, "does not fit Net with 10 classes"),
        (lambda s: {"other": torch.ones(1)}, "does not fit Net"),
        (lambda s: {**s, "first.0.bias": torch.full((4,), torch.nan)}, "first.0.bias has numbers that are not finite"),
        (lambda s: {**s, "first.0.bias": torch.ones(4, dtype=torch.int64)}, "first.0.bias is torch.int64"),
    ],
)
def test_files_that_do_not_fit(tiny: SplitData, tmp_path: Path, change: Any, message: str) -> None:
    path = stored(tmp_path, change(state(10)))
    with pytest.raises(UserError, match=message):
        initial_weights(Config(model=Net, initial_weights=path), tiny)


def test_no_weights_and_no_file(tiny: SplitData, tmp_path: Path) -> None:
    assert initial_weights(Config(model=Net), tiny) is None
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(UserError, match="--student-weights"):
        initial_weights(Config(model=Net, initial_weights=str(tmp_path / "text.pt")), tiny)


def published(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """torchvision's weights without its download."""
    from torchvision import models

    torch.manual_seed(1)
    net = models.mobilenet_v3_small(num_classes=1000)
    cls = type(models.get_model_weights("mobilenet_v3_small").DEFAULT)
    monkeypatch.setattr(cls, "get_state_dict", lambda self, **options: net.state_dict())
    return net.eval()


def test_a_pretrained_student_sees_the_normalisation_of_its_weights(
    tiny: SplitData, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = published(monkeypatch)
    name = "torchvision:mobilenet_v3_small"
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in published_normalisation(name))
    pixels = torch.rand(2, 1, 8, 8)
    given = (pixels - tiny.mean) / tiny.std
    for config, wanted in (
        (Config(model=name, pretrained=True), (pixels.expand(-1, 3, -1, -1) - mean) / std),
        (Config(model=name, pretrained=True, normalisation="data"), given.expand(-1, 3, -1, -1)),
    ):
        weights = initial_weights(config, tiny)
        assert weights is not None
        assert not any(name.startswith("net.classifier.3.") for name in weights)
        model = build_student(config, tiny, 0).eval()
        start_from(model, weights)
        torch.testing.assert_close(model.features(given).embedding, _before_the_last(net, wanted))  # type: ignore[operator]


def _before_the_last(net: Any, images: Tensor) -> Tensor:
    return net.classifier[:3](net.avgpool(net.features(images)).flatten(1))


def test_it_trains_is_stored_with_its_normalisation_and_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    published(monkeypatch)
    study = Study(
        "pre", "q", {"baseline": {}}, seeds=1,
        base=Config(model="torchvision:mobilenet_v3_small", pretrained=True, epochs=1, batch_size=32, lr=1e-3),
        teacher=Config(model="plain3", width=0.1, epochs=1, batch_size=32),
    )  # fmt: skip
    assert run_study(study, "--out", str(tmp_path), "--limit", "64") == 0
    student = load_student(str(tmp_path / "pre"), "baseline/0")
    assert student.network.scale.shape == (3, 1, 1)
    assert student.record["test_acc"] == load(str(tmp_path / "pre")).trials["test_acc"].item()
    bare = build_model("torchvision:mobilenet_v3_small", 10, 1, image_size=8).eval()
    bare.load_state_dict({k: t for k, t in student.network.state_dict().items() if k.startswith("net.")})
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in published_normalisation("torchvision:mobilenet_v3_small"))
    pixels = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(student(pixels), bare.net((pixels.expand(-1, 3, -1, -1) - mean) / std))  # type: ignore[operator]


def test_a_projector_starts_fresh_where_the_file_has_none_that_fits(
    tiny: SplitData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a student without one, of one with another, and of one with its own."""
    base = Config(model="plain3", width=0.125)
    wanted = base.replace(projector=24)
    for trained, fresh in (({}, True), ({"projector": 12}, True), ({"projector": 24}, False)):
        tensors = build_student(base.replace(**trained), tiny, 5).state_dict()
        path = stored(tmp_path, tensors)
        weights = initial_weights(wanted.replace(initial_weights=path), tiny)
        assert weights is not None
        assert ("classifier, projector starts fresh" in capsys.readouterr().err) == fresh
        body = {name for name in tensors if name.startswith("stages")}
        assert weights.keys() == (body if fresh else tensors.keys())
        assert all(torch.equal(weights[name], tensors[name]) for name in weights)
    broken = stored(tmp_path, {name: t for name, t in tensors.items() if "stages.0" not in name})
    with pytest.raises(UserError, match="does not fit plain3"):
        initial_weights(wanted.replace(initial_weights=broken), tiny)
