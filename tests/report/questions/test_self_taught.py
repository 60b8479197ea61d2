"""The response to the count of self-taught neurons, by another route."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests

from scl.report.blocks import Note
from scl.report.facts import Facts
from scl.report.questions import self_taught
from scl.store.study_file import read_study, write_study
from tests.support.pages import built
from tests.support.synthetic import (
    accuracy,
    gathered,
    make_self_taught_store,
    make_store,
    rewrite_trials,
    with_params,
)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return gathered(make_self_taught_store(tmp_path_factory.mktemp("taught")))


def test_response_by_count_has_both_controls_and_starts_together(taught: Facts) -> None:
    (family,) = self_taught.families(taught)
    assert family.title == "channel"
    assert family.counts == [0, 4, 8, 16]
    assert family.controls == [self_taught.ALL, self_taught.UNGUIDED]
    assert family.series[self_taught.FREE][0] == family.series[self_taught.ALL][0] == "channel k=0"
    assert family.series[self_taught.UNGUIDED] == {0: "baseline"} | {k: f"unguided k={k}" for k in (4, 8, 16)}
    lines = {line.name: line for line in self_taught.responses(taught, family)}
    rows = taught.completed
    for kind, k, i in ((self_taught.FREE, 8, 2), (self_taught.UNGUIDED, 16, 3)):
        x = 100 * rows.loc[rows["arm"] == family.series[kind][k], "test_acc"].to_numpy()
        low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
        mean = lines[kind].means[i]
        assert (mean.mean, mean.low, mean.high) == pytest.approx((x.mean(), low, high), rel=1e-9)
    muted = lines[self_taught.MUTED]
    assert muted.at == (1, 2, 3)
    assert muted.means[1].mean == pytest.approx(lines[self_taught.FREE].means[2].mean - 3.0)


def test_equal_width_differences_are_paired_t_tests_with_holm(taught: Facts) -> None:
    (family,) = self_taught.families(taught)
    (pairs,) = self_taught.equal_width(taught, [family])
    assert [(p.count, p.control) for p in pairs] == list(itertools.product((4, 8, 16), family.controls))
    assert {p.kind for p in pairs} == {self_taught.FREE}
    raw = []
    for pair in pairs:
        name = f"channel all k={pair.count}" if pair.control == self_taught.ALL else f"unguided k={pair.count}"
        ours, theirs = taught.scores[f"channel k={pair.count}"], taught.scores[name]
        assert pair.paired.differences.mean == pytest.approx((ours - theirs).mean())
        raw.append(reference.ttest_rel(ours, theirs).pvalue)
    adjusted = multipletests(raw, method="holm")[1]
    assert [p.paired.p_holm for p in pairs] == pytest.approx(list(adjusted), rel=1e-9)


def test_a_control_with_a_connector_is_compared_with_an_arm_that_has_one(tmp_path: Path) -> None:
    params = {
        "baseline": {"self_taught": 0},
        "kd": {"self_taught": 0, "weight.channel": 1.0},
        "k=8": {"self_taught": 8, "weight.channel": 1.0},
        "k=8 connector": {"self_taught": 8, "weight.channel": 1.0, "connector": "always"},
        "k=8 all guided": {"self_taught": 8, "weight.channel": 1.0, "guided": "all"},
        "k=8 taken": {"self_taught": 8, "weight.channel": 1.0, "self_taught_from": "taken"},
    }
    plain = {"guided": "first", "connector": "auto", "self_taught_from": "added"}
    store = make_store(tmp_path, list(params), range(4), accuracy(dict.fromkeys(params, 0.0)))
    facts = gathered(with_params(store, {arm: {**plain, **own} for arm, own in params.items()}))
    (family,) = self_taught.families(facts)
    # The baseline has no self-taught neurons, so it is no control of a wider network, and no mark says so.
    assert set(family.series) == set(self_taught.KINDS) - {self_taught.ALL_CONNECTED, self_taught.UNGUIDED}
    assert family.series[self_taught.NEITHER] == {0: "baseline"}
    text = " ".join(block.text for block in self_taught.panel(facts).blocks if isinstance(block, Note))
    assert "usable result: same width, no guidance." in text
    assert "all guided" not in text
    found = [(p.kind, p.control) for p in self_taught.equal_width(facts, [family])[0]]
    assert found == [(self_taught.FREE, self_taught.ALL), (self_taught.FREE_CONNECTED, self_taught.ALL)]


def test_a_count_that_differs_between_layers_is_no_count(tmp_path: Path) -> None:
    store = make_self_taught_store(tmp_path)

    def mixed(trials: pd.DataFrame) -> pd.DataFrame:
        counts = trials["param.self_taught"].astype(str)
        trials["param.self_taught"] = counts.where(trials["arm"] != "channel k=8", "0/8/8/8").replace("4", "4/4/4/4")
        return trials

    (family,) = self_taught.families(gathered(rewrite_trials(store, mixed)))
    assert sorted(family.series[self_taught.FREE]) == [0, 4, 16]


def test_without_controls_the_panel_says_so(tmp_path: Path) -> None:
    store = make_self_taught_store(tmp_path)
    study = read_study(store)
    plan = [c for c in study["plan"] if " all " not in c["arm"] and "unguided" not in c["arm"]]
    write_study(store, {**study, "plan": plan, "arms": {c["arm"]: {} for c in plan}})
    page, _, _ = built(store)
    assert "they have no usable result: same width, all guided and same width, no guidance." in page.text
