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
RESULTS_VERSION = 2

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

MODELS = (
    *(f"plain{layers}" for layers in (3, 5, 7, 9, 11, 13, 15, 17)),
    *(f"vgg{layers}" for layers in (8, 11, 13, 16, 19)),
    *(f"resnet{layers}" for layers in (8, 14, 20, 32, 44, 56, 110)),
    "resnet8x4",
    "resnet32x4",
    "wrn_16_1",
    "wrn_16_2",
    "wrn_40_1",
    "wrn_40_2",
)
# Before the name of any classification model of these libraries. Which names exist is asked when one is built.
TORCHVISION = "torchvision:"
TIMM = "timm:"
HUBS = (TORCHVISION, TIMM)
MODEL_NAMES = (*MODELS, *(f"{hub}NAME" for hub in HUBS))

SCHEDULES = ("cosine", "multistep")
AUGMENTATIONS = ("auto", "crop+flip", "crop", "none")
PRECISIONS = ("auto", "fp32", "bf16")
SELF_TAUGHT_PLACES = ("layers", "penultimate", "branch")
SELF_TAUGHT_SOURCES = ("added", "taken")
GUIDED = ("first", "all")
CONNECTORS = ("auto", "always")
TAPS = ("relu", "bn", "block")
STAGES = ("train", "pretrain")
# What trials of a cohort share, beside their seed: one stream of batches and one teacher forward.
SHARED_IN_COHORT = ("batch_size", "augment", "precision", "tap", "teacher_layers")
# What a loss compares: logits, the pooled last guided map, guided maps one by one, or neighbouring pairs of them.
FEEDS = ("maps", "pairs", "embedding", "logits")


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
    end: last epoch of the term (None: never ends). stage: `train`, or `pretrain`: the epochs before it, in which
    only such terms train (Config.pretrain_epochs); warmup and end count from the first epoch of the stage.
    loss: a name of LOSSES, or a function ``(student, teacher) -> scalar``; None: the name under which the term
    stands. compares: what an own function is given, one of FEEDS: feature maps (B, C, H, W) of each layer, pairs
    of neighbouring maps, embeddings (B, D) or logits (B, K). options: keyword options of the loss.
    """

    weight: float
    layers: tuple[int, ...] | None = None
    warmup: int = 0
    end: int | None = None
    stage: str = "train"
    loss: str | Callable[..., Any] | None = None
    compares: str = "maps"
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
    if term.stage not in STAGES:
        problems.append(f"{where}: {unknown('stage', term.stage, STAGES)}")
    if term.compares not in FEEDS:
        problems.append(f"{where}: {unknown('compares', term.compares, FEEDS)}")
    elif term.compares != "maps" and not callable(term.loss):
        problems.append(f"{where}: compares is for a loss of your own, the losses of scl know what they compare")
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
    """One resolved configuration: everything but the seed, the data and the teacher that moves numbers.

    student: a name of MODELS, `torchvision:NAME` or `timm:NAME`. pretrained: start from that library's weights.
    self_taught: k for every guided layer, or one k a guided layer. self_taught_at: every guided layer (`layers`),
    the deepest (`penultimate`), or a narrow network beside the student that only its classifier hears (`branch`).
    self_taught_from: channels `added` to a layer's C, or `taken` from them, so that C − k are guided.
    guided: transfer losses see the `first` C channels of a layer, or `all` C + k (a control).
    tap: where a guided map is taken: after the `relu`, before it (`bn`), or what a stage's last `block` puts out,
    which differs in the wrn family alone (nothing normalised there; common public code takes it so).
    connector: 1×1 convolution and BN on the student where a loss needs equal channels and they differ (`auto`), or
    wherever a loss needs equal channels (`always`).
    teacher_layers: module paths of the guided layers of a teacher from torchvision or timm; empty finds them by stage.
    pretrain_epochs: epochs at a constant rate before `epochs`, in which terms of the stage `pretrain` alone train.
    """

    # the network
    student: str = "plain5"
    width: float = 1.0
    self_taught: int | tuple[int, ...] = 0
    self_taught_at: str = "layers"
    self_taught_from: str = "added"
    pretrained: bool = False
    # the objective: ce × cross-entropy + Σ weight × transfer loss
    ce: float = 1.0
    losses: Mapping[str, Term] = field(default_factory=dict)
    label_smoothing: float = 0.0
    guided: str = "first"
    tap: str = "relu"
    connector: str = "auto"
    teacher_layers: tuple[str, ...] = ()
    # the recipe
    pretrain_epochs: int = 0
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
        for name in ("milestones", "teacher_layers", "self_taught"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
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
        counts = self.self_taught if isinstance(self.self_taught, tuple) else (self.self_taught,)
        if not counts or any(isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= 65536 for k in counts):
            problems.append(
                f"self_taught must be a whole number of 0 to 65536, or one a layer, got {self.self_taught!r}"
            )
        if not isinstance(self.milestones, tuple) or any(type(m) is not int for m in self.milestones):
            problems.append(f"milestones must be whole numbers, got {self.milestones!r}")
        if not isinstance(self.teacher_layers, tuple) or any(type(p) is not str for p in self.teacher_layers):
            problems.append(f"teacher_layers must be a list of module paths, got {self.teacher_layers!r}")
        return problems

    def _problems(self) -> list[str]:
        problems = []
        if not self.student.startswith(HUBS) and self.student not in MODELS:
            problems.append(unknown("student", self.student, MODEL_NAMES))
        for name, valid in (
            ("self_taught_at", SELF_TAUGHT_PLACES),
            ("self_taught_from", SELF_TAUGHT_SOURCES),
            ("guided", GUIDED),
            ("tap", TAPS),
            ("connector", CONNECTORS),
            ("schedule", SCHEDULES),
            ("augment", AUGMENTATIONS),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in valid:
                problems.append(unknown(name, getattr(self, name), valid))
        for name, low, open_below, high in (
            ("width", 0.0, True, 64.0),
            ("ce", 0.0, False, math.inf),
            ("label_smoothing", 0.0, False, 1.0),
            ("epochs", 1, False, 100_000),
            ("batch_size", 2, False, 1_000_000),
            ("lr", 0.0, True, math.inf),
            ("momentum", 0.0, False, 1.0),
            ("weight_decay", 0.0, False, math.inf),
            ("lr_decay", 0.0, True, 1.0),
            ("warmup_epochs", 0, False, 100_000),
            ("pretrain_epochs", 0, False, 100_000),
        ):
            value = getattr(self, name)
            if not math.isfinite(value) or value < low or (open_below and value == low) or value > high:
                rule = f"above {low:g}" if open_below else f"{low:g} or more"
                bound = "" if math.isinf(high) else f" and at most {high:g}"
                problems.append(f"{name} must be finite, {rule}{bound}, got {value}")
        stages = {term.stage for term in self.losses.values() if term.weight > 0}
        problems += self._stages_without_a_term()
        if (self.pretrain_epochs > 0) != ("pretrain" in stages):
            problems.append(
                "a loss with stage='pretrain' needs pretrain_epochs of 1 or more, and those need such a loss; "
                f"got {self.pretrain_epochs} epochs and {'one' if 'pretrain' in stages else 'none'}"
            )
        if self.pretrained and not self.student.startswith(HUBS):
            problems.append(f"pretrained is for {TORCHVISION}NAME and {TIMM}NAME, got {self.student!r}")
        if self.student.startswith(HUBS) and (self.self_taught != 0 or self.width != 1):
            problems.append(f"{self.student}: another library's model has no width factor and no self-taught neurons")
        if self.self_taught_at == "penultimate" and isinstance(self.self_taught, tuple):
            problems.append(f"self_taught_at 'penultimate' is one layer: one whole number, got {self.self_taught}")
        if self.self_taught_from == "taken" and self.self_taught_at == "branch":
            problems.append("self_taught_from 'taken' and self_taught_at 'branch' exclude each other")
        if self.nesterov and self.momentum == 0:
            problems.append("nesterov needs a momentum above 0, got 0.0")
        if self.schedule == "multistep" and not self.milestones:
            problems.append("schedule 'multistep' needs milestones, the epochs after which lr is decayed")
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            problems.append(f"milestones must be rising epochs from 1, got {self.milestones}")
        return problems

    def _stages_without_a_term(self) -> list[str]:
        """Every epoch needs something to train on."""
        problems = []
        for stage, epochs in (("train", self.epochs), ("pretrain", self.pretrain_epochs)):
            terms = [t for t in self.losses.values() if isinstance(t.weight, float) and t.weight > 0]
            ends = [epochs if t.end is None else t.end for t in terms if t.stage == stage]
            if (stage == "pretrain" or self.ce == 0) and max(ends, default=0) < epochs:
                ce = "ce is 0 and " if stage == "train" else ""
                problems.append(
                    f"an objective needs a term in every epoch: {ce}no loss of the stage {stage!r} has a weight "
                    f"after epoch {max(ends, default=0)} of {epochs}"
                )
        return problems

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed; raises UserError for a field that does not exist."""
        names = [f.name for f in dataclasses.fields(self)]
        wrong = [unknown("field", name, names) for name in changes if name not in names]
        if wrong:
            raise UserError("; ".join(wrong))
        return dataclasses.replace(self, **changes)

    @property
    def total_epochs(self) -> int:
        return self.pretrain_epochs + self.epochs

    @property
    def has_self_taught(self) -> bool:
        return bool(self.self_taught if isinstance(self.self_taught, int) else any(self.self_taught))


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
    for f in ("layers", "warmup", "end", "stage", "compares"):
        value = getattr(term, f)
        if value != getattr(Term, f):
            out[f] = value
    if callable(term.loss):
        out["loss"] = _identity(name, term.loss)
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


