"""One weighted transfer loss of an objective, its checks, and its part of a trial's id."""

from __future__ import annotations

import inspect
import math
import numbers
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from scl.errors import UserError, names_checked, shown, unknown
from scl.study.loss_table import COMPARES, LOSSES, LossRow
from scl.study.source import source_identity

STAGES = ("train", "pretrain")
UNGIVEN = float("nan")  # the weight of a term without one: with a share it is 1, else it is missing


@names_checked
@dataclass(frozen=True)
class Term:
    """One weighted transfer loss of an objective.

    `losses={"kd": 0.9}` in a Config is short for `losses={"kd": Term(0.9)}`.

    Attributes:
        weight: factor of the loss, 0 or more. Beside a share, which it multiplies, 1 unless given.
        layers: the guided layers that it compares, counted from 0 at the shallowest or from -1 at the deepest. None:
            the published choice of that loss.
        warmup: epochs over which the weight rises linearly, counted from the first epoch of the stage.
        end: last epoch of the term, counted likewise. None: it never ends.
        stage: `train`, or `pretrain`: the epochs before (`Config.pretrain_epochs`), in which only such terms train.
        loss: the name of a built-in loss, or a loss of your own: a function `(student, teacher, **options)` that
            returns a scalar, or an nn.Module class that is built as `Loss(student_channels, teacher_channels,
            **options)`, for `levels` and `crossed` with a tuple of channels each, and called like such a function.
            None: the loss that has the term's name.
        compares: what a loss of your own receives: `maps` (feature maps (B, C, H, W), layer by layer), `pairs` (of
            neighbouring maps), `levels` (a tuple of all maps, from shallow to deep, and the embedding as (B, D, 1, 1)),
            `crossed` (a tuple of the student's maps of `layers`, and one of all of the teacher's),
            `embedding` (B, D), `cams` (class activation maps (B, K, H, W), whose means are the logits) or `logits`
            (B, K).
        options: keyword options of the loss, as in `{"temperature": 2.0}`.
        share: in place of a weight, how strong the gradient of the weighted term is at the student's trunk, relative
            to that of plain cross-entropy, as in `Term(share=0.3)`. The weight that gives this share is measured in
            the first steps (`scl.train.shares.Shares`), so that one number means the same for every loss, network and
            data set. None: the weight is the weight.
        version: text that you change when your loss reads something that is not source code, such as a file; it is part
            of the trial's id.

    Raises:
        UserError: a field does not exist, or neither weight nor share is given. Config checks the values.

    Example:
        import scl

        deep = scl.Term(0.3, layers=(-2, -1), warmup=5)
        config = scl.Config(losses={"channel": deep, "kd": scl.Term(0.9, options={"temperature": 2.0})})
    """

    weight: float = UNGIVEN
    layers: tuple[int, ...] | None = None
    warmup: int = 0
    end: int | None = None
    stage: str = "train"
    loss: str | Callable[..., Any] | None = None
    compares: str = "maps"
    options: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if self.weight is UNGIVEN:
            if self.share is None:
                raise UserError("Term: 'weight' must be given, as in Term(0.9), or 'share', as in Term(share=0.3)")
            object.__setattr__(self, "weight", 1.0)


def loss_row(term: Term) -> LossRow:
    """The row of the term's loss: that of the table, or one made for a custom loss."""
    if callable(term.loss):
        labels = any(parameter.name == "labels" for parameter in asked_by(term))
        return LossRow("", term.compares, learned=inspect.isclass(term.loss), needs_target=labels)
    return LOSSES[str(term.loss)]


def asked_by(term: Term) -> list[inspect.Parameter]:
    """What a custom loss asks for beside student and teacher: the parameters that have neither a default nor an option,
    of the function, or of the `forward` of a class. None if it has no signature to read."""
    of_class = inspect.isclass(term.loss)
    function: Any = getattr(term.loss, "forward", None) if of_class else term.loss
    try:
        parameters = list(inspect.signature(function).parameters.values())[3 if of_class else 2 :]
    except (TypeError, ValueError):
        return []
    options = () if of_class else term.options
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in parameters if p.default is p.empty and p.kind not in variable and p.name not in options]


