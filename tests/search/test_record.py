"""What study.json says of a search."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.plan.plan import Plan
from scl.search.record import search_record
from scl.search.winners import winners_of
from scl.store.shape import fitted
from scl.study.search import Search
from scl.study.space import Branch, Float
from tests.support.searches import driver_of, play

SEARCH = Search(
    {"method": Branch({"kd": {"weight.kd": Float(0.1, 1.0)}, "none": {"lr": 0.02}})},
    trials=6, batch=2, winners=1, seeds=2, constraints={"params": 1e6}, terminator=20, sampler="random", pruner="none",
)  # fmt: skip


@pytest.mark.usefixtures("in_memory")
def test_a_search_is_recorded(many_seeds: Plan, tmp_path: Path) -> None:
    driver = driver_of(many_seeds, tmp_path, SEARCH)
    trained = play(driver, lambda trial, epoch: 0.5 + 0.1 * ("kd" in trial.config.losses) + 0.01 * trial.seed)
    record = search_record(driver, winners_of(driver))
    assert record["search_space"] == {
        "method": {"choices": ["kd", "none"], "sets": {"none": {"lr": 0.02}}},
        "weight.kd": {"low": 0.1, "high": 1.0, "log": False, "if": {"method": ["kd"]}},
    }
    about = record["search"]
    assert sorted(about["tried"]) == sorted(trial.trial_id for trial in trained)
    told = {name: about[name] for name in ("sampler", "pruner", "seeds", "constraints", "terminator", "terminated")}
    assert told == {
        "sampler": "random", "pruner": None, "seeds": 2, "constraints": {"params": 1e6}, "terminator": 20,
        "terminated": None,
    }  # fmt: skip
    # A configuration without parameters of its own is suggested again, and trains once.
    assert about["repeated"] == 6 - len({trial.config_id for trial in trained})
    (won,) = record["winners"].values()
    assert won["params"]["method"] == "kd"
    assert won["val_acc"] == pytest.approx(0.605)
    assert won["validation"] == {"val_acc": won["val_acc"]}
    assert fitted({"search": about, "search_space": record["search_space"]})[1] == []
