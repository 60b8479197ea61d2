"""Values as checkpoints and configurations write them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scl.errors import UserError
from scl.plan.readings import class_names, floats, fraction, interpolation_of, network_name, number, side
from scl.plan.readings import transformers_class as of_transformers


@pytest.mark.parametrize(
    ("read", "value", "wanted"),
    [
        (number, 3, 3.0),
        (number, True, None),
        (number, "3", None),
        (fraction, 0.75, 0.75),
        (fraction, 75, 0.75),
        (fraction, 1, 1.0),
        (fraction, 0, None),
        (fraction, 101, None),
        (fraction, math.nan, None),
        (side, 32, 32),
        (side, [3, 32, 32], 32),
        (side, (32, 32), 32),
        (side, {"height": 32, "width": 32}, 32),
        (side, {"shortest_edge": 32}, 32),
        (side, {"longest_edge": 32}, None),
        (side, True, None),
        (side, 0, None),
        (side, 1 << 15, None),
        (side, "32", None),
        (side, [], None),
        (class_names, ["a", "b"], ("a", "b")),
        (class_names, {"0": "a", "1": "b"}, ("a", "b")),
        (class_names, {"b": 0, "a": 1}, ("b", "a")),
        (class_names, {0: "a", 2: "b"}, ()),
        (class_names, ["only one"], ()),
        (class_names, ["LABEL_0", "LABEL_1"], ()),
        (network_name, "plain5", "plain5"),
        (network_name, "torchvision:resnet18", "torchvision:resnet18"),
        (network_name, "resnet18", ""),
        (network_name, "../../etc", ""),
        (network_name, 3, ""),
    ],
)
def test_a_value_is_what_it_says_or_nothing(read: Any, value: Any, wanted: Any) -> None:
    second = {number: None, side: "config.json", class_names: {}, network_name: {}}
    assert read(value, *([second[read]] if read in second else [])) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.5, (0.5,)),
        ([0.1, 0.2, 0.3], (0.1, 0.2, 0.3)),
        ([[[0.1]], [[0.2]], [[0.3]]], (0.1, 0.2, 0.3)),  # a tensor (C, 1, 1)
        ([[[[0.1]], [[0.2]], [[0.3]]]], (0.1, 0.2, 0.3)),  # a tensor (1, C, 1, 1)
        ([[0.1, 0.2], [0.3, 0.4]], ()),
        ([0.1, "0.2"], ()),
        ([0.1, True], ()),
        ([], ()),
        (None, ()),
    ],
)
def test_numbers_of_channels(value: Any, wanted: tuple[float, ...]) -> None:
    assert floats(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0, "nearest-exact"), (3, "bicubic"), (99, "bilinear"), ("bilinear", "bilinear"), ("BICUBIC", "bicubic"),
        ("InterpolationMode.BILINEAR", "bilinear"), ("lanczos", "bicubic"), ("random", "bilinear"), ("none", ""),
        (None, ""),
    ],
)  # fmt: skip
def test_interpolations_have_torchs_names(value: Any, wanted: str) -> None:
    assert interpolation_of(value) == wanted


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(UserError, match=r"config\.json: the network takes images of 32×48 pixels.*--teacher-size"):
        side([3, 32, 48], "config.json")


def test_what_a_configuration_holds_beside_tells_whose_name_it_is() -> None:
    assert network_name("resnet18", {"architecture": "resnet18"}) == "timm:resnet18"
    assert network_name("resnet18", {"val_crop_size": 224}) == "torchvision:resnet18"
    assert of_transformers({"architectures": ["ViTForImageClassification"]}) == "ViTForImageClassification"
    assert of_transformers({"architectures": ["x"], "architecture": "vit"}) == ""  # timm's, wrapped
    assert of_transformers({"architectures": "x"}) == ""
    described = {"label_descriptions": {"n01": "tench"}}
    assert class_names(["n01", "n02"], described) == ("n01, tench", "n02")