def checked_terms(losses: Any) -> tuple[dict[str, Term], list[str]]:
    """The terms sorted by name, their numbers as Python's own types, and the problems found in them."""
    if not isinstance(losses, Mapping) or any(not isinstance(name, str) for name in losses):
        return {}, [f"losses is a dict of names and terms, as in {{'kd': 0.9}}, got {shown(losses)}"]
    terms, problems = {}, []
    for name in sorted(losses):
        value = losses[name]
        term = value if isinstance(value, Term) else Term(value)
        term, wrong = _plain(replace(term, loss=name) if term.loss is None else term)
        terms[name] = term
        problems += [f"loss {name!r}: {problem}" for problem in wrong or _problems(name, term)]
    return terms, problems


def _plain(term: Term) -> tuple[Term, list[str]]:
    """The term with Python's own numbers (sweeps bring numpy's), and the problems of fields of a wrong type."""
    problems = []
    changes: dict[str, Any] = {}
    weight = as_real(term.weight)
    if weight is None or not math.isfinite(weight) or weight < 0:
        problems.append(f"weight must be a finite number of 0 or more, got {shown(term.weight)}")
    changes["weight"] = weight
    if term.share is not None:
        changes["share"] = share = as_real(term.share)
        if share is None or not 0 < share < math.inf:
            problems.append(
                "share must be a finite number above 0, as in share=0.3 (weight=0 leaves a term out), "
                f"got {shown(term.share)}"
            )
    for name, least, optional in (("warmup", 0, False), ("end", 1, True)):
        value = getattr(term, name)
        if value is None and optional:
            continue
        changes[name] = as_whole(value)
        if changes[name] is None or changes[name] < least:
            problems.append(f"{name} must be a whole number of epochs, {least} or more, got {shown(value)}")
    if term.layers is not None:
        layers = [as_whole(i) for i in term.layers] if isinstance(term.layers, (tuple, list)) else []
        if not layers or None in layers:
            problems.append(
                f"layers are whole numbers, as in (1, -1), or None for the default, got {shown(term.layers)}"
            )
        changes["layers"] = tuple(layers)
    if not isinstance(term.options, Mapping) or any(not isinstance(o, str) for o in term.options):
        problems.append(f"options is a dict of names and values, got {shown(term.options)}")
    if term.version is not None and not (isinstance(term.version, str) and term.version):
        problems.append(f"version is a text, as in '2', or None, got {shown(term.version)}")
    if not isinstance(term.loss, str) and not callable(term.loss):
        problems.append(f"loss is a name, a function or a class, got {shown(term.loss)}")
    return (term, problems) if problems else (replace(term, **changes), [])


def _problems(name: str, term: Term) -> list[str]:
    problems = []
    if not re.fullmatch(r"[A-Za-z0-9_+-]{1,40}", name) or name == "ce":
        problems.append("a term's name is 1-40 letters, digits, '_', '+' or '-', and not 'ce' (cross-entropy)")
    if term.stage not in STAGES:
        problems.append(unknown("stage", term.stage, STAGES))
    elif term.stage == "pretrain" and term.share is not None:
        problems.append(
            f"share is a share of the gradient of cross-entropy, which does not train in the stage 'pretrain', got "
            f"{term.share:g}; give a weight, as in Term(1.0, stage='pretrain')"
        )
    if term.compares not in COMPARES:
        problems.append(unknown("compares", term.compares, COMPARES))
    if callable(term.loss):
        problems += _custom_option_problems(term)
    elif term.loss not in LOSSES:
        problems.append(unknown("loss", term.loss, LOSSES))
    else:
        if term.compares != "maps":
            problems.append("compares is only for a custom loss; built-in losses know what they compare")
        if term.version is not None:
            problems.append("version is only for a custom loss; the version of built-in losses is scl's")
        for option, value in term.options.items():
            problems += _option_problems(LOSSES[term.loss], option, value)
    return problems


