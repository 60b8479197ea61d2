"""Several seeds a configuration: what trains when, what is told to Optuna, and what is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from scl.plan.plan import Plan
from scl.search.configurations import Configurations
from scl.search.driver import SearchDriver
from scl.search.trials import searched_trials
from scl.store.parts import write_part
from scl.study.identity import Trial
from scl.study.search import Search
from scl.study.space import Float
from tests.support.searches import driver_of, play

SEARCH = Search(
    {"lr": Float(0.01, 0.1, log=True)}, template={"losses": {"kd": 1.0}}, trials=6, batch=3, winners=2, seeds=3,
    pruner="none", sampler="random",
)  # fmt: skip


def by_seed(trial: Trial, epoch: int) -> float:
    """Higher with a smaller lr, on every seed; seed 1 is a hard one."""
    return 0.5 + 0.01 * epoch - trial.config.lr - 0.1 * (trial.seed == 1)


@pytest.mark.usefixtures("in_memory")
def test_a_configuration_trains_on_its_seeds_and_is_judged_by_their_mean(many_seeds: Plan, tmp_path: Path) -> None:
    driver = driver_of(many_seeds, tmp_path, SEARCH)
    trained = play(driver, by_seed)
    assert Counter(trial.seed for trial in trained) == {0: 6, 1: 6, 2: 6}
    assert len({trial.config_id for trial in trained}) == 6
    for frozen in driver.study.get_trials():
        lr, state = frozen.params["lr"], frozen.state.name
        assert state == "COMPLETE"
        assert frozen.value == pytest.approx(0.58 - lr - 0.1 / 3)
    assert driver.label(trained[-1]) == f"search · trial {driver.numbers[trained[-1].trial_id]} · seed 2"
    assert [t.seed for t in driver.configurations.in_order()] == [0, 1, 2] * 6
    assert driver.configurations.left == 0


@pytest.mark.usefixtures("in_memory")
def test_cohorts_hold_one_seed_and_begun_configurations_go_first(many_seeds: Plan, tmp_path: Path) -> None:
    driver = driver_of(many_seeds, tmp_path, SEARCH)
    seeds = []
    while batch := driver.suggest(3):
        assert driver.waits
        seeds.append([trial.seed for trial in batch])
        for trial in batch:
            driver.epoch(trial.trial_id, {"epoch": 1, "val_acc": 0.5, "val_loss": 1.0})
            driver.ended(trial.trial_id, "completed")
    assert seeds == [[0] * 3, [1] * 3, [2] * 3] * 2
    assert not driver.waits


@pytest.mark.usefixtures("in_memory")
def test_with_two_slots_nothing_is_to_do_before_a_seed_ends(many_seeds: Plan, tmp_path: Path) -> None:
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, trials=3))
    assert len(driver.suggest(3)) == 3
    assert driver.suggest(3) == []
    assert driver.waits
    assert not driver_of(many_seeds, tmp_path, replace(SEARCH, trials=3, seeds=1)).waits


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize(("pruner", "most"), [("halving", 18), ("wilcoxon", 30)])
def test_what_is_pruned_costs_no_more_seeds(pruner: str, most: int, many_seeds: Plan, tmp_path: Path) -> None:
    seeds = 6 if pruner == "wilcoxon" else 3
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, pruner=pruner, seeds=seeds, batch=1))
    trained = play(driver, by_seed)
    states = Counter(frozen.state.name for frozen in driver.study.get_trials())
    assert states["PRUNED"] >= 1
    assert states["COMPLETE"] >= 1
    assert len(trained) < 6 * seeds
    assert len(trained) <= most
    per_configuration = Counter(driver.numbers[trial.trial_id] for trial in trained)
    for frozen in driver.study.get_trials():
        whole = frozen.state.name == "COMPLETE"
        assert (per_configuration[frozen.number] == seeds) == whole
        steps = seeds if pruner == "wilcoxon" else 8
        assert (len(frozen.intermediate_values) == steps) == whole


@pytest.mark.usefixtures("in_memory")
def test_a_seed_that_fails_ends_its_configuration(many_seeds: Plan, tmp_path: Path) -> None:
    driver = driver_of(many_seeds, tmp_path, replace(SEARCH, trials=1))
    (first,) = driver.suggest(1)
    driver.ended(first.trial_id, "failed")
    assert driver.suggest(1) == []
    assert [frozen.state.name for frozen in driver.study.get_trials()] == ["FAIL"]
    assert [trial.seed for trial in driver.configurations.in_order()] == [0]


def stored_play(driver: SearchDriver, plan: Plan, most: int) -> list[Trial]:
    """Train what a driver suggests, and write each result into the store."""

    def value(trial: Trial, epoch: int) -> float:
        if epoch == trial.config.total_epochs:
            rows = [{"trial_id": trial.trial_id, "epoch": e, "val_acc": by_seed(trial, e)} for e in range(1, epoch + 1)]
            columns = {"trial_id": trial.trial_id, "arm": "search", "seed": trial.seed, "config_id": trial.config_id}
            columns |= {"state": "completed", "val_acc": by_seed(trial, epoch), "param.lr": trial.config.lr}
            write_part(driver.store, {**columns, "number": driver.numbers[trial.trial_id]}, rows, None)
        return by_seed(trial, epoch)

    return play(driver, value, most)


@pytest.mark.parametrize("journal_is_lost", [False, True])
def test_a_search_that_was_cut_off_keeps_each_seed(journal_is_lost: bool, many_seeds: Plan, tmp_path: Path) -> None:
    driver, trained = driver_of(many_seeds, tmp_path, SEARCH), []
    (tmp_path / "tiny" / "study.json").write_text("{}")
    for most in (1, 4, 2, 100):
        trained += stored_play(driver, many_seeds, most)
        if journal_is_lost:
            (tmp_path / "tiny" / "optuna.journal").unlink()
        driver = driver_of(many_seeds, tmp_path, SEARCH)
    assert driver.to_go == 0
    assert len(trained) == len({trial.trial_id for trial in trained}) == 18
    frozen = driver.study.get_trials()
    assert [trial.state.name for trial in frozen] == ["COMPLETE"] * 6
    for trial in frozen:
        assert trial.value == pytest.approx(0.58 - trial.params["lr"] - 0.1 / 3)
    more = driver_of(many_seeds, tmp_path, replace(SEARCH, seeds=4))  # each configuration trains on one seed more
    assert {trial.seed for trial in stored_play(more, many_seeds, 100)} == {3}
    assert len(more.configurations.completed()) == 6


def test_trials_of_a_cohort_share_seed_teacher_and_batches(many_seeds: Plan) -> None:
    known = Configurations(many_seeds)
    for number, point in enumerate(({"lr": 0.05}, {"lr": 0.02}, {"lr": 0.05, "batch_size": 16})):
        known.add(searched_trials(many_seeds, many_seeds.template, point), number)
    for configuration in known.by_key.values():
        known.begin(configuration, 0)
    assert [known.numbers[trial.trial_id] for trial in known.give_out(4)] == [0, 1]
    assert [known.numbers[trial.trial_id] for trial in known.give_out(4)] == [2]
    assert known.queue == []
