"""Controls of self-taught neurons: what is held equal, and what differs."""

from __future__ import annotations

import pytest
import torch

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.build import build_model
from scl.study.config import Config
from scl.study.controls import self_taught_controls
from scl.study.identity import requested, sha256
from scl.study.term import Term
from scl.train.objective import Objective
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec
from tests.support.studies import RECIPE
from tests.support.training import ends

BASE = Config(width=0.25, **RECIPE)
ARM = {"losses": {"channel": 0.3, "spatial": 0.3, "kd": 0.5}, "ce": 0.5}


def configs(k: int = 4) -> dict[str, Config]:
    return {name: BASE.replace(**arm) for name, arm in self_taught_controls("scl", ARM, k).items()}


def built(config: Config) -> torch.nn.Module:
    return build_model(
        config.model, 10, 1, config.width, config.self_taught, guided=config.guided,
        self_taught_from=config.self_taught_from,
    )  # fmt: skip


def test_controls_hold_the_width_and_move_one_thing() -> None:
    arms = configs()
    params = {name: sum(p.numel() for p in built(config).parameters()) for name, config in arms.items()}
    plain = sum(p.numel() for p in build_model("plain5", 10, 1, 0.25).parameters())
    taken = params.pop("scl k=4 taken")
    assert taken == plain
    assert len(set(params.values())) == 1
    assert params["scl k=4"] > plain
    assert len({sha256(requested(config)) for config in arms.values()}) == len(arms) == 5
    assert (arms["scl k=4 unguided"].losses, arms["scl k=4 unguided"].ce) == ({}, 1.0)


def test_controls_guide_what_their_names_say() -> None:
    teacher = build_model("plain11", 10, 1, 0.25)
    x = torch.randn(2, 1, 8, 8)
    seen = {}
    for name, config in configs().items():
        features = built(config).features(x)
        connectors = Objective(config, features, teacher.features(x)).connectors
        seen[name.removeprefix("scl k=4").strip()] = ([m.shape[1] for m in features.maps], len(connectors))
    assert seen == {
        "": ([16, 32, 64, 128], 0),
        "all guided": ([20, 36, 68, 132], 4),
        "connector": ([16, 32, 64, 128], 4),
        "unguided": ([16, 32, 64, 128], 0),
        "taken": ([12, 28, 60, 124], 4),
    }


def test_every_control_trains(tiny: SplitData, teacher: Teacher) -> None:
    trials = [TrialSpec(name, config.replace(epochs=1, width=0.125), 0) for name, config in configs().items()]
    ended = ends(trials, tiny, teacher).values()
    assert {e.metrics["state"] for e in ended} == {"completed"}
    assert len({tuple(e.test_logits.flatten().tolist()) for e in ended}) == 5


def test_controls_need_neurons_and_guidance() -> None:
    with pytest.raises(UserError, match="must be 1 or more"):
        self_taught_controls("scl", ARM, 0)
    with pytest.raises(UserError, match="no transfer loss"):
        self_taught_controls("baseline", {}, 4)


def test_controls_say_nothing_twice_and_override_a_guided_base() -> None:
    base = Config(losses={"at": 5.0}, ce=0.5)
    unguided = base.replace(**self_taught_controls("sp", {"losses": {"sp": 3.0}}, 2)["sp k=2 unguided"])
    assert (unguided.losses, unguided.ce) == ({}, 1.0)

    def names(arm: dict[str, object]) -> list[str]:
        return [name.removeprefix("x k=2").strip() for name in self_taught_controls("x", arm, 2)]

    assert names({"losses": {"sp": 3.0}}) == ["", "all guided", "unguided", "taken"]
    assert names({"losses": {"mine": Term(3.0, loss="hint")}}) == ["", "all guided", "unguided", "connector", "taken"]
    assert names({"losses": {"hint": 3.0}, "connector": "always"}) == ["", "all guided", "unguided", "taken"]
    assert names({"losses": {"channel": 3.0}, "self_taught_at": "branch"}) == [
        "",
        "all guided",
        "unguided",
        "connector",
    ]
