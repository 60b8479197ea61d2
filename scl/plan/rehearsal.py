"""Rehearse custom losses and own networks before anything trains: state that no checkpoint holds is refused.

Each trains for two epochs of two steps, once without a stop and once with a stop between the epochs. The two must agree
bitwise on a CPU.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from scl.data.batches import SplitData, training_batches
from scl.errors import UserError
from scl.models.networks import example_features, in_bf16, move_to_device
from scl.models.staged import Features
from scl.study.config import Config
from scl.study.fields import ARCHITECTURE
from scl.study.identity import sha256
from scl.study.term import Term, requested_term
from scl.terminal import say
from scl.train.checkpoint import Writer
from scl.train.cuda_graphs import StreamSlot
from scl.train.custom import Outside, same_bits
from scl.train.evaluation import evaluate
from scl.train.inputs import Inputs, own_network
from scl.train.process import TrainingSettings, threads
from scl.train.student import StudentTrainer
from scl.train.teacher import TeacherForward, teacher_network
from scl.train.types import TrialFailure, TrialSpec

STEPS = 2  # of each of the two epochs
FEW = 16  # images of a step of a network
NO_AUTOGRAD = 3  # exit code of a child
SLOW = 30.0  # seconds of a training; then it is the only one
GPU_GAP = 1e-3  # relative: kernels of a GPU may sum in another order each time


@dataclass
class MemoryFiles:
    """A folder of checkpoints in memory."""

    content: dict[str, bytes] = field(default_factory=dict)

    def names(self) -> list[str]:
        return sorted(self.content)

    def read(self, name: str) -> bytes:
        return self.content[name]

    def write(self, name: str, content: bytes) -> None:
        self.content[name] = content

    def rotate(self, name: str, content: bytes, prefix: str, keep: int) -> None:
        self.write(name, content)
        self.thin(prefix, keep)

    def thin(self, prefix: str, keep: int = 0) -> None:
        names = [name for name in self.names() if name.startswith(prefix)]
        for name in names[: len(names) - keep]:
            del self.content[name]

    def set_aside(self, name: str, reason: str) -> None:
        raise ValueError(f"{name}: {reason}")


def rehearse_apart(
    configs: Sequence[Config],
    teacher: Config,
    data: SplitData,
    device: torch.device,
    inputs: Inputs | None = None,
) -> None:
    """`rehearse` in a child process, so that code that ends its process ends no run: that its trials will fail, each in
    its worker, is said. On a GPU, and where processes cannot fork, in this process. Raises UserError as `rehearse`.
    """
    losses = any(callable(term.loss) for config in configs for term in config.losses.values())
    if not losses and not any(callable(config.model) for config in [*configs, teacher]):
        return
    if device.type != "cpu" or not hasattr(os, "fork"):
        rehearse(configs, teacher, data, device, inputs)
        return
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child uses one, and no lock of another
        child = os.fork()
    if child == 0:
        code = NO_AUTOGRAD
        try:
            code = 0 if _has_autograd() else NO_AUTOGRAD
            rehearse(configs, teacher, data, device, inputs)
        except UserError as error:
            os.write(writer, b"" if code else str(error).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, "rb") as stream:
        refused = stream.read().decode()
    _, status = os.waitpid(child, 0)
    if refused:
        raise UserError(refused)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        what = "a custom loss" if losses else "an own network"
        say(f"note: {what} ended its process with {name} when it was tried; its trials will fail")
    elif os.WEXITSTATUS(status) == NO_AUTOGRAD:  # its forward does not end the process
        rehearse(configs, teacher, data, device, inputs)


def _has_autograd() -> bool:
    """False in the child of a process that has trained: torch refuses a backward pass there."""
    try:
        torch.ones(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return True


def rehearse(
    configs: Iterable[Config],
    teacher: Config,
    data: SplitData,
    device: torch.device,
    inputs: Inputs | None = None,
) -> None:
    """Rehearse each custom loss and each own network of these configurations once.

    Args:
        teacher: its weights do not matter here, so they are random. Its own network is rehearsed too. inputs: what it
            takes and gives.

    Raises:
        UserError: a loss or a network changes variables outside of it, keeps state that a checkpoint does not hold, or
            gives other numbers with the same seed; or the step of a network fails. A loss whose step fails is not
            refused: its trials fail, with the reason.
    """
    configs = list(configs)
    rehearsed = set()
    with threads(1), TrainingSettings(device, False):
        for config, its in [*((config, None) for config in configs), (teacher, inputs)]:
            if callable(config.model):
                fields = {name: getattr(config, name) for name in ARCHITECTURE}
                network = sha256({**fields, **config.hashes, "inputs": its.plain() if its else None})
                if network not in rehearsed:
                    rehearsed.add(network)
                    _rehearse_network(config, data, device, its)
        for config in configs:
            for name, term in config.losses.items():
                key = sha256(requested_term(name, term)) if callable(term.loss) and term.weight > 0 else None
                if key is not None and key not in rehearsed:
                    rehearsed.add(key)
                    _rehearse_loss(name, config, teacher, data, device, inputs)


def _rehearse_loss(
    name: str, config: Config, teacher: Config, data: SplitData, device: torch.device, inputs: Inputs | None
) -> None:
    term = config.losses[name]
    assert callable(term.loss)
    alone = _alone(config, {name: dataclasses.replace(term, warmup=0, end=None, stage="train")})
    outside = Outside({f"loss {name!r}": term.loss})
    try:
        _rehearse(f"loss {name!r}", alone, outside, _stage(alone, teacher, data, device, inputs), device)
    except TrialFailure:
        _refuse(outside.check)  # the reason, most likely


def _rehearse_network(config: Config, data: SplitData, device: torch.device, inputs: Inputs | None) -> None:
    """With cross-entropy alone, on few images. Another network with the trained weights must give the same logits: what
    is exported is such a one."""
    name = f"network {config.model_name}"
    assert callable(config.model)
    alone = _alone(config, {}).replace(batch_size=min(config.batch_size, FEW), initial_weights="")
    outside, stage = Outside({name: config.model}), _stage(alone, None, data, device)
    try:
        trained = _rehearse(name, alone, outside, stage, device, inputs)
    except TrialFailure as failure:
        _refuse(outside.check)
        reason = str(failure).strip().rpartition("\n")[2].strip()
        raise UserError(f"{name} cannot train: {reason}") from None
    if trained is None:
        return
    other = teacher_network(alone, stage.data, inputs, 1)
    own_network(other).load_state_dict(own_network(trained).state_dict())
    other = move_to_device(other, stage.data, device)
    one, two = evaluate([trained, other], stage.data.test, stage.data)
    if not _agree([one], [two], device):
        raise UserError(
            f"{name} keeps what it is, or what it learned, outside of its parameters and buffers, so that an exported "
            "student would give other logits; keep it in buffers (self.register_buffer, persistent)"
        )


def _alone(config: Config, losses: Mapping[str, Term]) -> Config:
    """The configuration of a rehearsal: two epochs of cross-entropy and these losses."""
    return config.replace(
        losses=losses,
        **{"ce": config.ce or 1.0, "epochs": 2, "warmup_epochs": 0, "pretrain_epochs": 0},
        **{"schedule": "cosine", "milestones": (), "patience": 0},
    )


def _rehearse(
    what: str,
    alone: Config,
    outside: Outside,
    stage: _Stage,
    device: torch.device,
    inputs: Inputs | None = None,
) -> nn.Module | None:
    """Train a configuration without and with a stop; returns the trained network, or None if that took too long.

    Raises:
        TrialFailure: a step fails.
        UserError: the two differ, or variables outside of the code have changed.
    """
    began = time.monotonic()
    try:
        whole, trained = _trained(alone, stage, device, inputs, stopped=False)
    except torch.OutOfMemoryError:
        return None
    if (seconds := time.monotonic() - began) > SLOW:
        say(f"note: {2 * STEPS} steps with {what} take {seconds:.0f} s, too long to test its resume")
        return None
    try:
        resumed, _ = _trained(alone, stage, device, inputs, stopped=True)
        lost = None if _agree(whole, resumed, device) else "a resumed trial would have other numbers"
    except torch.OutOfMemoryError:
        return None
    except Exception as error:  # torch cannot save what the code keeps, or it misses what did not come back
        reason = str(error).strip().rpartition("\n")[2].strip()  # the line below a traceback
        lost = f"a resumed trial would fail ({reason})"
    _refuse(outside.check)
    if lost is None:
        return trained
    try:
        same = _agree(whole, _trained(alone, stage, device, inputs, stopped=False)[0], device)
    except (TrialFailure, torch.OutOfMemoryError):
        same = False
    if not same:
        raise UserError(
            f"{what} gives other numbers when it trains again with the same seed; draw with torch.rand, "
            "random.random or numpy.random, which are seeded each step, and read neither the clock nor files"
        )
    raise UserError(
        f"{what} keeps state that a checkpoint does not hold, so {lost}; keep it in buffers "
        "(self.register_buffer), or in attributes of its module that are tensors, numbers, words, or lists and dicts "
        "of them"
    )


def _refuse(check: Callable[[], None]) -> None:
    try:
        check()
    except TrialFailure as failure:
        raise UserError(str(failure)) from None


@dataclass(frozen=True)
class _Stage:
    """What both trainings share: some images, and the teacher's features of each batch if there is one."""

    data: SplitData
    example: Features | None
    batches: Mapping[int, list[tuple[Tensor, Tensor, Features | None]]]  # by epoch


