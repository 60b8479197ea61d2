"""A search ends when it has not improved for long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scl.plan.plan import Plan
from scl.search.record import search_record
from scl.search.terminator import best_of, stagnation
from scl.study.identity import Trial
from scl.study.search import Search
from scl.study.space import Float
from tests.support.searches import driver_of, play


def trial(number: int, state: str, value: float | None = None, beyond: float = -1.0) -> Any:
    name = {"c": "COMPLETE", "p": "PRUNED", "f": "FAIL", "u": "PRUNED"}[state]
    values = {} if state == "u" else {1: 0.5}
    return SimpleNamespace(
        number=number, state=SimpleNamespace(name=name), value=value, intermediate_values=values,
        constraints={"params": beyond},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trials", "best", "since"),
    [
        ([], None, 0),
        ([trial(0, "p"), trial(1, "f")], None, 0),
        ([trial(0, "c", 0.5), trial(1, "c", 0.6), trial(2, "c", 0.6)], 1, 1),
        ([trial(0, "c", 0.5), trial(1, "p"), trial(2, "f"), trial(3, "u"), trial(4, "c", 0.4)], 0, 2),
        ([trial(0, "c", 0.5), trial(1, "c", 0.9, beyond=1.0)], 0, 1),
    ],
)
def test_stagnation_counts_what_trained_after_the_best(trials: list[Any], best: int | None, since: int) -> None:
    found = best_of(trials, maximise=True)
    assert (None if found is None else found.number) == best
    assert stagnation(trials, maximise=True) == since


def test_less_may_be_better() -> None:
    assert best_of([trial(0, "c", 0.5), trial(1, "c", 0.4)], maximise=False).number == 1


@pytest.mark.usefixtures("in_memory")
def test_a_search_ends_early_and_stays_ended(
    many_seeds: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = Search({"lr": Float(0.01, 0.1)}, trials=40, batch=1, pruner="none", terminator=5, sampler="random")

    def no_better(trial: Trial, epoch: int) -> float:
        return 0.5 + 0.1 * (driver.numbers[trial.trial_id] == 2)

    driver = driver_of(many_seeds, tmp_path, search)
    assert len(play(driver, no_better)) == 8
    why = "none of the last 5 configurations is better than trial 2 (terminator 5)"
    assert capsys.readouterr().err == f"search: ends after 8 of 40 configurations: {why}\n"
    assert search_record(driver, {})["search"]["terminated"] == why
    again = driver_of(many_seeds, tmp_path, search)
    assert again.ended_early == why
    assert driver_of(many_seeds, tmp_path, replace(search, terminator=9)).ended_early == ""
