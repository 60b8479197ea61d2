"""A search space: parameters with their ranges, and the points in it. Plain data, without Optuna."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scl.errors import UserError, names_checked, shown, unknown
from scl.study.config import Config
from scl.study.numerals import real_from, whole_from
from scl.study.params import FIELDS, params
from scl.study.term import as_real, as_whole

MOST_PATHS = 256  # combinations of branches, each of which is checked before anything trains


@names_checked
@dataclass(frozen=True)
class Float:
    """A range of numbers, for a search.

    Attributes:
        low: the lowest value, included.
        high: the highest value, included.
        log: sample uniformly in the logarithm; low is then above 0.

    Example:
        import scl

        weight = scl.Float(0.1, 10.0, log=True)
    """

    low: float
    high: float
    log: bool = False


@names_checked
@dataclass(frozen=True)
class Int:
    """A range of whole numbers, for a search.

    Attributes:
        low: the lowest value, included.
        high: the highest value, included.
        log: sample uniformly in the logarithm; low is then 1 or more, and step is 1.
        step: distance of neighbouring values.

    Example:
        import scl

        neurons = scl.Int(0, 16, step=4)
    """

    low: int
    high: int
    log: bool = False
    step: int = 1


@names_checked
@dataclass(frozen=True)
class Choice:
    """A choice between several values, for a search.

    Attributes:
        choices: two or more different numbers, strings, True or False.

    Example:
        import scl

        temperature = scl.Choice((1.0, 4.0, 16.0))
    """

    choices: Sequence[Any]


@names_checked
@dataclass(frozen=True)
class Branch:
    """A choice whose choices have parameters of their own, which are searched only where that choice is taken.

    Attributes:
        branches: choice → its parameters by name: a range, or a plain value that this choice sets. A Branch under the
            name of a parameter (`optimizer`) chooses its value; another name, such as `method`, is a label alone.

    Example:
        import scl

        method = scl.Branch(
            {
                "kd": {"weight.kd": scl.Float(0.1, 10.0), "kd.temperature": scl.Float(1.0, 8.0)},
                "at": {"weight.at": scl.Float(10.0, 1000.0, log=True)},
                "none": {},
            }
        )
    """

    branches: Mapping[Any, Mapping[str, Any]]


Range = Float | Int | Choice | Branch
Space = Mapping[str, Any]  # parameter → its Range or, within a branch, a value that the branch sets


def is_label(name: str, range_: Any) -> bool:
    """Whether a name is that of a Branch alone, and of no parameter of a configuration."""
    return isinstance(range_, Branch) and "." not in name and name not in FIELDS


def is_range(value: Any) -> bool:
    return isinstance(value, (Float, Int, Choice, Branch))


def ranges(space: Space) -> dict[str, Range]:
    """Every range of a space by its name, those within branches too."""
    found: dict[str, Range] = {}
    for name, range_ in space.items():
        if is_range(range_):
            found[name] = range_
        if isinstance(range_, Branch):
            for inner in range_.branches.values():
                found |= ranges(inner)
    return found


def active(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """The ranges, and values that are set, which hold at a point: those of the branches that it takes."""
    found: dict[str, Any] = {}
    for name, range_ in space.items():
        found[name] = range_
        if isinstance(range_, Branch) and name in point and point[name] in range_.branches:
            found |= active(range_.branches[point[name]], point)
    return found


def changes(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """What a point changes in a configuration: its parameters and what its branches set, without labels."""
    held = active(space, point)
    given = {name: value for name, value in point.items() if not is_label(name, held.get(name))}
    return given | {name: value for name, value in held.items() if not is_range(value)}


def paths(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination of branches, as points that choose nothing else."""
    found: list[dict[str, Any]] = [{}]
    for name, range_ in space.items():
        if isinstance(range_, Branch):
            inner = [{name: choice, **path} for choice, sub in range_.branches.items() for path in paths(sub)]
            found = [{**path, **more} for path in found for more in inner]
    return iter(found)


