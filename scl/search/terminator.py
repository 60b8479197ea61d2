"""Whether a search has stopped improving: the rule of Optuna's BestValueStagnationEvaluator, over all trained trials.

Optuna's own module is deprecated, and leaves out the trials that were pruned: those improved nothing either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def best_of(trials: Sequence[Any], maximise: bool) -> Any:
    """The best completed trial of Optuna that keeps its constraints, the earliest of equals; None without one."""
    kept = [t for t in trials if t.state.name == "COMPLETE" and all(by <= 0 for by in t.constraints.values())]
    return min(kept, key=lambda t: (-t.value if maximise else t.value, t.number), default=None)


def stagnation(trials: Sequence[Any], maximise: bool) -> int:
    """How many trained trials of Optuna were suggested after the best one; 0 without a best one."""
    best = best_of(trials, maximise)
    trained = [t for t in trials if t.state.name == "COMPLETE" or (t.state.name == "PRUNED" and t.intermediate_values)]
    return 0 if best is None else sum(t.number > best.number for t in trained)


def why_ended(trials: Sequence[Any], maximise: bool, patience: int) -> str:
    """Why a search ends that has not improved for `patience` trials; empty if it goes on."""
    since = stagnation(trials, maximise)
    if since < patience:
        return ""
    best = best_of(trials, maximise).number
    return f"none of the last {since} configurations is better than trial {best} (terminator {patience})"