def _identity(name: str, function: Callable[..., Any]) -> dict[str, str]:
    """A user's own loss is its source: a changed function is another trial.

    What the source does not show would make two losses one trial, so it is refused: no source (an interactive
    session), and values caught from an enclosing function, which belong in the term's options.
    """
    caught = getattr(function, "__closure__", None)
    if caught and any(not callable(cell.cell_contents) for cell in caught):
        names = ", ".join(function.__code__.co_freevars)
        raise UserError(f"loss {name!r} reads {names} of an enclosing function; pass such values as options={{…}}")
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        raise UserError(
            f"loss {name!r}: the source of {function!r} cannot be read; define it with `def` or `class` in a file"
        ) from None
    return {"function": function.__qualname__, "sha256": hashlib.sha256(source.encode()).hexdigest()}


def params(config: Config) -> dict[str, int | float | str | bool]:
    """The configuration as flat, typed columns: `width`, `lr`, …, `weight.kd`, `kd.temperature`."""
    flat: dict[str, int | float | str | bool] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if f.name == "self_taught" and isinstance(value, tuple):
            flat["self_taught_by_layer"] = "/".join(map(str, value))
        elif f.name != "losses":
            flat[f.name] = "/".join(map(str, value)) if isinstance(value, tuple) else value
    for name, term in config.losses.items():
        flat[f"weight.{name}"] = term.weight
        defaults = LOSSES[term.loss] if isinstance(term.loss, str) else {}
        for option, value in {**defaults, **term.options}.items():
            flat[f"{name}.{option}"] = value
    return flat


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN. What ids are the SHA-256 of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
