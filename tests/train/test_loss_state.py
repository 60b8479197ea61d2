"""What custom losses keep is in checkpoints."""

from __future__ import annotations

import collections
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scl.errors import UserError
from scl.train.loss_state import Parts, fit_buffers, loss_state, require_fixed_shapes, restore_loss_state
from scl.train.types import TrialFailure


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.values: dict[str, Any] = {}


@pytest.mark.parametrize(
    "value",
    [
        1,
        1.5,
        "word",
        True,
        None,
        [1, "a", None],
        (1, (2.5,)),
        {"a": [1], 3: "b"},
        torch.arange(3),
        [torch.ones(2), torch.zeros(1)],
        {"bank": torch.ones(2, 2, dtype=torch.float64)},
        np.arange(3.0),
        collections.deque([1, 2], maxlen=3),
        collections.deque([torch.ones(1)]),
        2**80,
        float("inf"),
        np.float64(1.5),
        np.float32(0.1),
        np.int64(3),
        np.bool_(True),
        np.arange(3, dtype=np.uint16),
        np.arange(4.0)[::-1],
        collections.OrderedDict(b=1, a=torch.ones(1)),
        collections.defaultdict(float, a=1.0),
        collections.defaultdict(list, a=[1]),
        collections.defaultdict(None, a=1),
        collections.Counter("aab"),
        {(1, (2, "a")): 1, True: 2, None: 3, 2.5: 4},
        {1, 2},
        frozenset({(1, 2)}),
        {"a": {"b": [np.float64(1)]}},
    ],
    ids=str,
)
def test_attributes_and_hidden_buffers_come_back(value: Any) -> None:
    one, two = (nn.ModuleDict({"mine-loss": nn.ModuleList([Keeps()])}) for _ in range(2))
    one["mine-loss"][0].values = value  # type: ignore[index]
    one["mine-loss"][0].hidden.fill_(3)  # type: ignore[index]
    tensors, plain = loss_state(one)
    restore_loss_state(two, tensors, json.loads(json.dumps(plain)))
    found = two["mine-loss"][0]  # type: ignore[index]
    assert type(found.values) is type(value)
    assert str(found.values) == str(value)
    assert getattr(found.values, "maxlen", None) == getattr(value, "maxlen", None)
    assert found.hidden.tolist() == [3, 3]
    assert "hidden" not in found.state_dict()


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"a": object()},
        np.array(["a", "b"]),
        np.zeros(2, dtype=">f4"),
        np.zeros(2, dtype=np.longdouble),
        np.longdouble(1),
        np.complex64(1),
        np.datetime64("2020-01-01"),
        np.array([object()]),
        nested(2000),
        nested(200),
        itself(),
        torch.eye(2).to_sparse(),
        collections.defaultdict(lambda: 0),
        nn.Linear(1, 1),
        [nn.Linear(1, 1)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_attributes_of_other_types_are_left_out(value: Any) -> None:
    module = Keeps()
    module.__dict__["values"] = value
    _, plain = loss_state(nn.ModuleDict({"mine-loss": module}))
    assert list(plain) == ["mine-loss.hidden"]
    json.dumps(plain)


class Aliases(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.register_buffer("b", torch.zeros(2))
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.mixed = {"n": 0, "all": [self.w, self.b]}
        self.hidden_too = [self.hidden]
        self.view, self.array = self.b[0:1], self.b.numpy()
        self.one = torch.zeros(1)
        self.two = [self.one]


def test_attributes_that_hold_parameters_buffers_or_each_other_still_do() -> None:
    one, two = (nn.ModuleDict({"mine-loss": Aliases()}) for _ in range(2))
    one["mine-loss"].mixed["n"] = 3  # type: ignore[index]
    one["mine-loss"].one.fill_(4)
    one["mine-loss"].hidden.fill_(5)
    tensors, plain = loss_state(one)
    assert sorted(tensors) == ["mine-loss.hidden", "mine-loss.one"]
    restore_loss_state(two, tensors, json.loads(json.dumps(plain)))
    found: Any = two["mine-loss"]
    assert found.mixed["n"] == 3
    assert found.mixed["all"][0] is found.w
    assert found.mixed["all"][1] is found.b
    assert found.hidden_too[0] is found.hidden
    assert found.two[0] is found.one
    assert (found.one.item(), found.hidden.tolist()) == (4, [5, 5])
    found.b.fill_(7)
    assert found.view.item() == found.array[1] == 7


def test_the_weights_of_a_recurrent_network_stay_its_own() -> None:
    one, two = (nn.ModuleDict({"mine-loss": nn.GRU(2, 3)}) for _ in range(2))
    restore_loss_state(two, *loss_state(one))
    found: Any = two["mine-loss"]
    assert all(a is b for a, b in zip(found._flat_weights, found.parameters(), strict=True))


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("first", [None, torch.empty(0), torch.zeros(3, dtype=torch.int64)])
def test_buffers_that_have_grown_come_back(first: Tensor | None, persistent: bool) -> None:
    def made() -> nn.ModuleDict:
        module = nn.Module()
        module.register_buffer("bank", first, persistent=persistent)
        return nn.ModuleDict({"mine-loss": module})

    one, two = made(), made()
    parts = Parts(one)
    one["mine-loss"].bank = torch.tensor([1.0, 2.0, 3.0])
    parts.check()
    tensors, plain = loss_state(one)
    fit_buffers(two, one.state_dict())
    two.load_state_dict(one.state_dict())
    restore_loss_state(two, tensors, plain)
    assert two["mine-loss"].bank.tolist() == [1, 2, 3]
    assert two["mine-loss"].bank.dtype == torch.float32


def new_parameter(module: Any) -> None:
    module.w = nn.Parameter(torch.ones(2))


def new_module(module: Any) -> None:
    module.late = nn.Linear(2, 2)


def new_buffer(module: Any) -> None:
    module.register_buffer("late", torch.ones(1))


def lost_buffer(module: Any) -> None:
    module.b = None


@pytest.mark.parametrize("change", [new_parameter, new_module, new_buffer, lost_buffer])
def test_parts_that_are_made_or_replaced_late_are_named(change: Any) -> None:
    losses = nn.ModuleDict({"mine-loss": nn.ModuleList([Aliases()])})
    parts = Parts(losses)
    change(losses["mine-loss"][0])  # type: ignore[index]
    with pytest.raises(TrialFailure, match=r"loss 'mine' makes, removes or replaces its (w|late|late\.bias|b) while"):
        parts.check()


def with_sparse_buffer() -> nn.Module:
    module = nn.Module()
    module.register_buffer("k", torch.eye(2).to_sparse())
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.LazyLinear(2), "'mine': weight has no shape before the first step"),
        (nn.Sequential(nn.LazyBatchNorm2d()), "'mine': 0.weight has no shape"),
        (with_sparse_buffer(), "'mine': k is a sparse tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_shapes_that_a_checkpoint_cannot_hold_are_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        require_fixed_shapes("mine", module)


def test_extra_state_comes_back() -> None:
    class Extra(nn.Module):
        count = 0

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    one, two = (nn.ModuleDict({"mine-loss": Extra()}) for _ in range(2))
    one["mine-loss"].count = 5
    restore_loss_state(two, *loss_state(one))
    assert two["mine-loss"].count == 5