def _stage(
    config: Config, teacher: Config | None, data: SplitData, device: torch.device, inputs: Inputs | None = None
) -> _Stage:
    count = STEPS * config.batch_size
    some = data.train.first(count)
    data = dataclasses.replace(data, train=some, val=some, test=some).to(device)
    example = forward = None
    if teacher is not None:
        network = move_to_device(teacher_network(teacher, data, inputs, 0, config.teacher_layers), data, device)
        example = example_features(network, data, config.tap)
        forward = TeacherForward(network.eval().requires_grad_(False), config.tap, in_bf16(config, device))
    # A set that is smaller than a batch still makes two steps.
    size = min(config.batch_size, max(2, len(some.labels) // STEPS))

    def batches(epoch: int) -> list[tuple[Tensor, Tensor, Features | None]]:
        pairs = training_batches(
            data.train, batch_size=size, seed=0, epoch=epoch, augment="crop", mean=data.mean, std=data.std
        )
        some = itertools.islice(pairs, STEPS)
        return [(images, target, forward(images, None) if forward else None) for images, target in some]

    return _Stage(data, example, {epoch: batches(epoch) for epoch in (1, 2)})


def _trained(
    config: Config, stage: _Stage, device: torch.device, inputs: Inputs | None, stopped: bool
) -> tuple[list[Tensor], nn.Module]:
    """The parameters after two epochs and the losses of each step, and the network. Raises TrialFailure if a step
    fails."""
    config = config.replace(kernels="torch")  # own code is rehearsed, on whatever device is here
    trial = TrialSpec("rehearsal", config, 0, MemoryFiles(), inputs=inputs)
    student, values = _trainer(trial, stage, device), []
    for epoch, batches in stage.batches.items():
        student.start_epoch(len(batches), device)
        for step, (images, target, teacher) in enumerate(batches):
            with student.isolate(f"epoch {epoch}, step {step + 1}"):
                student.step(images, target, teacher, step, len(batches))
            _require_intact(student)
        values.append(student.values.clone())
        _refuse(student.parts.check)
        _refuse(student.network_parts.check)
        with student.isolate(f"epoch {epoch}"):
            student.end_epoch([len(target) for _, target, _ in batches], {})
        _require_intact(student)
        if stopped and epoch == 1:
            with Writer() as writer:
                student.save(writer)
            student = _trainer(trial, stage, device)
            student.resume()
    return [*values, *(parameter.detach() for parameter in student.optimizer.parameters)], student.model


def _require_intact(student: StudentTrainer) -> None:
    if student.failure is not None:
        raise TrialFailure(student.failure)


def _trainer(trial: TrialSpec, stage: _Stage, device: torch.device) -> StudentTrainer:
    return StudentTrainer(trial, stage.data, stage.example, device, StreamSlot(device, graphs=False))


def _agree(one: list[Tensor], other: list[Tensor], device: torch.device) -> bool:
    if device.type == "cpu":
        return all(map(same_bits, one, other))
    return all(
        torch.allclose(a, b, rtol=GPU_GAP, atol=GPU_GAP, equal_nan=True) for a, b in zip(one, other, strict=True)
    )
