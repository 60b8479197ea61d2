"""The optimizer of a student: torch's own functions, their state, and the groups of parameters that share a rate.

The functions behind torch's optimizer classes are called directly, because the classes import torch's compiler, which
takes 4 s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.nadam import nadam
from torch.optim.radam import radam
from torch.optim.sgd import sgd

from scl.errors import UserError
from scl.models.staged import Staged
from scl.models.tapped import TappedModel
from scl.study.config import Config
from scl.train.inputs import own_network

# What an optimizer keeps for each parameter, by its name in checkpoints.
STATE = {
    "sgd": ("momentum",),
    "adam": ("exp_avg", "exp_avg_sq", "step"),
    "adamw": ("exp_avg", "exp_avg_sq", "step"),
    "nadam": ("exp_avg", "exp_avg_sq", "mu_product", "step"),
    "radam": ("exp_avg", "exp_avg_sq", "step"),
}
NUMBERS = {"step": 0.0, "mu_product": 1.0}  # states that are one number a parameter, and their first values
MOMENTUM_DECAY = 4e-3  # of nadam, torch's default
LISTS = (nn.Sequential, nn.ModuleList)  # exactly these types: their subclasses are blocks


@dataclass(frozen=True)
class Group:
    """Parameters, by their index, that share a learning rate and a weight decay. factor: on the learning rate."""

    indices: tuple[int, ...]
    factor: float
    weight_decay: float


class Optimizer:
    """Updates parameters from their gradients, and holds the state of that.

    Args:
        network: its parameters come first; `head_lr` and `layer_decay` are about them. others: further parameters.

    Raises:
        UserError: `head_lr` or `layer_decay` is set and the network has no linear classifier.
    """

    def __init__(self, config: Config, network: nn.Module, others: Sequence[Tensor] = ()) -> None:
        self.config = config
        factors = _factors(config, network)
        self.parameters: list[Tensor] = [*network.parameters(), *others]
        groups: dict[tuple[float, float], list[int]] = defaultdict(list)
        for i, parameter in enumerate(self.parameters):
            decayed = config.decay_norms or parameter.ndim > 1
            groups[factors.get(id(parameter), 1.0), config.weight_decay if decayed else 0.0].append(i)
        self.groups = [Group(tuple(indices), *key) for key, indices in groups.items()]
        self.reset()

    def reset(self) -> None:
        """Forget the state."""
        self.state: dict[str, list[Tensor | None]] = {
            name: [None] * len(self.parameters) for name in STATE[self.config.optimizer]
        }

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        """Clip the gradients, and update the parameters that have one; the others are connectors of terms that belong
        to the other stage.

        Args:
            rate: the learning rate; a tensor on the device if a CUDA graph captures the step.
        """
        if self.config.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        for group in self.groups:
            learning = [i for i in group.indices if self.parameters[i].grad is not None]
            # At its first step, SGD makes its state of all parameters itself. One whose first gradient comes later, as
            # of a layer that a term uses from its own epoch on, starts from zero, which gives the same numbers.
            if self.config.optimizer != "sgd" or any(
                kept[i] is not None for kept in self.state.values() for i in learning
            ):
                self._fill(learning, isinstance(rate, Tensor))
            state = [[kept[i] for i in learning] for kept in self.state.values()]
            UPDATES[self.config.optimizer](
                self.config,
                [self.parameters[i] for i in learning],
                [self.parameters[i].grad for i in learning],
                state,
                rate if group.factor == 1.0 else rate * group.factor,
                group.weight_decay,
            )
            for kept, updated in zip(self.state.values(), state, strict=True):
                for i, tensor in zip(learning, updated, strict=True):
                    kept[i] = tensor

    def _fill(self, indices: Sequence[int], captured: bool) -> None:
        """Make the first state of parameters that have none."""
        for name, kept in self.state.items():
            for i in indices:
                if kept[i] is None:
                    kept[i] = self._first(name, self.parameters[i], captured)

    def _first(self, name: str, parameter: Tensor, captured: bool) -> Tensor:
        if name not in NUMBERS:
            return torch.zeros_like(parameter)
        fused = self.config.optimizer in ("adam", "adamw")
        device = parameter.device if captured or fused else "cpu"
        return torch.full((), NUMBERS[name], dtype=torch.float32, device=device)

    def tensors(self) -> dict[str, Tensor]:
        """The state for a checkpoint."""
        return {f"{name}.{i}": t for name, kept in self.state.items() for i, t in enumerate(kept) if t is not None}

    def load(self, tensors: Mapping[str, Tensor], captured: bool) -> None:
        """Put back what `tensors` returned, among others. captured: see the argument of `step`."""
        for name, kept in self.state.items():
            for i, parameter in enumerate(self.parameters):
                if (value := tensors.get(f"{name}.{i}")) is not None:
                    # In the memory layout of the parameter, so that the arithmetic is the same as without the stop.
                    like = self._first(name, parameter, captured) if name in NUMBERS else torch.empty_like(parameter)
                    kept[i] = like.copy_(value)

    def changing(self) -> list[list[Tensor]]:
        """The tensors of the state, by kind."""
        return [[t for t in kept if t is not None] for kept in self.state.values()]


Lists = list[Any]  # a tensor for each parameter
Update = Callable[[Config, Lists, Lists, list[Lists], Any, float], None]


def _sgd(c: Config, parameters: Lists, gradients: Lists, state: list[Lists], lr: Any, decay: float) -> None:
    (momentum,) = state
    sgd(
        parameters,
        gradients,
        momentum,
        fused=True,
        lr=lr,
        weight_decay=decay,
        momentum=c.momentum,
        nesterov=c.nesterov,
        dampening=0.0,
        maximize=False,
    )


def _of_adam(c: Config, lr: Any, decay: float) -> dict[str, Any]:
    """What adam and its kin are told alike."""
    return {"beta1": c.betas[0], "beta2": c.betas[1], "lr": lr, "weight_decay": decay, "eps": c.eps}


def _many_at_once(parameters: Lists, lr: Any) -> dict[str, Any]:
    """How those without a fused form compute: on a GPU all parameters at once, and so that a graph can hold them."""
    return {"foreach": parameters[0].is_cuda if parameters else False, "capturable": isinstance(lr, Tensor)}


def _adam(c: Config, parameters: Lists, gradients: Lists, state: list[Lists], lr: Any, decay: float) -> None:
    averages, squares, steps = state
    adam(
        parameters,
        gradients,
        averages,
        squares,
        [],
        steps,
        fused=True,
        decoupled_weight_decay=c.optimizer == "adamw",
        amsgrad=False,
        maximize=False,
        **_of_adam(c, lr, decay),
    )


def _radam(c: Config, parameters: Lists, gradients: Lists, state: list[Lists], lr: Any, decay: float) -> None:
    averages, squares, steps = state
    radam(
        parameters,
        gradients,
        averages,
        squares,
        steps,
        **_many_at_once(parameters, lr),
        **_of_adam(c, lr, decay),
    )


def _nadam(c: Config, parameters: Lists, gradients: Lists, state: list[Lists], lr: Any, decay: float) -> None:
    averages, squares, products, steps = state
    nadam(
        parameters,
        gradients,
        averages,
        squares,
        products,
        steps,
        **_many_at_once(parameters, lr),
        momentum_decay=MOMENTUM_DECAY,
        **_of_adam(c, lr, decay),
    )


UPDATES: dict[str, Update] = {"sgd": _sgd, "adam": _adam, "adamw": _adam, "nadam": _nadam, "radam": _radam}


# The learning rate by layer


def _factors(config: Config, network: nn.Module) -> dict[int, float]:
    """Factors on the learning rate by a parameter's `id`; 1 for what is not in it.

    What becomes the classifier has `head_lr`. A layer that is n layers below it has layer_decay^n.
    """
    if config.head_lr == 1.0 and config.layer_decay == 1.0:
        return {}
    classifier = classifier_of(network)
    if classifier is None:
        raise UserError(
            f"{config.model_name} has no linear layer as its classifier, which head_lr and layer_decay need"
        )
    head = {id(parameter) for parameter in head_of(network)}
    layers = [[p for p in layer if id(p) not in head] for layer in layers_of(network)]
    layers = [layer for layer in layers if layer]
    factors = {id(p): config.layer_decay ** (len(layers) - i) for i, layer in enumerate(layers) for p in layer}
    return factors | dict.fromkeys(head, config.head_lr)


def head_of(network: nn.Module) -> list[Tensor]:
    """The parameters of what becomes the trained network's classifier: also those of a transform that is folded in."""
    classifier, own = classifier_of(network), own_network(network)
    parts = [classifier, own.transform if isinstance(own, Staged) else None]
    return [parameter for part in parts if part is not None for parameter in part.parameters()]


