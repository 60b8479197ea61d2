"""The winners of a search: chosen by validation, run again on fresh seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from scl.search.winners import measure_architectures
from scl.store.results import load
from scl.study.config import Config
from scl.study.search import Search
from scl.study.space import Choice, Float
from tests.support.searches import SEARCH, STUDY, known, search, stored


def test_validation_chooses_winners_which_run_again_on_fresh_seeds(done: Path) -> None:
    rows = stored(done)
    study = load(str(done / "tiny")).study
    fresh = rows[rows["arm"] != "search"]
    assert set(fresh["seed"]) == {1000, 1001}
    assert Counter(fresh["arm"]) == dict.fromkeys(["baseline", *study["winners"]], 2)
    tried = rows[(rows["arm"] == "search") & (rows["state"] == "completed")]
    first = study["winners"]["winner-1"]
    assert first["val_acc"] == tried["val_acc"].max()
    config = rows[rows["trial_id"] == first["trial_id"]]["config_id"].iloc[0]
    assert set(fresh[fresh["arm"] == "winner-1"]["config_id"]) == {config}
    assert study["search_space"]["self_taught"] == {"choices": [0, 4]}
    assert study["search_space"]["weight.kd"] == {"low": 0.1, "high": 10.0, "log": True}
    assert study["objectives"] == {"val_acc": "maximize"}
    assert fresh["number"].isna().all()
    assert fresh["latency_ms"].notna().all()


def test_two_objectives_give_a_front(tmp_path: Path) -> None:
    two = replace(STUDY, search=replace(SEARCH, objectives=("val_acc", "macs")))
    assert search(tmp_path, study=two) == 0
    trials = known(tmp_path)
    assert Counter(t.state.name for t in trials) == {"COMPLETE": 6}
    rows = stored(tmp_path).set_index("trial_id")
    for trial in trials:
        row = rows.loc[trial.user_attrs["trial_id"]]
        assert trial.values == [row["val_acc"], row["macs"]]
    won = load(str(tmp_path / "tiny")).study["winners"]
    chosen = rows.loc[[w["trial_id"] for w in won.values()]]
    tried = rows[rows["arm"] == "search"]
    for _, w in chosen.iterrows():
        better = tried[(tried["val_acc"] >= w["val_acc"]) & (tried["macs"] <= w["macs"])]
        assert ((better["val_acc"] == w["val_acc"]) & (better["macs"] == w["macs"])).all()


class Costs:
    """A Feasibility that records which configurations are measured."""

    teacher = Config()

    def __init__(self) -> None:
        self.measured: list[Config] = []

    def cost(self, config: Config) -> None:
        self.measured.append(config)


@pytest.mark.parametrize(
    ("space", "count"),
    [
        ({"self_taught": Choice((0, 4)), "lr": Float(0.1, 0.2)}, 2),
        ({"self_taught_at": Choice(("layers", "branch")), "self_taught_from": Choice(("added", "taken"))}, 3),
        ({"self_taught": Choice(tuple(range(17)))}, 0),
        ({"width": Float(0.1, 0.2)}, 0),
    ],
)
def test_the_architectures_of_a_small_space_are_measured(space: dict[str, Choice | Float], count: int) -> None:
    costs = Costs()
    measure_architectures(Search(space), Config(), costs)  # type: ignore[arg-type]
    assert len(costs.measured) == count
