"""Fields that contradict each other are refused by name."""

from __future__ import annotations

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.term import Term


def test_fields_of_the_method_are_checked() -> None:
    pretrain = {"losses": {"fsp": Term(1.0, stage="pretrain")}, "pretrain_epochs": 2}
    assert Config(**pretrain, epochs=3).total_epochs == 5
    for changes, message in (
        ({"pretrain_epochs": 2}, "no loss of the stage 'pretrain' has a weight after epoch 0 of 2"),
        ({**pretrain, "ce": 0.0}, "no loss of the stage 'train'"),
        ({"losses": {"fsp": Term(1.0, stage="pretrain")}}, "needs pretrain_epochs of 1 or more"),
        ({"ce": 0.0, "losses": {"kd": Term(1.0, end=3)}, "epochs": 5}, "after epoch 3 of 5"),
        ({"losses": {"kd": Term(1.0, stage="first")}}, "unknown stage 'first'; valid: train, pretrain"),
        ({"losses": {"kd": Term(1.0, compares="logits")}}, "compares is only for a custom loss"),
        ({"losses": {"catkd": Term(1.0, options={"size": 1.5})}}, "size must be a whole number from 1, got 1.5"),
        ({"losses": {"catkd": Term(1.0, options={"size": 0})}}, "size must be a whole number from 1, got 0"),
        ({"self_taught": -1}, "0 to 65536"),
        ({"self_taught": (1, 2.5)}, "0 to 65536"),
        ({"self_taught": (1, 2), "self_taught_at": "penultimate"}, "one whole number"),
        ({"self_taught_from": "taken", "self_taught_at": "branch"}, "exclude each other"),
        ({"model": "torchvision:resnet18", "width": 2}, "torchvision:resnet18 has no width factor; width must be 1"),
        ({"pretrained": True}, "pretrained is for torchvision:NAME"),
        ({"model": "resnet9"}, "unknown model 'resnet9'"),
        ({"losses": {"simkd": 1.0}, "tap": "block"}, "which is that after the ReLU; give this arm tap='relu'"),
        ({"losses": {"a": Term(1.0, loss="simkd")}, "tap": "bn"}, "loss 'a' compares the map that .*, got 'bn'"),
        ({"losses": {"simkd": Term(1.0, layers=(0, -1))}}, r"leave layers out, or give \(-1,\), got \(0, -1\)"),
        ({"losses": {"simkd": 1.0}, "head_lr": 2.0}, "head_lr has no effect; give this arm head_lr=1, got 2"),
        ({"losses": {"simkd": 1.0}, "self_taught": 2}, "self_taught and projector exclude each other"),
        ({"projector": 9, "self_taught": (0, 1, 0, 0)}, "self_taught and projector exclude each other"),
        ({"losses": {"simkd": 1.0}, "model": "timm:resnet18"}, "'simkd' needs a student with a projector: timm:resnet"),
        ({"projector": 9, "model": "torchvision:resnet18"}, "torchvision:resnet18 cannot have a projector, only scl's"),
        ({"losses": {"simkd": 1.0}, "taught_by": ("self",)}, "teachers in taught_by have logits alone"),
        ({"projector": -1}, "projector must be finite, 0 or more"),
        ({"projector": 65_537}, "at most 65536"),
        ({"projector": 2.5}, "projector must be a whole number"),
        ({"losses": {"norm": 1.0}, "model": "timm:resnet18"}, "timm:resnet18 cannot have a transform that expands"),
        ({"expansion": 8, "model": "torchvision:resnet18"}, "torchvision:resnet18 cannot have a transform that exp"),
        ({"losses": {"norm": 1.0}, "projector": 9}, "a projector and the transform of expansion, .* exclude each"),
        ({"losses": {"norm": 1.0, "simkd": 1.0}}, "a projector and the transform of expansion, .* exclude each other"),
        ({"losses": {"simkd": 1.0}, "expansion": 8}, "a projector and the transform of expansion, .* exclude each"),
        ({"losses": {"norm": 1.0}, "expansion": 8}, "loss 'norm' expands .*, and expansion is 8; leave expansion out"),
        ({"losses": {"norm": 1.0, "b": Term(1.0, loss="norm")}}, "'b' and 'norm' expand one map, .*; give one"),
        ({"losses": {"norm": Term(1.0, layers=(0,))}}, r"leave layers out, or give \(-1,\), got \(0,\)"),
        ({"losses": {"norm": Term(1.0, options={"segments": 0})}}, "segments must be a whole number from 1, got 0"),
        ({"losses": {"norm": Term(1.0, options={"segments": 1.5})}}, "segments must be a whole number from 1, got 1"),
        ({"losses": {"norm": 1.0}, "taught_by": ("self",)}, "teachers in taught_by have logits alone"),
        ({"expansion": -1}, "expansion must be finite, 0 or more"),
        ({"expansion": 65_537}, "at most 65536"),
        ({"expansion": 2.5}, "expansion must be a whole number"),
        ({"tap": "conv"}, "valid: relu, bn, block"),
    ):
        with pytest.raises(UserError, match=message):
            Config(**changes)  # type: ignore[arg-type]
