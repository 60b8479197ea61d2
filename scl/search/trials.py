"""The configurations of a search as trials of the store. Nothing here needs Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from scl.errors import UserError
from scl.plain import plain
from scl.plan.plan import Plan
from scl.store.files import Folder
from scl.store.results import load
from scl.store.schema import param_text
from scl.store.study_file import read_study
from scl.store.tables import read_trials
from scl.study.config import Config
from scl.study.identity import Trial, from_stored, requested, sha256, stored_name, trials_of
from scl.study.params import column, with_params
from scl.study.search import Search
from scl.study.space import (
    Branch,
    Choice,
    Float,
    Int,
    Range,
    Space,
    active,
    changes,
    choices,
    conditions,
    describe,
    is_range,
    points_with,
    ranges,
)  # fmt: skip
from scl.train.reused import with_projector

ARM = "search"  # the arm of all searched trials
START_POINTS = 5  # configurations taken from --start-from


def search_of(plan: Plan) -> Search:
    assert plan.study.search is not None
    return plan.study.search


def searched_trials(plan: Plan, template: Config, point: Mapping[str, Any]) -> tuple[Trial, ...]:
    """The trials of some parameter values, one for each seed of the search. Raises UserError if a value is refused."""
    search = search_of(plan)
    config = with_projector(with_params(template, changes(search.space, point)), plan.teacher)
    about = plan.context.fingerprint, plan.teacher_ids.__getitem__, plan.teacher.model
    trials = trials_of({ARM: config}, search.seed_range, *about)
    return tuple(trials)


def name_in_optuna(plan: Plan) -> str:
    """The name of the search in Optuna's storage: a hash of its template, space, objectives, data and teacher, and of
    what else changes the values that Optuna is told."""
    search = search_of(plan)
    identity: dict[str, Any] = {
        "template": requested(plan.template),
        "space": stored_space(search.space),
        "objectives": search.objectives,
        "data": plan.context.fingerprint,
        "teacher": plan.teacher_ids[search.seed],
    }
    more: dict[str, Any] = {
        "seeds": search.seeds if search.seeds > 1 else None,
        "constraints": dict(search.constraints) or None,
        "judged_by": "seeds" if search.judged_by == "seeds" else None,
    }
    identity |= {name: value for name, value in more.items() if value is not None}
    return f"{plan.study.name}-{sha256(identity)[:12]}"


def stored_space(space: Space) -> dict[str, Any]:
    """A search space as JSON, by the stored names of its parameters. One within branches has `if`: where it is
    searched."""
    where = conditions(space)
    return {
        stored_name(name): describe(range_) | ({"if": where[name]} if name in where else {})
        for name, range_ in ranges(space).items()
    }


def stored_points(row: Mapping[str, Any], search: Search) -> list[dict[str, Any]]:
    """The parameter values that a row of trials.parquet may have come from, the likeliest first: a row has no labels of
    branches. Empty if it lies outside the search space."""
    return points_with(search.space, lambda name, range_: _value(row.get(column(name)), range_))


def trials_of_row(plan: Plan, row: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Trial, ...]] | None:
    """The point and the trials of the configuration of a row of trials.parquet; None if it is of another search."""
    for point in stored_points(row, search_of(plan)):
        with suppress(UserError):
            trials = searched_trials(plan, plan.template, point)
            if row["trial_id"] in {trial.trial_id for trial in trials}:
                return point, trials
    return None


def _value(cell: Any, range_: Range) -> Any:
    """A value of a frame as the range has it; None if it is missing. Rows of other arms may have made the column one of
    floats, because values are missing there, or of text, because they have a word there."""
    value = plain(cell)
    if value is None or value != value:
        return None
    if isinstance(range_, (Choice, Branch)):
        return next((c for c in choices(range_) if value in (c, param_text(c))), value)
    with suppress(TypeError, ValueError):
        number = float(value)
        return int(number) if isinstance(range_, Int) and number.is_integer() else number
    return value


def earlier_points(plan: Plan) -> list[dict[str, Any]]:
    """The best configurations by validation of the results at --start-from, of those in the search space."""
    place = plan.options.start_from
    if not place:
        return []
    rows = load(place).trials
    rows = rows[(rows["state"] == "completed") & rows["val_acc"].notna()].sort_values("val_acc", ascending=False)
    points: list[dict[str, Any]] = []
    for row in rows.drop_duplicates("config_id").to_dict("records"):
        points += stored_points(row, search_of(plan))[:1]
    if not points:
        raise UserError(f"--start-from {place!r}: none of its {len(rows)} completed trials lies in the search space")
    return points[:START_POINTS]


def draw(live: Any, space: Space) -> None:
    """Let Optuna choose a value for every parameter of its trial, of branches where they are taken."""
    for name, range_ in space.items():
        stored = stored_name(name)
        if isinstance(range_, (Choice, Branch)):
            choice = live.suggest_categorical(stored, choices(range_))
            if isinstance(range_, Branch):
                draw(live, range_.branches[choice])
        elif isinstance(range_, Float):
            live.suggest_float(stored, range_.low, range_.high, log=range_.log)
        elif isinstance(range_, Int):
            live.suggest_int(stored, range_.low, range_.high, step=range_.step, log=range_.log)


def distributions(optuna: Any, space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """The ranges that hold at a point, by their stored names, as Optuna has them."""
    kinds, found = optuna.distributions, {}
    for name, range_ in active(space, point).items():
        if isinstance(range_, (Choice, Branch)):
            found[stored_name(name)] = kinds.CategoricalDistribution(choices(range_))
        elif isinstance(range_, Float):
            found[stored_name(name)] = kinds.FloatDistribution(range_.low, range_.high, log=range_.log)
        elif isinstance(range_, Int):
            step, log = range_.step, range_.log
            found[stored_name(name)] = kinds.IntDistribution(range_.low, range_.high, step=step, log=log)
    return found


def lacks(search: Search, values: Mapping[str, Any]) -> bool:
    """Whether stored values lack a parameter: those of a suggestion that was cut off, or of which nothing is known."""
    held = active(search.space, from_stored(values))
    return bool({stored_name(name) for name, range_ in held.items() if is_range(range_)} - set(values))


def left_to_search(plan: Plan) -> int:
    """How many configurations the search has still to try, by the store alone: Optuna's storage is not opened."""
    if plan.study.search is None:
        return 0
    search = plan.study.search
    record = inspected(plan.context.store).get("search") or {}
    same = record.get("optuna_study") == name_in_optuna(plan) and record.get("terminator") == search.terminator
    if same and record.get("terminated"):
        return 0
    rows = read_trials(plan.context.store)
    rows = rows[(rows["arm"] == ARM) & rows["state"].isin(["completed", "pruned"])]
    states = dict(zip(rows["trial_id"], rows["state"], strict=True))
    done = set()
    for row in rows.to_dict("records"):
        if found := trials_of_row(plan, row):
            own = [states.get(trial.trial_id) for trial in found[1]]
            if None not in own or "pruned" in own:
                done.add(found[1][0].trial_id)
    return max(0, (plan.options.trials or search.trials) - len(done))


def inspected(store: Folder) -> dict[str, Any]:
    """The content of study.json; empty if there is none that can be read."""
    try:
        return read_study(store)
    except UserError:
        return {}
