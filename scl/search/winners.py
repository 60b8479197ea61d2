"""The winners of a search: the best configurations by validation, which run again on fresh seeds beside the arms."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from scl import stats
from scl.errors import UserError
from scl.plan.feasibility import Feasibility
from scl.plan.plan import Plan, with_arms
from scl.search.driver import SearchDriver
from scl.store.results import read_results
from scl.study.config import ARCHITECTURE, Config
from scl.study.identity import requested, sha256
from scl.study.params import with_params
from scl.study.space import OBJECTIVES, Choice, Float, Range, Search, winner

MOST_ARCHITECTURES = 16  # to measure before a search


def with_winners(plan: Plan, searcher: SearchDriver) -> tuple[Plan, dict[str, Config]]:
    """The plan with the search's trials first and then, on fresh seeds, its winners beside the arms."""
    winners = winners_of(searcher)
    confirmed = with_arms(plan, winners)
    # Blocks of a seed stay together: the trials of arms and winners at a seed share batches and teacher.
    ordered = sorted(confirmed.trials, key=lambda trial: trial.seed)
    return replace(confirmed, trials=[*searcher.searched_trials(), *ordered]), winners


def winners_of(searcher: SearchDriver) -> dict[str, Config]:
    """`winner-1`, … → configuration: the best completed ones, by validation alone.

    One objective: its best values, ties by validation loss, then the earlier suggestion. Several: those on the Pareto
    front, in the order of the first objective. A configuration that trains the same as an arm is skipped.
    """
    plan, search = searcher.plan, searcher.search
    read = read_results(searcher.store)
    rows = read.trials[read.trials["trial_id"].isin(searcher.trials) & (read.trials["state"] == "completed")]
    epochs = read.epochs
    losses = dict(zip(zip(epochs["trial_id"], epochs["epoch"], strict=True), epochs["val_loss"], strict=True))
    of_patience = {i for i in rows["trial_id"] if searcher.trials[i].config.patience}
    kept = rows["epochs"].where(~rows["trial_id"].isin(of_patience), rows["best_epoch"])
    val_loss = [losses.get(key, float("nan")) for key in zip(rows["trial_id"], kept, strict=True)]
    rows = rows.assign(val_loss=val_loss, order=rows["trial_id"].map(searcher.numbers))
    if len(search.objectives) > 1:
        signs = {o: 1.0 if OBJECTIVES[o] == "maximize" else -1.0 for o in search.objectives}
        rows = rows[stats.pareto(*(sign * rows[o].to_numpy(float) for o, sign in signs.items()))]
    first = search.objectives[0]
    rows = rows.sort_values([first, "val_loss", "order"], ascending=[OBJECTIVES[first] == "minimize", True, True])
    taken = {sha256(requested(config)) for config in plan.arms.values()}
    winners: dict[str, Config] = {}
    for trial_id in rows["trial_id"]:
        config = searcher.trials[trial_id].config
        if sha256(requested(config)) in taken or len(winners) == search.winners:
            continue
        try:
            plan.feasibility.check(plan.study, {**plan.arms, **winners, "winner": config})
        except UserError:
            continue  # it trains the same as an arm or a better winner
        winners[winner(len(winners) + 1)] = config
    return winners


def measure_architectures(search: Search, template: Config, feasibility: Feasibility) -> None:
    """Measure the cost of the networks in a search space before the search starts, while the machine is idle. A space
    with more than MOST_ARCHITECTURES is left out."""
    points: list[dict[str, Any]] = [{}]
    for name, range_ in search.space.items():
        if name in ARCHITECTURE:
            points = [{**point, name: value} for point in points for value in _values(range_)]
    if len(points) <= MOST_ARCHITECTURES:
        for point in points:
            with suppress(UserError):  # values that exclude each other
                feasibility.cost(with_params(template, point))


def _values(range_: Range) -> list[Any]:
    """The values of a range; none of a Float, which has too many."""
    if isinstance(range_, Choice):
        return list(range_.choices)
    return [] if isinstance(range_, Float) else list(range(range_.low, range_.high + 1, range_.step))
