"""A configuration as flat names, `lr`, `weight.kd`, `kd.temperature`, for columns, sweeps, searches and `--set`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from scl.errors import UserError, shown, unknown
from scl.study.config import Config
from scl.study.fields import of_library
from scl.study.identity import canonical_json, stored_name
from scl.study.loss_table import LOSSES
from scl.study.numerals import real_from, whole_from
from scl.study.term import Term, checked_terms, default_options, requested_options

# What a term has beside its weight and options. A custom loss may have options of these names, which come first.
TERM_FIELDS = ("layers", "warmup", "end", "stage", "share")
ADD_A_LOSS = ("weight.", "share.")  # what a name starts with that adds a loss to an objective
FIELDS = {f.name: str(f.type) for f in dataclasses.fields(Config) if f.name != "losses"}


def params(config: Config) -> dict[str, int | float | str | bool]:
    """The configuration as flat, typed values: `width`, `lr`, …, `weight.kd`, `kd.temperature`."""
    flat: dict[str, int | float | str | bool] = {}
    for name in FIELDS:
        value = config.model_name if name == "model" else getattr(config, name)
        if value is None:
            continue  # the network's own: not a number
        if name == "initial_weights":  # where a file lies is not stored
            value = os.path.basename(value)
        if name == "self_taught" and isinstance(value, tuple):
            flat["self_taught_by_layer"] = "/".join(map(str, value))
        else:
            flat[name] = "/".join(map(str, value)) if isinstance(value, tuple) else value
    for name, term in config.losses.items():
        flat[f"weight.{name}"] = term.weight
        if term.share is not None:
            flat[f"share.{name}"] = term.share
        for option, value in {**default_options(term), **requested_options(name, term)}.items():
            flat[f"{name}.{option}"] = value if isinstance(value, (int, float, str)) else canonical_json(value)
    return flat


def column(name: str) -> str:
    """The column of trials.parquet that holds this value."""
    return f"param.{stored_name(name)}"


def of_loss(name: str, losses: Collection[str] = ()) -> tuple[str, str]:
    """The loss that a flat name is about, and what of it: of `weight.NAME` and `share.NAME`, and of `NAME.OPTION`.

    losses: those that there are; `share.temperature` is an option of a loss that is called `share`.
    """
    first, _, last = name.partition(".")
    is_weight = f"{first}." in ADD_A_LOSS and not (first == "share" and "share" in losses)
    return (last, first) if is_weight else (first, last)


def with_params(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with some values changed, each under its name: `lr`, `weight.kd`, `kd.temperature`, `kd.warmup`.

    `weight.NAME` and `share.NAME` add the loss NAME if the configuration lacks it. A share replaces a weight, and a
    weight a share; given together, they multiply.

    Raises:
        UserError: there is no such name, or the value is refused.
    """
    fields = {name: value for name, value in changes.items() if "." not in name}
    if "model" in fields:
        of_network = of_another_network(fields["model"], config)
        fields, changes = of_network | fields, of_network | dict(changes)
    if len(fields) == len(changes):
        return config.replace(**fields)
    losses, problems = checked_terms(fields.pop("losses", config.losses))
    # Weights first, then shares: both add losses, and a share asks for a weight beside it.
    for name in sorted((n for n in changes if "." in n), key=lambda n: [not n.startswith(a) for a in ADD_A_LOSS]):
        (loss, what), value = of_loss(name, losses), changes[name]
        adds = name == f"{what}.{loss}"
        valid = {**losses, **LOSSES} if adds else losses
        if loss not in valid:
            problems.append(f"{name!r}: {unknown('loss', loss, valid or ['(none in this objective)'])}")
            continue
        term = losses.get(loss, Term(0.0))
        if adds and what == "weight":
            asked = {f"share.{loss}", *([] if callable(term.loss) else [f"{loss}.share"])}
            shared = any(changes.get(ask) is not None for ask in asked)
            changed = {"weight": value, "share": term.share if shared else None}
        elif not adds and (callable(term.loss) or what not in TERM_FIELDS):
            changed = {"options": {**term.options, what: value}}
        elif what == "share" and value is not None and term.share is None and f"weight.{loss}" not in changes:
            changed = {"share": value, "weight": 1.0}
        else:
            changed = {what: value}
        losses[loss] = dataclasses.replace(term, **changed)
    if problems:
        raise UserError("; ".join(problems))
    return config.replace(**fields, losses=losses)  # at once, because a field may need a loss and a loss a field


