"""What a search optimised, as columns of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scl.report.facts import Facts
from scl.report.formatting import UNITS
from scl.study.limits import OBJECTIVES
from scl.study.metrics import COSTS, DEFAULT, METRICS, Metric


@dataclass(frozen=True)
class Objective:
    """A column of trials.parquet and its direction. unit: the factor of a shown value."""

    name: str
    maximise: bool

    @property
    def metric(self) -> Metric | None:
        """The metric that the column holds, on test or validation images; None for a cost."""
        return next((m for m in METRICS.values() if self.name in (m.column, m.validation)), None)

    @property
    def sign(self) -> float:
        """1 if more is better, else −1."""
        return 1.0 if self.maximise else -1.0

    @property
    def unit(self) -> float:
        return UNITS[self.metric.unit].factor if self.metric else 1.0

    @property
    def measured(self) -> bool:
        """Whether luck moves it: accuracies and losses, not the cost of a network."""
        return self.metric is not None

    @property
    def title(self) -> str:
        if self.metric is None:
            return COSTS.get(self.name, self.name)
        part = "test" if self.name == self.metric.column else "validation"
        return f"{part} {self.metric.words}, {self.metric.unit}"


ACCURACY = Objective(METRICS[DEFAULT].validation, True)


def objectives(facts: Facts) -> list[Objective]:
    """The objectives of the search that trials.parquet holds, or else validation accuracy.

    study.json names them in a dict, name → direction, or in a list of {name, direction}.
    """
    named = facts.study.get("objectives") or {}
    pairs = named.items() if isinstance(named, Mapping) else [(o.get("name"), o.get("direction", "max")) for o in named]
    found = [Objective(str(name), not str(direction).startswith("min")) for name, direction in pairs]
    return [o for o in found if o.name in facts.searched.columns] or [ACCURACY]


def limits(facts: Facts) -> dict[str, float]:
    """The constraints that the search had to keep: name of a metric on validation images, or of a cost → its limit."""
    about = (facts.study.get("search") or {}).get("constraints") or {}
    return {str(name): float(limit) for name, limit in about.items()}


def objective_of(name: str) -> Objective:
    """A metric or a cost that is no objective of the search."""
    return Objective(name, OBJECTIVES.get(name, "minimize").startswith("max"))
