"""What the declarations of a store say together, and what of the present study differs from it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from scl.report.formatting import enumerated, format_seeds, listing, name_of, plain, plural, seeds_named
from scl.report.looks import seeds_of
from scl.report.searched import SEARCH
from scl.store.declaration import Declaration
from scl.study.contrasts import direction

Planned = dict[tuple[str, int], str]  # arm and seed → trial_id
SETTINGS = ("metric", "baseline", "margin", "roles", "constraints")  # of the whole study that a run may change
# Settings of a search likewise, beside its space and its number of trials, and how a sentence calls them.
OF_SEARCH = {
    "sampler": "sampler",
    "pruner": "pruner",
    "seed": "seed",
    "seeds": "number of seeds",
    "objectives": "objectives",
    "constraints": "constraints",
    "terminator": "terminator",
    "winners": "number of winners",
}
PLURAL = ("roles", "constraints", "objectives")
OF_INTERVAL = ("width", "cap", "pilot_seeds")


@dataclass(frozen=True)
class Agreed:
    """What all declarations of a store say together.

    about: the first one, whose rule and settings all share. written: trial_id → when it was declared.
    """

    about: Mapping[str, Any]
    arms: dict[str, Any]
    seeds: list[int]
    planned: Planned
    contrasts: list[dict[str, Any]]
    written: dict[str, str]

    @property
    def rule(self) -> Mapping[str, Any]:
        return {**self.about["rule"], "seeds": len(self.seeds)}

    @property
    def against(self) -> str:
        return str(self.about.get("against_teacher") or "")

    @property
    def asks(self) -> set[Any]:
        """What its contrasts compare, whatever their sign and scale."""
        return {direction(c["weights"]) for c in self.contrasts}

    @property
    def tested(self) -> set[str]:
        """The arms of its contrasts; all arms if it has none."""
        named = {arm for c in self.contrasts for arm in c["weights"]} | ({self.against} if self.against else set())
        return named or set(self.arms)


def agreed_of(declaration: Declaration) -> Agreed:
    parts = declaration.parts
    planned = {(str(t["arm"]), int(t["seed"])): str(t["trial_id"]) for part in parts for t in part["plan"]}
    contrasts = {direction(c["weights"]): c for part in reversed(parts) for c in part.get("contrasts") or []}
    return Agreed(
        about=parts[0],
        arms={arm: config for part in parts for arm, config in part["arms"].items()},
        seeds=sorted({int(seed) for part in parts for seed in part["seeds"]}),
        planned=planned,
        contrasts=list(contrasts.values()),
        written={str(t["trial_id"]): str(part["when"]) for part in parts for t in part["plan"]},
    )


def plan_of(study: Mapping[str, Any]) -> Planned:
    """The present plan, without the trials of a search."""
    return {(str(t["arm"]), int(t["seed"])): str(t["trial_id"]) for t in study.get("plan") or [] if t["arm"] != SEARCH}


def winners_of(study: Mapping[str, Any], agreed: Agreed) -> set[str]:
    """The arms that the declared search has chosen: no declaration can name their settings."""
    return set(study.get("winners") or {}) if agreed.about.get("search") else set()


def by_rule(agreed: Agreed, arm: str, seed: int) -> bool:
    """Whether the declared rule of Stein may add this seed of an arm."""
    interval = agreed.rule.get("interval")
    if not interval or arm not in interval["between"]:
        return False
    pilot = interval["pilot_seeds"]
    return bool(pilot) and pilot[-1] < seed <= pilot[-1] + int(interval["cap"]) - len(pilot)


def changes(declaration: Declaration | None, study: Mapping[str, Any]) -> list[str]:
    """What differs from a declaration, a sentence each without its full stop: its file, what was added, what lacks, and
    settings that are others.

    Args:
        study: the content of study.json.
    """
    if declaration is None or not declaration.parts:
        return list(declaration.faults) if declaration else []
    agreed = agreed_of(declaration)
    groups = (_added, _settings, _search, _trials, _interval, _looks)
    return [*declaration.faults, *(change for group in groups for change in group(agreed, study))]


def other_arms(agreed: Agreed, study: Mapping[str, Any]) -> dict[str, str]:
    """The declared arms that the study runs in another way, at whichever seeds, each with the reason."""
    now = plan_of(study)
    other = {at[0] for at, identity in agreed.planned.items() if now.get(at, identity) != identity}
    proven = {at[0] for at in agreed.planned if at in now} - other  # by the ids of its trials
    arms = [arm for arm in agreed.arms if arm in {arm for arm, _ in now} - proven]
    return {arm: why for arm in arms if (why := _why(agreed, study, arm, arm in other))}


def _why(agreed: Agreed, study: Mapping[str, Any], arm: str, other: bool) -> str:
    """Why an arm's trials are not those that were declared; "" if they are. other: one of them has another id."""
    was, now = agreed.arms.get(arm) or {}, (study.get("arms") or {}).get(arm) or {}
    if fields := [name for name in {**was, **now} if _differ(was.get(name), now.get(name))]:
        return f"other {enumerated([plain(name) for name in fields])}"
    if why := _other_sources(agreed, study):
        return why
    if not other:
        return ""
    was_ids, now_ids = ({*_teachers(of).values()} for of in (agreed.about, study))
    return "other code of scl or of a loss, or another teacher for a seed" if was_ids & now_ids else "another teacher"


