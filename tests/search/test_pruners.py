"""Pruners by name, with the settings that a search gives them."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from scl.search.pruners import make_pruner, settings_of
from scl.study.search import PRUNERS, Search
from scl.study.space import Float

SPACE = {"lr": Float(0.1, 0.2)}


@pytest.mark.parametrize(
    ("pruner", "kind", "settings"),
    [
        ("halving", optuna.pruners.SuccessiveHalvingPruner, {"min_resource": 6, "reduction_factor": 3}),
        ("hyperband", optuna.pruners.HyperbandPruner,
         {"min_resource": 6, "reduction_factor": 3, "max_resource": 30}),
        ("median", optuna.pruners.MedianPruner, {"n_warmup_steps": 5}),
        ("wilcoxon", optuna.pruners.WilcoxonPruner, {"p_threshold": 0.1}),
        ("none", optuna.pruners.NopPruner, {}),
    ],
)  # fmt: skip
def test_a_name_is_a_pruner_of_optuna(pruner: str, kind: type, settings: dict[str, Any]) -> None:
    search = Search(SPACE, pruner=pruner)
    assert settings_of(search, 30) == settings
    assert type(make_pruner(optuna, search, 30)) is kind
    assert pruner in PRUNERS


def test_the_first_rung_is_given_or_a_fifth_and_no_later_than_the_end() -> None:
    rungs = [settings_of(Search(SPACE, first_rung=first), epochs)["min_resource"]
             for first, epochs in ((None, 30), (None, 3), (2, 30), (40, 30))]  # fmt: skip
    assert rungs == [6, 1, 2, 30]
