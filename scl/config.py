"""What a trial is: its network, its objective and its recipe, as frozen dataclasses that refuse bad values.

Nothing heavy is imported here, so that `--help` and a mistyped flag are answered at once. The tables of
names (models, losses and their options) live here for that reason; tests hold them against the code.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Raised by hand when a change of code changes numbers: it is part of every trial's id.
RESULTS_VERSION = 1

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

MODELS = tuple(f"plain{layers}" for layers in (3, 5, 7, 9, 11, 13, 15, 17))

# Named recipes, fields of Config. `crd`: the published CIFAR-100 recipe (Tian et al., ICLR 2020), to be run with
# `--val 0`; `short`: a laptop's.
RECIPES: dict[str, dict[str, Any]] = {
    "crd": {
        "epochs": 240,
        "batch_size": 64,
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "schedule": "multistep",
        "milestones": (150, 180, 210),
        "lr_decay": 0.1,
        "warmup_epochs": 0,
    },
    "short": {"epochs": 30, "batch_size": 128, "lr": 0.1, "schedule": "cosine", "warmup_epochs": 1},
}

SCHEDULES = ("cosine", "multistep")
AUGMENTATIONS = ("auto", "crop+flip", "crop", "none")
PRECISIONS = ("auto", "fp32", "bf16")
SELF_TAUGHT_PLACES = ("layers", "penultimate")


class UserError(Exception):
    """A mistake the user can mend. The message states the rule, the value given and the way out."""


def unknown(kind: str, value: object, valid: Iterable[str]) -> str:
    """The sentence for a name that does not exist: the value, the nearest valid name, all valid names."""
    names = list(valid)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {value!r}{hint}; valid: {', '.join(names)}"


@dataclass(frozen=True)
class Term:
    """One weighted transfer loss of an objective.

    weight: factor of the term. layers: guided layers it compares, 0 the shallowest, negative from the deepest
    (None: the published choice of that loss). warmup: epochs over which the weight ramps up linearly.
    end: last epoch of the term (None: never ends). loss: a name of LOSSES, or a function
    ``(student, teacher) -> scalar`` of feature maps; None: the name under which the term stands.
    options: keyword options of the loss.
    """

    weight: float
    layers: tuple[int, ...] | None = None
    warmup: int = 0
    end: int | None = None
    loss: str | Callable[..., Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def _term_problems(name: str, term: Term) -> list[str]:
    problems = []
    where = f"loss {name!r}"
    if not re.fullmatch(r"[A-Za-z0-9_+-]{1,40}", name):
        problems.append(f"{where}: a term's name is 1-40 letters, digits, '_', '+' or '-'")
    if not callable(term.loss) and term.loss not in LOSSES:
        problems.append(unknown("loss", term.loss, LOSSES))
    elif isinstance(term.loss, str):
        valid = LOSSES[term.loss]
        problems += [f"{where}: {unknown('option', o, valid or ['(none)'])}" for o in term.options if o not in valid]
    for label, number in (("weight", term.weight), *term.options.items()):
        if isinstance(number, float) and not math.isfinite(number):
            problems.append(f"{where}: {label} must be finite, got {number}")
    if not isinstance(term.weight, (int, float)) or isinstance(term.weight, bool) or term.weight < 0:
        problems.append(f"{where}: weight must be a number of 0 or more, got {term.weight!r}")
    if term.warmup < 0:
        problems.append(f"{where}: warmup must be 0 or more epochs, got {term.warmup}")
    if term.end is not None and term.end < 1:
        problems.append(f"{where}: end must be an epoch from 1, got {term.end}")
    return problems


@dataclass(frozen=True)
class Config:
    """One resolved configuration: everything but the seed, the data and the teacher that moves numbers."""

    # the network
    student: str = "plain5"
    width: float = 1.0
    self_taught: int = 0
    self_taught_at: str = "layers"
    # the objective: ce × cross-entropy + Σ weight × transfer loss
    ce: float = 1.0
    losses: Mapping[str, Term] = field(default_factory=dict)
    label_smoothing: float = 0.0
    # the recipe
    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    lr_decay: float = 0.1
    warmup_epochs: int = 0
    augment: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        losses = {
            name: value if isinstance(value, Term) else Term(value) for name, value in sorted(self.losses.items())
        }
        losses = {
            name: dataclasses.replace(
                term,
                weight=float(term.weight) if isinstance(term.weight, int) else term.weight,
                loss=name if term.loss is None else term.loss,
                layers=None if term.layers is None else tuple(term.layers),
            )
            for name, term in losses.items()
        }
        object.__setattr__(self, "losses", losses)
        object.__setattr__(self, "milestones", tuple(self.milestones))
        problems = self._coerce_scalars()
        if not problems:
            problems = self._problems()
        for name, term in losses.items():
            problems += _term_problems(name, term)
        if problems:
            raise UserError("; ".join(problems))

    def _coerce_scalars(self) -> list[str]:
        """1 and 1.0 must give one id: cast to the declared type; refuse what is of another kind."""
        problems = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.type == "float" and isinstance(value, int) and not isinstance(value, bool):
                object.__setattr__(self, f.name, float(value))
            elif f.type == "float" and not isinstance(value, float):
                problems.append(f"{f.name} must be a number, got {value!r}")
            elif f.type == "int" and (not isinstance(value, int) or isinstance(value, bool)):
                problems.append(f"{f.name} must be a whole number, got {value!r}")
            elif f.type in ("str", "bool") and type(value).__name__ != f.type:
                problems.append(f"{f.name} must be of type {f.type}, got {value!r}")
        return problems

    def _problems(self) -> list[str]:
        problems = []
        for name, valid in (
            ("student", MODELS),
            ("self_taught_at", SELF_TAUGHT_PLACES),
            ("schedule", SCHEDULES),
            ("augment", AUGMENTATIONS),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in valid:
                problems.append(unknown(name, getattr(self, name), valid))
        for name, low, open_below, high in (
            ("width", 0.0, True, 64.0),
            ("self_taught", 0, False, 65536),
            ("ce", 0.0, False, math.inf),
            ("label_smoothing", 0.0, False, 1.0),
            ("epochs", 1, False, 100_000),
            ("batch_size", 2, False, 1_000_000),
            ("lr", 0.0, True, math.inf),
            ("momentum", 0.0, False, 1.0),
            ("weight_decay", 0.0, False, math.inf),
            ("lr_decay", 0.0, True, 1.0),
            ("warmup_epochs", 0, False, 100_000),
        ):
            value = getattr(self, name)
            if not math.isfinite(value) or value < low or (open_below and value == low) or value > high:
                rule = f"above {low:g}" if open_below else f"{low:g} or more"
                bound = "" if math.isinf(high) else f" and at most {high:g}"
                problems.append(f"{name} must be finite, {rule}{bound}, got {value}")
        if self.ce == 0 and not self.losses:
            problems.append("an objective needs a term: ce is 0 and losses is empty")
        if self.nesterov and self.momentum == 0:
            problems.append("nesterov needs a momentum above 0, got 0.0")
        if self.schedule == "multistep" and not self.milestones:
            problems.append("schedule 'multistep' needs milestones, the epochs after which lr is decayed")
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            problems.append(f"milestones must be rising epochs from 1, got {self.milestones}")
        return problems

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed; raises UserError for a field that does not exist."""
        names = [f.name for f in dataclasses.fields(self)]
        wrong = [unknown("field", name, names) for name in changes if name not in names]
        if wrong:
            raise UserError("; ".join(wrong))
        return dataclasses.replace(self, **changes)

    @property
    def needs_teacher(self) -> bool:
        return any(term.weight > 0 for term in self.losses.values())