def _other_sources(agreed: Agreed, study: Mapping[str, Any]) -> str:
    """Why no trial of the study can be a declared one, whatever its arm and seed; "" if one can."""
    was, now = agreed.about, study
    if (was.get("data") or {}).get("fingerprint") != (now.get("data") or {}).get("fingerprint"):
        return "other data, or another split of them"
    recipes = [(of.get("teacher") or {}).get("config") for of in (was, now)]
    same = _teachers(was).keys() & _teachers(now).keys()
    other = any(_teachers(was)[key] != _teachers(now)[key] for key in same)
    return "another teacher" if other or _differ(*recipes) else ""


def _teachers(of: Mapping[str, Any]) -> Mapping[str, str]:
    """The id of each teacher, by its seed, or of `all`."""
    return (of.get("teacher") or {}).get("ids") or {}


def _differ(one: Any, two: Any) -> bool:
    """Whether two settings differ. One may have been read from a file, where a tuple is a list."""
    return bool(json.loads(json.dumps(one)) != json.loads(json.dumps(two)))


def _added(agreed: Agreed, study: Mapping[str, Any]) -> Iterable[str]:
    now, winners = plan_of(study), winners_of(study, agreed)
    arms = list(dict.fromkeys(arm for arm, _ in now))
    if new := [arm for arm in arms if arm not in agreed.arms and arm not in winners]:
        yield f"arms added later: {listing(new)}"
    if gone := [arm for arm in agreed.arms if arm not in arms]:
        yield f"declared arms that are not part of this run: {listing(gone)}"
    seeds = sorted({seed for arm, seed in now if seed not in agreed.seeds and not by_rule(agreed, arm, seed)})
    if seeds:
        yield f"added later: {seeds_named(seeds)}"
    if missing := sorted({*agreed.seeds} - {seed for _, seed in now}):
        yield f"declared, but not part of this run: {seeds_named(missing)}"
    present = study.get("contrasts") or []
    if late := [c["question"] for c in present if direction(c["weights"]) not in agreed.asks]:
        yield f"contrasts added later: {listing(late)}"
    still = {direction(c["weights"]) for c in present}
    if dropped := [c["question"] for c in agreed.contrasts if direction(c["weights"]) not in still]:
        yield f"declared contrasts that the study no longer has: {listing(dropped)}"
    against = (study.get("declared") or {}).get("arm") or ""
    if against != agreed.against:
        was = name_of(agreed.against) if agreed.against else "no arm"
        yield f"{name_of(against) if against else 'no arm'} is compared with its teacher, and {was} was declared"


def _settings(agreed: Agreed, study: Mapping[str, Any]) -> Iterable[str]:
    for name in SETTINGS:
        was, now = agreed.about.get(name), study.get(name)
        if _differ(was or None, now or None):
            yield f"the {_other(name, was, now)}"


