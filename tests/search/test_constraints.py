"""Constraints: what costs too much does not train, and no winner breaks one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scl.errors import UserError
from scl.plan.plan import Plan
from scl.search import driver as module
from scl.search.constraints import check_reachable
from scl.search.record import search_record
from scl.search.winners import winners_of
from scl.study.config import Config
from scl.study.identity import Trial
from scl.study.search import SAMPLERS, Search
from scl.study.space import Choice, Float
from tests.support.searches import driver_of, play

SEARCH = Search(
    {"lr": Float(0.01, 0.1, log=True), "weight_decay": Float(1e-5, 1e-3), "width": Choice((0.125, 0.25, 0.5))},
    template={"losses": {"kd": 1.0}}, trials=8, batch=2, winners=3, pruner="none",
)  # fmt: skip


def wide_is_best(trial: Trial, epoch: int) -> float:
    return 0.5 + trial.config.width / 10 + trial.config.lr / 100


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("limit", ["params", "macs", "file_bytes", "latency_ms"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_breaks_a_cost_does_not_train(
    sampler: str, limit: str, many_seeds: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit == "latency_ms":  # in ms, as if the machine were steady
        monkeypatch.setattr("scl.plan.feasibility.measure_latency_ms", lambda model, _: len(model.state_dict()) * 0.1)
        limits = {"latency_ms": 100.0}
    else:
        cost = many_seeds.feasibility.cost(many_seeds.template.replace(width=0.25), idle=False)
        limits = {limit: float(getattr(cost, limit))}
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, sampler=sampler, constraints=limits))
    trained = play(driver, wide_is_best)
    assert len({trial.config_id for trial in trained}) == 8
    allowed = {0.125, 0.25, 0.5} if limit == "latency_ms" else {0.125, 0.25}
    assert {trial.config.width for trial in trained} <= allowed
    states = Counter(t.state.name for t in driver.study.get_trials() if module.UNTRAINED not in t.user_attrs)
    assert states == {"COMPLETE": 8}
    assert driver.suggested == 8
    winners = winners_of(driver)
    assert {config.width for config in winners.values()} <= allowed
    record = search_record(driver, winners)["search"]
    assert record["untrained"] == len(driver.study.get_trials()) - 8
    assert record["constraints"] == limits


@pytest.mark.usefixtures("in_memory")
def test_winners_keep_constraints_that_training_shows(many_seeds: Plan, tmp_path: Path) -> None:
    limits = {"val_loss": 0.45, "val_acc": 0.52}
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, objectives=("params",), constraints=limits, trials=12))
    play(driver, wide_is_best)
    trials = driver.study.get_trials()
    assert {t.state.name for t in trials} == {"COMPLETE"}
    for t in trials:
        acc = 0.5 + t.params["width"] / 10 + t.params["lr"] / 100
        assert t.constraints == pytest.approx({"val_loss": 1 - acc - 0.45, "val_acc": 0.52 - acc}, abs=1e-6)
    assert {config.width for config in winners_of(driver).values()} == {0.5}


@pytest.mark.usefixtures("in_memory")
def test_a_search_ends_that_finds_nothing_within_its_constraints(
    many_seeds: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "check_reachable", lambda *_: None)
    monkeypatch.setattr(module, "MOST_BROKEN", 30)
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, constraints={"params": 10.0}))
    halted: list[str] = []
    driver.halt = halted.append
    assert play(driver, wide_is_best) == []
    assert halted == [
        "no configuration was found: 30 suggestions in a row break params ≤ 10; allow more, or search smaller networks"
    ]
    assert len(driver.study.get_trials()) == 30
    assert (driver.suggested, driver.to_go) == (0, 0)
    known = driver_of(many_seeds, tmp_path, replace(SEARCH, constraints={"params": 1e6}))
    play(known, wide_is_best)
    known.total, known.broken = 9, 30
    assert known.suggest(1) == []
    assert "search: ends after 8 of 9 configurations: 30 suggestions in a row break" in capsys.readouterr().err


@pytest.mark.usefixtures("in_memory")
def test_a_start_that_breaks_a_constraint_does_not_train_either(many_seeds: Plan, tmp_path: Path) -> None:
    start = ({"lr": 0.05, "weight_decay": 1e-4, "width": 0.5}, {"lr": 0.05, "weight_decay": 1e-4, "width": 0.125})
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, start=start, constraints={"params": 20_000.0}))
    (first, *_) = play(driver, wide_is_best)
    assert (first.config.width, driver.numbers[first.trial_id]) == (0.125, 1)
    assert driver.study.get_trials()[0].user_attrs == {"untrained": "breaks params ≤ 20,000"}


class Costs:
    """A Feasibility of networks whose parameters are 1000 times their width."""

    teacher = Config()

    def cost(self, config: Config, idle: bool) -> Any:
        return type("Cost", (), {"params": 1000 * config.width, "latency_ms": 0.1234567})


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ({"params": 125.0}, ""),
        ({"params": 100.0}, "all 3 networks break params ≤ 100; the least is params 125. Allow more"),
        ({"params": 500.0, "latency_ms": 0.1}, "the least is params 125, latency_ms 0.1235"),
        ({"val_loss": 0.1}, ""),
        ({}, ""),
    ],
)
def test_constraints_that_no_network_keeps_are_refused(constraints: dict[str, float], message: str) -> None:
    search, costs = replace(SEARCH, constraints=constraints), Costs()
    if not message:
        check_reachable(search, Config(), costs)  # type: ignore[arg-type]
        return
    with pytest.raises(UserError) as raised:
        check_reachable(search, Config(), costs)  # type: ignore[arg-type]
    assert message in str(raised.value)
