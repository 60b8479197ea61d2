"""Steps on a GPU as CUDA graphs: launching the small kernels of a small network costs more than computing them.

A student's step is captured once and replayed, on one of a few streams, so that students of a cohort share the device.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from scl.errors import first_line
from scl.losses.shared import leaves

WARM = 3  # calls before a capture: they allocate what stays, and settle which algorithms are taken
# Of a step, by which a graph's first replay may differ from it; one that misses what changes a group differs by 1.
TOLERANCE = 0.05
STREAMS = 8  # students whose steps run at once; each stream holds the activations of one step

T = TypeVar("T")
Batch = TypeVar("Batch", bound=tuple[Any, ...])
Groups = Sequence[Sequence[Tensor]]


def can_replay(device: torch.device) -> bool:
    return device.type == "cuda"


class Lane:
    """A stream, and the memory that the graphs replayed on it share: one runs after the other, so their activations
    may lie in one place. Without graphs there is nothing to it.

    kept: every graph captured on it. Some versions of torch free a stream's workspaces with any one graph of it.
    """

    def __init__(self, device: torch.device, graphs: bool, number: int = 0) -> None:
        """`number`: of its stream, from 0 to STREAMS."""
        self.device, self.graphs = device, graphs
        self.kept: list[Any] = []
        on_gpu = graphs and device.type == "cuda"
        self.stream = _stream(device, number) if on_gpu else None
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


@cache
def _stream(device: torch.device, number: int) -> Any:
    """The same for all cohorts of a process: cuBLAS keeps 32 MiB for every stream that it has seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def lanes(device: torch.device, count: int, graphs: bool) -> list[Lane]:
    """A lane for each of so many students; more than STREAMS share them in turn. The first stream is the teacher's."""
    few = [Lane(device, graphs, 1 + i) for i in range(min(count, STREAMS))]
    return [few[i % len(few)] for i in range(count)]


def capture(work: Callable[..., T], inputs: Sequence[Any], lane: Lane) -> tuple[Callable[[], None], T]:
    """A replay of `work` on the content that its inputs then have, and the result that each replay writes anew."""
    graph = torch.cuda.CUDAGraph()
    lane.kept.append(graph)  # also where the capture fails
    with torch.cuda.graph(graph, pool=lane.pool, stream=lane.stream):
        result = work(*inputs)
    return graph.replay, result


def generators(device: torch.device) -> list[torch.Generator]:
    """The random streams that layers and losses draw from."""
    cuda = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    return [torch.default_generator, *cuda]


class Replayed:
    """Work that is replayed from a graph once it was called with the same objects, whose content changes, a few times.

    Called with others (the last, smaller batch of an epoch) it runs as it is, and so it does where a capture fails or
    its first replay, on new content, does not do what the work does. Results are overwritten by the next call. Nothing
    that Python does in the work is done again by a replay: only work that draws and keeps its state on the device may
    be given, which code of a user's own need not.
    """

    def __init__(self, lane: Lane, able: bool = True) -> None:
        self.lane = lane
        self.refused = not (lane.graphs and able)
        self.forget()

    def forget(self) -> None:
        """The next calls differ in more than their inputs, such as in a weight."""
        self.inputs: tuple[Any, ...] = ()
        self.calls = 0
        self.captured: tuple[Any, ...] | None = None
        self.checked = False
        self.replay: Callable[[], None] = lambda: None
        self.result: Any = None

    def __call__(self, work: Callable[..., T], *inputs: Any, state: Callable[[], Groups] = lambda: ()) -> T:
        """`work(*inputs)`, or the same by a replay. Raises what `work` raises.

        state: what the work changes, in groups of one kind, always the same tensors.
        """
        if _same(inputs, self.captured):
            if not self.checked:
                return self._checked(work, inputs, state())
            self.replay()
            return self.result
        result = work(*inputs)
        if not self.refused:
            self.calls = self.calls + 1 if _same(inputs, self.inputs) else 1
            self.inputs = inputs
            if self.calls >= WARM:
                self._capture(work, inputs)
        return result

    def _capture(self, work: Callable[..., T], inputs: tuple[Any, ...]) -> None:
        try:
            self.replay, self.result = capture(work, inputs, self.lane)
            self.captured, self.checked = inputs, False
        except torch.OutOfMemoryError:
            raise  # the cohort's affair: the memory is shared
        except RuntimeError as error:
            self._refuse(first_line(error))

    def _checked(self, work: Callable[..., T], inputs: tuple[Any, ...], groups: Groups) -> T:
        """The work as it is, and over again from its graph, which is kept where both do the same."""
        before = [_copied(group) for group in groups]
        result = work(*inputs)
        after, expected = [_copied(group) for group in groups], _copied(leaves(result))
        _put(before, groups)
        for generator in generators(self.lane.device):
            generator.manual_seed(generator.initial_seed())
        self.replay()
        pairs = zip(leaves(self.result), expected, strict=True)
        if all(map(_alike, groups, after, before)) and all(_alike([a], [b]) for a, b in pairs):
            self.checked = True
            return self.result
        _put(after, groups)
        self._refuse("a replay did something else than the step")
        return result

    def _refuse(self, reason: str) -> None:
        self.forget()
        self.refused = True
        print(f"steps run without a CUDA graph, more slowly: {reason}", file=sys.stderr)


