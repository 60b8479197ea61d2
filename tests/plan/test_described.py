"""What configurations say of a network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from scl.errors import UserError
from scl.plan.described import Described, beside_file, names_in, of_json, of_mapping, of_published_file

PROCESSOR = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_normalize": True, "do_rescale": True}
UNREAD = "it has a mean or std that cannot be read as a number for each channel; give --teacher-mean and --teacher-std"
SAID: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"mean": [0.1, 0.2, 0.3], "std": [0.4] * 3}, {"mean": (0.1, 0.2, 0.3), "std": (0.4,) * 3}),
    ({"mean": 0.5, "std": 0.25}, {"mean": (0.5,), "std": (0.25,)}),
    ({"mean": [0.5, 0.5, 0.5]}, {"mean": ()}),  # without a standard deviation
    ({"mean": None, "std": "x"}, {"mean": ()}),
    ({"mean": [[[0.1]], [[0.2]], [[0.3]]], "std": [[[[0.4]], [[0.4]], [[0.4]]]]},
     {"mean": (0.1, 0.2, 0.3), "std": (0.4,) * 3}),  # tensors (C, 1, 1) and (1, C, 1, 1)
    ({"MEAN": [0.1, 0.2, 0.3], "Std": [0.4] * 3, "IMAGE_SIZE": 64}, {"mean": (0.1, 0.2, 0.3), "size": 64}),
    ({"CFG": {"normalization": {"mean": [0.1] * 3, "std": [0.4] * 3}}}, {"mean": (0.1,) * 3}),
    ({"class2index": {"b": 0, "a": 1}}, {"classes": ("b", "a")}),
    ({"idx2label": {0: "b", 1: "a"}}, {"classes": ("b", "a")}),
    ({"label_encoder": {"classes_": ["b", "a"]}}, {"classes": ("b", "a")}),  # of scikit-learn
    ({"mean": "imagenet", "std": "imagenet"}, {"mean": (), "notes": (UNREAD,)}),
    ({"vocab": ["b", "a"]}, {"classes": ("b", "a")}),
    ({"input_size": [3, 64, 64]}, {"size": 64}),
    ({"img_size": 96, "interpolation": "bicubic"}, {"size": 96, "interpolation": "bicubic"}),
    ({"image_size": [48, 48]}, {"size": 48}),
    ({"size": {"shortest_edge": 80}}, {"size": 80}),
    ({"classes": ["a", "b"]}, {"classes": ("a", "b")}),
    ({"class_to_idx": {"b": 0, "a": 1}}, {"classes": ("b", "a")}),
    ({"id2label": {"1": "a", "0": "b"}}, {"classes": ("b", "a")}),
    ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, {"classes": ()}),
    ({"id2label": {"0": "a", "2": "b"}}, {"classes": ()}),
    ({"label_names": ["n01", "n02"], "label_descriptions": {"n01": "tench"}}, {"classes": ("n01, tench", "n02")}),
    ({"best_acc1": 76.13}, {"accuracy": 0.7613}),
    ({"test_acc": 0.9}, {"accuracy": 0.9}),
    ({"metric": 76.0, "args": {"eval_metric": "top1"}}, {"accuracy": 0.76}),
    ({"metric": 0.3, "args": {"eval_metric": "loss"}}, {"accuracy": None}),
    ({"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 32, 32]}},
     {"model": "timm:resnet18", "mean": (0.5,) * 3, "size": 32}),
    ({"args": {"model": "resnet50", "val_crop_size": 224, "val_resize_size": 256}},
     {"model": "torchvision:resnet50", "mean": (0.485, 0.456, 0.406), "size": 224}),
    ({"hyper_parameters": {"model": "resnet32x4", "data": {"mean": [0.5] * 3, "std": [0.2] * 3}}},
     {"model": "resnet32x4", "mean": (0.5,) * 3}),
    ({"model": "MyNet", "epoch": 3}, {"model": "", "mean": (), "size": None}),
    ({"record": {"config": {"student": "plain3", "width": 0.5}, "mean": [0.1], "std": [0.2], "image_shape": [1, 8, 8],
                 "classes": ["a", "b"], "test_acc": 0.8}},
     {"model": "plain3", "width": 0.5, "mean": (0.1,), "size": 8, "classes": ("a", "b"), "accuracy": 0.8}),
    # of transformers
    ({**PROCESSOR, "size": 32}, {"mean": (0.5,) * 3, "std": (0.25,) * 3, "size": 32, "interpolation": "bilinear"}),
    ({**PROCESSOR, "do_normalize": False, "size": 32}, {"mean": (0.0,), "std": (1.0,)}),
    ({**PROCESSOR, "do_rescale": False}, {"mean": (0.5 / 255,) * 3, "std": (0.25 / 255,) * 3}),
    ({**PROCESSOR, "rescale_factor": 1 / 127.5, "rescale_offset": True}, {"mean": (0.75,) * 3, "std": (0.125,) * 3}),
    ({**PROCESSOR, "size": {"height": 32, "width": 32}, "resample": 3}, {"size": 32, "interpolation": "bicubic"}),
    ({**PROCESSOR, "size": 256, "crop_size": 224, "do_center_crop": True}, {"size": 224}),
    ({**PROCESSOR, "size": 256, "do_resize": False}, {"size": None}),
]  # fmt: skip


@pytest.mark.parametrize(("content", "wanted"), SAID)
def test_what_is_said_is_read(content: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = of_json(json.loads(json.dumps(content)), "it")
    for name, value in wanted.items():
        got = getattr(found, name)
        if name in ("mean", "std"):
            assert len(got) == len(value)
            assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(got, value, strict=True))
        else:
            assert got == value, name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mean": [123.0, 117.0, 104.0], "std": [58.0, 57.0, 57.0]}, "divide those of 0 to 255 by 255"),
        ({"mean": [0.5, 0.5], "std": [0.5, 0.5]}, "1 or 3 channels"),
        ({"mean": [0.5] * 3, "std": [0.0] * 3}, "not those of pixels"),
        ({"mean": [math.nan] * 3, "std": [0.5] * 3}, "not those of pixels"),
        ({"input_size": [3, 224, 160]}, "224×160 pixels, and scl makes square ones"),
        ({**PROCESSOR, "do_flip_channel_order": True}, "blue before red"),
    ],
)
def test_what_cannot_be_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        of_json(content, "it")


@pytest.mark.parametrize("content", [[], 3, "x", {}, {"id2label": 3}, {"classes": [[1]]}, {"size": {}}, {"args": [1]}])
def test_what_says_nothing_says_nothing(content: Any) -> None:
    assert not of_json(content, "it").says_anything


def test_the_first_word_counts_and_a_contradiction_is_noted() -> None:
    one = Described(mean=(0.5,), std=(0.5,), where="one")
    two = Described(mean=(0.4,), std=(0.5,), size=8, where="two")
    both = one.over(two)
    assert (both.mean, both.size, both.where) == ((0.5,), 8, "one and two")
    assert both.notes == ("one gives mean 0.5 and two 0.4: the first is used",)


def test_only_a_folder_of_one_network_speaks_for_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"image_size": 8}')
    (tmp_path / "t.json").write_text('{"image_size": 16}')
    assert beside_file(tmp_path / "t.pt", whole_folder=False).size == 16
    assert beside_file(tmp_path / "u.pt", whole_folder=False).size is None
    assert beside_file(tmp_path / "u.pt", whole_folder=True).size == 8
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        beside_file(tmp_path / "u.pt", whole_folder=True)


def test_published_files_are_known_by_their_names() -> None:
    found = of_published_file("resnet18-f37072fd.pth")
    assert found.model == "torchvision:resnet18"
    assert (found.size, len(found.classes)) == (224, 1000)
    assert not of_published_file("resnet18.pth").says_anything
    assert not of_published_file("resnet18-00000000.pth").says_anything


def test_names_come_from_a_file_or_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("a\nb, c\n\n")
    (tmp_path / "n.json").write_text('{"0": "a", "1": "b"}')
    (tmp_path / "one.txt").write_text("a\n")
    assert names_in("a, b c") == ("a", "b c")
    assert names_in(str(tmp_path / "n.txt")) == ("a", "b, c")
    assert names_in(str(tmp_path / "n.json")) == ("a", "b")
    for wrong in ("a", "a,,b", str(tmp_path / "one.txt")):
        with pytest.raises(UserError, match="two classes or more"):
            names_in(wrong)


def test_a_deep_mapping_ends() -> None:
    deep: dict[str, Any] = {}
    for _ in range(99):
        deep = {"args": deep, "size": 4}
    assert of_mapping(deep, "it").size == 4