def of_another_network(model: Any, before: Config | None = None) -> dict[str, Any]:
    """What must not reach an arm, or a flag's network, from the study's network: a width, which networks of libraries
    and of the user do not have, and the paths of its layers."""
    layers = {"layers": ()} if before is not None and before.layers else {}
    return {**({"width": 1.0} if not isinstance(model, str) or of_library(model) else {}), **layers}


def overridden(configs: Mapping[str, Config], changes: Mapping[str, Any], prefix: str = "") -> dict[str, Config]:
    """Configurations by name with `--set` applied: a field in all of them, `weight.NAME`, `share.NAME`, `NAME.OPTION`
    and `NAME.layers`, `.warmup`, `.end` and `.stage` in those that have the loss NAME.

    Args:
        changes: name → value, or its text as on the command line.
        prefix: what stands before each name.

    Raises:
        UserError: no configuration has such a name, or one refuses the value.
    """
    settable = {key: {f"{prefix}{name}": name for name in _settable(config)} for key, config in configs.items()}
    every = dict.fromkeys(name for names in settable.values() for name in names)
    wrong = [f"--set: {_no_such_name(name, prefix, every)}" for name in changes if name not in every]
    if wrong:
        raise UserError("\n".join(wrong))
    values = {name: parsed(name, name.removeprefix(prefix), value) for name, value in changes.items()}
    found = {}
    for key, config in configs.items():
        names = settable[key]
        try:
            found[key] = with_params(config, {names[name]: value for name, value in values.items() if name in names})
        except UserError as error:
            raise UserError(f"--set {assignments(changes)}: {error}") from None
    return found


def assignments(changes: Mapping[str, Any]) -> str:
    """Values by name, as `--set` and `--fix` take them."""
    return ", ".join(f"{name}={value if isinstance(value, str) else shown(value)}" for name, value in changes.items())


def _no_such_name(name: str, prefix: str, every: Iterable[str]) -> str:
    bare = name.removeprefix(prefix)
    loss, _ = of_loss(bare)
    if "." in bare and loss in LOSSES and f"{prefix}weight.{loss}" not in every:
        return f"{name!r}: no arm of this run has the loss {loss!r}; --arms chooses arms, a study file defines them"
    return unknown("name", name, every)


def _settable(config: Config) -> Iterable[str]:
    yield from FIELDS
    for name, term in config.losses.items():
        yield from (f"{start}{name}" for start in ADD_A_LOSS)
        fields = TERM_FIELDS if isinstance(term.loss, str) else ()
        yield from (f"{name}.{part}" for part in dict.fromkeys([*default_options(term), *fields, *term.options]))


def parsed(spelled: str, name: str, value: Any) -> Any:
    """A value from its text, by the type of the field `name`; anything else than text is returned as it is."""
    if not isinstance(value, str):
        return value
    kind = FIELDS.get(name, "float" if name.startswith("weight.") else "number or word")
    kind = "tuple[int, ...]" if name.endswith(".layers") else kind
    readers: dict[str, tuple[Callable[[str], Any], str]] = {
        "str": (str, ""),
        "Model": (str, ""),
        "int": (whole_from, "a whole number"),
        "float": (real_from, "a finite number"),
        "bool": (lambda text: {"true": True, "false": False}[text.lower()], "true or false"),
        "int | tuple[int, ...]": (_whole_or_several, "a whole number, or one for each layer as in 0,2,0,1"),
        "tuple[int, ...]": (lambda text: tuple(map(whole_from, _parts(text))), "whole numbers, as in 150,180"),
        "float | None": (lambda text: None if text.lower() == "none" else real_from(text), "a finite number, or none"),
        "tuple[float, ...]": (lambda text: tuple(map(real_from, _parts(text))), "numbers, as in 0.9,0.999"),
        "tuple[str, ...]": (lambda text: tuple(_parts(text)), ""),
        "number or word": (_number_or_word, "a finite number, or a word"),
    }
    read, rule = readers[kind]
    try:
        return read(value)
    except (ValueError, KeyError):
        raise UserError(f"--set {spelled}: must be {rule}, got {shown(value)}") from None


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _whole_or_several(text: str) -> int | tuple[int, ...]:
    return tuple(map(whole_from, text.split(","))) if "," in text else whole_from(text)


def _number_or_word(text: str) -> int | float | str:
    for read in (whole_from, real_from):
        with suppress(ValueError):
            return read(text)
    try:
        float(text)
    except ValueError:
        return text
    raise ValueError("what Python reads as a number, and `real_from` does not, is no word")
