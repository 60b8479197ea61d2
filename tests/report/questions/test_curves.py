"""Learning curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from scl.report.questions import curves
from scl.report.results import Results
from tests.support.pages import Page, built
from tests.support.synthetic import (
    accuracy,
    make_store,
)


def test_forty_arms(tmp_path: Path) -> None:
    arms = [f"arm {i} with a name of some length" for i in range(40)]
    effects = {arm: 0.001 * i for i, arm in enumerate(arms)}
    page, _, _ = built(make_store(tmp_path, arms, range(3), accuracy(effects)))
    lines = [t for t in page.figures()["learning-0"]["data"] if "name" in t and "xaxis" not in t]
    assert len(lines) == curves.MOST_CURVES
    assert "10 arms below the best 30 are not in this figure" in page.text


def test_means_and_bands_are_students(plain: tuple[Page, str, Results]) -> None:
    study = plain[2]
    curve = {c.arm: c for c in curves.curves(study.facts).curves}["kd"]
    done = study.trials[(study.trials["state"] == "completed") & (study.trials["arm"] == "kd")]["trial_id"]
    values = study.epochs[study.epochs["trial_id"].isin(done) & (study.epochs["epoch"] == 3)]["test_acc"]
    x = 100 * values.astype(float).to_numpy()
    low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
    at = int(np.flatnonzero(curve.epoch == 3)[0])
    assert (curve.mean[at], curve.low[at], curve.high[at]) == pytest.approx((x.mean(), low, high), rel=1e-9)


def test_bands_end_where_accuracies_do(tmp_path: Path) -> None:
    """Student's interval of 1, 2 and 30 %, and of 99, 98 and 70 %, is wider than what an accuracy can be."""
    values = {"baseline": [0.01, 0.02, 0.3], "kd": [0.99, 0.98, 0.7]}
    study = {"data": {"classes": 100, "test": 1000}}
    _, _, results = built(make_store(tmp_path, list(values), range(3), lambda a, s: values[a][s], **study))
    for curve in curves.curves(results.facts).curves:
        assert (curve.low >= 0).all()
        assert (curve.high <= 100).all()
    shown = curves.panel(results.facts)
    assert "cut at 0 and 100 %" in shown.blocks[0].caption  # type: ignore[union-attr]
    rows = [[cell.shown for cell in row.cells] for row in shown.blocks[0].table.rows]  # type: ignore[union-attr]
    assert all("±" not in cell and "−" not in cell for row in rows for cell in row)
    assert "to 100" in rows[1][-1]


def test_the_sentence_compares_the_seeds_that_both_have(tmp_path: Path) -> None:
    """Without the baseline's bad seed 2, kd's mean over its own seeds is below; seed by seed it is above."""
    luck, states = [0.7, 0.7, 0.5], {("baseline", 2): "failed"}
    arms = ["baseline", "kd"]
    store = make_store(tmp_path, arms, range(3), lambda arm, seed: luck[seed] + 0.01 * (arm == "kd"), states)
    page, _, _ = built(store)
    assert "In the mean over their common seeds, “kd” stays above the baseline from epoch 1 on." in page.text


def test_thinned_epochs_hold_the_first_and_the_last() -> None:
    assert curves.thinned(5).tolist() == [0, 1, 2, 3, 4]
    assert curves.thinned(0).tolist() == []
    for epochs in (301, 599, 1000):
        at = curves.thinned(epochs)
        assert (at[0], at[-1], len(at) <= curves.MOST_EPOCHS) == (0, epochs - 1, True)
