"""An arm's objective: cross-entropy plus weighted transfer losses, each fed with what it compares.

The learned parts (connectors, variances, embeddings) live here and not in the student: they train with it, are
saved beside it, and do not count as its parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl import losses
from scl.config import SAME_CHANNELS, Config, Term, UserError
from scl.errors import first_line
from scl.losses.shared import to_smaller
from scl.models import Features, Wanted

# What each loss compares, one of terms.FEEDS.
FEEDS: dict[str, str] = {
    "kd": "logits",
    "dkd": "logits",
    "dist": "logits",
    "cc": "embedding",
    "rkd": "embedding",
    "pkt": "embedding",
    "channel": "maps",
    "spatial": "maps",
    "hint": "maps",
    "at": "maps",
    "sp": "maps",
    "vid": "maps",
    "nst": "maps",
    "ickd": "maps",
    "fsp": "pairs",
}
FUNCTIONS: dict[str, Any] = {
    "channel": losses.channel_correlation,
    "spatial": losses.spatial_correlation,
    **{name: getattr(losses, name) for name in FEEDS if name not in ("channel", "spatial")},
}
LEARNED = ("cc", "vid", "ickd")
# The published choice of guided layers; a loss that is not named here compares all.
LAYERS: dict[str, tuple[int, ...]] = {"hint": (1,), "sp": (-1,), "ickd": (-1,)}
# Compared location by location, hence the larger map is average-pooled to the size of the smaller.
SAME_SIZE = ("hint", "at", "vid", "nst")


class TrialFailure(Exception):
    """What ends one trial and leaves its cohort alone; the message is for the person who wrote its configuration."""


class Objective(nn.Module):
    """Cross-entropy and the transfer losses of one configuration, for a student and its teacher.

    `student` and `teacher` are features of an example batch (any content): they give the shapes. `teacher` may
    be None where no term needs it.

    Raises:
        UserError: a term names a guided layer that is not there, or cannot compare these two.
    """

    def __init__(self, config: Config, student: Features, teacher: Features | None) -> None:
        super().__init__()
        self.config = config
        self.terms = {name: term for name, term in config.losses.items() if term.weight > 0}
        self.pairs: dict[str, list[tuple[int, int]]] = {}
        self.connectors = nn.ModuleDict()
        self.learned = nn.ModuleDict()
        for name, term in self.terms.items():
            if teacher is None:
                raise UserError(f"loss {name!r} needs a teacher")
            self.pairs[name] = _layer_pairs(name, term, len(student.maps), len(teacher.maps))
            self._check(name, term, student, teacher)
            self._add_parts(name, term, student, teacher)

    @property
    def term_names(self) -> list[str]:
        return ["ce", *self.terms] if self.config.ce > 0 else list(self.terms)

    def weight(self, name: str, epoch: int) -> float:
        """The factor of a term in an epoch (from 1): its stage, its ramp, its weight, its end."""
        pretraining = epoch <= self.config.pretrain_epochs
        if name == "ce":
            return 0.0 if pretraining else self.config.ce
        term = self.terms[name]
        epoch -= 0 if pretraining else self.config.pretrain_epochs
        if pretraining != (term.stage == "pretrain") or (term.end is not None and epoch > term.end):
            return 0.0
        return term.weight * min(1.0, epoch / term.warmup) if term.warmup else term.weight

    def wanted(self, epoch: int) -> tuple[Wanted, Wanted | None]:
        """What an epoch reads of the student's features and of the teacher's; None of a teacher that it needs not."""
        active = [name for name in self.terms if self.weight(name, epoch) > 0]
        compared = {name: _feed(self.terms[name]) for name in active}
        pairs = [pair for name in active if compared[name] in ("maps", "pairs") for pair in self.pairs[name]]
        head = any(feed in ("logits", "embedding") for feed in compared.values())
        # The student's logits are read in any epoch, for its training accuracy.
        student = Wanted(frozenset(i for i, _ in pairs), head=True)
        return student, Wanted(frozenset(j for _, j in pairs), head) if active else None

    def forward(self, student: Features, teacher: Features | None, target: Tensor, epoch: int) -> dict[str, Tensor]:
        """The unweighted value of each term that has a weight in this epoch: {name: scalar, float32}.

        Raises:
            TrialFailure: a loss of the user's own does not return a scalar that depends on the student.
        """
        values = {}
        for name in self.term_names:
            if self.weight(name, epoch) == 0:
                continue
            if name == "ce":
                values[name] = F.cross_entropy(student.logits, target, label_smoothing=self.config.label_smoothing)
            else:
                assert teacher is not None
                values[name] = self._transfer(name, self.terms[name], student, teacher, target)
        return values

    def _transfer(self, name: str, term: Term, student: Features, teacher: Features, target: Tensor) -> Tensor:
        loss = self._function(name, term)
        feed = _feed(term)
        if feed == "logits":
            extra = (target,) if term.loss == "dkd" else ()
            return _scalar(name, term, loss(student.logits, teacher.logits, *extra))
        if feed == "embedding":
            return _scalar(name, term, loss(student.embedding, teacher.embedding))
        matched = [self._match(name, term, i, student.maps[i], teacher.maps[j]) for i, j in self.pairs[name]]
        if feed == "pairs":
            values = [loss((s, s_next), (t, t_next)) for (s, t), (s_next, t_next) in pairwise(matched)]
        elif _key(name) in self.learned:
            values = [part(s, t) for part, (s, t) in zip(self.learned[_key(name)], matched, strict=True)]  # type: ignore[call-overload]
        else:
            values = [loss(s, t) for s, t in matched]
        return torch.stack([_scalar(name, term, value) for value in values]).sum()

    def _function(self, name: str, term: Term) -> Any:
        if _key(name) in self.learned and _feed(term) in ("embedding", "logits"):
            return self.learned[_key(name)]
        return partial(self._callable(term), **term.options)

    @staticmethod
    def _callable(term: Term) -> Any:
        return term.loss if callable(term.loss) else FUNCTIONS[str(term.loss)]

    def _match(self, name: str, term: Term, layer: int, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Connect unequal channels, pool unequal sizes, where this loss needs them equal."""
        key = f"{name}-{layer}"
        if key in self.connectors:
            s = self.connectors[key](s)
        return to_smaller(s, t) if term.loss in SAME_SIZE else (s, t)

    def _check(self, name: str, term: Term, student: Features, teacher: Features) -> None:
        for i, j in self.pairs[name]:
            for who, map_ in (("student", student.maps[i]), ("teacher", teacher.maps[j])):
                one = "location" if map_.shape[2] * map_.shape[3] < 2 else "channel" if map_.shape[1] < 2 else None
                if term.loss in ("channel", "spatial") and one:
                    raise UserError(
                        f"loss {name!r} at guided layer {i} ({who}, C×H×W = {'×'.join(map(str, map_.shape[1:]))}): "
                        f"one {one} has no correlations; choose other layers=…"
                    )

    def _add_parts(self, name: str, term: Term, student: Features, teacher: Features) -> None:
        """The term's connectors, or its learned losses, one a layer."""
        if term.loss in LEARNED or inspect.isclass(term.loss):
            feed = _feed(term)
            if feed == "pairs":
                raise UserError(f"loss {name!r}: a class compares maps, embeddings or logits; pairs take a function")
            if feed == "maps":
                widths = [(student.maps[i].shape[1], teacher.maps[j].shape[1]) for i, j in self.pairs[name]]
                self.learned[_key(name)] = nn.ModuleList([self._build(name, term, *pair) for pair in widths])
            else:
                s, t = (getattr(of, feed).shape[1] for of in (student, teacher))
                self.learned[_key(name)] = self._build(name, term, s, t)
        elif term.loss in SAME_CHANNELS:
            for i, j in self.pairs[name]:
                c, d = student.maps[i].shape[1], teacher.maps[j].shape[1]
                if c != d or self.config.connector == "always":
                    self.connectors[f"{name}-{i}"] = nn.Sequential(nn.Conv2d(c, d, 1, bias=False), nn.BatchNorm2d(d))

    def _build(self, name: str, term: Term, student_channels: int, teacher_channels: int) -> nn.Module:
        """A loss with learned parts. Raises UserError where a user's class cannot be built."""
        build = self._callable(term)
        if not issubclass(build, nn.Module):
            raise UserError(f"loss {name!r}: a class of your own is a torch.nn.Module, {build.__qualname__} is not")
        try:
            module: nn.Module = build(student_channels, teacher_channels, **term.options)
        except Exception as error:  # whatever the user's code raises
            arguments = ", ".join([f"{student_channels}, {teacher_channels}", *(f"{k}=…" for k in term.options)])
            raise UserError(
                f"loss {name!r}: {build.__qualname__}({arguments}) raised {type(error).__name__}: {first_line(error)}"
            ) from error
        return module


