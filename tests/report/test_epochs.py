"""Values by epoch."""

from __future__ import annotations

from pathlib import Path

from scl.report.epochs import epochs_by_arm
from scl.report.facts import gather
from scl.store.results import read_results
from tests.support.synthetic import make_store


def test_epochs_of_completed_trials_have_their_arm(tmp_path: Path) -> None:
    arms, states = ["baseline", "kd", "channel"], {("kd", 1): "failed"}
    results = read_results(make_store(tmp_path, arms, [0, 1], states=states, epochs=3))
    rows = epochs_by_arm(gather(results), ["kd", "baseline"], ["train_loss"])
    assert rows.groupby("arm", observed=True).size().to_dict() == {"kd": 3, "baseline": 6}
    assert list(rows["arm"].cat.categories) == ["kd", "baseline"]
    assert rows["train_loss"].dtype == "float64"
