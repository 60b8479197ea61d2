"""Samplers by name, each with each pruner, on an objective that costs nothing."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from scl.errors import UserError
from scl.plan.plan import Plan
from scl.search.samplers import check_installed, make_sampler
from scl.search.winners import winners_of
from scl.study.identity import Trial
from scl.study.search import PRUNERS, SAMPLERS, Search
from scl.study.space import Branch, Choice, Float
from tests.support.searches import driver_of, play

SEARCH = Search(
    {"lr": Float(0.01, 0.1, log=True), "weight_decay": Float(1e-5, 1e-3), "self_taught": Choice((0, 4))},
    template={"losses": {"kd": 1.0}}, trials=8, batch=2, winners=2,
)  # fmt: skip


def val_acc(trial: Trial, epoch: int) -> float:
    """Best at lr 0.03 with self-taught neurons; seeds differ a little."""
    away = abs(math.log10(trial.config.lr) + 1.5)
    return 0.5 + 0.01 * epoch - 0.1 * away - 0.01 * (trial.config.self_taught == 0) + 0.001 * trial.seed


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_works_with_every_pruner(sampler: str, pruner: str, many_seeds: Plan, tmp_path: Path) -> None:
    seeds = 6 if PRUNERS[pruner] == "seeds" else 1
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, sampler=sampler, pruner=pruner, seeds=seeds))
    trained = play(driver, val_acc)
    states = Counter(trial.state.name for trial in driver.study.get_trials())
    assert sum(states.values()) == 8
    assert set(states) <= {"COMPLETE", "PRUNED"}
    assert states["COMPLETE"] >= 1
    assert (pruner == "none") <= (states["PRUNED"] == 0)
    assert len(trained) == len({trial.trial_id for trial in trained})
    assert driver.to_go == 0
    best = min(driver.configurations.completed(), key=lambda c: -driver.configurations.values(c)["val_acc"])
    assert winners_of(driver)["winner-1"] == best.trials[0].config


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.slow), "cmaes"])
def test_a_sampler_that_learns_finds_the_best_region(sampler: str, many_seeds: Plan, tmp_path: Path) -> None:
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, sampler=sampler, pruner="none", trials=24))
    trained = play(driver, val_acc)
    assert abs(math.log10(winners_of(driver)["winner-1"].lr) + 1.5) < 0.1
    late = [abs(math.log10(trial.config.lr) + 1.5) for trial in trained[-6:]]
    assert sum(late) / 6 < 0.25  # a uniform draw is 0.25 away on average


@pytest.mark.usefixtures("in_memory")
def test_a_gaussian_process_is_fitted_after_ten_trials(many_seeds: Plan, tmp_path: Path) -> None:
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, sampler="gp", pruner="none", trials=11, batch=1))
    assert len(play(driver, val_acc)) == 11


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_command_draws_the_same_suggestions(sampler: str, many_seeds: Plan, tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        driver = driver_of(many_seeds, tmp_path / name, replace(SEARCH, sampler=sampler, trials=6))
        drawn.append([trial.trial_id for trial in play(driver, val_acc)])
    assert drawn[0] == drawn[1]


def test_branches_are_sampled_jointly() -> None:
    branch = Branch({"kd": {"kd.temperature": Float(1, 8)}, "none": {}})
    assert not make_sampler(optuna, SEARCH, "name", 0)._group
    assert make_sampler(optuna, Search({"method": branch}), "name", 0)._group


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scl.search.samplers.find_spec", lambda name: None)
    check_installed(SEARCH)
    with pytest.raises(UserError, match="needs the package cmaes, which is not installed: pip install cmaes; or"):
        check_installed(replace(SEARCH, sampler="cmaes"))
    assert importlib.util.find_spec("cmaes") is not None
