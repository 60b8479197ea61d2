"""Named recipes: fields of `Config`, the share held out, and the published weights of each loss.

With `--recipe NAME`, arms that are named after a loss (`kd`, `hint`, …) take the recipe's published setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scl.study.term import Term


@dataclass(frozen=True)
class Recipe:
    """What a recipe sets, for students and teacher alike.

    fields: of Config. val: share of the training images held out, unless `--val` sets it. arms: name of a loss → what
    an arm with that name changes.
    """

    fields: Mapping[str, Any]
    val: float = 0.1
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def at_length(recipe: Recipe, epochs: int | None) -> dict[str, Any]:
    """The recipe's fields for this number of epochs (None: the recipe's), with its milestones in proportion."""
    fields = dict(recipe.fields)
    if epochs is None or epochs == fields["epochs"]:
        return fields
    moved = (max(1, round(m * epochs / fields["epochs"])) for m in fields.get("milestones", ()))
    return fields | {"epochs": epochs} | ({"milestones": tuple(dict.fromkeys(moved))} if "milestones" in fields else {})


def _beside_ce(name: str, term: Term | float, **changes: Any) -> dict[str, Any]:
    return {"losses": {name: term}, **changes}


RECIPES: dict[str, Recipe] = {
    # For a laptop.
    "short": Recipe({"epochs": 30, "batch_size": 128, "lr": 0.1, "schedule": "cosine", "warmup_epochs": 1}),
    # CIFAR-100 as in Tian et al., ICLR 2020 (RepDistiller): all training images, accuracy of the last epoch. The losses
    # are those of its table; DKD has the setting of its paper (beta 8 for resnet32x4 → resnet8x4), DIST that of its
    # paper for CIFAR-100, ReviewKD that of its authors' code for two of the three pairs (vgg is not in it), CAT-KD that
    # of its authors for wrn_40_2 → wrn_16_2 (15 for resnet32x4 → resnet8x4, 4.5 for vgg13 → vgg8), OFD, LDRLD and
    # SimKD those of their authors' code (that of LDRLD for resnet32x4 → resnet8x4), NKD that of its authors' code for
    # CIFAR-100, which is for resnet34 → resnet18, NORM that of its authors' README for resnet32x4 → resnet8x4. FSP has
    # weight 1, since RepDistiller's pre-training never multiplies by the table's 50. MLLD sums the losses of two
    # augmentations, and has half the learning rate. The rate of LDRLD rises over 20 epochs, by default in its authors'
    # code. WTTM has the setting of Table 8 of its paper for vgg13 → vgg8 (weight 3 for resnet32x4 → resnet8x4, 4 for
    # wrn_40_2 → wrn_16_2).
    "crd": Recipe(
        fields={
            "epochs": 240,
            "batch_size": 64,
            "lr": 0.05,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 5e-4,
            "schedule": "multistep",
            "milestones": (150, 180, 210),
            "lr_decay": 0.1,
            "warmup_epochs": 0,
            "tap": "block",
        },
        val=0.0,
        arms={
            "kd": _beside_ce("kd", Term(0.9, options={"temperature": 4.0}), ce=0.1),
            "hint": _beside_ce("hint", Term(100.0, layers=(1,)), connector="always"),
            "at": _beside_ce("at", 1000.0),
            "sp": _beside_ce("sp", 3000.0),
            "cc": _beside_ce("cc", 0.02),
            "vid": _beside_ce("vid", 1.0),
            "rkd": _beside_ce("rkd", 1.0),
            "pkt": _beside_ce("pkt", 30000.0),
            "fsp": _beside_ce("fsp", Term(1.0, stage="pretrain"), pretrain_epochs=30),
            "nst": _beside_ce("nst", 50.0),
            "ickd": _beside_ce("ickd", 2.5),
            "dkd": _beside_ce("dkd", Term(1.0, warmup=20, options={"alpha": 1.0, "beta": 6.0, "temperature": 4.0})),
            "crd": _beside_ce("crd", 0.8),
            "catkd": _beside_ce("catkd", 12.0),
            "mlld": _beside_ce(
                "mlld", Term(0.9, options={"instance": 1.5, "batch": 0.5, "classes": 0.5}), ce=0.2, lr=0.025
            ),
            "ctkd": _beside_ce("ctkd", 0.9, ce=0.1),
            "reviewkd": _beside_ce("reviewkd", Term(5.0, warmup=20), tap="bn"),
            "ofd": _beside_ce("ofd", 0.001, tap="bn"),
            "ldrld": _beside_ce(
                "ldrld",
                Term(1.0, options={"alpha": 10.5, "beta": 7.0, "top": 7, "temperature": 4.0}),
                warmup_epochs=20,
            ),
            "nkd": _beside_ce("nkd", Term(1.0, options={"gamma": 3.5, "temperature": 3.0})),
            "wttm": _beside_ce("wttm", Term(2.25, options={"temperature": 10.0})),
            "semckd": {"losses": {"semckd": 400.0, "kd": Term(1.0, options={"temperature": 4.0})}},
            "simkd": _beside_ce("simkd", 1.0, ce=0.0, tap="relu"),
            "norm": _beside_ce("norm", Term(1.0, options={"segments": 8}), ce=0.1),
            "dist": _beside_ce("dist", Term(2.0, options={"temperature": 4.0})),
        },
    ),
}