def conditions(space: Space) -> dict[str, dict[str, list[Any]]]:
    """Parameter → branch → the choices under which it is searched, of the parameters within branches."""
    found: dict[str, dict[str, list[Any]]] = {}
    for name, range_ in space.items():
        if isinstance(range_, Branch):
            for choice, inner in range_.branches.items():
                for other in inner:
                    if is_range(inner[other]):
                        found.setdefault(other, {}).setdefault(name, []).append(choice)
                found |= conditions(inner)
    return found


def describe(range_: Range) -> dict[str, Any]:
    """A range as JSON: `low`, `high`, `log`, or `choices`; of a Branch also what its choices set."""
    if isinstance(range_, Branch):
        fixed = {str(c): {n: v for n, v in sub.items() if not is_range(v)} for c, sub in range_.branches.items()}
        sets = {choice: values for choice, values in fixed.items() if values}
        return {"choices": list(range_.branches), **({"sets": sets} if sets else {})}
    if isinstance(range_, Choice):
        return {"choices": list(range_.choices)}
    step = {"step": range_.step} if isinstance(range_, Int) and range_.step != 1 else {}
    return {"low": range_.low, "high": range_.high, "log": range_.log, **step}


def contains(range_: Range, value: Any) -> bool:
    """True if the range has this value."""
    if isinstance(range_, (Choice, Branch)):
        return value in choices(range_)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not range_.low <= value <= range_.high:
        return False
    return isinstance(range_, Float) or (isinstance(value, int) and (value - range_.low) % range_.step == 0)


def choices(range_: Choice | Branch) -> list[Any]:
    return list(range_.branches if isinstance(range_, Branch) else range_.choices)


def points_with(space: Space, value: Callable[[str, Range], Any]) -> list[dict[str, Any]]:
    """The points of a space that have these values, the one with the most parameters first.

    A label is in no configuration, so several branches may fit: `{}` fits all.

    value: takes a parameter and its range; None if it has no value.
    """
    points: list[dict[str, Any]] = [{}]
    for name, range_ in space.items():
        if not is_range(range_):
            fits = value(name, Choice((range_,))) == range_
            points = points if fits else []
        elif isinstance(range_, Branch):
            own = None if is_label(name, range_) else value(name, range_)
            inner = [
                {name: choice, **point}
                for choice, sub in range_.branches.items()
                if own is None or own == choice
                for point in points_with(sub, value)
            ]
            points = [{**point, **more} for point in points for more in inner]
        else:
            own = value(name, range_)
            points = [{**point, name: own} for point in points] if contains(range_, own) else []
    return sorted(points, key=len, reverse=True)


def point_of(config: Config, space: Space) -> dict[str, Any] | None:
    """A configuration's values in a space; None if it lies outside."""
    flat = params(config)
    return next(iter(points_with(space, lambda name, range_: flat.get(name))), None)


def check_point(space: Space, point: Mapping[str, Any]) -> None:
    """Raises UserError if values lie outside the space, or belong to a branch that the point does not take."""
    known, held = ranges(space), active(space, point)
    for name, value in point.items():
        if name not in known:
            raise UserError(f"starting point: {unknown('parameter', name, known)}")
        if name not in held:
            asked = ", ".join(f"{b} = {' or '.join(map(repr, c))}" for b, c in conditions(space)[name].items())
            raise UserError(f"starting point: {name} is searched only with {asked}, which the point does not say")
        if not contains(known[name], value):
            raise UserError(f"starting point: {name} = {value!r} lies outside {describe(known[name])}")


def fixed(space: Space, name: str, text: str) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """A space in which a parameter is held at a value, given as text (`--fix self_taught=8`); what the template gets
    instead; and the value. A parameter within a branch is held there. Raises UserError."""
    if name not in ranges(space):
        raise UserError(f"--fix: {unknown('parameter', name, ranges(space))}")
    if name not in space:
        value = _parse(name, text, ranges(space)[name])
        return _held(space, name, value), {}, value
    range_ = space[name]
    value = _parse(name, text, range_)
    rest = {n: r for n, r in space.items() if n != name}
    template = {} if is_label(name, range_) else {name: value}
    if isinstance(range_, Branch):
        inner = range_.branches[value]
        rest |= {n: r for n, r in inner.items() if is_range(r)}
        template |= {n: v for n, v in inner.items() if not is_range(v)}
    return rest, template, value


