"""Parallel coordinates of a search."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scl.report.facts import Facts, gather
from scl.report.results import Results
from scl.report.search.parallel import MOST_AXES, UNUSED, draw_parallel, parallel, parallel_plot
from scl.report.search.parameters import parameters
from tests.support.synthetic import SPACE, gathered, make_search_store


def changed(facts: Facts, space: dict[str, Any], **columns: Any) -> Facts:
    """The same search with more parameters."""
    trials = facts.results.trials.assign(**{f"param.{name}": values for name, values in columns.items()})
    study = {**facts.study, "search_space": {**facts.study["search_space"], **space}}
    return gather(Results(trials, facts.results.epochs, study))


def test_each_value_stands_at_its_place(searched: Facts) -> None:
    shown = parallel(searched)
    assert shown is not None
    done = searched.searched[searched.searched["state"] == "completed"].sort_values("val_acc", ascending=False)
    assert list(shown.numbers) == list(done["number"])
    assert [ticks.title for ticks in shown.axes[1:]] == list(SPACE)
    kd = np.log10(done["param.weight.kd"].to_numpy())
    assert shown.at[:, 1] == pytest.approx((kd + 2) / 3)  # from 0.01 to 10, in logarithms
    assert shown.at[:, 2] == pytest.approx((done["param.kd.temperature"].to_numpy() - 1) / 15)
    assert shown.at[:, 4] == pytest.approx([[0, 4, 8, 16].index(k) / 3 for k in done["param.self_taught"]])
    assert shown.axes[1].at == ((0.0, "0.01"), (pytest.approx(1 / 3), "0.1"), (pytest.approx(2 / 3), "1"), (1.0, "10"))
    assert [text for _, text in shown.axes[4].at] == ["0", "4", "8", "16"]
    assert shown.at[0, 0] == 1.0
    assert shown.at[:, 0].min() == 0.0
    assert shown.axes[0].at[0][1].startswith("≤ ")


def test_groups_are_by_rank_and_each_trial_is_in_one(searched: Facts) -> None:
    shown = parallel(searched)
    assert shown is not None
    groups = shown.groups
    n = len(shown.numbers)
    assert sorted(np.concatenate(list(groups.values())).tolist()) == list(range(n))
    assert list(groups["best trial"]) == [0]
    assert len(groups["best tenth"]) == math.ceil(n / 10) - 1


def test_lines_are_one_trace_a_group_without_webgl(searched: Facts) -> None:
    shown = parallel(searched)
    assert shown is not None
    drawn = draw_parallel(shown)
    assert [trace["name"] for trace in drawn["data"]] == ["lower half", "upper half", "best tenth", "best trial"]
    assert {trace["type"] for trace in drawn["data"]} == {"scatter"}
    (best,) = [trace for trace in drawn["data"] if trace["name"] == "best trial"]
    assert best["y"] == [*np.round(shown.at[0], 3), None]
    assert best["text"][1].startswith(f"trial {shown.numbers[0]}<br>weight.kd: ")


def test_ten_thousand_trials_stay_small(tmp_path: Path) -> None:
    facts = gathered(make_search_store(tmp_path, 2000, winners=0))
    shown = parallel(facts)
    assert shown is not None
    assert len(json.dumps(draw_parallel(shown))) < 100_000
    assert "of them drawn, evenly by rank" in parallel_plot(facts, shown).caption


def test_a_conditional_parameter_is_unused_where_its_branch_was_not_taken(searched: Facts) -> None:
    """A field of the configuration has its default there."""
    n = len(searched.results.trials)
    optimizer = np.resize(["sgd", "adam"], n)
    space = {
        "optimizer": {"choices": ["sgd", "adam"]},
        "nesterov": {"choices": [True, False], "if": {"optimizer": ["sgd"]}},
        "momentum": {"low": 0.0, "high": 1.0, "if": {"nesterov": [True]}},
    }
    columns = {"optimizer": optimizer, "nesterov": np.resize([True, True, False, True], n), "momentum": np.full(n, 0.9)}
    facts = changed(searched, space, **columns)
    shown = parallel(facts)
    assert shown is not None
    at = dict(zip([ticks.title for ticks in shown.axes], shown.at.T, strict=True))
    sgd = at["optimizer"] == 0
    assert np.isfinite(at["nesterov"]).tolist() == sgd.tolist()
    assert np.isfinite(at["momentum"]).tolist() == (sgd & (at["nesterov"] == 0)).tolist()
    used = {p.name: len(p.frame) for p in parameters(facts)}
    assert used["momentum"] < used["nesterov"] < used["optimizer"]
    drawn = draw_parallel(shown)
    assert UNUSED in drawn["data"][0]["y"]
    assert "not used" in [note["text"] for note in drawn["layout"]["annotations"]]
    plot = parallel_plot(facts, shown)
    assert "below an axis" in plot.caption
    assert {"sgd", "adam"} >= {row.cells[6].shown for row in plot.table.rows}


def test_hostile_choices_are_escaped(searched: Facts) -> None:
    n = len(searched.results.trials)
    facts = changed(searched, {"x": {"choices": ["<b>a</b>", "%{x}"]}}, x=np.resize(["<b>a</b>", "%{x}"], n))
    shown = parallel(facts)
    assert shown is not None
    drawn = draw_parallel(shown)
    texts = [str(text) for trace in drawn["data"] for text in trace.get("text", []) if text]
    texts += [note["text"] for note in drawn["layout"]["annotations"]]
    assert any("&lt;b&gt;" in text for text in texts)
    assert not any("<b>" in text for text in texts)


def test_many_parameters_and_constant_ones_are_counted(searched: Facts) -> None:
    n = len(searched.results.trials)
    rng = np.random.default_rng(0)
    space = {f"p{i}": {"low": 0.0, "high": 1.0} for i in range(20)}
    facts = changed(searched, space, **{name: np.zeros(n) if name == "p0" else rng.random(n) for name in space})
    shown = parallel(facts)
    assert shown is not None
    assert len(shown.axes) == 1 + MOST_AXES
    assert shown.left_out == 4 + 20 - MOST_AXES
    assert "p0" not in [ticks.title for ticks in shown.axes]


@pytest.mark.parametrize("trials", [1, 2, 3, 5, 9])
def test_few_trials_have_lines_too(tmp_path: Path, trials: int) -> None:
    facts = gathered(make_search_store(tmp_path, trials, winners=0))
    shown = parallel(facts)
    assert (shown is None) == (trials == 1)
    if shown is not None:
        assert draw_parallel(shown)["data"][-1]["name"] == "best trial"
        assert isinstance(parallel_plot(facts, shown).table.rows[0].cells[1].value, float)


def test_equal_values_and_a_lower_objective_have_an_axis(searched: Facts) -> None:
    trials = searched.results.trials.assign(val_acc=0.5)
    shown = parallel(gather(Results(trials, searched.results.epochs, searched.study)))
    assert shown is not None
    assert set(shown.at[:, 0]) == {0.5}
    study = {**searched.study, "objectives": {"macs": "minimize"}}
    shown = parallel(gather(Results(searched.results.trials, searched.results.epochs, study)))
    assert shown is not None
    assert shown.values[0] == min(shown.values)
    assert shown.at[0, 0] == 0.0


def test_a_store_without_a_space_has_no_lines(searched: Facts) -> None:
    study = {**searched.study, "search_space": None}
    rows = searched.results.trials
    assert parallel(gather(Results(rows, searched.results.epochs, study))) is None
    assert isinstance(rows, pd.DataFrame)
