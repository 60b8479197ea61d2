"""The state of custom losses and own networks in checkpoints, beside parameters and buffers in a state dict.

Attributes are saved if they hold tensors, arrays, numbers, words, or containers of these. Where one holds a registered
parameter or buffer, the checkpoint names it, so that after a resume the two are one again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from scl.errors import UserError
from scl.train.types import TrialFailure

EXTRA = "_extra_state"  # what torch calls the state that `get_extra_state` returns
MODULES_OWN = frozenset(vars(nn.Module())) | {"training"}  # attributes that every nn.Module has
DEEPEST = 50  # containers within containers
SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}
MAPPINGS: dict[str, Any] = {"dict": dict, "OrderedDict": OrderedDict, "defaultdict": defaultdict, "Counter": Counter}
FACTORIES: dict[str, Any] = {"int": int, "float": float, "list": list, "dict": dict}  # of a defaultdict


def require_fixed_shapes(name: str, module: nn.Module) -> None:
    """Raise UserError if a new custom loss has parameters or buffers that a checkpoint cannot hold."""
    for part, tensor in _registered(module).items():
        if isinstance(tensor, UninitializedBuffer | UninitializedParameter):
            raise UserError(
                f"loss {name!r}: {part} has no shape before the first step (a lazy module); state its size, for "
                "example nn.Linear(student_channels, 4) in place of nn.LazyLinear(4)"
            )
        if tensor.layout != torch.strided:
            raise UserError(
                f"loss {name!r}: {part} is a sparse tensor, which a checkpoint does not hold; register it dense, and "
                "use .to_sparse() in forward; or, if it never changes, keep it as an attribute"
            )


class Parts:
    """The parameters and buffers that custom losses, or an own network, had when they were made: the optimizer trains
    only these.

    Args:
        network: the name of an own network, in messages; None for losses.
    """

    def __init__(self, losses: nn.Module, network: str | None = None) -> None:
        self.losses, self.network = losses, network
        self.before = self._now()

    def check(self) -> None:
        """Raises TrialFailure if a loss has made, removed or replaced one. A buffer may get a value, and may grow."""
        now = self._now()
        for part in sorted(now.keys() | self.before.keys()):
            got_value = self.before.get(part, "") is None and now.get(part) == "buffer"
            if not got_value and now.get(part, "") != self.before.get(part, ""):
                name, _, rest = part.partition("-loss.")
                rest = rest.lstrip("0123456789").removeprefix(".")  # of the guided layer
                whose = f"loss {name!r}"
                if self.network is not None:
                    whose, rest = f"network {self.network}", part.removeprefix(".")
                raise TrialFailure(
                    f"{whose} makes, removes or replaces its {rest} while it trains, which would not be trained, "
                    "or not resumed; create parameters, buffers and modules in __init__ with their final shape"
                )

    def _now(self) -> dict[str, Any]:
        """Parameters by name, and whether buffers have a value: None for a buffer without one."""
        parts: dict[str, Any] = {}
        for path, module in self.losses.named_modules():
            parts |= {
                f"{path}.{name}": value if value is None else id(value) for name, value in module._parameters.items()
            }
            parts |= {f"{path}.{name}": None if value is None else "buffer" for name, value in module._buffers.items()}
        return parts


def fit_buffers(losses: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Give buffers the shapes that they had when they were saved: they may have grown, or been None, at first."""
    for path, module in losses.named_modules():
        for name, now in module._buffers.items():
            value = saved.get(f"{path}.{name}")
            if value is not None and (now is None or (now.shape, now.dtype) != (value.shape, value.dtype)):
                module._buffers[name] = value.to(_device(losses) if now is None else now.device)


