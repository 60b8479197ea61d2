"""The configurations of a search as trials of the store. Nothing here needs Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from scl.errors import UserError
from scl.plain import plain
from scl.plan.plan import Plan
from scl.store.results import load
from scl.store.schema import param_text
from scl.store.tables import read_trials
from scl.study.config import Config
from scl.study.identity import Trial, requested, sha256, stored_name, trials_of
from scl.study.params import column, with_params
from scl.study.space import Choice, Float, Int, Range, Search, describe

ARM = "search"  # the arm of all searched trials
START_POINTS = 5  # configurations taken from --start-from


def search_of(plan: Plan) -> Search:
    assert plan.study.search is not None
    return plan.study.search


def searched_trial(plan: Plan, template: Config, point: Mapping[str, Any]) -> Trial:
    """The trial of some parameter values. Raises UserError if a value is refused."""
    config = with_params(template, point)
    seeds = [search_of(plan).seed]
    return trials_of({ARM: config}, seeds, plan.context.fingerprint, plan.teacher_ids.__getitem__)[0]


def kept_epoch(config: Config, curve: Mapping[int, float]) -> int:
    """The epoch whose network a completed trial keeps: its last or, with patience, the first of its best.

    curve: epoch → validation accuracy, not empty.
    """
    after = {e: v for e, v in curve.items() if e > config.pretrain_epochs} if config.patience else {}
    return min(after, key=lambda e: (-after[e], e)) if after else max(curve)


def name_in_optuna(plan: Plan) -> str:
    """The name of the search in Optuna's storage: a hash of its template, space, objectives, data and teacher."""
    search = search_of(plan)
    identity = {
        "template": requested(plan.template),
        "space": stored_space(search.space),
        "objectives": search.objectives,
        "data": plan.context.fingerprint,
        "teacher": plan.teacher_ids[search.seed],
    }
    return f"{plan.study.name}-{sha256(identity)[:12]}"


def stored_space(space: Mapping[str, Range]) -> dict[str, Any]:
    """A search space as JSON, by the stored names of its parameters."""
    return {stored_name(name): describe(range_) for name, range_ in space.items()}


def stored_point(row: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """The parameter values of a row of trials.parquet. Raises UserError if they lie outside the search space."""
    point = {name: _value(row.get(column(name)), range_) for name, range_ in search.space.items()}
    search.check_point(point)
    return point


def _value(cell: Any, range_: Range) -> Any:
    """A value of a frame as the range has it; None if it is missing. Rows of other arms may have made the column one of
    floats, because values are missing there, or of text, because they have a word there."""
    value = plain(cell)
    if value is None or value != value:
        return None
    if isinstance(range_, Choice):
        return next((c for c in range_.choices if value in (c, param_text(c))), value)
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
        with suppress(UserError):
            points.append(stored_point(row, search_of(plan)))
    if not points:
        raise UserError(f"--start-from {place!r}: none of its {len(rows)} completed trials lies in the search space")
    return points[:START_POINTS]


def draw(live: Any, search: Search) -> None:
    """Let Optuna choose a value for every parameter of its trial."""
    for name, range_ in search.space.items():
        stored = stored_name(name)
        if isinstance(range_, Choice):
            live.suggest_categorical(stored, list(range_.choices))
        elif isinstance(range_, Float):
            live.suggest_float(stored, range_.low, range_.high, log=range_.log)
        else:
            live.suggest_int(stored, range_.low, range_.high, step=range_.step, log=range_.log)


def lacks(search: Search, values: Mapping[str, Any]) -> bool:
    """Whether stored values lack a parameter: those of a suggestion that was cut off, or of which nothing is known."""
    return bool({stored_name(name) for name in search.space} - set(values))


def left_to_search(plan: Plan) -> int:
    """How many configurations the search has still to try, by the store alone: Optuna's storage is not opened."""
    if plan.study.search is None:
        return 0
    search, template = plan.study.search, plan.template
    rows = read_trials(plan.context.store)
    done = 0
    for row in rows[(rows["arm"] == ARM) & rows["state"].isin(["completed", "pruned"])].to_dict("records"):
        try:
            done += searched_trial(plan, template, stored_point(row, search)).trial_id == row["trial_id"]
        except UserError:
            continue  # it belongs to a search with other settings
    return max(0, (plan.options.trials or search.trials) - done)
