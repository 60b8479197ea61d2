"""Optuna's study beside the store: where the two contradict, and what Optuna lacks.

The store has each searched configuration with its number, its parameters and the results of its seeds. So Optuna's
storage may be lost, cut off, damaged or an older one: what it lacks is added from the store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl.errors import UserError, first_line
from scl.plan.plan import Plan
from scl.search.outcomes import Outcome, mean_of, told
from scl.search.trials import ARM, distributions, lacks, search_of, searched_trials, trials_of_row
from scl.store.results import Results
from scl.study.identity import Trial, from_stored, stored_name
from scl.study.limits import METRICS, excess
from scl.study.search import Search
from scl.study.space import active, is_range

STATES = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed"}
UNFINISHED = "unfinished"
UNTRAINED = "untrained"  # an attribute of Optuna's trials that do not count: why they did not train


@dataclass(frozen=True)
class Stored:
    """A configuration of the search that the store has.

    trials: one for each seed of the search. number: of the first suggestion. state: completed on all seeds, pruned or
    failed on one, or unfinished. point: parameter → value. told: step → value that the pruner was told. values: metrics
    and costs, means over the seeds, as far as they are known.
    """

    trials: tuple[Trial, ...]
    number: int | None
    state: str
    point: Mapping[str, Any]
    told: Mapping[int, float]
    values: Mapping[str, float]

    @property
    def key(self) -> str:
        """What names it: the id of its first trial."""
        return self.trials[0].trial_id


def stored_configurations(plan: Plan, read: Results, known: Mapping[str, Outcome]) -> list[Stored]:
    """The configurations of this search in the store, by number; none of a search with other settings.

    known: the outcomes of the store's trials.
    """
    search = search_of(plan)
    rows = read.trials[(read.trials["arm"] == ARM) & read.trials["seed"].isin(search.seed_range)]
    found: dict[str, Stored] = {}
    for row in rows.sort_values("number").to_dict("records"):
        mine = trials_of_row(plan, row)
        if mine is None or mine[1][0].trial_id in found:
            continue
        point, trials = mine
        number = None if pd.isna(row["number"]) else int(row["number"])
        own = [known.get(trial.trial_id, Outcome()) for trial in trials]
        found[trials[0].trial_id] = Stored(trials, number, _state(own), point, told(search, own), mean_of(own))
    return sorted(found.values(), key=lambda each: (each.number is None, each.number))


def _state(own: Sequence[Outcome]) -> str:
    states = [outcome.state for outcome in own]
    return next((state for state in ("failed", "pruned", "") if state in states), "completed") or UNFINISHED


def contradiction(plan: Plan, study: Any, stored: Sequence[Stored], directions: Sequence[str]) -> str:
    """How Optuna's study contradicts the store; empty if it does not. It may lack trials, or have more."""
    try:
        return _contradiction(plan, study, {each.key: each for each in stored}, directions)
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
        if frozen.state.name == "WAITING" or UNTRAINED in frozen.user_attrs:
            continue
        if lacks(search, frozen.params):
            if owner or state in ("completed", "pruned"):
                return f"{at} has no parameters"
            continue
        try:
            identity = searched_trials(plan, plan.template, from_stored(frozen.params))[0].trial_id
        except UserError:
            if owner or state in ("completed", "pruned"):
                return f"{at} has parameters that are refused"
            continue
        if (owner and owner.key != identity) or (named in stored and named != identity):
            return f"{at} has other parameters than in the results"
        result = stored.get(identity)
        if result is None or result.state == UNFINISHED or state not in ("completed", "pruned"):
            continue
        if state != result.state:
            return f"{at} is {state}, and {result.state} in the results"
        values = dict(zip(search.objectives, frozen.values or [], strict=False)) if state == "completed" else {}
        for name, value in values.items():
            if name in METRICS and not _equal(value, result.values.get(name)):
                return f"{at} has another {name} than in the results"
        if any(
            step in result.told and not _equal(v, result.told[step]) for step, v in frozen.intermediate_values.items()
        ):
            return f"{at} has another course than in the results"
    return ""


def _equal(one: float, two: float | None) -> bool:
    """Whether values are equal as float32, as epochs are stored; what is not known equals all."""
    return two is None or math.isnan(two) or math.isclose(one, two, rel_tol=2e-7, abs_tol=1e-30)


def add_missing(
    optuna: Any, study: Any, missing: Sequence[Stored], search: Search, values_of: Callable[[Stored], list[float]]
) -> None:
    """Add configurations of the store to Optuna's study, under their numbers as far as these are free. A number that
    the store does not have was a repeated suggestion, or one that could not be built: it counts as failed. If there are
    constraints on costs, it most likely broke one, and does not count.

    Args:
        missing: by number.
        values_of: the objectives of a completed configuration; nan if one is not known, then it counts as failed.
    """
    states, create = optuna.trial.TrialState, optuna.trial.create_trial
    following = len(study.get_trials(deepcopy=False))
    late = []  # whose number another trial has
    gap = {UNTRAINED: "not known any more"} if search.costs else {}
    for each in missing:
        if each.number is None or each.number < following:
            late.append(each)
            continue
        for _ in range(following, each.number):
            study.add_trial(create(state=states.FAIL, user_attrs=gap))
        study.add_trial(_frozen(optuna, each, search, values_of))
        following = each.number + 1
    for each in late:
        study.add_trial(_frozen(optuna, each, search, values_of))


def _frozen(optuna: Any, each: Stored, search: Search, values_of: Callable[[Stored], list[float]]) -> Any:
    states = optuna.trial.TrialState
    values = values_of(each) if each.state == "completed" else []
    beyond = excess(search.constraints if values else search.costs, each.values)
    complete = bool(values) and not any(map(math.isnan, [*values, *beyond.values()]))
    ended = {"pruned": states.PRUNED, UNFINISHED: states.RUNNING}.get(each.state, states.FAIL)
    state = states.COMPLETE if complete else ended
    steps = {step: value for step, value in each.told.items() if search.judged_by and not math.isnan(value)}
    return optuna.trial.create_trial(
        state=state,
        values=values if complete else [steps[max(steps)]] if state == states.PRUNED and steps else None,
        params={
            stored_name(name): each.point[name] for name, r in active(search.space, each.point).items() if is_range(r)
        },
        distributions=distributions(optuna, search.space, each.point),
        user_attrs={"trial_id": each.key},
        intermediate_values=steps,
        constraints={name: by for name, by in beyond.items() if not math.isnan(by)},
    )
