"""The declaration of a search: parameters with their ranges, objectives, and length. Plain data, without Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scl.errors import UserError, names_checked, shown, unknown
from scl.study.config import LARGEST, Config
from scl.study.numerals import real_from, whole_from
from scl.study.params import TERM_FIELDS, params, with_params
from scl.study.term import as_real, as_whole

MOST_TRIALS = 100_000  # of a study; their rows and plan fit into memory
FRESH_SEED = 1000  # the first seed of the trials that confirm a search's winners
OBJECTIVES = {"val_acc": "maximize", "val_loss": "minimize", "macs": "minimize", "params": "minimize"}


@names_checked
@dataclass(frozen=True)
class Float:
    """A number from low to high, both included. log: sample uniformly in the logarithm."""

    low: float
    high: float
    log: bool = False


@names_checked
@dataclass(frozen=True)
class Int:
    """A whole number from low to high, both included, in steps. log: sample uniformly in the logarithm."""

    low: int
    high: int
    log: bool = False
    step: int = 1


@names_checked
@dataclass(frozen=True)
class Choice:
    """One of several numbers, strings or booleans."""

    choices: Sequence[Any]


Range = Float | Int | Choice


@names_checked
@dataclass(frozen=True)
class Search:
    """A search over the parameters of one arm.

    Attributes:
        space: parameter → its range. Names as in `param.*` columns: `lr`, `weight.kd`, `kd.temperature`.
        template: changes to the study's base that all searched configurations share.
        trials: how many configurations to try.
        objectives: names of OBJECTIVES. The first ranks the winners.
        winners: how many configurations run again on fresh seeds, FRESH_SEED and up. 0 ends the study with the search.
        start: parameter values to try first.
        prune: stop weak trials early, by successive halving. Only with the single objective `val_acc`: Optuna has no
            pruners for several.
        reduction: one in so many trials passes a rung of successive halving.
        first_rung: epochs before the first rung. None: a fifth of all epochs.
        batch: how many suggestions train side by side.
        seed: of all searched trials, below FRESH_SEED.
    """

    space: Mapping[str, Range]
    template: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 40
    objectives: tuple[str, ...] = ("val_acc",)
    winners: int = 3
    start: tuple[Mapping[str, Any], ...] = ()
    prune: bool = True
    reduction: int = 3
    first_rung: int | None = None
    batch: int = 4
    seed: int = 0

    def check(self, base: Config) -> None:
        """Raises UserError for an unknown parameter, a range that is wrong or changes nothing, or a wrong start.

        base: the configuration that the search starts from.
        """
        problems = [unknown("objective", o, OBJECTIVES) for o in self.objectives if o not in OBJECTIVES]
        if not self.objectives or not self.space:
            problems.append("a search needs an objective and a parameter to search")
        counts = {
            "trials": (1, MOST_TRIALS),
            "winners": (0, MOST_TRIALS),
            "batch": (1, MOST_TRIALS),
            "seed": (0, FRESH_SEED - 1),  # winners have the seeds from there
            "reduction": (2, LARGEST["epochs"]),
            "first_rung": (1, LARGEST["epochs"]),
        }
        for name, (least, most) in counts.items():
            value = getattr(self, name)
            whole = as_whole(value)
            if (whole is None or not least <= whole <= most) and (name, value) != ("first_rung", None):
                problems.append(f"{name} must be a whole number of {least} to {most:,}, got {shown(value)}")
        for name, range_ in self.space.items():
            problems += [f"search space, {name!r}: {problem}" for problem in _range_problems(range_)]
            loss, _, last = name.partition(".")
            if last in TERM_FIELDS and not (loss in base.losses and callable(base.losses[loss].loss)):
                problems.append(f"search space, {name!r}: a search varies fields, weights and options of losses")
        if problems:
            raise UserError("; ".join(problems))
        weights = [n for n in self.space if n.startswith("weight.")]
        for name, range_ in self.space.items():
            # An option of a loss can be set only together with the loss's weight.
            needed = {w: _ends(self.space[w])[-1] for w in weights if w != name}
            for end in _ends(range_):
                try:
                    problem = with_params(base, {**needed, name: end}).neurons_problem
                except UserError as error:
                    problem = str(error)
                if problem:
                    raise UserError(f"search space, {name!r}: {problem}")
        for point in self.start:
            self.check_point(point)

    def check_point(self, point: Mapping[str, Any]) -> None:
        """Raises UserError if a starting point lies outside the space."""
        for name, value in point.items():
            if name not in self.space:
                raise UserError(f"starting point: {unknown('parameter', name, self.space)}")
            if not contains(self.space[name], value):
                raise UserError(f"starting point: {name} = {value!r} lies outside {describe(self.space[name])}")

    def without(self, fixed: Mapping[str, str]) -> Search:
        """This search with some parameters fixed at a value, given as text (`--fix self_taught=8`)."""
        space, fixed_values = dict(self.space), {}
        for name, text in fixed.items():
            if name not in space:
                raise UserError(f"--fix: {unknown('parameter', name, self.space)}")
            fixed_values[name] = _parse(name, text, space.pop(name))
        start = tuple({k: v for k, v in point.items() if k not in fixed_values} for point in self.start)
        return replace(self, space=space, template={**self.template, **fixed_values}, start=start)

    def pruner(self, epochs: int) -> dict[str, int]:
        """Optuna's settings of successive halving for trials of so many epochs."""
        return {"min_resource": self.first_rung or max(1, epochs // 5), "reduction_factor": self.reduction}


def winner(place: int) -> str:
    """The name of a search's winner as an arm; the best has place 1."""
    return f"winner-{place}"


def describe(range_: Range) -> dict[str, Any]:
    """A range as JSON: `low`, `high`, `log`, or `choices`."""
    if isinstance(range_, Choice):
        return {"choices": list(range_.choices)}
    step = {"step": range_.step} if isinstance(range_, Int) and range_.step != 1 else {}
    return {"low": range_.low, "high": range_.high, "log": range_.log, **step}


def contains(range_: Range, value: Any) -> bool:
    """True if the range has this value."""
    if isinstance(range_, Choice):
        return value in range_.choices
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not range_.low <= value <= range_.high:
        return False
    return isinstance(range_, Float) or (isinstance(value, int) and (value - range_.low) % range_.step == 0)


def point_of(config: Config, space: Mapping[str, Range]) -> dict[str, Any] | None:
    """A configuration's values in a space; None if it lies outside."""
    flat = params(config)
    point = {name: flat.get(name) for name in space}
    return point if all(contains(space[name], value) for name, value in point.items()) else None


def _parse(name: str, text: str, range_: Range) -> Any:
    if isinstance(range_, Choice):
        for choice in range_.choices:
            if repr(choice) == shown(text) or str(choice) == text:
                return choice
        raise UserError(f"--fix {name}: {unknown('value', text, map(str, range_.choices))}")
    read, kind = (whole_from, "whole") if isinstance(range_, Int) else (real_from, "finite")
    try:
        return read(text)
    except ValueError:
        raise UserError(f"--fix {name}: must be a {kind} number, got {shown(text)}") from None


def _ends(range_: Range) -> list[Any]:
    if isinstance(range_, Choice):
        return list(range_.choices)
    kind = float if isinstance(range_, Float) else int
    return [kind(range_.low), kind(range_.high)]


def _range_problems(range_: Range) -> list[str]:
    if not isinstance(range_, (Float, Int, Choice)):
        return [f"a range must be a Float, an Int or a Choice, got {range_!r}"]
    if isinstance(range_, Choice):
        different = {repr(c) for c in range_.choices}
        simple = all(isinstance(c, (str, int, float, bool)) for c in range_.choices)
        return (
            ([] if len(different) > 1 else ["a choice needs two different values"])
            + ([] if len(different) == len(range_.choices) else ["a value occurs twice among its choices"])
            + ([] if simple else ["choices must be numbers, strings, True or False"])
        )
    numbers = (range_.low, range_.high)
    if any(real is None or not math.isfinite(real) for real in map(as_real, numbers)):
        return [f"its ends must be finite numbers, got {shown(range_.low)} and {shown(range_.high)}"]
    if isinstance(range_, Int) and None in map(as_whole, (*numbers, range_.step)):
        return [f"an Int needs whole numbers, got {shown(numbers)}, step {shown(range_.step)}"]
    problems = []
    if range_.low >= range_.high:
        problems.append(f"low must be below high, got {range_.low} and {range_.high}")
    if range_.log and range_.low <= 0:
        problems.append(f"a range on a log scale must start above 0, got {range_.low}")
    if isinstance(range_, Int) and (range_.step < 1 or (range_.log and range_.step != 1)):
        problems.append(f"step must be 1 or more, and 1 on a log scale, got {range_.step}")
    return problems
