"""Optuna's pruners by the names of PRUNERS. Optuna is imported late, by who calls this."""

from __future__ import annotations

from typing import Any

from scl.study.search import Search


def settings_of(search: Search, epochs: int) -> dict[str, Any]:
    """What Optuna's pruner of a search is made with, for trials of so many epochs."""
    rung = min(search.first_rung or max(1, epochs // 5), epochs)
    halving: dict[str, Any] = {"min_resource": rung, "reduction_factor": search.reduction}
    settings: dict[str, dict[str, Any]] = {
        "halving": halving,
        "hyperband": {**halving, "max_resource": epochs},
        "median": {"n_warmup_steps": rung - 1},  # steps are epochs, from 1
        "wilcoxon": {"p_threshold": 0.1},
        "none": {},
    }
    return settings[search.pruner_name]


def make_pruner(optuna: Any, search: Search, epochs: int) -> Any:
    pruners = optuna.pruners
    kinds = {
        "halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
        "median": pruners.MedianPruner,
        "wilcoxon": pruners.WilcoxonPruner,
        "none": pruners.NopPruner,
    }
    return kinds[search.pruner_name](**settings_of(search, epochs))
