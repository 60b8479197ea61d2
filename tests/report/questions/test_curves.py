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
