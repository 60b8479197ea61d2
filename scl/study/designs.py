"""Designs: functions that make a study's arms in one line each, and record each arm's level of each factor.

    arms = {"baseline": {}} | grid({"lr": [0.05, 0.1], "self_taught": [0, 8]})

A design is a mapping of arms (name → what it changes), and `|` joins designs and plain dicts. Seeds are not a factor:
every arm runs at every seed, and a seed is a block. Ids depend on what an arm changes, not on its design, so arms,
levels and seeds can be added at any time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scl.errors import UserError, definition, names_checked, unknown
from scl.study.network import model_name

Changes = Mapping[str, Any]
Level = int | float | str | bool
# The levels of a factor: values of the field with the factor's name, or names and what each changes.
Levels = Sequence[Any] | Mapping[str, Changes]


@names_checked
@dataclass(frozen=True)
class Design(Mapping[str, Changes]):
    """Arms, the kind of design, and the level of each factor in each arm. A mapping of arms; `|` joins designs.

    Attributes:
        arms: name → what the arm changes.
        kind: of the design, in words for the page.
        levels: arm → factor → level.
        contrasts: the differences of arms for which the design was made, in a form of `scl.study.contrasts`. A study
            with these arms declares them.
        roles: arm → role, for its controls.

    Example:
        from scl import designs

        arms = {"baseline": {}} | designs.Design({"kd": {"losses": {"kd": 0.9}}}, kind="by hand")
    """

    arms: Mapping[str, Changes]
    kind: str = "arms"
    levels: Mapping[str, Mapping[str, Level]] = field(default_factory=dict)
    contrasts: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, arm: str) -> Changes:
        return self.arms[arm]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arms)

    def __len__(self) -> int:
        return len(self.arms)

    def __or__(self, other: Mapping[str, Changes]) -> Design:
        return _join(self, as_design(other))

    def __ror__(self, other: Mapping[str, Changes]) -> Design:
        return _join(as_design(other), self)

    @property
    def factors(self) -> dict[str, dict[str, list[Level]]]:
        """The levels of each factor, in the order of the arms."""
        found: dict[str, list[Level]] = {}
        for levels in self.levels.values():
            for factor, level in levels.items():
                known = found.setdefault(factor, [])
                if level not in known:
                    known.append(level)
        return {factor: {"levels": levels} for factor, levels in found.items()}


def as_design(arms: Mapping[str, Changes]) -> Design:
    return arms if isinstance(arms, Design) else Design(arms)


def _join(one: Design, two: Design) -> Design:
    clash = [arm for arm in one if arm in two and one[arm] != two[arm]]
    if clash:
        raise UserError(f"two designs have an arm {clash[0]!r} that changes different things; rename one")
    said: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("the contrast", one.contrasts, two.contrasts),
        ("a role for", one.roles, two.roles),
    ]
    for what, mine, theirs in said:
        for name in mine:
            if theirs.get(name, mine[name]) != mine[name]:
                raise UserError(f"two designs have {what} {name!r}: {mine[name]} and {theirs[name]}; change one")
    levels = {arm: {**one.levels.get(arm, {}), **two.levels.get(arm, {})} for arm in {**one.levels, **two.levels}}
    kinds = dict.fromkeys(k for d in (one, two) for k in d.kind.split(" + ") if k != "arms")
    return Design(
        {**one.arms, **two.arms},
        " + ".join(kinds) or "arms",
        levels,
        {**one.contrasts, **two.contrasts},
        {**one.roles, **two.roles},
    )


@definition
def grid(factors: Mapping[str, Levels], changes: Callable[..., Changes] | None = None) -> Design:
    """Full factorial: an arm for every combination of levels, named `factor=level/factor=level`.

    Args:
        factors: factor → its levels: values of the field or parameter with the factor's name, or names of levels and
            what each changes.
        changes: called with a level of each factor by name, returns what that arm changes. For factors that depend on
            each other, such as loss weights that were tuned for each depth. None: each level is applied separately.

    Raises:
        UserError: a factor has fewer than two levels or two equal ones; two factors set one field.

    Example:
        from scl import designs

        arms = {"baseline": {}} | designs.grid({"weight.kd": [0.5, 2.0], "kd.temperature": [1.0, 4.0, 16.0]})
    """
    return _factorial("full factorial", factors, itertools.product(*_checked(factors)), changes)


@definition
def fractional(
    factors: Mapping[str, Levels],
    generators: Mapping[str, Sequence[str]],
    changes: Callable[..., Changes] | None = None,
) -> Design:
    """Fractional factorial 2^(k−p) of factors with two levels each.

    Args:
        factors: factor → its two levels, as for `grid`.
        generators: for each of p factors, the other factors whose product of signs sets it (first level −,
            second level +): `{"D": ("A", "B", "C")}` is the half fraction D = ABC (Box, Hunter & Hunter,
            *Statistics for Experimenters*, 2nd ed., ch. 6).
        changes: as for `grid`.

    Raises:
        UserError: a factor does not have two levels; a generator names something else than basic factors.

    Example:
        from scl import designs

        levels = {"weight.kd": [0.5, 2.0], "kd.temperature": [1.0, 4.0], "lr": [0.02, 0.1]}
        arms = {"baseline": {}} | designs.fractional(levels, {"lr": ("weight.kd", "kd.temperature")})
    """
    levels = dict(zip(factors, _checked(factors), strict=True))
    wide = [name for name in levels if len(levels[name]) != 2]
    if wide:
        raise UserError(f"a fractional factorial has two levels a factor, {wide[0]!r} has {len(levels[wide[0]])}")
    basic = [name for name in factors if name not in generators]
    for name, words in generators.items():
        if name not in factors:
            raise UserError(unknown("factor", name, factors))
        wrong = [w for w in words if w not in basic]
        if wrong or len(set(words)) < 2:
            raise UserError(
                f"the generator of {name!r} is the product of two or more of {', '.join(basic)}; got {words}"
            )
    runs = []
    for signs in itertools.product((-1, 1), repeat=len(basic)):
        sign = dict(zip(basic, signs, strict=True))
        for name, words in generators.items():
            sign[name] = 1
            for word in words:
                sign[name] *= sign[word]
        runs.append(tuple(levels[name][sign[name] > 0] for name in factors))
    shortest = resolution(generators)
    kind = f"2^({len(factors)}-{len(generators)}) fractional factorial of resolution {shortest}"
    return _factorial(kind, factors, runs, changes)


def resolution(generators: Mapping[str, Sequence[str]]) -> int:
    """The length of the shortest word of the defining relation: 3 confounds main effects with interactions of two
    factors, 4 with those of three. 0 if no factor is generated.

    Args:
        generators: as for `fractional`.

    Example:
        from scl import designs

        length = designs.resolution({"D": ("A", "B", "C")})  # 4
    """
    words = [frozenset(words) | {name} for name, words in generators.items()]
    products = []
    for n in range(1, len(words) + 1):
        for chosen in itertools.combinations(words, n):
            product: frozenset[str] = frozenset()
            for word in chosen:
                product ^= word
            products.append(len(product))
    return min(products, default=0)


@definition
def one_at_a_time(factors: Mapping[str, Levels], base: str = "baseline") -> Design:
    """The arm `base`, which changes nothing, and one arm for each level: `factor=level`.

    Args:
        factors: factor → its levels, one or more, as for `grid`.
        base: the name of that arm.

    Raises:
        UserError: a factor has no level, or two equal ones.

    Example:
        from scl import designs

        arms = designs.one_at_a_time({"lr": [0.02, 0.1], "self_taught": [4, 8]})
    """
    _checked(factors, least=1)
    arms: dict[str, Changes] = {base: {}}
    levels: dict[str, dict[str, Level]] = {base: dict.fromkeys(factors, "base")}
    for factor, of in factors.items():
        for level in of:
            name = _name({factor: level})
            arms[name] = _changes(factor, of, level)
            levels[name] = {**levels[base], factor: level}
    return Design(arms, "one factor at a time", levels)


@definition
def leave_one_out(parts: Mapping[str, Changes], full: str = "full") -> Design:
    """The arm `full` with every part, and for each part an arm `without PART`.

    Its contrasts are what each part is worth: the full method minus the arm without the part.

    Args:
        parts: part → what it changes.
        full: the name of the arm with every part.

    Raises:
        UserError: a part changes nothing; two parts set one field.

    Example:
        from scl import designs

        parts = {"kd": {"losses": {"kd": 0.9}}, "at": {"losses": {"at": 10.0}}, "neurons": {"self_taught": 4}}
        arms = {"baseline": {}} | designs.leave_one_out(parts)
    """
    _check_parts(parts)
    without = {one: f"without {one}" for one in parts}
    subsets = {full: list(parts)} | {without[one]: [p for p in parts if p != one] for one in parts}
    worth = {f"What is {one} worth in {full}?": (full, arm) for one, arm in without.items()}
    return replace(_of_parts("leave one out", parts, subsets), contrasts=worth)


@definition
def add_one_in(parts: Mapping[str, Changes], none: str = "baseline") -> Design:
    """The arm `none` with no part, and for each part an arm `only PART`.

    Args:
        parts: part → what it changes.
        none: the name of the arm without a part.

    Raises:
        UserError: a part changes nothing.

    Example:
        from scl import designs

        arms = designs.add_one_in({"kd": {"losses": {"kd": 0.9}}, "at": {"losses": {"at": 10.0}}})
    """
    _check_parts(parts)
    return _of_parts("add one in", parts, {none: []} | {f"only {one}": [one] for one in parts})


@definition
def on_off(parts: Mapping[str, Changes]) -> dict[str, dict[str, Changes]]:
    """Parts as factors with the levels `off` and `on`, for `grid` and `fractional`.

    Args:
        parts: part → what it changes.

    Raises:
        UserError: a part changes nothing.

    Example:
        from scl import designs

        parts = {"kd": {"losses": {"kd": 0.9}}, "neurons": {"self_taught": 4}}
        arms = {"baseline": {}} | designs.grid(designs.on_off(parts))
    """
    _check_parts(parts)
    return {name: {"off": {}, "on": changes} for name, changes in parts.items()}


def _of_parts(kind: str, parts: Mapping[str, Changes], subsets: Mapping[str, list[str]]) -> Design:
    arms = {arm: _merged({p: parts[p] for p in chosen}) for arm, chosen in subsets.items()}
    levels: dict[str, dict[str, Level]] = {
        arm: {p: "on" if p in chosen else "off" for p in parts} for arm, chosen in subsets.items()
    }
    return Design(arms, kind, levels)


def _factorial(
    kind: str, factors: Mapping[str, Levels], runs: Iterable[tuple[Any, ...]], changes: Callable[..., Changes] | None
) -> Design:
    arms: dict[str, Changes] = {}
    levels: dict[str, dict[str, Level]] = {}
    for run in runs:
        at = dict(zip(factors, run, strict=True))
        name = _name(at)
        if name in arms:
            raise UserError(f"two arms are called {name!r}; name the levels of their factors")
        arms[name] = (
            changes(**at) if changes else _merged({f: _changes(f, factors[f], level) for f, level in at.items()})
        )
        levels[name] = {factor: level if isinstance(level, Level) else _text(level) for factor, level in at.items()}
    return Design(arms, kind, levels)


def _changes(factor: str, levels: Levels, level: Any) -> Changes:
    return levels[level] if isinstance(levels, Mapping) else {factor: level}


def _text(level: Any) -> str:
    if isinstance(level, float):
        return f"{level:g}"
    if callable(level):  # an own network
        return model_name(level)
    return "+".join(map(str, level)) if isinstance(level, (tuple, list)) else str(level)


def _name(levels: Mapping[str, Any]) -> str:
    return "/".join(f"{factor}={_text(level)}" for factor, level in levels.items())


def _checked(factors: Mapping[str, Levels], least: int = 2) -> list[list[Any]]:
    """The levels of each factor; refuses a factor that changes nothing."""
    if not factors:
        raise UserError("a design needs a factor: a name and its levels")
    for factor, levels in factors.items():
        if isinstance(levels, str) or not isinstance(levels, Collection):
            raise UserError(f"factor {factor!r}: levels are a list, or a dict of names and changes, got {levels!r}")
        labels: list[Any] = list(levels)
        if len(labels) < least:
            raise UserError(f"factor {factor!r} changes nothing: its levels are {labels}; give {least} or more")
        means = [_changes(factor, levels, label) for label in labels]
        for i, j in itertools.combinations(range(len(labels)), 2):
            if means[i] == means[j]:
                raise UserError(f"factor {factor!r}: levels {labels[i]!r} and {labels[j]!r} are the same; remove one")
    return [list(levels) for levels in factors.values()]


def _check_parts(parts: Mapping[str, Changes]) -> None:
    if not parts:
        raise UserError("a design needs a part: a name and what it changes")
    for name, changes in parts.items():
        if not changes:
            raise UserError(f"part {name!r} changes nothing; say what it changes, or remove it")


def _merged(parts: Mapping[str, Changes]) -> Changes:
    """What several parts change together: losses are joined, any other field may be set by one part only."""
    whole: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for part, changes in parts.items():
        for name, value in changes.items():
            keys = [f"loss {loss!r}" for loss in value] if name == "losses" else [f"field {name!r}"]
            for key in keys:
                if owner.setdefault(key, part) != part:
                    raise UserError(f"{owner[key]!r} and {part!r} both set {key}; one must leave it to the other")
            whole[name] = {**whole.get(name, {}), **value} if name == "losses" else value
    return whole