def _copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def _put(values: Groups, groups: Groups) -> None:
    for group, kept in zip(groups, values, strict=True):
        for tensor, value in zip(group, kept, strict=True):
            tensor.copy_(value)


@torch.no_grad()
def _alike(found: Sequence[Tensor], expected: Sequence[Tensor], before: Sequence[Tensor] | None = None) -> bool:
    """Whether tensors have become what they should but for rounding: the same kernels add up in another order at most,
    and of predictions that are counted a tie or two fall otherwise. What is not finite cannot be compared."""
    gap = _length([a.double() - b for a, b in zip(found, expected, strict=True)])
    moved = expected if before is None else [a.double() - b for a, b in zip(expected, before, strict=True)]
    change, counted = _length(moved), any(not tensor.is_floating_point() for tensor in moved)
    return not math.isfinite(change) or gap <= max(TOLERANCE * change, 2.0 if counted else 0.0)


def _length(tensors: Sequence[Tensor]) -> float:
    """Of all of them as one vector."""
    lengths = [tensor.double().norm() for tensor in tensors]
    return float(torch.stack(lengths).norm()) if lengths else 0.0


def _same(some: tuple[Any, ...], others: tuple[Any, ...] | None) -> bool:
    return others is not None and len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


class InPlace:
    """Batches of one size and what belongs to them, each copied into the same tensors; those of another size are
    handed through, all where the size is None."""

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.place: Any = ()

    def __call__(self, batch: Batch) -> Batch:
        """`batch`: images and what belongs to them, tensors or tuples of them."""
        if len(batch[0]) != self.size:
            return batch
        self.place = _placed(self.place, batch)
        return self.place


def _placed(old: Any, new: Any) -> Any:
    """`new`, its tensors copied into those of `old` that fit; `old` itself where all do."""
    if isinstance(new, Tensor):
        return old.copy_(new) if isinstance(old, Tensor) and old.shape == new.shape else new.clone()
    if not isinstance(new, tuple | list):
        return new
    alike = isinstance(old, type(new)) and len(old) == len(new)
    olds = old if alike else [None] * len(new)
    items = [_placed(a, b) for a, b in zip(olds, new, strict=True)]
    if alike and all(a is b for a, b in zip(olds, items, strict=True)):
        return old
    return type(new)(*items) if hasattr(new, "_fields") else type(new)(items)


def one_ahead(made: Iterator[Batch], lane: Lane, place: InPlace) -> Iterator[Batch]:
    """Each in its turn, in one place, while the lane is at work on the next."""
    coming = next(made, None)
    while coming is not None:
        lane.joined()
        current = place(coming)
        coming = next(made, None)
        yield current