def _key(name: str) -> str:
    """A term's key among modules: as it stands it may be the name of a method, such as `type`."""
    return f"{name}-loss"


def _scalar(name: str, term: Term, value: Any) -> Tensor:
    """The value of a loss; of a user's own what would train something else than it seems is refused."""
    if not callable(term.loss):
        return value
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__}"
        raise TrialFailure(f"loss {name!r} must return one number as a tensor, such as a mean; it returned {got}")
    if torch.is_grad_enabled() and not value.requires_grad:
        raise TrialFailure(
            f"loss {name!r} does not depend on the student (its value has no gradient), so it would train nothing; "
            "look for .detach(), .item(), argmax or torch.no_grad() on the student's side"
        )
    return value.reshape(())


def _feed(term: Term) -> str:
    return term.compares if callable(term.loss) else FEEDS[str(term.loss)]


def _layer_pairs(name: str, term: Term, student: int, teacher: int) -> list[tuple[int, int]]:
    """Guided layers of student and teacher that meet, matched from the deepest: the i-th of n meets that share
    of the teacher's. Equal counts meet one to one; plain3's two meet the teacher's second and fourth."""
    chosen: Sequence[int] = range(student)
    wanted = term.layers if term.layers is not None else LAYERS.get(str(term.loss))
    if wanted is not None:
        wrong = [i for i in wanted if not -student <= i < student]
        if wrong and term.layers is not None:
            raise UserError(f"loss {name!r}: no guided layer {wrong[0]}; valid: {-student} to {student - 1}")
        chosen = sorted({min(i, student - 1) % student for i in wanted})
    if _feed(term) == "pairs" and len(chosen) < 2:
        raise UserError(f"loss {name!r} compares neighbouring guided layers and needs two, got {len(chosen)}")
    return [(i, -(-(i + 1) * teacher // student) - 1) for i in chosen]  # ceil((i + 1) · T / S)
