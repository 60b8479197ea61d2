"""Arms seed by seed, and ranks with a seed left out."""

from __future__ import annotations

from pathlib import Path

from scl.report.questions import seeds
from tests.support.synthetic import accuracy, gathered, make_store


def test_a_mean_that_hangs_on_one_seed_is_named(tmp_path: Path) -> None:
    value = accuracy({"baseline": 0.0, "kd": 0.0}, spread=0.0)
    store = make_store(
        tmp_path, ["baseline", "kd"], range(4), lambda arm, seed: value(arm, seed) + 0.01 * LUCK[arm][seed]
    )
    facts = gathered(store)
    ranks = seeds.seed_lines(facts).ranks
    assert ranks.loc["kd", "all"] == 1
    assert ranks.loc["kd", 2] == 2
    assert seeds.panel(facts).answer == "“kd” has the highest mean, but not without seed 2."


LUCK = {"baseline": [1, 1, 1, 1], "kd": [0, 0, 9, 0]}


def test_a_stable_order_keeps_every_rank(tmp_path: Path) -> None:
    facts = gathered(make_store(tmp_path, ["baseline", "kd"], range(3), lambda arm, seed: 0.7 + 0.1 * (arm == "kd")))
    panel = seeds.panel(facts)
    assert panel.answer == "“kd” has the highest mean whichever seed is left out."
    assert "2 arms keep their rank whichever seed is left out." in panel.blocks[1].caption  # type: ignore[union-attr]
