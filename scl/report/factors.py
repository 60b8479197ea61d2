"""The factors of a study whose arms are combinations of levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Factors:
    """levels: arm → factor → level, for the arms that have one of each factor. order: factor → its levels in order.

    across: the factor along an axis. by: the factor that colours show.
    """

    levels: Mapping[str, Mapping[str, str]]
    order: Mapping[str, tuple[str, ...]]
    across: str
    by: str

    @property
    def others(self) -> list[str]:
        """The factors beside `by`."""
        return [name for name in self.order if name != self.by]


def factor_names(study: Mapping[str, Any]) -> list[str]:
    """The declared factors with at least two levels."""
    declared = study.get("factors") or {}
    # `control` names the control of equal width; the self-taught panel shows it, and it does not cross other factors.
    return [name for name, about in declared.items() if len(_levels(about)) > 1 and name != "control"]


def factors_of(study: Mapping[str, Any], arms: Sequence[str]) -> Factors | None:
    """The factors of these arms; None with fewer than two. If `depth` is one, it lies along the axis."""
    declared, placed, names = study.get("factors") or {}, study.get("arm_levels") or {}, factor_names(study)
    if len(names) < 2:
        return None
    levels = {
        arm: {name: level_text(placed[arm][name]) for name in names}
        for arm in arms
        if arm in placed and all(name in placed[arm] for name in names)
    }
    present = {name: {at[name] for at in levels.values()} for name in names}
    order = {
        name: tuple(level for level in map(level_text, _levels(declared[name])) if level in present[name])
        for name in names
    }
    numeric = [name for name in names if all(_is_number(level) for level in _levels(declared[name]))]
    across = "depth" if "depth" in names else max(numeric or names, key=lambda name: len(order[name]))
    by = "loss" if "loss" in names and across != "loss" else next(name for name in names if name != across)
    return Factors(levels, order, across, by)


def level_text(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _levels(about: Any) -> list[Any]:
    return list(about.get("levels", [])) if isinstance(about, dict) else list(about or [])


def _is_number(level: Any) -> bool:
    return isinstance(level, (int, float)) and not isinstance(level, bool)
