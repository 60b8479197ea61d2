"""Ids are promises: what moves a number moves the id, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from scl.study.config import Config
from scl.study.identity import canonical_json, effective, requested, teacher_id, trials_of
from scl.study.term import Term

ARMS = {"baseline": Config(), "kd": Config(ce=0.1, losses={"kd": 0.9}), "at": Config(losses={"at": 10})}


def test_golden_ids() -> None:
    """Ids are promises: a stored trial is found again by any later version. Raise RESULTS_VERSION, not these."""
    kd = trials_of(ARMS, [7], "data", lambda seed: "teacher")[1]
    assert canonical_json(requested(kd.config)) == '{"ce":0.1,"losses":{"kd":{"weight":0.9}}}'
    assert kd.config_id == "ea4e63d226957bb6293a4d2d33bbe0ba48e8f0fa528ff93137a71e3d0618f16b"
    assert kd.trial_id == "aec2cbea55aa1e3d755e226280cdbb54c516343cd05162383f490c22a556ef06"
    assert (
        teacher_id(Config(model="plain11"), 0, "data")
        == "f4825cc7fed2f672b49882cd983e9ee3acf2ea69575d6f6e9cfe0ed32ec006e1"
    )


def test_ids_do_not_depend_on_spelling() -> None:
    one = Config(lr=1, losses={"kd": 1, "at": 2})
    two = Config(losses={"at": Term(2.0), "kd": Term(1.0, loss="kd", options={"temperature": 4})}, lr=1.0)
    assert requested(one) == requested(two)
    assert canonical_json(requested(one)) == canonical_json(requested(two))


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.2}, {"self_taught": 1}, {"losses": {"kd": 1}}, {"losses": {"kd": Term(1, warmup=2)}},
        {"losses": {"kd": Term(1, options={"temperature": 2})}}, {"precision": "fp32"},
        {"kernels": "fused"},
    ],
)  # fmt: skip
def test_what_moves_numbers_moves_the_id(change: dict[str, object]) -> None:
    assert requested(Config()) != requested(Config().replace(**change))


def test_an_own_loss_is_its_source() -> None:
    def mine(student: object, teacher: object) -> float:
        return 0.0

    def other(student: object, teacher: object) -> float:
        return 1.0

    one, two = (requested(Config(losses={"mine": Term(1.0, loss=f)})) for f in (mine, other))
    assert one["losses"]["mine"]["loss"]["sha256"] != two["losses"]["mine"]["loss"]["sha256"]


@pytest.mark.parametrize(
    ("without", "more"),
    [
        ({"optimizer": "adamw", "lr": 0.001}, {"momentum": 0.5, "nesterov": False}),
        ({"optimizer": "radam", "lr": 0.001}, {"momentum": 0.0}),
        ({}, {"betas": (0.5, 0.9), "eps": 1e-3}),
        ({"weight_decay": 0.0}, {"decay_norms": False}),
        ({"ce": 0.0, "losses": {"kd": 1.0}}, {"class_weights": "balanced"}),
    ],
)
def test_fields_without_effect_leave_a_configuration_the_same(without: dict[str, Any], more: dict[str, Any]) -> None:
    one, two = Config(**without), Config(**{**without, **more})
    assert requested(one) != requested(two)
    assert effective(one) == effective(two)


def test_new_fields_leave_ids_as_they_were() -> None:
    new = (
        "optimizer", "betas", "eps", "decay_norms", "clip_norm", "accumulate", "head_lr", "layer_decay", "ema",
        "patience", "dropout", "drop_path", "class_weights",
    )  # fmt: skip
    assert requested(Config(**{name: getattr(Config(), name) for name in new})) == {}
    assert requested(Config(betas=[0.9, 0.999], ema=0, accumulate=1)) == {}  # type: ignore[arg-type]


MAPS: dict[str, Any] = {"losses": {"at": 1.0}}


@pytest.mark.parametrize(
    ("teacher", "changes", "by_rule"),
    [
        ("plain11", MAPS, False),
        ("timm:resnet18", {}, False),
        ("timm:resnet18", {"losses": {"kd": 1.0}}, False),
        ("timm:resnet18", MAPS, True),
        ("torchvision:resnet18", {"losses": {"fsp": 1.0}}, True),
        ("torchvision:resnet18", {**MAPS, "teacher_layers": ("layer1", "layer2")}, False),
        ("plain11", {**MAPS, "model": "timm:resnet18"}, True),
        ("plain11", {**MAPS, "model": "timm:resnet18", "layers": ("layer1",)}, False),
    ],
)
def test_ids_know_which_layers_were_found_where_losses_compare_them(
    teacher: str, changes: dict[str, Any], by_rule: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trial_id() -> str:
        return trials_of({"arm": Config(**changes)}, [0], "data", lambda seed: "teacher", teacher)[0].trial_id

    before = trial_id()
    monkeypatch.setattr("scl.study.identity.LAYERS_FOUND", 3)
    assert (trial_id() != before) == by_rule