def _search(agreed: Agreed, study: Mapping[str, Any]) -> Iterable[str]:
    was, now, space = agreed.about.get("search"), dict(study.get("search") or {}), study.get("search_space")
    if not was or not space:  # a run has them once its search has begun
        return
    if _differ(space, was.get("space")):
        yield "the search has another space than was declared"
    if now.get("trials") != was.get("trials"):
        many = "was" if was.get("trials") == 1 else "were"
        yield f"the search has {plural(now.get('trials') or 0, 'trial')}, and {was.get('trials')} {many} declared"
    now |= {"objectives": list(study["objectives"])} if study.get("objectives") else {}
    now |= {"pruner": (now["pruner"] or {}).get("name", "none")} if "pruner" in now else {}
    for name, word in OF_SEARCH.items():
        if name in was and name in now and _differ(was[name] or None, now[name] or None):
            yield f"the search's {_other(word, was[name], now[name])}"
    start, own = was.get("template") or {}, now.get("template") or {}
    fields = [name for name in {**start, **own} if _differ(start.get(name), own.get(name))] if own else []
    other = f"other {enumerated([plain(name) for name in fields])}" if fields else _other_sources(agreed, study)
    if other:
        yield f"the search does not run as declared: {other}"


def _trials(agreed: Agreed, study: Mapping[str, Any]) -> Iterable[str]:
    by_reason: dict[str, list[str]] = {}
    for arm, why in other_arms(agreed, study).items():
        by_reason.setdefault(why, []).append(arm)
    for why, arms in by_reason.items():
        yield f"{listing(arms)} {'does' if len(arms) == 1 else 'do'} not run as declared: {why}"


def _interval(agreed: Agreed, study: Mapping[str, Any]) -> Iterable[str]:
    """Stein's intervals that were not declared, and the declared one if this run does not make it."""
    declared = agreed.rule.get("interval") or {}
    written = str(agreed.about["when"])
    for found in study.get("stein_declared") or []:
        if str(found.get("when") or "") < written:  # a declaration that was replaced may have had another
            continue
        same = sorted(found["between"]) == sorted(declared.get("between") or ())
        if not same or any(_differ(found.get(name), declared.get(name)) for name in OF_INTERVAL):
            yield f"added later: {_interval_in_words(found)}"
    asked = (study.get("asked") or {}).get("options")
    if declared and asked is not None and "interval" not in asked:
        yield f"declared, but not part of this run: {_interval_in_words(declared)}"


def _interval_in_words(interval: Mapping[str, Any]) -> str:
    pair = " and ".join(map(name_of, interval["between"]))
    return (
        f"the interval of {pair} with a width of {interval['width']:g}, after the pilot "
        f"{format_seeds(interval['pilot_seeds'])}, with at most {interval['cap']} seeds"
    )


def _looks(agreed: Agreed, study: Mapping[str, Any]) -> Iterable[str]:
    """Looks that the rule does not have: at some of the declared seeds, before the first at all of them. A part of a
    merged study has looks of its own, and `all` are then those that it came to have."""
    planned, now = agreed.rule.get("looks"), study.get("planned_looks")
    if _differ(planned, now):
        begins = f"the planned looks are at {_value(now)} seeds" if now else "no looks are planned"
        yield f"{begins}, and {f'looks at {_value(planned)}' if planned else 'none'} were declared"
    by_part: dict[str, list[frozenset[int]]] = {}
    for look in study.get("looks") or []:
        by_part.setdefault(look.get("part", ""), []).append(seeds_of(look) & frozenset(agreed.seeds))
    early: set[frozenset[int]] = set()
    for part, looks in by_part.items():
        every = looks[-1] if part else frozenset(agreed.seeds)
        at = [frozenset(sorted(every)[:n]) for n in planned or ()]
        early |= {seeds for seeds in takewhile(every.__ne__, looks) if seeds and seeds not in at}
    if numbers := sorted(set(map(len, early))):
        yield f"looked at before the declared seeds were done: at {enumerated([plural(n, 'seed') for n in numbers])}"


def _other(what: str, was: Any, now: Any) -> str:
    """`metric is macro_f1, and test_acc was declared`"""
    is_, was_ = ("are", "were") if what in PLURAL else ("is", "was")
    return f"{what} {is_} {_value(now)}, and {_value(was)} {was_} declared"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return enumerated([f"{name_of(str(k))}: {plain(v)}" for k, v in value.items()]) or "none"
    if isinstance(value, Collection) and not isinstance(value, str):
        return enumerated([plain(one) for one in value]) or "none"
    return "none" if value is None else plain(value)
