"""Constraints on costs: whether a search can keep them, and what Optuna is told of a network's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from scl.errors import UserError
from scl.plan.feasibility import Feasibility
from scl.study.config import Config
from scl.study.fields import ARCHITECTURE
from scl.study.limits import excess, in_words, kept
from scl.study.params import with_params
from scl.study.search import MOST_MEASURED, Search, architectures
from scl.train.reused import with_projector


def check_reachable(search: Search, template: Config, feasibility: Feasibility) -> None:
    """Raises UserError if no network of the search space keeps the constraints on costs. A space with more than
    MOST_MEASURED networks is not checked."""
    seen: list[dict[str, float]] = []
    for point in (architectures(search.space, ARCHITECTURE, MOST_MEASURED) or []) if search.costs else []:
        with suppress(UserError):  # values that exclude each other
            config = with_projector(with_params(template, point), feasibility.teacher)
            cost = feasibility.cost(config, idle=search.needs_latency)
            seen.append({name: float(getattr(cost, name)) for name in search.costs})
            if kept(search.costs, seen[-1]):
                return
    if seen:
        least = ", ".join(f"{name} {_short(min(v[name] for v in seen))}" for name in search.costs)
        networks = "the network of the search space breaks" if len(seen) == 1 else f"all {len(seen)} networks break"
        raise UserError(
            f"constraints: {networks} {in_words(search.costs)}; the least is {least}. Allow more, or search smaller "
            "networks"
        )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def tell_costs(live: Any, limits: Mapping[str, float], values: Mapping[str, float]) -> str:
    """Tell Optuna's trial how far its costs are beyond their limits; returns the limits that it breaks, in words."""
    beyond = excess(limits, values)
    known = live.constraints  # of a trial that the store gave back
    for name, by in beyond.items():
        if name not in known:
            live.set_constraint(name, by)
    return in_words({name: limits[name] for name, by in beyond.items() if by > 0})
