"""Custom losses are rehearsed: what a checkpoint does not hold is refused before anything trains."""

from __future__ import annotations

import collections
import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.plan.rehearsal import rehearse, rehearse_apart
from scl.study.config import Config
from scl.study.term import Term
from tests.support.networks import Hidden, Net, Tied
from tests.support.studies import CPU
from tests.support.training import BASE

CALLS = {"n": 0}
TICKS = itertools.count()


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    return (student.mean((1, 2, 3)) - teacher.mean((1, 2, 3))).square().mean()


class Loss(nn.Module):
    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.setup()

    def setup(self) -> None: ...

    def factor(self, value: Tensor) -> Any:
        return 1.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return distance(student, teacher) * self.factor(student.detach().mean())


class Number(Loss):
    def setup(self) -> None:
        self.average = 0.0

    def factor(self, value: Tensor) -> Any:
        self.average = 0.9 * self.average + float(value)
        return 1 + self.average


class HiddenBuffer(Loss):
    def setup(self) -> None:
        self.register_buffer("average", torch.zeros(()), persistent=False)

    def factor(self, value: Tensor) -> Any:
        self.average = 0.9 * self.average + value
        return 1 + self.average


class Buffer(Loss):
    def setup(self) -> None:
        self.register_buffer("average", torch.zeros(()))

    def factor(self, value: Tensor) -> Any:
        self.average.mul_(0.9).add_(value)
        return 1 + self.average


class Queue(Loss):
    def setup(self) -> None:
        self.queue: collections.deque[Tensor] = collections.deque(maxlen=3)

    def factor(self, value: Tensor) -> Any:
        self.queue.append(value)
        return 1 + sum(self.queue)


class ByName(Loss):
    def setup(self) -> None:
        self.table: dict[str, Any] = {"steps": 0, "centre": np.zeros(1)}

    def factor(self, value: Tensor) -> Any:
        self.table["steps"] += 1
        self.table["centre"] += float(value)
        return self.table["steps"] + float(self.table["centre"][0])


class Learned(Loss):
    def setup(self) -> None:
        self.scale = nn.Parameter(torch.ones(()))

    def factor(self, value: Tensor) -> Any:
        return self.scale


class InACounter(Loss):
    def setup(self) -> None:
        self.counter = collections.Counter()  # type: ignore[var-annotated]

    def factor(self, value: Tensor) -> Any:
        self.counter[1, value.ndim] += 1
        return self.counter[1, 0]


class NumpyNumber(Loss):
    def setup(self) -> None:
        self.average = np.float64(0)

    def factor(self, value: Tensor) -> Any:
        self.average = 0.9 * self.average + np.float64(value)
        return 1 + float(self.average)


class Recurrent(Loss):
    def setup(self) -> None:
        self.net = nn.GRU(1, 2, batch_first=True)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return distance(student, teacher) + self.net(student.flatten(1)[:, :3, None])[0].square().mean()


class LongShortTerm(Recurrent):
    def setup(self) -> None:
        self.net = nn.LSTM(1, 2, batch_first=True)


class ListOfParameters(Loss):
    def setup(self) -> None:
        self.one, self.two = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
        self.both = [self.one, self.two]

    def factor(self, value: Tensor) -> Any:
        return self.both[0] * self.both[1]


class ViewOfABuffer(Loss):
    def setup(self) -> None:
        self.register_buffer("average", torch.zeros(2))
        self.first = self.average[0:1]

    def factor(self, value: Tensor) -> Any:
        self.first.add_(value)
        return 1 + self.average.sum()


class TwoNames(Loss):
    def setup(self) -> None:
        self.one = self.two = torch.zeros(())

    def factor(self, value: Tensor) -> Any:
        self.one.add_(value)
        return 1 + self.two


class TwoViews(Loss):
    def setup(self) -> None:
        self.one = torch.zeros(2)
        self.two = self.one[0:1]

    def factor(self, value: Tensor) -> Any:
        self.two.add_(value)
        return 1 + self.one.sum()


class BufferSetLate(Loss):
    def setup(self) -> None:
        self.register_buffer("average", None)

    def factor(self, value: Tensor) -> Any:
        self.average = value if self.average is None else 0.9 * self.average + value
        return 1 + self.average


