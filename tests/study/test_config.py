"""A configuration refuses bad values by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.scales import Setting
from scl.study.search import Search
from scl.study.space import Float
from scl.study.study import Study
from scl.study.term import Term


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": float("nan")}, "lr must be finite"),
        ({"epochs": 0}, "epochs must be finite, 1 or more"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"epochs": np.float64(2)}, "epochs must be a whole number"),
        ({"lr": "0.1"}, "lr must be a number"),
        ({"lr": True}, "lr must be a number"),
        ({"lr": np.nan}, "lr must be finite"),
        ({"nesterov": 1}, "nesterov must be of type bool"),
        ({"nesterov": np.int64(1)}, "nesterov must be of type bool"),
        ({"tap": np.int64(1)}, "tap must be of type str"),
        ({"self_taught": np.float32(8)}, "self_taught must be a whole number"),
        ({"self_taught": (1, True)}, "self_taught must be a whole number"),
        ({"self_taught": ()}, "self_taught must be a whole number"),
        ({"milestones": (1, 2.5)}, "milestones must be whole numbers"),
        ({"milestones": 3}, "milestones must be whole numbers"),
        ({"teacher_layers": "layer1"}, "teacher_layers must be a list"),
        ({"model": "plain6"}, "unknown model 'plain6'"),
        ({"losses": {"kdd": 1}}, "unknown loss 'kdd' .did you mean 'kd'"),
        ({"losses": {"kd": -1}}, "weight must be"),
        ({"losses": {"kd": Term(1, options={"temprature": 1})}}, "did you mean 'temperature'"),
        *(
            ({"losses": {"ldrld": Term(1, options={"top": top})}}, "top must be a whole number from 2")
            for top in (1, 2.5)
        ),
        ({"losses": {"logit": Term(1, options={"between": "pixels"})}}, "between 'pixels'"),
        ({"widht": 2}, "unknown field 'widht' .did you mean 'width'"),
        ({"ce": 0}, "an objective needs a term"),
        ({"schedule": "multistep"}, "needs milestones"),
        (
            {"optimizer": "adamW"},
            "unknown optimizer 'adamW' .did you mean 'adam'.*valid: adam, radam, nadam, sgd, adamw",
        ),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
        ({"betas": (0.9,)}, "betas must be two numbers from 0 to below 1"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers"),
        ({"betas": 0.9}, "betas must be two numbers"),
        ({"betas": (0.9, True)}, "betas must be two numbers"),
        ({"eps": 0.0}, "eps must be finite, above 0"),
        ({"clip_norm": -1.0}, "clip_norm must be finite, 0 or more"),
        ({"accumulate": 0}, "accumulate must be finite, 1 or more"),
        ({"accumulate": 1.5}, "accumulate must be a whole number"),
        ({"ema": 1.0}, "ema must be below 1"),
        ({"ema": -0.1}, "ema must be finite, 0 or more"),
        ({"patience": -1}, "patience must be finite, 0 or more"),
        ({"layer_decay": 0.0}, "layer_decay must be finite, above 0"),
        ({"layer_decay": 1.1}, "layer_decay must be .* at most 1"),
        ({"head_lr": -1.0}, "head_lr must be finite, 0 or more"),
        ({"dropout": 0.1}, "dropout and drop_path set what networks of libraries have.*plain5 has neither"),
        ({"model": "torchvision:mobilenet_v2", "dropout": 1.0}, "dropout must be below 1"),
        ({"model": "torchvision:mobilenet_v2", "dropout": "much"}, "dropout must be a number, or None"),
        ({"class_weights": "inverse"}, "unknown class_weights 'inverse'; valid: none, balanced"),
        ({"schedule": "one-cycle"}, "did you mean 'onecycle'"),
        ({"schedule": "onecycle", "warmup_epochs": 2}, "a warm-up of its own; set warmup_epochs=0, got 2"),
    ],
)
def test_bad_values_are_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config().replace(**change)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Config(self_tought=3), "did you mean 'self_taught'"),
        (lambda: Term(1.0, layer=(1,)), "did you mean 'layers'"),
        (lambda: Term(), "'weight' must be given"),
        (lambda: Study(name="x", question="?", arm={}), "did you mean 'arms'"),
        (lambda: Setting(studnet={}), "did you mean 'student'"),
        (lambda: Search({}, trial=3), "did you mean 'trials'"),
        (lambda: Float(0.0), "'high' must be given"),
    ],
)
def test_a_misspelt_or_absent_field_is_a_users_error(build: Callable[[], object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build()
