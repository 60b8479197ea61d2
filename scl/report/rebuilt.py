"""A study written as Python again, from what its record holds: a file that runs without the one that it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from scl.errors import UserError
from scl.study.config import Config
from scl.study.identity import canonical_json, from_stored, requested
from scl.study.params import with_params
from scl.study.study import Study
from scl.study.term import Term

MOST_ARMS = 100  # of a file that a reader can still look through
# Flags of a run that a rebuilt study needs too; the others have changed configurations, which it holds as they became.
KEPT = (
    "data", "label", "drop_class", "test", "image_size", "image_fit", "limit", "no_flip", "val", "split_seed", "seeds",
    "seed_list", "teacher", "teacher_mean", "teacher_std", "teacher_size", "teacher_classes", "teacher_finetune",
    "teacher_features", "teacher_anyway", "teacher_per_seed", "teachers", "interval", "between", "max_seeds", "margin",
    "looks", "device", "deterministic", "cpus_per_trial",
)  # fmt: skip


# What a record that another program changed may raise.
REFUSED = (UserError, TypeError, ValueError, AttributeError, LookupError)


class NotRebuilt(Exception):
    """Why a study cannot be written from its record, as the end of a sentence."""


def rebuilt(record: Mapping[str, Any]) -> tuple[Study, str]:
    """The study in a record, and its source.

    A search becomes a study of its baseline and winners, on the fresh seeds.

    Raises:
        NotRebuilt: the record lacks something, or holds it as a hash alone.
    """
    arms: dict[str, dict[str, Any]] = dict(record.get("arms") or {})
    if not arms or not (record.get("teacher") or {}).get("config"):
        raise NotRebuilt("the store does not hold the settings of all arms and of the teacher")
    if len(arms) > MOST_ARMS:
        raise NotRebuilt(f"it has more than {MOST_ARMS} arms")
    fields = {arm: _fields(f"the arm {arm!r}", stored) for arm, stored in arms.items()}
    teacher = _config("the teacher", _fields("the teacher", record["teacher"]["config"]))
    for arm, own in fields.items():
        if canonical_json(requested(_config(f"the arm {arm!r}", own))) != canonical_json(arms[arm]):
            raise NotRebuilt(
                f"this version of scl reads the settings of the arm {arm!r} otherwise than they were meant"
            )
    base, changes = _shared(fields)
    what: dict[str, Any] = {"name": record.get("study"), "question": record.get("question"), "base": base}
    what |= {"teacher": teacher, "arms": changes, "baseline": record.get("baseline")}
    what |= {name: record[name] for name in ("metric", "constraints") if record.get(name)}
    roles = {arm: role for arm, role in (record.get("roles") or {}).items() if arm in arms}
    contrasts = {c["question"]: c["weights"] for c in record.get("contrasts") or [] if set(c["weights"]) <= set(arms)}
    what |= ({"roles": roles} if roles else {}) | ({"contrasts": contrasts} if contrasts else {})
    against = (record.get("declared") or {}).get("arm")
    what |= {"against_teacher": against} if against in arms else {}
    try:
        study = Study(**what)
    except REFUSED as error:
        raise NotRebuilt(f"its record is not that of a study ({error})") from None
    return study, _source(what)


def _fields(whose: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration as Python has them. Raises NotRebuilt for what is stored as a hash."""
    fields = from_stored(stored)
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(value)
    if isinstance(fields.get("model"), Mapping):
        raise NotRebuilt(f"{whose} has a network of its author's, of which the store holds a hash alone")
    if fields.get("initial_weights"):  # a path in a record is not opened
        raise NotRebuilt(f"{whose} has weights from a file, of which the store holds a hash alone")
    losses = {name: _term(whose, name, term) for name, term in (fields.pop("losses", None) or {}).items()}
    return fields | ({"losses": losses} if losses else {})


def _term(whose: str, name: str, stored: Mapping[str, Any]) -> Term | float:
    if isinstance(stored.get("loss"), Mapping):
        raise NotRebuilt(f"{whose} has a loss of its author's, {name!r}, of which the store holds a hash alone")
    if set(stored) == {"weight"}:
        return float(stored["weight"])
    given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
    try:
        return Term(**given)
    except REFUSED as error:
        raise NotRebuilt(f"the loss {name!r} of {whose} is none of this version of scl ({error})") from None


def _config(whose: str, fields: Mapping[str, Any]) -> Config:
    try:
        return Config(**fields)
    except REFUSED as error:
        raise NotRebuilt(f"{whose} is no configuration of this version of scl ({error})") from None


def _shared(fields: Mapping[str, Mapping[str, Any]]) -> tuple[Config, dict[str, dict[str, Any]]]:
    """What all arms have as a base, and what each changes in it; or a base of defaults, if some of that is no
    configuration by itself, as an objective without a term is none."""
    first, *others = fields.values()
    shared = {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}
    changes = {arm: {k: v for k, v in own.items() if k not in shared} for arm, own in fields.items()}
    with suppress(UserError):
        base = Config(**shared)
        if all(with_params(base, own) == Config(**fields[arm]) for arm, own in changes.items()):
            return base, changes
    for arm, own in fields.items():
        try:
            with_params(Config(), own)
        except REFUSED as error:
            raise NotRebuilt(f"the arm {arm!r} cannot be written as a change of another ({error})") from None
    return Config(), {arm: dict(own) for arm, own in fields.items()}


# The text


def _source(what: Mapping[str, Any]) -> str:
    terms = any(isinstance(t, Term) for arm in what["arms"].values() for t in (arm.get("losses") or {}).values())
    terms |= any(term != Term(term.weight, loss=name) for name, term in what["base"].losses.items())
    names = ", ".join(["Config", "Study", *(["Term"] if terms else [])])
    lines = [f"from scl import {names}", "from scl.cli import main", "", "STUDY = Study("]
    for name, value in what.items():
        if name == "arms":
            lines += ["    arms={", *(f"        {arm!r}: {_python(own)}," for arm, own in value.items()), "    },"]
        else:
            lines.append(f"    {name}={_python(value)},")
    return "\n".join([*lines, ")", "", 'if __name__ == "__main__":', "    main(STUDY)"])


def _python(value: Any) -> str:
    """A value as Python's source."""
    if isinstance(value, Config):
        return f"Config({', '.join(f'{k}={_python(v)}' for k, v in _changed(value).items())})"
    if isinstance(value, Term):
        return f"Term({', '.join([repr(value.weight), *(f'{k}={_python(v)}' for k, v in _of_term(value).items())])})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k!r}: {_python(v)}' for k, v in value.items())}}}"
    return repr(value)


def _changed(config: Config) -> dict[str, Any]:
    """The fields of a configuration that differ from the defaults; a plain term as its weight."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "losses"}
    changed = {name: value for name, value in fields.items() if value != getattr(Config, name)}
    losses = {n: t.weight if t == Term(t.weight, loss=n) else t for n, t in config.losses.items()}
    return changed | ({"losses": losses} if losses else {})


def _of_term(term: Term) -> dict[str, Any]:
    fields = {f.name: (getattr(term, f.name), f.default) for f in dataclasses.fields(term) if f.name != "weight"}
    options = {"options": dict(term.options)} if term.options else {}
    return {n: v for n, (v, default) in fields.items() if n != "options" and v != default} | options
