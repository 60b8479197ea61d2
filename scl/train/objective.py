"""The objective of an arm: cross-entropy plus weighted transfer losses, each on the features that it compares.

The learned parts (connectors, and losses with parameters) belong to the objective, not to the student. They train with
the student, are in its checkpoints, and do not count as its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, product
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl import losses
from scl.errors import UserError, first_line
from scl.losses.arithmetic import pool_to_smaller
from scl.models.staged import Features, Wanted
from scl.study.config import Config
from scl.study.loss_table import OF_MAPS, LossRow
from scl.study.term import Term, loss_row
from scl.train import custom
from scl.train.loss_state import require_fixed_shapes
from scl.train.types import TrialFailure


class Objective(nn.Module):
    """Cross-entropy and the transfer losses of one configuration, for a student and its teacher.

    Args:
        student, teacher: features of an example batch, for their shapes. `teacher` may be None if no term needs it.
        labels: of the training images (N,), for balanced class weights and for losses that remember images; None if
            neither is there, or nothing trains.

    Raises:
        UserError: a term needs a teacher or names a missing guided layer, its loss cannot compare these two, or a
            custom loss asks for what nobody provides.
    """

    class_weights: Tensor | None

    def __init__(
        self, config: Config, student: Features, teacher: Features | None, labels: Tensor | None = None
    ) -> None:
        super().__init__()
        self.config = config
        balanced = config.class_weights == "balanced" and labels is not None
        weights = balanced_weights(labels, student.logits.shape[1]) if balanced and labels is not None else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.terms = {name: term for name, term in config.losses.items() if term.weight > 0}
        self.rows = {name: loss_row(term) for name, term in self.terms.items()}
        self.pairs: dict[str, list[tuple[int, int]]] = {}
        self.connectors = nn.ModuleDict()
        self.learned = nn.ModuleDict()
        # The loss of each term, once for each comparison that it makes.
        self.calls: dict[str, list[Callable[..., Any]]] = {}
        self.custom = {name: term.loss for name, term in self.terms.items() if callable(term.loss)}
        self.asked = {name: custom.asked_for(name, self.terms[name]) for name in self.custom}
        self.outside = custom.Outside({f"loss {name!r}": loss for name, loss in self.custom.items()})
        self.audit = True  # of custom losses: see `custom.call`
        for name, term in self.terms.items():
            if teacher is None:
                raise UserError(f"loss {name!r} needs a teacher")
            if self.rows[name].compares in OF_MAPS:
                _require_maps(name, student, teacher)
            if self.rows[name].compares == "cams":
                _require_cams(name, student, teacher)
            self.pairs[name] = _layer_pairs(name, term, self.rows[name], len(student.maps), len(teacher.maps))
            if self.rows[name].correlates:
                self._check_correlations(name, student, teacher)
            self.calls[name] = self._calls(name, term, student, teacher, labels)
        try:
            self.outside.check()
        except TrialFailure as failure:
            raise UserError(str(failure)) from None

    @property
    def custom_modules(self) -> nn.ModuleDict:
        """The custom losses that are classes."""
        return nn.ModuleDict(
            {key: module for key, module in self.learned.items() if key[: -len("-loss")] in self.custom}
        )

    @property
    def term_names(self) -> list[str]:
        return ["ce", *self.terms] if self.config.ce > 0 else list(self.terms)

    def weight(self, name: str, epoch: int) -> float:
        """The weight of a term in an epoch (from 1): 0 outside its stage and after its end, rising in its warm-up."""
        pretraining = epoch <= self.config.pretrain_epochs
        if name == "ce":
            return 0.0 if pretraining else self.config.ce
        term = self.terms[name]
        epoch -= 0 if pretraining else self.config.pretrain_epochs
        if pretraining != (term.stage == "pretrain") or (term.end is not None and epoch > term.end):
            return 0.0
        return term.weight * min(1.0, epoch / term.warmup) if term.warmup else term.weight

    def start_epoch(self, epoch: int) -> None:
        """Tell the losses that change with the epochs (from 1) of their stage which one begins."""
        for name, row in self.rows.items():
            if row.has_epochs:
                before = self.config.pretrain_epochs if self.terms[name].stage == "train" else 0
                self.learned[f"{name}-loss"].start_epoch(max(1, epoch - before))  # type: ignore[operator]

    def wanted(self, epoch: int) -> tuple[Wanted, Wanted | None]:
        """The features of the student and of the teacher that an epoch reads; None if it does not need the teacher."""
        active = [name for name in self.terms if self.weight(name, epoch) > 0]
        on_maps = [name for name in active if self.rows[name].compares in OF_MAPS]
        on_head = [name for name in active if self.rows[name].compares not in ("maps", "pairs", "crossed")]
        pairs = [pair for name in on_maps for pair in self.pairs[name]]
        # Every epoch reads the student's logits, for its training accuracy.
        cams = any(self.rows[name].compares == "cams" for name in active)
        student = Wanted(frozenset(i for i, _ in pairs), head=True, cams=cams)
        logits = any("teacher_logits" in self.asked.get(name, ()) for name in active)
        teacher = Wanted(frozenset(j for _, j in pairs), head=bool(on_head) or logits, cams=cams)
        return student, teacher if active else None

    def forward(
        self,
        student: Features,
        teacher: Features | None,
        target: Tensor,
        epoch: int,
        images: Tensor | None = None,
        index: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The unweighted value of each term that has a weight in this epoch: {name: scalar, float32}.

        Args:
            student, teacher: features of one batch. target: its labels (B,), or probabilities of the classes (B, K).
            images: of the batch (B, C, H, W); only custom losses read them.
            index: their numbers among the training images (B,); only losses that remember images read them.

        Raises:
            TrialFailure: a custom loss does not return a scalar that depends on the student, or reaches its neighbours.
        """
        values = {}
        for name in self.term_names:
            if self.weight(name, epoch) == 0:
                continue
            if name == "ce":
                values[name] = self.cross_entropy(student.logits, target)
            else:
                assert teacher is not None
                guides = [teacher]
                if self.config.mean_of == "losses":
                    guides = [teacher._replace(logits=logits) for logits in teacher.each]
                each = [self._transfer(name, student, guide, target, images, index) for guide in guides]
                values[name] = torch.stack(each).mean() if len(each) > 1 else each[0]
        return values

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """The unweighted cross-entropy of logits (B, K), with labels (B,) or probabilities of the classes (B, K)."""
        return F.cross_entropy(logits, target, self.class_weights, label_smoothing=self.config.label_smoothing)

    @property
    def remembers(self) -> bool:
        """True if a loss needs the numbers of a batch's images."""
        return any(row.remembers for row in self.rows.values())

    def _transfer(
        self,
        name: str,
        student: Features,
        teacher: Features,
        target: Tensor,
        images: Tensor | None,
        index: Tensor | None,
    ) -> Tensor:
        """The value of a transfer loss, summed over its comparisons."""
        row = self.rows[name]
        beside = (target,) if row.needs_target else (index,) if row.remembers else ()
        inputs: list[tuple[Any, Any]]
        if row.compares not in ("maps", "pairs"):
            inputs = [self._at_once(name, student, teacher)]
        else:
            inputs = [self._matched(name, i, student.maps[i], teacher.maps[j]) for i, j in self.pairs[name]]
        if row.compares == "pairs":
            inputs = [((s, s_next), (t, t_next)) for (s, t), (s_next, t_next) in pairwise(inputs)]
        calls = list(zip(self.calls[name], inputs, strict=True))
        if name in self.custom:
            offered = {
                "labels": target,
                "images": images,
                "student_logits": student.logits,
                "teacher_logits": teacher.logits,
            }
            asked = {what: offered[what] for what in self.asked[name]}
            values = [_checked(name, custom.call(name, loss, s, t, asked, self.audit)) for loss, (s, t) in calls]
        else:
            values = [loss(s, t, *beside) for loss, (s, t) in calls]
        return torch.stack(values).sum()

    def _at_once(self, name: str, student: Features, teacher: Features) -> tuple[Any, Any]:
        """The student's and the teacher's side of a loss that makes one comparison."""
        compares = self.rows[name].compares
        if compares not in ("levels", "crossed"):
            return getattr(student, compares), getattr(teacher, compares)
        mine, its = zip(*self.pairs[name], strict=True)
        if compares == "crossed":
            return tuple(student.maps[i] for i in sorted({*mine})), tuple(teacher.maps[j] for j in sorted({*its}))
        return _levels(student, mine), _levels(teacher, its)

    def _matched(self, name: str, layer: int, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of equal channels (by a connector) and equal size (by pooling), if the loss needs them equal."""
        if (key := f"{name}-{layer}") in self.connectors:
            student = self.connectors[key](student)
        return pool_to_smaller(student, teacher) if self.rows[name].same_size else (student, teacher)

    def _check_correlations(self, name: str, student: Features, teacher: Features) -> None:
        for i, j in self.pairs[name]:
            for network, map_ in (("student", student.maps[i]), ("teacher", teacher.maps[j])):
                one = "location" if map_.shape[2] * map_.shape[3] < 2 else "channel" if map_.shape[1] < 2 else None
                if one:
                    raise UserError(
                        f"loss {name!r} at guided layer {i} ({network}, C×H×W = {'×'.join(map(str, map_.shape[1:]))}): "
                        f"one {one} has no correlations; choose other layers=…"
                    )

    def _calls(
        self, name: str, term: Term, student: Features, teacher: Features, labels: Tensor | None
    ) -> list[Callable[..., Any]]:
        """The loss for each comparison, after creating its learned modules, or its connectors."""
        row = self.rows[name]
        loss = term.loss if callable(term.loss) else attrgetter(row.function)(losses)
        pairs = self.pairs[name] if row.compares in ("maps", "pairs") else []  # several teachers have no maps
        widths = [(student.maps[i].shape[1], teacher.maps[j].shape[1]) for i, j in pairs]
        if row.learned:
            if row.compares == "pairs":
                raise UserError(
                    f"loss {name!r}: a class compares maps, all or each, embeddings or logits; pairs need a function"
                )
            key = f"{name}-loss"  # a name alone, such as `type`, may be that of a method of ModuleDict
            if row.compares == "maps":
                modules = [_build(name, loss, term, *pair) for pair in widths]
                self.learned[key] = nn.ModuleList(modules)
                return list(modules)
            sides = map(_channels, self._at_once(name, student, teacher))
            beside = (labels,) if row.remembers else (self.config.batch_size,) if row.of_batches else ()
            self.learned[key] = _build(name, loss, term, *sides, *beside)
            return [self.learned[key]]
        if row.same_channels:
            for (i, _), (c, d) in zip(pairs, widths, strict=True):
                if c != d or self.config.connector == "always":
                    self.connectors[f"{name}-{i}"] = nn.Sequential(nn.Conv2d(c, d, 1, bias=False), nn.BatchNorm2d(d))
        comparisons = {"maps": len(widths), "pairs": len(widths) - 1}.get(row.compares, 1)
        return [partial(loss, **term.options)] * comparisons


def _levels(features: Features, layers: Sequence[int]) -> tuple[Tensor, ...]:
    """The maps of these guided layers, and the embedding as a map of one location."""
    return (*(features.maps[i] for i in layers), features.embedding[:, :, None, None])


def _channels(x: Tensor | tuple[Tensor, ...]) -> Any:
    return tuple(map(_channels, x)) if isinstance(x, tuple) else x.shape[1]


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """The weight of each class, float32 (classes,): N / (classes · images of the class), so that the mean weight of the
    images of these labels is 1 if no class is empty."""
    counts = torch.bincount(labels.cpu(), minlength=classes).clamp(min=1)
    return (len(labels) / (classes * counts.double())).float()


def _build(name: str, loss: Any, term: Term, student_channels: Any, teacher_channels: Any, *beside: Any) -> nn.Module:
    """A loss with learned parts. Raises UserError if a custom class cannot be built."""
    if not issubclass(loss, nn.Module):
        raise UserError(f"loss {name!r}: a custom class must be a torch.nn.Module, {loss.__qualname__} is not")
    try:
        with custom.kept_apart(f"loss {name!r}"):
            module: nn.Module = loss(student_channels, teacher_channels, *beside, **term.options)
    except TrialFailure as failure:
        raise UserError(str(failure)) from None
    except Exception as error:  # user code can raise anything
        arguments = ", ".join([f"{student_channels}, {teacher_channels}", *(f"{k}=…" for k in term.options)])
        raise UserError(
            f"loss {name!r}: {loss.__qualname__}({arguments}) raised {type(error).__name__}: {first_line(error)}"
        ) from error
    require_fixed_shapes(name, module)
    return module


def _checked(name: str, value: Any) -> Tensor:
    """The value of a custom loss as a scalar; raises TrialFailure if it could not train the student."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__}"
        raise TrialFailure(f"loss {name!r} must return one number as a tensor, such as a mean; it returned {got}")
    if torch.is_grad_enabled() and not value.requires_grad:
        raise TrialFailure(
            f"loss {name!r} does not depend on the student (its value has no gradient), so it would train nothing; "
            "look for .detach(), .item(), argmax or torch.no_grad() on the student's side"
        )
    return value.reshape(())


def _require_maps(name: str, student: Features, teacher: Features) -> None:
    for network, features in (("student", student), ("teacher", teacher)):
        if not features.maps:
            raise UserError(
                f"loss {name!r} compares feature maps, and no layer of the {network} was found whose map has more than "
                f"one location; name its layers (--{network}-layers), give larger images, or losses of logits alone"
            )


def _require_cams(name: str, student: Features, teacher: Features) -> None:
    for network, features in (("student", student), ("teacher", teacher)):
        if features.cams is None:
            raise UserError(
                f"loss {name!r} compares class activation maps, which a network has if its logits are a linear layer "
                f"of the mean of a map that one of its modules gives, and those of the {network} are not; choose "
                "losses of maps or logits"
            )


def _layer_pairs(name: str, term: Term, row: LossRow, student: int, teacher: int) -> list[tuple[int, int]]:
    """Pairs of guided layers (student's, teacher's) that a term compares, given the numbers of guided layers.

    Layer i of n is compared with the teacher's layer at the same share of the depth. Equal numbers match one to one;
    the two of plain3 match the second and the fourth of a teacher with four. A loss that crosses layers compares each
    with all of the teacher's.
    """
    chosen: Sequence[int] = range(student)
    layers = term.layers if term.layers is not None else row.layers
    if layers is not None:
        missing = [i for i in layers if not -student <= i < student]
        if missing and term.layers is not None:
            raise UserError(f"loss {name!r}: no guided layer {missing[0]}; valid: {-student} to {student - 1}")
        chosen = sorted({min(i, student - 1) % student for i in layers})
    if row.compares == "pairs" and len(chosen) < 2:
        raise UserError(f"loss {name!r} compares neighbouring guided layers and needs two, got {len(chosen)}")
    if row.compares == "crossed":
        return list(product(chosen, range(teacher)))
    return [(i, -(-(i + 1) * teacher // student) - 1) for i in chosen]  # ceil((i + 1) · T / S)
