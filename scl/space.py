"""What a search searches: parameters with their ranges, and how long and by what. Plain data, without Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scl.config import Config, UserError, params, unknown, with_params
from scl.errors import names_checked

FRESH_SEED = 1000  # the first of the seeds at which a search's winners run again
OBJECTIVES = {"val_acc": "maximize", "val_loss": "minimize", "macs": "minimize", "params": "minimize"}


@names_checked
@dataclass(frozen=True)
class Float:
    """A number between low and high, both included; log: uniform in its logarithm."""

    low: float
    high: float
    log: bool = False


@names_checked
@dataclass(frozen=True)
class Int:
    """A whole number between low and high, both included, in steps; log: uniform in its logarithm."""

    low: int
    high: int
    log: bool = False
    step: int = 1


@names_checked
@dataclass(frozen=True)
class Choice:
    """One of some values."""

    choices: Sequence[Any]


Range = Float | Int | Choice


@names_checked
@dataclass(frozen=True)
class Search:
    """A search over one arm's parameters.

    space: parameter, named as in `param.*` columns (`lr`, `weight.kd`, `kd.temperature`) → its range. template: what
    every searched configuration changes in the study's base. trials: configurations to try. objectives: names of
    OBJECTIVES; the first is the one that fixes the winners. winners: configurations that are run again on fresh
    seeds. start: parameter values to try first. reduction: of the trials at a rung of successive halving, one in
    so many goes on; first_rung: epochs before the first (None: a fifth of them); prune: whether to stop trials early
    at all (never with several objectives, for which Optuna has no pruners). batch: suggestions trained side by side.
    seed: at which all that is searched trains; none of those that winners and arms run at again, 1000 and up. With
    no winners nothing runs again: the search is all that the study does.
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
        """Raises UserError for a parameter that does not exist or changes nothing, a bad range, a bad start."""
        problems = [unknown("objective", o, OBJECTIVES) for o in self.objectives if o not in OBJECTIVES]
        if not self.objectives or not self.space:
            problems.append("a search needs an objective and a parameter to search")
        counts = {"trials": 1, "winners": 0, "batch": 1, "seed": 0}
        problems += [
            f"{name} must be {least} or more, got {getattr(self, name)}"
            for name, least in counts.items()
            if getattr(self, name) < least
        ]
        if self.seed >= FRESH_SEED:
            problems.append(f"seed must be below {FRESH_SEED}, where the seeds of winners begin, got {self.seed}")
        if self.reduction < 2 or (self.first_rung is not None and self.first_rung < 1):
            problems.append(
                f"successive halving needs a reduction of 2 or more and a first_rung of 1 or more, "
                f"got {self.reduction} and {self.first_rung}"
            )
        for name, range_ in self.space.items():
            problems += [f"search space, {name!r}: {problem}" for problem in _range_problems(range_)]
        if problems:
            raise UserError("; ".join(problems))
        weights = [n for n in self.space if n.startswith("weight.")]
        for name, range_ in self.space.items():
            # A loss's options can be set only where its weight is.
            needed = {w: _ends(self.space[w])[-1] for w in weights if w != name}
            for end in _ends(range_):
                try:
                    with_params(base, {**needed, name: end})
                except UserError as error:
                    raise UserError(f"search space, {name!r}: {error}") from None
        for point in self.start:
            self.inside(point)

    def inside(self, point: Mapping[str, Any]) -> None:
        """Raises UserError where a starting point lies outside of the space."""
        for name, value in point.items():
            if name not in self.space:
                raise UserError(f"starting point: {unknown('parameter', name, self.space)}")
            if not contains(self.space[name], value):
                raise UserError(f"starting point: {name} = {value!r} lies outside of {describe(self.space[name])}")

    def without(self, fixed: Mapping[str, str]) -> Search:
        """This search with some parameters held at a value, given as text (`--fix self_taught=8`)."""
        space, held = dict(self.space), {}
        for name, text in fixed.items():
            if name not in space:
                raise UserError(f"--fix: {unknown('parameter', name, self.space)}")
            held[name] = _parse(name, text, space.pop(name))
        start = tuple({k: v for k, v in point.items() if k not in held} for point in self.start)
        changed = {"space": space, "template": {**self.template, **held}, "start": start}
        return Search(**{**self.__dict__, **changed})

    def pruner(self, epochs: int) -> dict[str, int]:
        """What successive halving is set to for trials of so many epochs."""
        return {"min_resource": self.first_rung or max(1, epochs // 5), "reduction_factor": self.reduction}


def describe(range_: Range) -> dict[str, Any]:
    """A range as JSON: `low`, `high`, `log`, or `choices`."""
    if isinstance(range_, Choice):
        return {"choices": list(range_.choices)}
    step = {"step": range_.step} if isinstance(range_, Int) and range_.step != 1 else {}
    return {"low": range_.low, "high": range_.high, "log": range_.log, **step}


def contains(range_: Range, value: Any) -> bool:
    if isinstance(range_, Choice):
        return value in range_.choices
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not range_.low <= value <= range_.high:
        return False
    return isinstance(range_, Float) or (isinstance(value, int) and (value - range_.low) % range_.step == 0)


def point_of(config: Config, space: Mapping[str, Range]) -> dict[str, Any] | None:
    """A configuration's values in a space; None where it lies outside."""
    flat = params(config)
    point = {name: flat.get(name) for name in space}
    return point if all(contains(space[name], value) for name, value in point.items()) else None


def _parse(name: str, text: str, range_: Range) -> Any:
    if isinstance(range_, Choice):
        for choice in range_.choices:
            if str(choice) == text:
                return choice
        raise UserError(f"--fix {name}={text}: valid are {', '.join(map(str, range_.choices))}")
    try:
        return int(text) if isinstance(range_, Int) else float(text)
    except ValueError:
        raise UserError(f"--fix {name}={text}: must be a number") from None


def _ends(range_: Range) -> list[Any]:
    if isinstance(range_, Choice):
        return list(range_.choices)
    kind = float if isinstance(range_, Float) else int
    return [kind(range_.low), kind(range_.high)]


def _range_problems(range_: Range) -> list[str]:
    if not isinstance(range_, (Float, Int, Choice)):
        return [f"a range is a Float, an Int or a Choice, got {range_!r}"]
    if isinstance(range_, Choice):
        different = {repr(c) for c in range_.choices}
        simple = all(isinstance(c, (str, int, float, bool)) for c in range_.choices)
        return (
            ([] if len(different) > 1 else ["it changes nothing: a choice needs two different values"])
            + ([] if len(different) == len(range_.choices) else ["a value stands twice among its choices"])
            + ([] if simple else ["choices are numbers, strings, True or False"])
        )
    numbers = (range_.low, range_.high)
    if any(isinstance(n, bool) or not isinstance(n, (int, float)) or not math.isfinite(n) for n in numbers):
        return [f"its ends must be finite numbers, got {range_.low!r} and {range_.high!r}"]
    if isinstance(range_, Int) and not all(isinstance(n, int) for n in (*numbers, range_.step)):
        return [f"an Int has whole numbers, got {range_.low!r}, {range_.high!r}, step {range_.step!r}"]
    problems = []
    if range_.low >= range_.high:
        problems.append(f"it changes nothing: low must be below high, got {range_.low} and {range_.high}")
    if range_.log and range_.low <= 0:
        problems.append(f"a range on a log scale starts above 0, got {range_.low}")
    if isinstance(range_, Int) and (range_.step < 1 or (range_.log and range_.step != 1)):
        problems.append(f"step must be 1 or more, and 1 on a log scale, got {range_.step}")
    return problems
