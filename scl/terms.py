"""One weighted loss of an objective, and what may stand in it. Imports nothing heavy."""

from __future__ import annotations

import inspect
import math
import numbers
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from scl.errors import UserError, names_checked, unknown
from scl.own import identity

# Every transfer loss by name, with its options and their defaults.
LOSSES: dict[str, dict[str, Any]] = {
    "channel": {"norm": "pearson", "pool": "sample"},
    "spatial": {"norm": "pearson", "pool": "sample"},
    "kd": {"temperature": 4.0},
    "hint": {},
    "at": {},
    "sp": {},
    "cc": {},
    "rkd": {"distance_weight": 25.0, "angle_weight": 50.0},
    "pkt": {},
    "vid": {},
    "nst": {},
    "fsp": {},
    "ickd": {},
    "dkd": {"alpha": 1.0, "beta": 8.0, "temperature": 4.0},
    "dist": {"temperature": 1.0, "beta": 1.0, "gamma": 1.0},
}
# Options that are words.
WORDS = {"norm": ("pearson", "cosine", "gram"), "pool": ("sample", "batch")}
# Losses that compare channel by channel, hence through a connector where the widths differ.
SAME_CHANNELS = ("channel", "hint", "fsp")
STAGES = ("train", "pretrain")
# What a loss compares: logits, the pooled last guided map, guided maps one by one, or neighbouring pairs of them.
FEEDS = ("maps", "pairs", "embedding", "logits")


@names_checked
@dataclass(frozen=True)
class Term:
    """One weighted transfer loss of an objective.

    weight: factor of the term. layers: guided layers it compares, 0 the shallowest, negative from the deepest
    (None: the published choice of that loss). warmup: epochs over which the weight ramps up linearly.
    end: last epoch of the term (None: never ends). stage: `train`, or `pretrain`: the epochs before it, in which
    only such terms train (Config.pretrain_epochs); warmup and end count from the first epoch of the stage.
    loss: a name of LOSSES, or a loss of your own: a function ``(student, teacher, **options) -> scalar``, or an
    nn.Module class built as ``Loss(student_channels, teacher_channels, **options)`` and called the same way; None:
    the name under which the term stands. compares: what a loss of your own is given, one of FEEDS: feature maps
    (B, C, H, W) of each layer, pairs of neighbouring maps, embeddings (B, D) or logits (B, K). options: keyword
    options of the loss.
    """

    weight: float
    layers: tuple[int, ...] | None = None
    warmup: int = 0
    end: int | None = None
    stage: str = "train"
    loss: str | Callable[..., Any] | None = None
    compares: str = "maps"
    options: Mapping[str, Any] = field(default_factory=dict)


def checked_terms(losses: Any) -> tuple[dict[str, Term], list[str]]:
    """Terms by name in the order of their names, with Python's own types, and what is wrong with them."""
    if not isinstance(losses, Mapping) or any(not isinstance(name, str) for name in losses):
        return {}, [f"losses is a dict of names and terms, as in {{'kd': 0.9}}, got {losses!r}"]
    terms, problems = {}, []
    for name in sorted(losses):
        value = losses[name]
        term = value if isinstance(value, Term) else Term(value)
        term, wrong = _plain(replace(term, loss=name) if term.loss is None else term)
        terms[name] = term
        problems += [f"loss {name!r}: {problem}" for problem in wrong or _problems(name, term)]
    return terms, problems


def _plain(term: Term) -> tuple[Term, list[str]]:
    """The term with Python's own numbers (numpy's come from sweeps), and fields that are of a wrong kind."""
    problems = []
    changes: dict[str, Any] = {}
    weight = _real(term.weight)
    if weight is None or not math.isfinite(weight) or weight < 0:
        problems.append(f"weight must be a finite number of 0 or more, got {term.weight!r}")
    changes["weight"] = weight
    for name, least, optional in (("warmup", 0, False), ("end", 1, True)):
        value = getattr(term, name)
        if value is None and optional:
            continue
        changes[name] = _whole(value)
        if changes[name] is None or changes[name] < least:
            problems.append(f"{name} must be a whole number of epochs, {least} or more, got {value!r}")
    if term.layers is not None:
        layers = [_whole(i) for i in term.layers] if isinstance(term.layers, (tuple, list)) else []
        if not layers or None in layers:
            problems.append(f"layers are whole numbers, as in (1, -1), or None for the loss's own, got {term.layers!r}")
        changes["layers"] = tuple(layers)
    if not isinstance(term.options, Mapping) or any(not isinstance(o, str) for o in term.options):
        problems.append(f"options is a dict of names and values, got {term.options!r}")
    if not isinstance(term.loss, str) and not callable(term.loss):
        problems.append(f"loss is a name, a function or a class, got {term.loss!r}")
    return (term, problems) if problems else (replace(term, **changes), [])


