"""How much each arm was tuned: what a search or a sweep tried for it, beside the baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from scl.report.facts import Facts
from scl.report.formatting import enumerated, plain, plural
from scl.report.recipe import whole
from scl.study.identity import canonical_json
from scl.study.recipes import RECIPES

MOST_NAMED = 4  # parameters in a sentence


def tuning(facts: Facts) -> dict[str, str]:
    """Arm → its tuning budget in words, for each arm whose settings the store holds."""
    arms: dict[str, dict[str, Any]] = facts.study.get("arms") or {}
    swept = _swept(arms)
    found = {}
    for arm in arms:
        texts = [_searched(facts, arm), swept.get(arm, "")]
        found[arm] = "; ".join(filter(None, texts)) or f"not tuned here: {_origin(facts, arm, arms[arm])}"
    return found


def _searched(facts: Facts, arm: str) -> str:
    """What a search tried before it chose this arm."""
    if arm not in (facts.study.get("winners") or {}):
        return ""
    about = facts.study.get("search") or {}
    tried = len(facts.searched) or int(about.get("trials") or 0)
    seeds = int(about.get("seeds") or 1)
    each = f", each on {seeds} seeds" if seeds > 1 else ""
    names = _named(list(facts.study.get("search_space") or {}))
    return f"searched: the best by validation of {plural(tried, 'configuration')}{each}, over {names}"


def _swept(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Arms that differ from others in numbers alone: a sweep, of which a reader sees every setting."""
    groups = defaultdict(list)
    for arm, stored in arms.items():
        groups[canonical_json(_skeleton(whole(stored)))].append(arm)
    found: dict[str, str] = {}
    for group in groups.values():
        numbers = {arm: dict(_numbers("", whole(arms[arm]))) for arm in group}
        names = dict.fromkeys(name for own in numbers.values() for name in own)
        apart = [name for name in names if len({own.get(name) for own in numbers.values()}) > 1]
        if apart:
            text = f"one of {len(group)} settings of {_named(apart)} in this study"
            found |= dict.fromkeys(group, text)
    return found


def _skeleton(value: Any) -> Any:
    """A configuration without its numbers."""
    if isinstance(value, Mapping):
        return {key: _skeleton(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_skeleton(v) for v in value]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _numbers(name: str, value: Any) -> Sequence[tuple[str, float]]:
    """The numbers of a configuration with their names: `lr`, `kd.weight`."""
    if isinstance(value, Mapping):
        parts = ((f"{name}.{key}" if name else str(key), v) for key, v in value.items())
        return [one for key, v in parts for one in _numbers(key, v)]
    if isinstance(value, (list, tuple)):
        return [one for i, v in enumerate(value) for one in _numbers(f"{name}[{i}]", v)]
    return [(name, value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def _named(names: Sequence[str]) -> str:
    short = [plain(name).removeprefix("losses.").replace(".options.", ".") for name in names]
    more = len(short) - MOST_NAMED
    return enumerated([*short[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])])


def _origin(facts: Facts, arm: str, stored: Mapping[str, Any]) -> str:
    """Where the settings of an arm come from that nobody has tuned here."""
    options = (facts.study.get("asked") or {}).get("options") or {}
    name = options.get("recipe", [""])[0]
    given = "; --set " + ", ".join(options["set"]) if options.get("set") else ""
    if name in RECIPES and arm in RECIPES[name].arms:
        return f"weights as published (recipe {name}){plain(given)}"
    if not stored.get("losses"):
        return f"as the study sets it, with no transfer loss to weigh{plain(given)}"
    return f"weights as the study sets them{plain(given)}"
