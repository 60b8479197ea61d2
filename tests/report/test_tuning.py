"""The tuning budget of each arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scl.report.tuning import tuning
from tests.support.synthetic import accuracy, gathered, make_search_store, make_store

KD = {"losses": {"kd": {"weight": 1.0}}}


@pytest.mark.parametrize(
    ("arms", "asked", "said"),
    [
        ({"baseline": {}, "kd": KD}, {}, {
            "baseline": "not tuned here: as the study sets it, with no transfer loss to weigh",
            "kd": "not tuned here: weights as the study sets them"}),
        ({"baseline": {}, "kd": KD}, {"recipe": ["crd"]}, {"kd": "not tuned here: weights as published (recipe crd)"}),
        ({"baseline": {}, "mine": KD}, {"recipe": ["crd"]}, {"mine": "not tuned here: weights as the study sets them"}),
        ({"baseline": {}, "kd": KD}, {"set": ["weight.kd=2", "lr=1"]}, {
            "kd": "not tuned here: weights as the study sets them; --set weight.kd=2, lr=1"}),
        ({"baseline": {}, "kd": KD, "kd 2": {"losses": {"kd": {"weight": 2.0, "options": {"temperature": 2.0}}}}}, {}, {
            "kd": "one of 2 settings of kd.weight and kd.temperature in this study",
            "kd 2": "one of 2 settings of kd.weight and kd.temperature in this study"}),
        ({"baseline": {}, "slow": {"lr": 0.01}, "slower": {"lr": 0.001}}, {}, {
            "baseline": "one of 3 settings of lr in this study", "slow": "one of 3 settings of lr in this study"}),
        ({"baseline": {}, "wide": {"width": 2.0, "student": "plain7"}}, {}, {
            "wide": "not tuned here: as the study sets it, with no transfer loss to weigh"}),
    ],
)  # fmt: skip
def test_arms_of_a_study(
    arms: dict[str, Any], asked: dict[str, list[str]], said: dict[str, str], tmp_path: Path
) -> None:
    study = gathered(make_store(tmp_path, list(arms), range(2), accuracy(dict.fromkeys(arms, 0.0))))
    study.study.update(arms=arms, asked={"options": asked})
    found = tuning(study)
    assert {arm: found[arm] for arm in said} == said
    assert list(found) == list(arms)


def test_winners_of_a_search(tmp_path: Path) -> None:
    store = make_search_store(tmp_path, 20, 2)
    study = gathered(store)
    study.study["winners"] = {"winner-1": {}, "winner-2": {}}
    study.study["arms"] = {"baseline": {}, "winner-1": {"lr": 0.2}, "winner-2": {"student": "plain7"}}
    found = tuning(study)
    assert found["winner-2"] == (
        "searched: the best by validation of 20 configurations, over weight.kd, kd.temperature, lr and self_taught"
    )
    assert found["baseline"] == "one of 2 settings of lr in this study"
