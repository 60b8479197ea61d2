"""Accuracies from the literature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scl.errors import names_checked


@names_checked
@dataclass(frozen=True)
class Published:
    """Accuracies from the literature, which the page shows beside the results.

    Attributes:
        accuracy: arm, or `teacher` → test accuracy, a fraction.
        source: where the figures come from, and how they were measured.
        otherwise: arm → how its figure was measured, if differently.

    Example:
        from scl.study.study import Published

        table = Published({"kd": 0.7298, "teacher": 0.7464}, source="Tian et al., ICLR 2020: last epoch, 5 runs")
    """

    accuracy: Mapping[str, float]
    source: str
    otherwise: Mapping[str, str] = field(default_factory=dict)
