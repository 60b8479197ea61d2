"""The numbers of a study: which rows count."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scl import stats
from scl.report.facts import gather
from scl.report.results import Results
from scl.store.results import read_results
from scl.store.study_file import read_study, write_study
from tests.support.pages import built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    make_store,
)


def test_parts_not_yet_compacted_count(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS[:2], range(2), accuracy(EFFECTS), compacted=False)
    assert [row["n"][0] for row in built(store)[0].tables["main-table"]] == ["2", "2"]


def test_an_old_study_json_with_few_keys(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(2), accuracy(EFFECTS))
    study = read_study(store)
    write_study(store, {k: study[k] for k in ("schema_version", "study", "baseline", "plan")})
    page, _, _ = built(store)
    assert len(page.tables["main-table"]) == 5


def test_several_configurations_under_one_arm_are_not_averaged(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(2), accuracy(EFFECTS))
    study = read_study(store)
    plan = [{**c, "arm": "search", "seed": 0} if c["arm"] != "baseline" else c for c in study["plan"]]
    trials = read_results(store).trials
    trials.loc[trials["arm"] != "baseline", ["arm", "seed"]] = ["search", 0]
    gathered = gather(Results(trials, pd.DataFrame(columns=["trial_id", "epoch"]), {**study, "plan": plan}))
    assert gathered.left_out["search"] == "has several configurations"
    assert "search" not in gathered.scores


@pytest.mark.parametrize("numbers", [(0,), (0, 1), (0, 1, 2)])
def test_trials_of_a_search_are_no_arm_whatever_their_seed(numbers: tuple[int, ...], tmp_path: Path) -> None:
    """A search on two seeds, without winners: its second seed is no arm of one seed, and the page is written."""
    store = make_store(tmp_path, ("baseline", "kd"), range(2), accuracy(EFFECTS))
    study, trials = read_study(store), read_results(store).trials
    one = trials[trials["arm"] == "kd"]
    rows = [one.assign(arm="search", number=n, trial_id=[f"{n}-{i}" for i in range(len(one))]) for n in numbers]
    found = Results(
        pd.concat(rows, ignore_index=True).astype({"number": "Int64"}),
        pd.DataFrame(columns=["trial_id", "epoch", "val_loss"]),
        {**study, "plan": [], "arms": {"baseline": {}}, "search_space": {"lr": {}}, "search": {"seeds": 2}},
    )
    facts = gather(found)
    assert "search" not in facts.scores
    assert "search" not in facts.arms
    assert dict(facts.left_out) == {"baseline": "has no completed trial"}


def test_many_arms_are_compared_as_few_are() -> None:
    """The arms are eliminated before anything is inverted: the result is that of all columns at once."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(0.7, 0.01, (4, 60)), columns=[f"a{i}" for i in range(60)])
    frame.iloc[0, 3] = frame.iloc[2, 7] = math.nan
    ours = stats.in_the_model(frame, "a0")
    long = frame.reset_index().melt("index", var_name="arm", value_name="y").dropna()
    x = np.column_stack([pd.get_dummies(long["arm"], dtype=float), pd.get_dummies(long["index"], dtype=float)])
    beta, _, rank, _ = np.linalg.lstsq(x, long["y"].to_numpy(), rcond=None)
    names = list(pd.get_dummies(long["arm"]).columns)
    assert ours.df == len(long) - rank
    for contrast in ours.contrasts:
        assert contrast.estimate == pytest.approx(beta[names.index(contrast.arm)] - beta[names.index("a0")], abs=1e-10)
