"""Values by epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.report.epochs import epochs_by_arm
from scl.report.facts import gather
from scl.store.results import read_results
from tests.support.synthetic import make_store


@pytest.mark.parametrize("coded", [False, True])
def test_without_a_completed_trial_there_are_no_epochs(coded: bool, tmp_path: Path) -> None:
    store = make_store(
        tmp_path, ["baseline", "kd"], [0], states={("baseline", 0): "failed", ("kd", 0): "failed"}, epochs=2
    )
    results = read_results(store, coded=coded)
    assert len(results.epochs)
    assert epochs_by_arm(gather(results), ["kd"], ["train_loss"]).empty


def test_epochs_of_completed_trials_have_their_arm(tmp_path: Path) -> None:
    arms, states = ["baseline", "kd", "channel"], {("kd", 1): "failed"}
    results = read_results(make_store(tmp_path, arms, [0, 1], states=states, epochs=3))
    rows = epochs_by_arm(gather(results), ["kd", "baseline"], ["train_loss"])
    assert rows.groupby("arm", observed=True).size().to_dict() == {"kd": 3, "baseline": 6}
    assert list(rows["arm"].cat.categories) == ["kd", "baseline"]
    assert rows["train_loss"].dtype == "float64"
