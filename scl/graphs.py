"""Steps on a GPU as CUDA graphs: launching the small kernels of a small network costs more than computing them.

A student's step is captured once and replayed, on one of a few streams, so that students of a cohort share the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from scl.errors import first_line
from scl.losses.shared import leaves

WARM = 3  # calls before a capture: they allocate what stays, and settle which algorithms are taken
TOLERANCE = (
    0.05  # of a step, by which a first replay may differ from it; a graph that misses a part differs by all of it
)
STREAMS = 8  # students whose steps run at once; each stream holds the activations of one step

T = TypeVar("T")
Groups = Sequence[Sequence[Tensor]]


def can_replay(device: torch.device) -> bool:
    return device.type == "cuda"


class Lane:
    """A stream, and the memory that the graphs replayed on it share: one runs after the other, so their activations
    may lie in one place. Without graphs there is nothing to it.

    kept: every graph captured on it. Some versions of torch free a stream's workspaces with any one graph of it.
    """

    def __init__(self, device: torch.device, graphs: bool) -> None:
        self.device, self.graphs = device, graphs
        self.kept: list[Any] = []
        on_gpu = graphs and device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle() if on_gpu else None

    def entered(self) -> AbstractContextManager[Any]:
        """What the context queues runs on this stream, after all that was queued before."""
        if self.stream is None:
            return nullcontext()
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        return torch.cuda.stream(self.stream)

    def joined(self) -> None:
        """What is queued from now on waits for this stream."""
        if self.stream is not None:
            torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)


def lanes(device: torch.device, count: int, graphs: bool) -> list[Lane]:
    """A lane for each of so many students; more than STREAMS share them in turn."""
    few = [Lane(device, graphs) for _ in range(min(count, STREAMS))]
    return [few[i % len(few)] for i in range(count)]


def capture(work: Callable[..., T], inputs: Sequence[Any], lane: Lane) -> tuple[Callable[[], None], T]:
    """A replay of `work` on the content that its inputs then have, and the result that each replay writes anew."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=lane.pool, stream=lane.stream):
        result = work(*inputs)
    lane.kept.append(graph)
    return graph.replay, result


def generators(device: torch.device) -> list[torch.Generator]:
    """The random streams that layers and losses draw from."""
    cuda = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    return [torch.default_generator, *cuda]


class Replayed:
    """Work that is replayed from a graph once it was called with the same objects, whose content changes, a few times.

    Called with others (the last, smaller batch of an epoch) it runs as it is, and so it does where a capture fails or
    its first replay does not do what the work does. Results are overwritten by the next call. Nothing that Python does
    in the work is done again by a replay: only work that draws and keeps its state on the device may be given, which
    code of a user's own need not.
    """

    def __init__(self, lane: Lane, able: bool = True, state: Callable[[], Groups] = lambda: ()) -> None:
        """`state`: what the work changes, in groups of one kind, always the same tensors."""
        self.lane, self.state = lane, state
        self.refused = not (lane.graphs and able)
        self.forget()

    def forget(self) -> None:
        """The next calls differ in more than their inputs, such as in a weight."""
        self.inputs: tuple[Any, ...] = ()
        self.calls = 0
        self.captured: tuple[Any, ...] | None = None
        self.replay: Callable[[], None] | None = None
        self.result: Any = None

    def __call__(self, work: Callable[..., T], *inputs: Any) -> T:
        """`work(*inputs)`, or the same by a replay. Raises what `work` raises."""
        if self.replay is not None and _same(inputs, self.captured):
            self.replay()
            return self.result
        if self.refused:
            return work(*inputs)
        self.calls = self.calls + 1 if _same(inputs, self.inputs) else 1
        self.inputs = inputs
        return self._captured(work, inputs) if self.calls > WARM else work(*inputs)

    def _captured(self, work: Callable[..., T], inputs: tuple[Any, ...]) -> T:
        """The work as it is, and over again from a graph, which is kept where both have done the same."""
        groups = self.state()
        before = _copied(groups)
        result = work(*inputs)
        after, expected = _copied(groups), _copied([leaves(result)])
        try:
            replay, replayed = capture(work, inputs, self.lane)
            _put(before, groups)
            for generator in generators(self.lane.device):
                generator.manual_seed(generator.initial_seed())
            replay()
            if not (_alike(before, after, groups) and _alike(None, expected, [leaves(replayed)])):
                raise RuntimeError("a replay did something else than the step")
        except torch.OutOfMemoryError:
            raise  # the cohort's affair: the memory is shared
        except RuntimeError as error:
            _put(after, groups)
            self.forget()
            self.refused = True
            print(f"steps run without a CUDA graph, more slowly: {first_line(error)}", file=sys.stderr)
            return result
        self.replay, self.result, self.captured = replay, replayed, inputs
        return replayed


def _copied(groups: Groups) -> list[list[Tensor]]:
    return [[tensor.detach().clone() for tensor in group] for group in groups]


@torch.no_grad()
def _put(values: Groups, groups: Groups) -> None:
    for group, kept in zip(groups, values, strict=True):
        for tensor, value in zip(group, kept, strict=True):
            tensor.copy_(value)


@torch.no_grad()
def _alike(before: Groups | None, expected: Groups, found: Groups) -> bool:
    """Whether each group has changed from `before` (None: from zeros) as expected, but for rounding: the same kernels
    add up in another order at most."""
    for i, (group, others) in enumerate(zip(expected, found, strict=True)):
        zeros = [torch.zeros_like(tensor) for tensor in group]
        gap, change = _distance(group, others), _distance(group, before[i] if before else zeros)
        if not gap <= TOLERANCE * change:
            return False
    return True


def _distance(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    squares = [(a.double() - b.double()).square().sum() for a, b in zip(some, others, strict=True)]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _same(some: tuple[Any, ...], others: tuple[Any, ...] | None) -> bool:
    return others is not None and len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


class InPlace:
    """Batches of one size, each copied into the same two tensors; others are handed through, all where it is None."""

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.place: tuple[Tensor, Tensor] | None = None

    def __call__(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if len(target) != self.size:
            return images, target
        if self.place is None:
            self.place = images.clone(), target.clone()
        else:
            self.place[0].copy_(images)
            self.place[1].copy_(target)
        return self.place