def classifier_of(network: nn.Module) -> nn.Module | None:
    """The linear layer that gives the logits: of an own network the one that was seen to do so, else the last."""
    own = own_network(network)
    if isinstance(own, TappedModel):
        return own.net.get_submodule(own.head) if own.head else None
    return next((module for module in reversed([*own.modules()]) if isinstance(module, nn.Linear)), None)


def layers_of(network: nn.Module) -> list[list[Tensor]]:
    """The parameters of a network by layer, in the order of its modules.

    A layer is a member of its lists of modules (`layer1.0`, `features.3`, `encoder.layers.encoder_layer_0`), and each
    module beside these lists. Norms between layers belong to the layer before, and parameters that belong to no such
    module, such as position embeddings, to the first.
    """
    layers: list[list[Tensor]] = [[]]
    loose = list(network.parameters(recurse=False))

    def walk(module: nn.Module, listed: bool) -> None:
        for child in module.children():
            within = listed or type(module) in LISTS
            lists = any(type(m) in LISTS for m in child.modules())
            if type(child) in LISTS or (lists and not within):
                loose.extend(child.parameters(recurse=False))
                walk(child, within)
                continue
            parameters = list(child.parameters())
            if any(p.ndim > 1 for p in parameters) and layers[-1]:
                layers.append([])
            layers[-1].extend(parameters)

    walk(network, False)
    layers[0] = [*loose, *layers[0]]
    return layers