def requested(config: Config) -> dict[str, Any]:
    """The configuration without its defaults, as JSON-able values: what identifies it."""
    plain = {
        f.name: getattr(config, f.name)
        for f in dataclasses.fields(config)
        if f.name != "losses" and getattr(config, f.name) != f.default
    }
    losses = {name: _requested_term(name, term) for name, term in config.losses.items()}
    return {**plain, **({"losses": losses} if losses else {})}


def _requested_term(name: str, term: Term) -> dict[str, Any]:
    out: dict[str, Any] = {"weight": term.weight}
    for f in ("layers", "warmup", "end"):
        value = getattr(term, f)
        if value != getattr(Term, f):
            out[f] = value
    if callable(term.loss):
        # A user's own loss is its source: a changed function is another trial.
        out["loss"] = {
            "function": term.loss.__qualname__,
            "sha256": hashlib.sha256(inspect.getsource(term.loss).encode()).hexdigest(),
        }
        defaults: Mapping[str, Any] = {}
    else:
        if term.loss != name:
            out["loss"] = term.loss
        defaults = LOSSES[str(term.loss)]
    options = {
        key: float(value) if isinstance(defaults.get(key), float) else value
        for key, value in term.options.items()
        if value != defaults.get(key)
    }
    if options:
        out["options"] = options
    return out


def params(config: Config) -> dict[str, int | float | str | bool]:
    """The configuration as flat, typed columns: `width`, `lr`, …, `weight.kd`, `kd.temperature`."""
    flat: dict[str, int | float | str | bool] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if f.name != "losses":
            flat[f.name] = "/".join(map(str, value)) if isinstance(value, tuple) else value
    for name, term in config.losses.items():
        flat[f"weight.{name}"] = term.weight
        defaults = LOSSES[term.loss] if isinstance(term.loss, str) else {}
        for option, value in {**defaults, **term.options}.items():
            flat[f"{name}.{option}"] = value
    return flat


def with_params(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with some values changed, each under its name in `params`: `lr`, `weight.kd`, `kd.temperature`.

    `weight.NAME` adds the loss NAME where the configuration lacks it.

    Raises:
        UserError: there is no such name, or the value is refused.
    """
    config = config.replace(**{name: value for name, value in changes.items() if "." not in name})
    if not any("." in name for name in changes):
        return config
    losses = dict(config.losses)
    problems = []
    for name in sorted((n for n in changes if "." in n), key=lambda n: not n.startswith("weight.")):
        first, _, last = name.partition(".")
        term = last if first == "weight" else first
        valid = {**losses, **LOSSES} if first == "weight" else losses
        if term not in valid:
            problems.append(f"{name!r}: {unknown('loss', term, valid or ['(none in this objective)'])}")
        elif first == "weight":
            losses[term] = dataclasses.replace(losses.get(term, Term(0.0)), weight=changes[name])
        else:
            options = {**losses[term].options, last: changes[name]}
            losses[term] = dataclasses.replace(losses[term], options=options)
    if problems:
        raise UserError("; ".join(problems))
    return dataclasses.replace(config, losses=losses)


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN. What ids are the SHA-256 of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
