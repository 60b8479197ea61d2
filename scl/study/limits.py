"""What a search optimises, and the limits that its configurations must keep. Plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scl.errors import shown, unknown
from scl.study import metrics
from scl.study.term import as_real

# Metrics are known after training, from each epoch's validation; costs before. Accuracies and F1 are fractions.
METRICS = {metric.validation: f"{metric.direction}imize" for metric in metrics.METRICS.values()}
COSTS = dict.fromkeys(metrics.COSTS, "minimize")
OBJECTIVES = {**METRICS, **COSTS}
AT_LEAST = frozenset(name for name, direction in OBJECTIVES.items() if direction == "maximize")


def limit_problems(limits: Mapping[str, float]) -> list[str]:
    """What is wrong with limits: name → the most that is allowed, the least of an accuracy or F1."""
    if not isinstance(limits, Mapping):
        return [f"constraints must be a dict of names and limits, got {shown(limits)}"]
    problems = []
    for name, limit in limits.items():
        real = as_real(limit)
        if name not in OBJECTIVES:
            problems.append(unknown("constraint", name, OBJECTIVES))
        elif real is None or not math.isfinite(real) or real <= 0:
            problems.append(f"constraint {name}: the limit must be a finite number above 0, got {shown(limit)}")
        elif name in AT_LEAST and real > 1:
            problems.append(f"constraint {name}: the least value is a fraction of 0 to 1, got {shown(limit)}")
    return problems


def excess(limits: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    """How far each value lies beyond its limit: above 0 breaks it, as Optuna counts; nan for an unknown value."""
    beyond = {name: float(values.get(name, math.nan)) - limit for name, limit in limits.items()}
    return {name: -by if name in AT_LEAST else by for name, by in beyond.items()}


def kept(limits: Mapping[str, float], values: Mapping[str, float]) -> bool:
    """Whether values keep all limits; an unknown value keeps none."""
    return all(by <= 0 for by in excess(limits, values).values())


def in_words(limits: Mapping[str, float]) -> str:
    """Limits as `latency_ms ≤ 5 and val_acc ≥ 0.9`."""
    return " and ".join(f"{name} {'≥' if name in AT_LEAST else '≤'} {limit:,.10g}" for name, limit in limits.items())
