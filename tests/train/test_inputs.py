"""How a network from elsewhere is fed: its images, and the order of its classes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.data.batches import Images, SplitData
from scl.errors import UserError
from scl.models.networks import build_student
from scl.models.staged import Wanted
from scl.study.config import Config
from scl.train.inputs import Adapted, Inputs, class_columns, own_network
from scl.train.teacher import TeacherForward, teacher_network

CONFIG = Config(model="plain3", width=0.125)


def data(channels: int = 3, side: int = 16) -> SplitData:
    pixels = torch.randint(
        0, 256, (6, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images = Images(pixels, torch.arange(6) % 3)
    mean, std = torch.linspace(0.2, 0.6, channels), torch.linspace(0.3, 0.5, channels)
    return SplitData(images, images, images, mean, std, 3, True)


def batch(of: SplitData) -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1], and the students' batch."""
    pixels = of.test.images.float() / 255
    return pixels, (pixels - of.mean.view(1, -1, 1, 1)) / of.std.view(1, -1, 1, 1)


@pytest.mark.parametrize("how", ["bilinear", "bicubic", "nearest-exact"])
@pytest.mark.parametrize("size", [None, 8, 16, 24])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_those_that_the_network_was_trained_on(channels: int, size: int | None, how: str) -> None:
    of = data(channels)
    inputs = Inputs((0.1, 0.5, 0.9), (0.2, 0.3, 0.4), size, how, 3 if channels == 1 else None)
    pixels, images = batch(of)
    found = Adapted(nn.Identity(), inputs, of).prepared(images)
    pixels = pixels.expand(-1, 3, -1, -1)
    if size not in (None, 16):
        pixels = F.interpolate(pixels, (size, size), mode=how, antialias=how != "nearest-exact").clamp(0, 1)
    wanted = (pixels - torch.tensor(inputs.mean).view(1, 3, 1, 1)) / torch.tensor(inputs.std).view(1, 3, 1, 1)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


def test_features_and_logits_are_the_networks_with_its_logits_in_the_datas_order() -> None:
    of = data()
    inputs = Inputs((0.1,) * 3, (0.2,) * 3, 24, columns=(4, 0, 2), outputs=5)
    model = teacher_network(CONFIG, of, inputs, 1).eval()
    network = own_network(model)
    _, images = batch(of)
    assert isinstance(model, Adapted)
    with torch.no_grad():
        logits = network(model.prepared(images))
        assert logits.shape == (6, 5)
        assert torch.equal(model(images), logits[:, [4, 0, 2]])
        found = TeacherForward(model, "relu", bf16=False)(images, None)
        torch.testing.assert_close(found.logits, logits[:, [4, 0, 2]], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.cams.mean((2, 3)), found.logits, atol=1e-4, rtol=1e-4)  # type: ignore[union-attr]
        assert len(found.maps) == len(network.features(model.prepared(images)).maps)  # type: ignore[operator]
        model.features(images, "relu", Wanted(frozenset([0]), head=False))
    assert not any(name.startswith(("mean", "std", "columns")) for name in model.state_dict())


def test_a_network_that_takes_what_the_data_give_is_not_wrapped() -> None:
    of = data()
    model, plain = teacher_network(CONFIG, of, None, 3), build_student(CONFIG, of, 3)
    assert own_network(model) is model
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_what_differs_is_part_of_an_id() -> None:
    assert Inputs().plain() == {}
    assert Inputs(interpolation="bicubic").plain() == {}  # of no size
    every = Inputs((0.1,), (0.2,), 8, "bicubic", 3, (1, 0), 2)
    for field in dataclasses.fields(Inputs):
        if field.name != "std":
            changed = dataclasses.replace(every, **{field.name: dataclasses.asdict(Inputs())[field.name]})
            assert changed.plain() != every.plain()


@pytest.mark.parametrize(
    ("network", "columns"),
    [
        (("cat", "dog", "red fox"), (0, 1, 2)),
        (("red fox", "dog", "cat"), (2, 1, 0)),
        (("Red_Fox", "DOG", "Cat"), (2, 1, 0)),
        (("red-fox", " dog ", "cat"), (2, 1, 0)),
        (("owl", "cat", "bee", "dog", "red fox"), (1, 3, 4)),
        (("dog, domestic dog", "n02 cat, cat", "fox, red fox"), (1, 0, 2)),
        (("0", "1", "2"), None),
        (("CAT", "cat", "dog", "red fox"), (1, 2, 3)),  # an equal name comes before an alike one
    ],
)
def test_classes_are_matched_by_name(network: tuple[str, ...], columns: tuple[int, ...] | None) -> None:
    assert class_columns(("cat", "dog", "red fox"), network, "it") == columns


@pytest.mark.parametrize(
    ("data", "network", "message"),
    [
        (("cat", "dog"), ("cat", "owl"), "no class is 'dog'; its classes that match none: 'owl'"),
        (("cat", "dog"), ("bee", "owl"), "no class is 'cat', 'dog'"),
        (("cat", "dog"), ("Cat", "CAT", "dog"), "several classes could be 'cat'"),
        (("cat", "dog"), ("0", "1", "2"), "no class is 'cat', 'dog'"),
        (("Cat", "cat"), ("cat", "dog"), "'Cat', 'cat' are one class"),
        (("a", "b", "c"), ("a", "b"), "no class is 'c'"),
    ],
)
def test_a_partial_match_is_refused(data: tuple[str, ...], network: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        class_columns(data, network, "it")


def test_numbers_are_names_too() -> None:
    """Folders that are sorted as text: 0, 1, 10, 2."""
    names = [str(i) for i in range(12)]
    columns = class_columns(names, sorted(names), "it")
    assert columns is not None
    assert [sorted(names)[c] for c in columns] == names
    assert class_columns(["00", "01"], ["1", "0"], "it") == (1, 0)
    assert np.array_equal(class_columns(["0", "1"], ["zero", "one"], "it") or (), ())
