"""The configurations of a search as trials of the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.search.trials import kept_epoch, left_to_search, name_in_optuna, search_of, stored_point
from scl.study.config import Config
from scl.study.space import Choice
from scl.study.term import Term
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
    assert stored_point(tried[0], SEARCH) == SEARCH.start[0]
    with pytest.raises(UserError, match="outside"):
        stored_point({**tried[0], "param.lr": 5.0}, SEARCH)
    assert search_of(planned(STUDY, tmp_path, *TINY)) == SEARCH


def test_trials_of_other_settings_are_not_counted(done: Path) -> None:
    assert left_to_search(planned(STUDY, done, *TINY)) == 0
    assert left_to_search(planned(STUDY, done, *TINY, "--trials", "10")) == 4
    assert left_to_search(planned(STUDY, done, *TINY, "--epochs", "3")) == 6


def test_a_trial_with_patience_counts_with_its_best_epoch() -> None:
    curve = {1: 0.2, 2: 0.5, 3: 0.5, 4: 0.3}
    assert kept_epoch(Config(), curve) == 4
    assert kept_epoch(Config(patience=2), curve) == 2
    pretrain = Config(patience=2, pretrain_epochs=2, losses={"fsp": Term(1.0, stage="pretrain")})
    assert kept_epoch(pretrain, curve) == 3
    assert kept_epoch(pretrain, {1: 0.2}) == 1