def loss_state(losses: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What custom losses hold beside parameters and persistent buffers: tensors by name, and the rest as JSON values
    that name these tensors. Attributes of other types, and views of parameters and buffers, are left out; a rehearsal
    finds out whether they matter."""
    writer = _Writer(losses)
    plain = {}
    for path, module in losses.named_modules():
        for name, value, encode in _attributes(module, writer):
            try:
                plain[f"{path}.{name}"] = encode(value, f"{path}.{name}")
            except TypeError:
                continue
    return writer.tensors, plain


def restore_loss_state(losses: nn.Module, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Put back what `loss_state` returned."""
    modules = dict(losses.named_modules())
    reader = _Reader(losses, tensors)
    places = [(modules[path], name, key) for key in plain for path, _, name in [key.rpartition(".")]]
    # Buffers first, as attributes may name them.
    for module, name, key in sorted(places, key=lambda place: place[1] not in place[0]._buffers):
        if name == EXTRA:
            module.set_extra_state(reader.decoded(plain[key], _device(losses)))
            continue
        before = getattr(module, name, None)
        device = before.device if isinstance(before, Tensor) else _device(losses)
        value = reader.decoded(plain[key], device)
        if name not in module._buffers:
            module.__dict__[name] = value  # where it was read; setattr would register a parameter
        elif isinstance(before, Tensor) and isinstance(value, Tensor) and _fits(before, value):
            before.detach().copy_(value)  # its views stay views
        else:
            module._buffers[name] = value


def _fits(before: Tensor, value: Tensor) -> bool:
    """True if a tensor can take the values of another in place."""
    return before.is_contiguous() and (before.shape, before.dtype) == (value.shape, value.dtype)


def _attributes(module: nn.Module, writer: _Writer) -> Iterator[tuple[str, Any, Any]]:
    """The state of a module by name, with the function that encodes it."""
    for name in sorted(module._non_persistent_buffers_set):
        yield name, module._buffers[name], writer.copied
    for name, value in vars(module).items():
        if name not in MODULES_OWN:
            yield name, value, writer.encoded
    if type(module).get_extra_state is not nn.Module.get_extra_state:
        yield EXTRA, module.get_extra_state(), writer.encoded


def _registered(losses: nn.Module) -> dict[str, Tensor]:
    return {**dict(losses.named_parameters()), **dict(losses.named_buffers())}


def _device(losses: nn.Module) -> torch.device:
    return next((t.device for t in (*losses.parameters(), *losses.buffers())), torch.device("cpu"))


class _Writer:
    """Encodes values as JSON, and collects their tensors. A tensor that occurs twice is saved once."""

    def __init__(self, losses: nn.Module) -> None:
        self.tensors: dict[str, Tensor] = {}
        registered = _registered(losses)
        # By identity: the value, which stays alive as long as its identity is used, and its code.
        self.known: dict[int, tuple[Any, Any]] = {id(t): (t, {"registered": name}) for name, t in registered.items()}
        storages = [t.untyped_storage() for t in registered.values() if t.layout == torch.strided]
        self.memory = [(s.data_ptr(), s.data_ptr() + s.nbytes()) for s in storages]

    def encoded(self, value: Any, key: str, depth: int = 0) -> Any:
        """A value as JSON. Raises TypeError for one that a checkpoint does not hold."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.generic):
            if type(value.item()) not in (bool, int, float):
                raise TypeError(f"{key} is a {type(value).__name__}")
            return {"number": value.item(), "type": value.dtype.str}
        if isinstance(value, Tensor | np.ndarray):
            if id(value) not in self.known:
                self.known[id(value)] = value, self._separate(value, key)
            return self.known[id(value)][1]
        kind = type(value).__name__
        if depth == DEEPEST or type(value) not in (SEQUENCES.get(kind), MAPPINGS.get(kind)):
            raise TypeError(f"{key} is a {kind}, or too deep")
        if kind in SEQUENCES:
            items = [self.encoded(item, f"{key}.{i}", depth + 1) for i, item in enumerate(value)]
            return {kind: items, **({"maxlen": value.maxlen} if kind == "deque" else {})}
        pairs = [
            [self.encoded(k, f"{key}.{i}.key", depth + 1), self.encoded(v, f"{key}.{i}", depth + 1)]
            for i, (k, v) in enumerate(value.items())
        ]
        if kind != "defaultdict":
            return {kind: pairs}
        factory = getattr(value.default_factory, "__name__", None)
        if value.default_factory is not FACTORIES.get(factory or ""):
            raise TypeError(f"{key} makes its values by {factory}")
        return {kind: pairs, "factory": factory}

    def copied(self, buffer: Tensor | None, key: str) -> Any:
        """A registered buffer that no state dict holds. Raises TypeError if it is sparse."""
        if buffer is None:
            return None
        if buffer.layout != torch.strided:
            raise TypeError(f"{key} is sparse")
        self.tensors[key] = buffer.detach().clone()
        return {"tensor": key}

    def _separate(self, value: Tensor | np.ndarray, key: str) -> dict[str, str]:
        """The code of a tensor or an array with memory of its own."""
        kind = "tensor" if isinstance(value, Tensor) else "array"
        if isinstance(value, np.ndarray):
            address = value.__array_interface__["data"][0]
            if type(value) is not np.ndarray or value.dtype.kind not in "biuf" or not value.dtype.isnative:
                raise TypeError(f"{key} is an array of {value.dtype}")
            copy = torch.from_numpy(value.copy())  # TypeError for the types that torch lacks
        elif value.layout != torch.strided:
            raise TypeError(f"{key} is sparse")
        else:
            address, copy = value.data_ptr(), value.detach().clone()
        if any(start <= address < end for start, end in self.memory):
            raise TypeError(f"{key} is a view of a parameter or buffer")
        self.tensors[key] = copy
        return {kind: key}


class _Reader:
    """Decodes what a `_Writer` encoded."""

    def __init__(self, losses: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        self.losses, self.tensors = losses, tensors
        self.known: dict[str, Any] = {}  # tensors and arrays by key

    def decoded(self, value: Any, device: torch.device) -> Any:
        if not isinstance(value, dict):
            return value
        if "registered" in value:
            return _registered(self.losses)[value["registered"]]
        if "number" in value:
            return np.dtype(value["type"]).type(value["number"])
        if "tensor" in value:
            return self.known.setdefault(value["tensor"], self.tensors[value["tensor"]].to(device))
        if "array" in value:
            return self.known.setdefault(value["array"], self.tensors[value["array"]].cpu().numpy())
        kind = next(iter(value))
        if kind in SEQUENCES:
            items = [self.decoded(item, device) for item in value[kind]]
            return deque(items, value["maxlen"]) if kind == "deque" else SEQUENCES[kind](items)
        pairs = {self.decoded(k, device): self.decoded(v, device) for k, v in value[kind]}
        if kind == "defaultdict":
            return defaultdict(FACTORIES.get(value["factory"]), pairs)
        return MAPPINGS[kind](pairs)