class GrowingBuffer(Loss):
    def setup(self) -> None:
        self.register_buffer("bank", torch.empty(0))

    def factor(self, value: Tensor) -> Any:
        self.bank = torch.cat([self.bank, value.reshape(1)])
        return 1 + self.bank.sum()


class SparseConstant(Loss):
    def setup(self) -> None:
        self.links = torch.eye(2).to_sparse()

    def factor(self, value: Tensor) -> Any:
        return self.links.to_dense().sum()


class ListOfItself(Loss):
    def setup(self) -> None:
        self.words: list[Any] = []
        self.words.append(self.words)


class ParameterMadeLate(Loss):
    def setup(self) -> None:
        self.scale = None

    def factor(self, value: Tensor) -> Any:
        if self.scale is None:
            self.scale = nn.Parameter(torch.ones(()))
        return self.scale


class ModuleMadeLate(Loss):
    def setup(self) -> None:
        self.net = None

    def factor(self, value: Tensor) -> Any:
        if self.net is None:
            self.net = nn.Linear(1, 1)
        return self.net(value.reshape(1)).sum()


class BufferLost(Loss):
    def setup(self) -> None:
        self.register_buffer("average", torch.zeros(()))

    def factor(self, value: Tensor) -> Any:
        self.average = None
        return 1.0


class Lazy(Loss):
    def setup(self) -> None:
        self.net = nn.LazyLinear(1)

    def factor(self, value: Tensor) -> Any:
        return self.net(value.reshape(1)).sum()


class SparseBuffer(Loss):
    def setup(self) -> None:
        self.register_buffer("links", torch.eye(2).to_sparse())


class SparseLater(Loss):
    def setup(self) -> None:
        self.register_buffer("links", torch.eye(2))

    def factor(self, value: Tensor) -> Any:
        self.links = torch.eye(2).to_sparse()
        return 1.0


class CountsItself(Loss):
    made = 0

    def setup(self) -> None:
        CountsItself.made += 1


class FailsAfterAResume(Loss):
    def setup(self) -> None:
        self.known: Any = None
        self.steps = 0

    def factor(self, value: Tensor) -> Any:
        self.steps += 1
        if self.steps == 1:
            self.known = object()
        if self.known is None:
            raise ValueError("nothing is known")
        return 1.0


class Plain:
    n = 0


class InAnObject(Loss):
    def setup(self) -> None:
        self.counter = Plain()

    def factor(self, value: Tensor) -> Any:
        self.counter.n += 1
        return self.counter.n


class InAnIterator(Loss):
    def setup(self) -> None:
        self.ticks = itertools.count(1)

    def factor(self, value: Tensor) -> Any:
        return next(self.ticks)


class InAStream(Loss):
    def setup(self) -> None:
        self.stream = torch.Generator().manual_seed(0)

    def factor(self, value: Tensor) -> Any:
        return torch.rand(1, generator=self.stream).item()


class AnUnusedObject(Loss):
    def setup(self) -> None:
        self.words = Plain()


def draws(student: Tensor, teacher: Tensor) -> Tensor:
    return distance(student, teacher) * (1 + torch.rand(1) + np.random.rand())


def counts(student: Tensor, teacher: Tensor) -> Tensor:
    CALLS["n"] += 1
    return distance(student, teacher) * CALLS["n"]


def counts_and_fails(student: Tensor, teacher: Tensor) -> Tensor:
    CALLS["n"] += 1
    raise ValueError("a mistake")


def reads_the_clock(student: Tensor, teacher: Tensor) -> Tensor:
    return distance(student, teacher) * (1 + time.perf_counter())


def flushes(student: Tensor, teacher: Tensor) -> Tensor:
    torch.set_flush_denormal(True)
    return distance(student, teacher)


def exits(student: Tensor, teacher: Tensor) -> Tensor:
    raise SystemExit(3)


def fails(student: Tensor, teacher: Tensor) -> Tensor:
    raise ValueError("a mistake")