def _held(space: Space, name: str, value: Any) -> dict[str, Any]:
    """A space with a parameter within its branches held at a value."""
    found = {}
    for other, range_ in space.items():
        if other == name:
            range_ = value
        elif isinstance(range_, Branch):
            range_ = Branch({choice: _held(inner, name, value) for choice, inner in range_.branches.items()})
        found[other] = range_
    return found


def _parse(name: str, text: str, range_: Range) -> Any:
    if isinstance(range_, (Choice, Branch)):
        for choice in choices(range_):
            if repr(choice) == shown(text) or str(choice) == text:
                return choice
        raise UserError(f"--fix {name}: {unknown('value', text, map(str, choices(range_)))}")
    read, kind = (whole_from, "whole") if isinstance(range_, Int) else (real_from, "finite")
    try:
        return read(text)
    except ValueError:
        raise UserError(f"--fix {name}: must be a {kind} number, got {shown(text)}") from None


def ends(range_: Range) -> list[Any]:
    """The values by which a range is tested: its ends, or all its choices."""
    if isinstance(range_, (Choice, Branch)):
        return choices(range_)
    kind = float if isinstance(range_, Float) else int
    return [kind(range_.low), kind(range_.high)]


def space_problems(space: Space) -> list[str]:
    """What is wrong with ranges and branches, beside the configurations that they give."""
    problems: list[str] = []
    seen: dict[str, Any] = {}
    for name, range_ in _occurrences(space):
        problems += [f"search space, {name!r}: {problem}" for problem in _range_problems(range_)]
        if seen.setdefault(name, range_) != range_ and is_range(range_) and is_range(seen[name]):
            problems.append(
                f"search space, {name!r}: it stands in several places with different ranges; give it one range that "
                "covers them"
            )
        if is_label(name, range_) and difflib.get_close_matches(name, FIELDS, cutoff=0.8):
            problems.append(f"search space: {unknown('parameter', name, FIELDS)}; a label needs a name of its own")
    if not problems and _paths_of(space) > MOST_PATHS:
        problems.append(f"the search space has more than {MOST_PATHS} combinations of branches")
    if not problems:
        for path in paths(space):
            held = [name for name, _ in _taken(space, path)]
            twice = {name for name in held if held.count(name) > 1}
            problems += [f"search space, {name!r}: it stands twice where {path}" for name in sorted(twice)]
    return list(dict.fromkeys(problems))


def _occurrences(space: Space) -> Iterator[tuple[str, Any]]:
    """Every name of a space with what it has there, top level and branches."""
    for name, range_ in space.items():
        yield name, range_
        for inner in range_.branches.values() if isinstance(range_, Branch) and _is_tree(range_) else ():
            yield from ((n, r) for n, r in _occurrences(inner) if is_range(r) or not _is_simple(r))


def _taken(space: Space, path: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The names of a space along a path, each as often as it stands there."""
    for name, range_ in space.items():
        yield name, range_
        if isinstance(range_, Branch):
            yield from _taken(range_.branches[path[name]], path)


def _paths_of(space: Space) -> int:
    return math.prod(sum(map(_paths_of, r.branches.values())) for r in space.values() if isinstance(r, Branch))


def _is_tree(range_: Branch) -> bool:
    return isinstance(range_.branches, Mapping) and all(isinstance(i, Mapping) for i in range_.branches.values())


def _is_simple(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def _range_problems(range_: Any) -> list[str]:
    if not is_range(range_):
        return [f"a range must be a Float, an Int, a Choice or a Branch, got {shown(range_)}"]
    if isinstance(range_, Branch) and not _is_tree(range_):
        return ["a Branch takes a dict: choice → a dict of its parameters, {} if it has none"]
    if isinstance(range_, (Choice, Branch)):
        given = choices(range_)
        different = {repr(c) for c in given}
        return (
            ([] if len(different) > 1 else ["a choice needs two different values"])
            + ([] if len(different) == len(given) else ["a value occurs twice among its choices"])
            + ([] if all(map(_is_simple, given)) else ["choices must be numbers, strings, True or False"])
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
