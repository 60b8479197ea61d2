"""Whether configurations can be built on this data, whether two are the same, and what they cost in inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.machine import physical_memory
from scl.models.build import macs
from scl.models.networks import build_network, build_student, example_features, fuse
from scl.models.staged import Features
from scl.plan.context import RunContext
from scl.plan.cost import Cost, measure_latency_ms
from scl.plan.probe import Probe
from scl.plan.students import initial_weights
from scl.store.tables import read_trials
from scl.study.augment import without_auto
from scl.study.config import Config
from scl.study.fields import ARCHITECTURE
from scl.study.identity import effective, requested, sha256
from scl.study.loss_table import OF_CLASSES
from scl.study.study import Study
from scl.study.taught import BY_THE_STUDYS_TEACHER
from scl.study.term import loss_row
from scl.train.expanded import expand, expansion
from scl.train.objective import Objective
from scl.train.teacher import teacher_network


@dataclass(frozen=True)
class Built:
    """An objective that was built once. structure: a hash of its pairs of layers and of its parameters. parameters: how
    many it learns. remembered: bytes of its buffers, such as a memory of all training images."""

    structure: str
    parameters: int
    remembered: int


@dataclass(frozen=True)
class Modelled:
    """A network in training that was built once. features: of an example batch. shapes: of its parameters, by name, and
    of its maps. parameters: how many train, with a transform that the final network lacks."""

    features: Features
    shapes: list[Any]
    parameters: int


class Feasibility:
    """Builds each architecture and each objective once, before anything trains, and refuses arms that cannot be built
    and arms that are the same. 10,000 arms of a few architectures cost a few builds.
    """

    def __init__(self, teacher: Config, tensors: SplitData, context: RunContext) -> None:
        self.teacher, self.tensors, self.device, self.store = teacher, tensors, context.device, context.store
        _require_memory(teacher, tensors)
        _require_validation(teacher, tensors, "the teacher: ")
        self.inputs, self.no_logits = context.teacher_inputs, context.teacher_features
        network = teacher_network(teacher, tensors, self.inputs)
        self.teacher_macs = macs(network, tensors.image_shape)
        self.teacher_params = sum(parameter.numel() for parameter in network.parameters())
        here = torch.device(context.device if torch.cuda.is_available() else "cpu")
        self.probe = Probe(teacher, tensors, here, context.threads, self.macs, self.inputs)
        self.teacher_features: dict[tuple[Any, ...], Features] = {}  # by tap and layers
        self.models: dict[tuple[Any, ...], Modelled] = {}
        self.built: dict[str, Built] = {}
        self.costs: dict[tuple[Any, ...], Cost] = {}
        self._weights: dict[tuple[Any, ...], dict[str, Tensor] | None] = {}
        self._latencies: dict[str, float] | None = None

    def check(self, study: Study, arms: Mapping[str, Config]) -> None:
        """Raises UserError, with all reasons, if an arm cannot be built or two arms train the same."""
        same, wrong = {}, []
        for arm, config in arms.items():
            try:
                same[arm] = self.trained_as(config)
            except UserError as error:
                wrong.append(f"arm {arm!r}: {error}")
        if wrong:
            raise UserError("\n".join(wrong))
        study.refuse_twins(same)

    def bounded(self, arms: Mapping[str, Config]) -> list[str]:
        """What these data bound in the losses of arms, in sentences."""
        terms = [(name, term, loss_row(term)) for config in arms.values() for name, term in config.losses.items()]
        asked = {
            (name, int(term.options.get("negatives", row.options["negatives"])))
            for name, term, row in terms
            if row.remembers and term.weight > 0
        }
        if not asked:
            return []
        labels = self.tensors.train.labels
        others = len(labels) - int(torch.bincount(labels).max())
        return [
            f"The loss {name!r} contrasts each image with {others:,} others instead of {negatives:,}: no more "
            "training images are outside of the largest class."
            for name, negatives in sorted(asked)
            if negatives > others
        ]

    def trained_as(self, config: Config) -> str:
        """A hash of what a configuration trains on this data: shapes of the network, terms and the layers they compare,
        recipe. Two configurations may have one hash, such as widths that round to the same channels.

        Raises:
            UserError: it cannot be built.
        """
        _require_validation(config, self.tensors)
        model = self._model(config)
        if config.kernels != "torch":
            fuse(build_student(config, self.tensors, 0), config, torch.device(self.device))
        for name, term in config.losses.items():
            row = loss_row(term)
            if self.no_logits and term.weight > 0 and (row.reuses or row.compares in OF_CLASSES):
                needs = "keeps the teacher's classifier" if row.reuses else f"compares {row.compares}"
                raise UserError(
                    f"loss {name!r} {needs}, and --teacher-features uses no last layer of the teacher; "
                    "choose losses of maps or embeddings, or --teacher-finetune"
                )
        self.initial_weights(config)
        built = self._objective(config, model.features).structure
        plain = effective(config)
        plain.pop("connector", None)  # its effect is in `built`
        terms = {
            name: {k: v for k, v in term.items() if k != "layers"} for name, term in plain.get("losses", {}).items()
        }
        recipe = {k: v for k, v in plain.items() if k not in ("losses", "width", "self_taught", "guided")}
        recipe["augment"] = without_auto(config.augment, self.tensors.flip, max(self.tensors.image_shape[1:]))
        if config.precision == "auto":
            recipe["precision"] = "bf16" if self.device != "cpu" else "fp32"
        network = {"model": config.model_name, "shapes": model.shapes}
        return sha256({"recipe": recipe, **network, "terms": terms, "built": built})

    def _model(self, config: Config) -> Modelled:
        names = (*ARCHITECTURE, "guided", "tap", "dropout", "drop_path")
        teacher = self._teacher(config) if config.expanding else None
        key = (*(getattr(config, name) for name in names), expansion(config, teacher))
        if key not in self.models:
            _require_memory(config, self.tensors)
            model = build_student(config, self.tensors, 0)
            expand(model, config, teacher, 0)
            features = example_features(model, self.tensors, config.tap)
            shapes = [[name, list(p.shape)] for name, p in model.named_parameters()]
            parameters = sum(p.numel() for p in model.parameters())
            maps = [list(m.shape[1:]) for m in features.maps]
            self.models[key] = Modelled(features, [*shapes, maps], parameters)
        return self.models[key]

    def _teacher(self, config: Config) -> Features:
        key = (config.tap, config.teacher_layers)
        if key not in self.teacher_features:
            model = teacher_network(self.teacher, self.tensors, self.inputs, 0, config.teacher_layers)
            self.teacher_features[key] = example_features(model, self.tensors, config.tap)
        return self.teacher_features[key]

    def _objective(self, config: Config, features: Features) -> Built:
        losses = effective(config).get("losses", {}).items()
        structure = {name: {k: v for k, v in term.items() if k not in ("weight", "share")} for name, term in losses}
        fields = (*ARCHITECTURE, "guided", "tap", "teacher_layers", "connector", "expansion")
        key = sha256([{**{name: getattr(config, name) for name in fields}, **config.hashes}, structure])
        if key not in self.built:
            objective = Objective(config, features, self._teacher(config), self.tensors.train.labels)
            parts = [[name, list(p.shape)] for name, p in objective.named_parameters()]
            parameters = sum(p.numel() for p in objective.parameters())
            remembered = sum(buffer.nbytes for buffer in objective.buffers())
            self.built[key] = Built(sha256([objective.pairs, parts]), parameters, remembered)
        return self.built[key]

    def initial_weights(self, config: Config) -> dict[str, Tensor] | None:
        """What every trial of a configuration starts from, see `students.initial_weights`; read once. Raises UserError
        if it cannot be had."""
        names = (*ARCHITECTURE, "pretrained", "initial_weights", "normalisation")
        key = tuple(getattr(config, name) for name in names)
        if key not in self._weights:
            self._weights[key] = initial_weights(config, self.tensors)
        return self._weights[key]

    def cost(self, config: Config, idle: bool = True) -> Cost:
        """What a student costs in inference. Latency is measured once an architecture, before anything trains: the
        median of 30 forwards of one image on one thread. A stored figure is used again."""
        key = tuple(getattr(config, name) for name in ARCHITECTURE)
        cost = self.costs.get(key)
        if cost is None or (idle and cost.latency_ms is None):
            model = build_student(config, self.tensors, 0)
            shape = self.tensors.image_shape
            parameters = sum(p.numel() for p in model.parameters())
            size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
            latency = self._latency(config, model) if idle else None
            self.costs[key] = cost = Cost(parameters, macs(model, shape), latency, size)
        return cost

    def _latency(self, config: Config, model: torch.nn.Module) -> float:
        if self._latencies is None:
            rows = read_trials(self.store).dropna(subset=["latency_ms"])
            self._latencies = dict(zip(rows["config_id"], rows["latency_ms"], strict=True))
        known = self._latencies.get(sha256(requested(config)))
        return known if known is not None else measure_latency_ms(model, self.tensors.image_shape)

    def memory(self, config: Config) -> int:
        """Bytes that a student keeps between steps: for its network, and for what its losses learn and remember."""
        model = self._model(config)
        built = self._objective(config, model.features)
        learnt = model.parameters * bytes_of_a_parameter(config)
        # Losses have no moving average, and are not kept of the best epoch.
        return (
            learnt
            + built.parameters * bytes_of_a_parameter(replace(config, ema=0.0, patience=0, **BY_THE_STUDYS_TEACHER))
            + built.remembered
        )

    def macs(self, config: Config) -> int:
        return self.cost(config, idle=False).macs


def bytes_of_a_parameter(config: Config) -> int:
    """Bytes that a student keeps between steps for each parameter: weight, gradient, momentum or the moments of adam
    and its kin, moving average, and the network of the best epoch."""
    kept = 3 if config.optimizer == "sgd" else 4
    return 4 * (kept + (config.ema > 0) + (config.patience > 0))


def _require_memory(config: Config, tensors: SplitData) -> None:
    """Raises UserError for a network that is larger than this machine's memory. It is counted without being built: the
    system would end the process that builds it."""
    if config.is_foreign:
        return  # of a fixed size
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = build_network(config, tensors.classes, tensors.image_shape)
    parameters = sum(p.numel() for p in network.parameters())
    needed, have = bytes_of_a_parameter(config) * parameters, physical_memory()
    if have is not None and needed > have:
        raise UserError(
            f"{config.model_name} of width {config.width:g} with {config.self_taught} self-taught neurons has "
            f"{parameters:,} parameters, which take {needed / 2**30:,.0f} GiB to train, and this machine has "
            f"{have / 2**30:,.0f} GiB; give a smaller width, or fewer neurons"
        )


def _require_validation(config: Config, tensors: SplitData, whose: str = "") -> None:
    """Raises UserError for a configuration that stops by its validation accuracy, and has no validation images."""
    if config.patience and not len(tensors.val.labels):
        raise UserError(
            f"{whose}patience {config.patience} ends a trial by its validation accuracy, and no image is held out; "
            "give --val 0.1, or patience=0"
        )
