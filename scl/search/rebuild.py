"""Optuna's study beside the store: where the two contradict, and what Optuna lacks.

The store has each searched trial with its number, its parameters and its result. So Optuna's storage may be lost, cut
off, damaged or an older one: what it lacks is added from the store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scl.errors import UserError, first_line
from scl.plan.plan import Plan
from scl.search.trials import ARM, kept_epoch, lacks, search_of, searched_trial, stored_point
from scl.store.results import Results
from scl.study.identity import Trial, from_stored, stored_name
from scl.study.space import Choice, Float, Range

STATES = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class Stored:
    """A trial of the search that the store has.

    point: parameter → value. curve: epoch → validation accuracy. val_loss: of the epoch whose network is kept;
    nan if it is not known.
    """

    trial: Trial
    number: int | None
    state: str
    point: Mapping[str, Any]
    curve: Mapping[int, float]
    val_loss: float


def stored_trials(plan: Plan, read: Results) -> list[Stored]:
    """The trials of this search in the store, by number; none of a search with other settings."""
    rows = read.trials[(read.trials["arm"] == ARM) & (read.trials["seed"] == search_of(plan).seed)]
    epochs = read.epochs[read.epochs["trial_id"].isin(rows["trial_id"])].sort_values("epoch")
    by_trial = dict(tuple(epochs.groupby("trial_id")))
    found = []
    for row in rows.to_dict("records"):
        try:
            point = stored_point(row, search_of(plan))
            trial = searched_trial(plan, plan.template, point)
        except UserError:
            continue
        if trial.trial_id != row["trial_id"]:
            continue
        history = by_trial.get(trial.trial_id, epochs[:0])
        curve = {int(e): float(v) for e, v in zip(history["epoch"], history["val_acc"], strict=True)}
        kept = None
        if curve:
            kept = kept_epoch(trial.config, curve) if row["state"] == "completed" else max(curve)
        if kept is not None and not math.isnan(row["val_acc"]):
            curve[kept] = float(row["val_acc"])  # epochs are float32
        number = None if math.isnan(row["number"]) else int(row["number"])
        loss = float("nan") if kept is None else float(history.set_index("epoch")["val_loss"][kept])
        found.append(Stored(trial, number, row["state"], point, curve, loss))
    return sorted(found, key=lambda each: (each.number is None, each.number))


def contradiction(plan: Plan, study: Any, stored: Sequence[Stored], directions: Sequence[str]) -> str:
    """How Optuna's study contradicts the store; empty if it does not. It may lack trials, or have more."""
    try:
        return _contradiction(plan, study, {each.trial.trial_id: each for each in stored}, directions)
    except Exception as error:  # Optuna takes any JSON from its storage
        return f"its content cannot be used: {first_line(error)[:200]}"


def _contradiction(plan: Plan, study: Any, stored: Mapping[str, Stored], directions: Sequence[str]) -> str:
    search = search_of(plan)
    if [direction.name.lower() for direction in study.directions] != list(directions):
        return "its objectives have other directions"
    trials = study.get_trials(deepcopy=False)
    times = Counter(each.number for each in stored.values())
    by_number = {each.number: each for each in stored.values() if times[each.number] == 1}
    for frozen in trials:
        state, named, owner = (
            STATES.get(frozen.state.name),
            frozen.user_attrs.get("trial_id"),
            by_number.get(frozen.number),
        )
        at = f"its trial {frozen.number}"
        if [t.number for t in trials[frozen.number : frozen.number + 1]] != [frozen.number]:
            return f"{at} is in another place"
        if frozen.state.name == "WAITING":
            continue
        if lacks(search, frozen.params):
            if owner or state in ("completed", "pruned"):
                return f"{at} has no parameters"
            continue
        try:
            identity = searched_trial(plan, plan.template, from_stored(frozen.params)).trial_id
        except UserError:
            if owner or state in ("completed", "pruned"):
                return f"{at} has parameters that are refused"
            continue
        if (owner and owner.trial.trial_id != identity) or (named in stored and named != identity):
            return f"{at} has other parameters than in the results"
        result = stored.get(identity)
        if result is None or state not in ("completed", "pruned"):
            continue
        if state != result.state:
            return f"{at} is {state}, and {result.state} in the results"
        known = {"val_acc": result.curve.get(max(result.curve, default=0)), "val_loss": result.val_loss}
        values = dict(zip(search.objectives, frozen.values or [], strict=False)) if state == "completed" else {}
        for name, value in values.items():
            if name in known and not _equal(value, known[name]):
                return f"{at} has another {name} than in the results"
        if any(
            epoch in result.curve and not _equal(v, result.curve[epoch])
            for epoch, v in frozen.intermediate_values.items()
        ):
            return f"{at} has another course than in the results"
    return ""


def _equal(one: float, two: float | None) -> bool:
    """Whether values are equal as float32, as epochs are stored; what is not known equals all."""
    return two is None or math.isnan(two) or bool(np.float32(one) == np.float32(two))


def add_missing(
    optuna: Any,
    study: Any,
    missing: Sequence[Stored],
    space: Mapping[str, Range],
    values_of: Callable[[Stored], list[float]],
    pruning: bool,
) -> None:
    """Add trials of the store to Optuna's study, under their numbers as far as these are free. A number that the store
    does not have was a repeated suggestion, or one that could not be built: it counts as failed.

    Args:
        missing: by number.
        values_of: the objectives of a completed trial; nan if one is not known, then it counts as failed.
        pruning: whether epochs are reported.
    """
    states, create = optuna.trial.TrialState, optuna.trial.create_trial
    following = len(study.get_trials(deepcopy=False))
    late = []  # whose number another trial has
    for each in missing:
        if each.number is None or each.number < following:
            late.append(each)
            continue
        for _ in range(following, each.number):
            study.add_trial(create(state=states.FAIL))
        study.add_trial(_frozen(optuna, each, space, values_of, pruning))
        following = each.number + 1
    for each in late:
        study.add_trial(_frozen(optuna, each, space, values_of, pruning))


def _frozen(
    optuna: Any, each: Stored, space: Mapping[str, Range], values_of: Callable[[Stored], list[float]], pruning: bool
) -> Any:
    states = optuna.trial.TrialState
    values = values_of(each) if each.state == "completed" else []
    complete = bool(values) and not any(map(math.isnan, values))
    state = states.COMPLETE if complete else states.PRUNED if each.state == "pruned" else states.FAIL
    curve = {epoch: value for epoch, value in each.curve.items() if pruning and not math.isnan(value)}
    return optuna.trial.create_trial(
        state=state,
        values=values if complete else [curve[max(curve)]] if state == states.PRUNED and curve else None,
        params={stored_name(name): each.point[name] for name in space},
        distributions={stored_name(name): distribution(optuna, range_) for name, range_ in space.items()},
        user_attrs={"trial_id": each.trial.trial_id},
        intermediate_values=curve,
    )


def distribution(optuna: Any, range_: Range) -> Any:
    """A range of the search as Optuna has it."""
    kinds = optuna.distributions
    if isinstance(range_, Choice):
        return kinds.CategoricalDistribution(list(range_.choices))
    if isinstance(range_, Float):
        return kinds.FloatDistribution(range_.low, range_.high, log=range_.log)
    return kinds.IntDistribution(range_.low, range_.high, step=range_.step, log=range_.log)