def needs_too_much(student: Tensor, teacher: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def config(loss: Callable[..., Any], **options: Any) -> Config:
    return BASE.replace(losses={"mine": Term(1.0, loss=loss, **options)})


@pytest.mark.parametrize(
    "loss",
    [
        distance,
        draws,
        Loss,
        Number,
        HiddenBuffer,
        Buffer,
        Queue,
        ByName,
        Learned,
        InACounter,
        NumpyNumber,
        Recurrent,
        LongShortTerm,
        ListOfParameters,
        ViewOfABuffer,
        TwoNames,
        BufferSetLate,
        GrowingBuffer,
        SparseConstant,
        ListOfItself,
        AnUnusedObject,
        flushes,
        exits,
        fails,
        needs_too_much,
    ],
)
def test_losses_whose_state_is_saved_pass(loss: Callable[..., Any], tiny: SplitData) -> None:
    rehearse([config(loss)], BASE, tiny, CPU)


def test_a_loss_with_a_share_is_rehearsed_with_its_state(tiny: SplitData) -> None:
    rehearse([config(Buffer, share=0.3)], BASE, tiny, CPU)
    with pytest.raises(UserError, match="keeps state that a checkpoint does not hold"):
        rehearse([config(InAnObject, share=0.3)], BASE, tiny, CPU)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (InAnObject, "keeps state that a checkpoint does not hold"),
        (InAnIterator, "keeps state that a checkpoint does not hold"),
        (InAStream, "keeps state that a checkpoint does not hold"),
        (TwoViews, "keeps state that a checkpoint does not hold"),
        (FailsAfterAResume, r"keeps state .*a resumed trial would fail \(.*nothing is known"),
        (SparseLater, "keeps state .*a resumed trial would fail .*"),
        (ParameterMadeLate, "makes, removes or replaces its scale while it trains"),
        (ModuleMadeLate, "makes, removes or replaces its net.bias while it trains"),
        (BufferLost, "makes, removes or replaces its average while it trains"),
        (Lazy, "net.weight has no shape before the first step"),
        (SparseBuffer, "links is a sparse tensor"),
        (CountsItself, "CountsItself.made changed while it was made"),
        (counts, "CALLS changed while it was made or trained"),
        (counts_and_fails, "CALLS changed while it was made or trained"),
        (reads_the_clock, "gives other numbers when it trains again with the same seed"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_losses_that_cannot_be_resumed_are_refused(loss: Callable[..., Any], message: str, tiny: SplitData) -> None:
    with pytest.raises(UserError, match=f"loss 'mine'.*{message}"):
        rehearse([BASE, config(loss)], BASE, tiny, CPU)


@pytest.mark.parametrize(
    "changes",
    [
        {"warmup": 3},
        {"end": 1},
        {"layers": (-1,)},
        {"compares": "logits"},
        {"share": 0.3},
    ],
)
def test_the_loss_is_rehearsed_whenever_it_is_active(changes: dict[str, Any], tiny: SplitData) -> None:
    def on_logits(student: Tensor, teacher: Tensor) -> Tensor:
        CALLS["n"] += 1
        return (student - teacher).square().mean()

    loss = on_logits if "compares" in changes else counts
    with pytest.raises(UserError, match="CALLS changed"):
        rehearse([config(loss, **changes)], BASE, tiny, CPU)


def test_pretraining_losses_and_objectives_without_cross_entropy_are_rehearsed(tiny: SplitData) -> None:
    pretrain = BASE.replace(losses={"mine": Term(1.0, loss=InAnObject, stage="pretrain")}, pretrain_epochs=1)
    without = BASE.replace(ce=0.0, losses={"mine": Term(1.0, loss=InAnObject)})
    for one in (pretrain, without):
        with pytest.raises(UserError, match="keeps state"):
            rehearse([one], BASE, tiny, CPU)


def test_each_loss_is_rehearsed_once_and_idle_ones_never(tiny: SplitData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("scl.plan.rehearsal._rehearse", lambda name, config, *_: seen.append(config.width))
    idle = BASE.replace(losses={"mine": Term(0.0, loss=distance)})
    rehearse([idle, config(distance), config(distance).replace(width=0.25), config(draws)], BASE, tiny, CPU)
    assert seen == [BASE.width, BASE.width]


def test_a_slow_loss_is_not_rehearsed_and_that_is_said(
    tiny: SplitData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scl.plan.rehearsal.SLOW", 0.0)
    rehearse([config(InAStream)], BASE, tiny, CPU)
    assert "note: 4 steps with loss 'mine' take 0 s, too long to test its resume" in capsys.readouterr().err


def test_the_process_is_left_as_it_was(tiny: SplitData) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    rehearse([config(draws)], BASE, tiny, CPU)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # type: ignore[union-attr]


def kills_its_process(student: Tensor, teacher: Tensor) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return distance(student, teacher)


def test_a_loss_that_kills_its_process_is_said_and_kills_no_run(
    tiny: SplitData, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearse_apart([BASE, config(kills_its_process)], BASE, tiny, CPU)
    assert "ended its process with SIGKILL when it was tried; its trials will fail" in capsys.readouterr().err


def test_apart_the_same_losses_are_refused_and_nothing_of_this_process_changes(tiny: SplitData) -> None:
    before = CALLS["n"]
    with pytest.raises(UserError, match="CALLS changed"):
        rehearse_apart([config(counts)], BASE, tiny, CPU)
    rehearse_apart([config(distance), config(fails)], BASE, tiny, CPU)
    assert CALLS["n"] == before


class GrowsLate(Net):
    def inner(self, x: Tensor) -> Tensor:
        if self.training and not hasattr(self, "late"):
            self.late = nn.Linear(4, 4)
        return self.late(x) if hasattr(self, "late") else x


class NoTraining(Net):
    def inner(self, x: Tensor) -> Tensor:
        return x[:, :2] if self.training else x


class HiddenObject(Net):
    def setup(self) -> None:
        self.box = itertools.count()

    def inner(self, x: Tensor) -> Tensor:
        return x * (1 + next(self.box)) if self.training else x


class Projected(Net):
    """A part that the seed makes and no state dict holds: an exported student would have another."""

    def setup(self) -> None:
        self.random = torch.rand(6, 1, 1)

    def inner(self, x: Tensor) -> Tensor:
        return x * self.random.to(x.device)


class LearnsOutside(Net):
    def setup(self) -> None:
        self.register_buffer("mean", torch.zeros(()), persistent=False)

    def inner(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean += x.detach().mean()
        return x - self.mean


class Unseeded(Net):
    def setup(self) -> None:
        self.gain = nn.Parameter(torch.tensor(time.perf_counter() % 1))

    def inner(self, x: Tensor) -> Tensor:
        return x * self.gain


class CountsCalls(Net):
    def inner(self, x: Tensor) -> Tensor:
        CALLS["n"] += 1
        return x


class SetsThreads(Net):
    def inner(self, x: Tensor) -> Tensor:
        torch.set_flush_denormal(self.training)
        return x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (GrowsLate, "network GrowsLate makes, removes or replaces its late"),
        (NoTraining, "network NoTraining cannot train: RuntimeError"),
        (HiddenObject, "network HiddenObject keeps state that a checkpoint does not hold"),
        (Projected, "network Projected keeps what it is, or what it learned, outside of its parameters"),
        (LearnsOutside, "network LearnsOutside keeps what it is"),
        (Unseeded, "network Unseeded gives other numbers when it trains again"),
        (CountsCalls, "network CountsCalls: .*CALLS changed"),
        (SetsThreads, r"network SetsThreads.* changes torch\.set_flush_denormal"),
    ],
)
def test_networks_that_a_checkpoint_or_a_file_cannot_hold(
    network: type[nn.Module], message: str, tiny: SplitData
) -> None:
    try:
        with pytest.raises(UserError, match=message):
            rehearse([BASE.replace(model=network, width=1)], BASE, tiny, CPU)
    finally:
        torch.set_flush_denormal(False)


def test_networks_that_can_be_trained_are_rehearsed_as_student_and_as_teacher(tiny: SplitData) -> None:
    own = [BASE.replace(model=network, width=1) for network in (Net, Hidden)]
    rehearse_apart(own, BASE.replace(model=Tied, width=1), tiny, CPU)
    with pytest.raises(UserError, match="Projected keeps"):
        rehearse_apart([], BASE.replace(model=Projected, width=1), tiny, CPU)