def _option_problems(row: LossRow, option: str, value: Any) -> list[str]:
    if option not in row.options:
        return [unknown("option", option, row.options or ["(none)"])]
    if words := row.words.get(option):
        return [] if value in words else [unknown(option, value, words)]
    number = as_real(value)
    if number is None or not math.isfinite(number):
        return [f"{option} must be a finite number, got {shown(value)}"]
    least = 2 if option == "top" else 1  # one class has no rank among others
    if isinstance(row.options[option], int) and (number < least or number % 1):
        return [f"{option} must be a whole number from {least}, got {shown(value)}"]
    if option == "temperature" and number <= 0:
        return [f"temperature must be above 0, got {shown(value)}"]
    return []


def _custom_option_problems(term: Term) -> list[str]:
    """Options that a custom loss does not take. Callables without an inspectable signature are not checked."""
    try:
        signature = inspect.signature(term.loss)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []
    parameters = list(signature.parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    valid = [p.name for p in parameters[2:] if p.kind is not p.VAR_POSITIONAL]
    return [unknown("option", option, valid or ["(none)"]) for option in term.options if option not in valid]


def as_real(value: Any) -> float | None:
    """A real number as a float, −0 as 0; None for anything else, True and False included."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value) + 0.0
    except OverflowError:
        return math.inf


def as_whole(value: Any) -> int | None:
    """A whole number of 64 bits, which the store's columns have, as Python's int; None for anything else, True and
    False included."""
    if isinstance(value, bool):
        return None
    try:
        whole = operator.index(value)
    except TypeError:
        return None
    return whole if -(2**63) <= whole < 2**63 else None


def requested_term(name: str, term: Term) -> dict[str, Any]:
    """The term without its defaults, as JSON values."""
    out: dict[str, Any] = {"weight": term.weight}
    for f in fields(Term):
        value = getattr(term, f.name)
        if f.name not in ("weight", "loss", "options") and value != f.default:
            out[f.name] = value
    if callable(term.loss):
        out["loss"] = source_identity(name, term.loss, term.version)
    elif term.loss != name:
        out["loss"] = term.loss
    if options := requested_options(name, term):
        out["options"] = options
    return out


def default_options(term: Term) -> Mapping[str, Any]:
    """The options of a built-in loss with their defaults; a custom loss has none that is known here."""
    return LOSSES[term.loss].options if isinstance(term.loss, str) else {}


def requested_options(name: str, term: Term) -> dict[str, Any]:
    """The options that differ from their defaults; for a custom loss, all options.

    Raises:
        UserError: a value is not made of numbers, words, lists and dicts, so it cannot be part of the trial's id.
    """
    defaults = default_options(term)
    options: dict[str, Any] = {}
    for option, value in term.options.items():
        plain = _jsonable(value)
        if plain is _NOT_PLAIN:
            raise UserError(
                f"loss {name!r}: option {option!r} is {_kind(value)}; options are numbers, words, "
                "None, or lists and dicts of them"
            )
        default = defaults.get(option)
        plain = type(default)(plain) if isinstance(default, int | float) else plain
        if option not in defaults or plain != defaults[option]:
            options[option] = plain
    return options


def _kind(value: Any) -> str:
    return "a whole number of more than 64 bits" if type(value) is int else f"of type {type(value).__name__}"


_NOT_PLAIN = object()


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if (whole := as_whole(value)) is not None:
        return whole
    if isinstance(value, numbers.Integral):
        return _NOT_PLAIN  # of more than 64 bits: as a float, two such numbers could be one
    if (number := as_real(value)) is not None:
        return number if math.isfinite(number) else repr(number)
    if isinstance(value, (tuple, list)):
        inside = [_jsonable(v) for v in value]
        return _NOT_PLAIN if any(v is _NOT_PLAIN for v in inside) else inside
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        pairs = {k: _jsonable(v) for k, v in value.items()}
        return _NOT_PLAIN if any(v is _NOT_PLAIN for v in pairs.values()) else pairs
    return _NOT_PLAIN
