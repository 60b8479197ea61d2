"""The words of `Config.augment`."""

from __future__ import annotations

from typing import Any

import pytest

from scl.errors import UserError
from scl.study.augment import AUGMENTATIONS, GRAMMAR, augmentation, mixes, without_auto, words_of
from scl.study.config import Config
from scl.study.identity import requested
from scl.study.term import Term


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("crop+flip", "crop+flip"),
        ("flip+crop", "crop+flip"),
        (" flip + rrc ", "rrc+flip"),
        ("rrc:0.08", "rrc"),
        ("rrc:.350", "rrc:0.35"),
        ("rrc:1", "rrc:1"),
        ("randaugment:2:9", "randaugment"),
        ("randaugment:2:5", "randaugment:2:5"),
        ("randaugment:3:9", "randaugment:3"),
        ("randaugment:1:0+flip", "flip+randaugment:1:0"),
        ("erasing+auto", "auto+erasing"),
        ("cutmix:1+mixup:0.20+flip+jitter:4e-1", "flip+jitter+mixup:0.2+cutmix"),
        ("mixup:0.123456789012345", "mixup:0.123456789012"),
    ],
)
def test_one_text_for_one_augmentation(given: str, canonical: str) -> None:
    assert augmentation(given) == canonical
    assert augmentation(canonical) == canonical
    assert Config(augment=given) == Config(augment=canonical)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("", "must be auto, none, or words joined by"),
        ("+", "must be auto, none, or words joined by"),
        (3, "must be auto, none, or words joined by"),
        (None, "must be auto, none, or words joined by"),
        ("crop,flip", "unknown word 'crop,flip'"),
        ("crop+", "unknown word ''"),
        ("Flip", "did you mean 'flip'"),
        ("rrc(0.35)", r"unknown word 'rrc\(0.35\)'.*values follow a colon"),
        ("flip+flip", "flip is given twice"),
        ("rrc:0.2+rrc", "rrc is given twice"),
        ("crop+rrc", "rrc and crop exclude each other, because each chooses the part of the image"),
        ("auto+rrc", "auto and rrc exclude each other"),
        ("flip+auto", "auto and flip exclude each other, because auto mirrors"),
        ("trivialaugment+randaugment", "randaugment and trivialaugment exclude each other"),
        ("none+flip", "none goes with no other word"),
        ("flip:0.5", "flip takes no value; got 'flip:0.5'"),
        ("randaugment:1:2:3", "randaugment takes 2 values: the number of operations, then their magnitude"),
        ("rrc:0.1:2", "rrc takes 1 value: the smallest share"),
        ("rrc:0", "the smallest share of the image's area must be above 0 and at most 1, got '0'"),
        ("rrc:1.01", "above 0 and at most 1, got '1.01'"),
        ("rrc:-1", "above 0 and at most 1, got '-1'"),
        ("rrc:", "above 0 and at most 1, got ''"),
        ("rrc:x", "above 0 and at most 1, got 'x'"),
        ("rrc:nan", "above 0 and at most 1, got 'nan'"),
        ("erasing:1.5", "erasing: the probability must be above 0 and at most 1"),
        ("jitter:2", "jitter: the strength must be above 0 and at most 1"),
        ("mixup:0", "mixup: the alpha of the Beta distribution must be above 0 and at most 100"),
        ("cutmix:inf", "cutmix: the alpha"),
        ("randaugment:0", "the number of operations must be a whole number of 1 to 14, got '0'"),
        ("randaugment:1.5", "a whole number of 1 to 14, got '1.5'"),
        ("randaugment:2:31", "their magnitude must be a whole number of 0 to 30, got '31'"),
    ],
)
def test_a_wrong_augmentation_is_refused_with_its_rule(given: object, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        augmentation(given)
    with pytest.raises(UserError, match=rule if isinstance(given, str) else "augment must be of type str"):
        Config(augment=given)  # type: ignore[arg-type]


def test_words_come_in_the_order_of_their_application_with_all_values() -> None:
    words = words_of("mixup+randaugment:3+erasing+flip+rrc")
    assert list(words) == ["rrc", "flip", "randaugment", "erasing", "mixup"]
    assert words == {"rrc": (0.08,), "flip": (), "randaugment": (3, 9), "erasing": (0.5,), "mixup": (1.0,)}


@pytest.mark.parametrize(
    ("augment", "flip", "side", "meant"),
    [
        ("auto", True, 32, "crop+flip"),
        ("auto", False, 8, "crop"),
        ("auto", True, 64, "crop+flip"),
        ("auto", True, 65, "rrc+flip"),
        ("auto", False, 224, "rrc"),
        ("auto+mixup:0.2", True, 224, "rrc+flip+mixup:0.2"),
        ("auto+erasing", False, 32, "crop+erasing"),
        ("crop", True, 224, "crop"),
        ("none", True, 224, "none"),
    ],
)
def test_auto_depends_on_the_data(augment: str, flip: bool, side: int, meant: str) -> None:
    assert without_auto(augment, flip, side) == meant


def test_the_default_is_in_no_id() -> None:
    assert requested(Config()) == requested(Config(augment="auto", sampling="shuffled")) == {}
    assert requested(Config(augment="flip+crop")) == {"augment": "crop+flip"}


def asks_for_labels(student: Any, teacher: Any, *, labels: Any) -> Any: ...


def labels_by_default(student: Any, teacher: Any, labels: Any = None) -> Any: ...


class AsksForLabels:
    def __init__(self, student: int, teacher: int, labels: int) -> None: ...

    def forward(self, student: Any, teacher: Any, labels: Any) -> Any: ...


@pytest.mark.parametrize("augment", ["mixup", "crop+cutmix:0.5"])
def test_a_loss_of_the_one_class_refuses_mixed_images(augment: str) -> None:
    assert mixes(augment)
    with pytest.raises(UserError, match="loss 'dkd' needs the one class of each image, and augment"):
        Config(augment=augment, losses={"dkd": 1.0})
    with pytest.raises(UserError, match="loss 'mine' needs the one class"):
        Config(augment=augment, losses={"mine": Term(1.0, loss="dkd")})
    for loss, options in ((asks_for_labels, {}), (AsksForLabels, {"labels": 1})):
        with pytest.raises(UserError, match="loss 'mine' needs the one class"):
            Config(augment=augment, losses={"mine": Term(1.0, loss=loss, options=options)})
    with pytest.raises(UserError, match="loss 'crd' remembers each training image, and augment"):
        Config(augment=augment, losses={"crd": 1.0})
    Config(augment=augment, losses={"mine": Term(1.0, loss=asks_for_labels, options={"labels": 1})})
    Config(augment=augment, losses={"mine": Term(1.0, loss=labels_by_default)})
    Config(augment=augment, losses={"dkd": 0.0, "kd": 1.0})
    Config(augment="rrc+erasing", losses={"dkd": 1.0})


def test_help_names_every_word() -> None:
    assert [word for word in AUGMENTATIONS if word not in GRAMMAR] == []