def _problems(name: str, term: Term) -> list[str]:
    problems = []
    if not re.fullmatch(r"[A-Za-z0-9_+-]{1,40}", name) or name == "ce":
        problems.append("a term's name is 1-40 letters, digits, '_', '+' or '-', and not 'ce' (cross-entropy)")
    if term.stage not in STAGES:
        problems.append(unknown("stage", term.stage, STAGES))
    if term.compares not in FEEDS:
        problems.append(unknown("compares", term.compares, FEEDS))
    if callable(term.loss):
        problems += _own_option_problems(term)
    elif term.loss not in LOSSES:
        problems.append(unknown("loss", term.loss, LOSSES))
    else:
        if term.compares != "maps":
            problems.append("compares is for a loss of your own, the losses of scl know what they compare")
        for option, value in term.options.items():
            problems += _option_problems(str(term.loss), option, value)
    return problems


def _option_problems(loss: str, option: str, value: Any) -> list[str]:
    valid = LOSSES[loss]
    if option not in valid:
        return [unknown("option", option, valid or ["(none)"])]
    if option in WORDS:
        return [] if value in WORDS[option] else [unknown(option, value, WORDS[option])]
    number = _real(value)
    if number is None or not math.isfinite(number):
        return [f"{option} must be a finite number, got {value!r}"]
    if option == "temperature" and number <= 0:
        return [f"temperature must be above 0, got {value!r}"]
    return []


def _own_option_problems(term: Term) -> list[str]:
    """Options that the function does not take. What cannot say what it takes is believed."""
    try:
        signature = inspect.signature(term.loss)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []
    parameters = list(signature.parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    valid = [p.name for p in parameters[2:] if p.kind is not p.VAR_POSITIONAL]
    return [unknown("option", option, valid or ["(none)"]) for option in term.options if option not in valid]


def _real(value: Any) -> float | None:
    """A real number as a float; None for anything else, True and False included."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def requested_term(name: str, term: Term) -> dict[str, Any]:
    """The term without its defaults, as JSON-able values."""
    out: dict[str, Any] = {"weight": term.weight}
    for f in fields(Term):
        value = getattr(term, f.name)
        if f.name not in ("weight", "loss", "options") and value != f.default:
            out[f.name] = value
    if callable(term.loss):
        out["loss"] = identity(name, term.loss)
    elif term.loss != name:
        out["loss"] = term.loss
    if options := requested_options(name, term):
        out["options"] = options
    return out


def requested_options(name: str, term: Term) -> dict[str, Any]:
    """Options that differ from their defaults; those of a loss of your own all.

    Raises:
        UserError: a value that is not made of numbers, words, lists and dicts cannot be part of the trial's id.
    """
    defaults = LOSSES[term.loss] if isinstance(term.loss, str) else {}
    options = {}
    for option, value in term.options.items():
        plain = _jsonable(value)
        if plain is _NOT_PLAIN:
            raise UserError(
                f"loss {name!r}: option {option!r} is a {type(value).__name__}; options are numbers, words, None, or "
                "lists and dicts of them"
            )
        plain = float(plain) if isinstance(defaults.get(option), float) else plain
        if option not in defaults or plain != defaults[option]:
            options[option] = plain
    return options


_NOT_PLAIN = object()


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if (whole := _whole(value)) is not None:
        return whole
    if (number := _real(value)) is not None:
        return number if math.isfinite(number) else repr(number)
    if isinstance(value, (tuple, list)):
        inside = [_jsonable(v) for v in value]
        return _NOT_PLAIN if any(v is _NOT_PLAIN for v in inside) else inside
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        pairs = {k: _jsonable(v) for k, v in value.items()}
        return _NOT_PLAIN if any(v is _NOT_PLAIN for v in pairs.values()) else pairs
    return _NOT_PLAIN
