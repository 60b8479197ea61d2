"""The configurations of a search as trials of the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from scl.search.trials import distributions, left_to_search, name_in_optuna, search_of, searched_trials, stored_points
from scl.study.space import Branch, Choice, Float, Int
from tests.support.searches import SEARCH, STUDY, TINY, search, stored
from tests.support.studies import planned


def test_a_plan_of_a_search_touches_nothing(tmp_path: Path, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, "--plan") == 0
    assert "6 of 6 trials to go" in capsys.readouterr().out
    assert not (tmp_path / "tiny").exists() or not list((tmp_path / "tiny").iterdir())
    assert search(done, "--plan") == 0
    assert "0 of 6 trials to go" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (SEARCH.space, "tiny-edaffd016fbe"),
        ({**SEARCH.space, "model": Choice(("plain3", "plain5"))}, "tiny-49fa59683f56"),
    ],
)
def test_the_name_of_a_search_is_that_of_earlier_releases(space: dict[str, Choice], name: str, tmp_path: Path) -> None:
    """Names are golden: under another name, a search would lose what Optuna has learnt."""
    study = replace(STUDY, search=replace(SEARCH, space=space))
    assert name_in_optuna(planned(study, tmp_path, *TINY)) == name


def test_another_search_has_another_name(tmp_path: Path) -> None:
    wider = replace(STUDY, search=replace(SEARCH, space={**SEARCH.space, "self_taught": Choice((0, 8))}, start=()))
    flags = [(), ("--lr", "0.02"), ("--teacher-width", "0.25"), ("--split-seed", "1")]
    plans = [planned(STUDY, tmp_path, *TINY, *more) for more in flags] + [planned(wider, tmp_path, *TINY)]
    assert len(set(map(name_in_optuna, plans))) == 5


def test_rows_give_their_points_back(done: Path, tmp_path: Path) -> None:
    rows = stored(done)
    tried = rows[rows["arm"] == "search"].sort_values("number").to_dict("records")
    assert stored_points(tried[0], SEARCH) == [SEARCH.start[0]]
    assert stored_points({**tried[0], "param.lr": 5.0}, SEARCH) == []
    assert search_of(planned(STUDY, tmp_path, *TINY)) == SEARCH


def test_trials_of_other_settings_are_not_counted(done: Path) -> None:
    assert left_to_search(planned(STUDY, done, *TINY)) == 0
    assert left_to_search(planned(STUDY, done, *TINY, "--trials", "10")) == 4
    assert left_to_search(planned(STUDY, done, *TINY, "--epochs", "3")) == 6


def test_ranges_are_optunas() -> None:
    kinds = optuna.distributions
    method = Branch({"kd": {"kd.temperature": Float(1.0, 8.0)}, "at": {"weight.at": Float(1.0, 2.0)}})
    space = {"self_taught": Choice((0, 4)), "lr": Float(0.1, 1.0, log=True), "epochs": Int(1, 9, step=2)}
    assert distributions(optuna, {**space, "method": method}, {"method": "kd"}) == {
        "self_taught": kinds.CategoricalDistribution([0, 4]),
        "lr": kinds.FloatDistribution(0.1, 1.0, log=True),
        "epochs": kinds.IntDistribution(1, 9, step=2),
        "method": kinds.CategoricalDistribution(["kd", "at"]),
        "kd.temperature": kinds.FloatDistribution(1.0, 8.0),
    }


def test_a_searched_student_has_a_projector_while_it_keeps_the_teachers_classifier(tmp_path: Path) -> None:
    space = {"weight.simkd": Choice((0.0, 1.0)), "lr": Float(0.01, 0.1)}
    plan = planned(replace(STUDY, search=replace(SEARCH, space=space, start=())), tmp_path, *TINY)
    for weight, projector in ((0.0, 0), (1.0, 64)):
        (trial,) = searched_trials(plan, plan.template, {"weight.simkd": weight, "lr": 0.05})
        assert trial.config.projector == projector
        plan.feasibility.trained_as(trial.config)
