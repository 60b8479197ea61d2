"""The winners of a search: the best configurations by validation, which run again on fresh seeds beside the arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from scl import stats
from scl.errors import UserError
from scl.plan.feasibility import Feasibility
from scl.plan.plan import Plan, with_arms
from scl.search.driver import SearchDriver
from scl.study.config import Config
from scl.study.fields import ARCHITECTURE
from scl.study.identity import requested, sha256
from scl.study.limits import OBJECTIVES, kept
from scl.study.params import with_params
from scl.study.search import MOST_MEASURED, Search, architectures, winner
from scl.train.reused import with_projector

MOST_ARCHITECTURES = 16  # to measure before a search


def with_winners(plan: Plan, searcher: SearchDriver) -> tuple[Plan, dict[str, Config]]:
    """The plan with the search's trials first and then, on fresh seeds, its winners beside the arms."""
    winners = winners_of(searcher)
    confirmed = with_arms(plan, winners)
    # Blocks of a seed stay together: the trials of arms and winners at a seed share batches and teacher.
    ordered = sorted(confirmed.trials, key=lambda trial: trial.seed)
    return replace(confirmed, trials=[*searcher.configurations.in_order(), *ordered]), winners


def winners_of(searcher: SearchDriver) -> dict[str, Config]:
    """`winner-1`, … → configuration: the best completed ones that keep every constraint, by validation alone.

    One objective: its best values, ties by validation loss, then the earlier suggestion. Several: those on the Pareto
    front, in the order of the first objective. A configuration that trains the same as an arm is skipped.
    """
    plan, search, known = searcher.plan, searcher.search, searcher.configurations
    found = [(each, known.values(each)) for each in known.completed()]
    found = [(each, values) for each, values in found if kept(search.constraints, values)]
    found = [(each, values) for each, values in found if set(search.objectives) <= set(values)]
    if len(search.objectives) > 1 and found:
        columns = [np.array([_signed(o, values) for _, values in found]) for o in search.objectives]
        found = [pair for pair, on in zip(found, stats.pareto(*columns), strict=True) if on]
    first = search.objectives[0]
    found.sort(key=lambda pair: (-_signed(first, pair[1]), pair[1].get("val_loss", math.inf), pair[0].number))
    taken = {sha256(requested(config)) for config in plan.arms.values()}
    winners: dict[str, Config] = {}
    for each, _ in found:
        config = each.trials[0].config
        if sha256(requested(config)) in taken or len(winners) == search.winners:
            continue
        try:
            plan.feasibility.check(plan.study, {**plan.arms, **winners, "winner": config})
        except UserError:
            continue  # it trains the same as an arm or a better winner
        winners[winner(len(winners) + 1)] = config
    return winners


def _signed(objective: str, values: Mapping[str, float]) -> float:
    """A value of which more is better."""
    return values[objective] if OBJECTIVES[objective] == "maximize" else -values[objective]


def measure_architectures(search: Search, template: Config, feasibility: Feasibility) -> None:
    """Measure the cost of the networks in a search space before the search starts, while the machine is idle. A space
    with more than MOST_ARCHITECTURES is left out, unless the search needs their latency."""
    most = MOST_MEASURED if search.needs_latency else MOST_ARCHITECTURES
    for point in architectures(search.space, ARCHITECTURE, most) or []:
        with suppress(UserError):  # values that exclude each other
            feasibility.cost(with_projector(with_params(template, point), feasibility.teacher))
