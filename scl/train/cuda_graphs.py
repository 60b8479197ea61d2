"""CUDA graphs for training steps: launching the many kernels of a small network takes longer than computing them.

The step of a student is captured once and then replayed, on one of a few streams, so that the students of a cohort
run on the device at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from scl.errors import first_line
from scl.losses.arithmetic import tensors_in
from scl.terminal import say
from scl.train.device_errors import concerns_cohort
from scl.train.process import generators

WARMUP_CALLS = 3  # calls before a capture: they allocate the tensors that stay, and choose algorithms
# The largest difference between a graph's first replay and a step, relative to the step. A graph that does not change
# one group of tensors differs by 1. Kernels that sum in another order differ in all directions; what is wrong by a
# factor, as a learning rate is, differs along the step, where rounding nearly cancels and less is allowed.
TOLERANCE, ALONG = 0.05, 0.005
STREAMS = 8  # students whose steps run at the same time; each stream holds the activations of one step

T = TypeVar("T")
Batch = TypeVar("Batch", bound=tuple[Any, ...])
Groups = Sequence[Sequence[Tensor]]


def supports_graphs(device: torch.device) -> bool:
    return device.type == "cuda"


class StreamSlot:
    """A CUDA stream and the memory pool of the graphs on it. They run one after another, so they share memory.

    Without graphs, or on a CPU, it has no stream and its methods do nothing.

    captured: all graphs of the stream. They stay alive together, because some versions of torch free the workspaces
    of a stream with any one of its graphs.
    """

    def __init__(self, device: torch.device, graphs: bool, number: int = 0) -> None:
        """number: that of the stream, from 0 to STREAMS."""
        self.device, self.graphs = device, graphs
        self.captured: list[Any] = []
        on_gpu = graphs and device.type == "cuda"
        self.stream = _stream(device, number) if on_gpu else None
        self.pool = torch.cuda.graph_pool_handle() if on_gpu else None

    def active(self) -> AbstractContextManager[Any]:
        """Queue the work of this context on the stream, after all work queued before."""
        if self.stream is None:
            return nullcontext()
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        return torch.cuda.stream(self.stream)

    def join(self) -> None:
        """Make work that is queued later wait for this stream."""
        if self.stream is not None:
            torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)


@cache
def _stream(device: torch.device, number: int) -> Any:
    """The same streams for all cohorts of a process: cuBLAS keeps 32 MiB for each stream that it has seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def stream_slots(device: torch.device, count: int, graphs: bool) -> list[StreamSlot]:
    """A slot for each of `count` students; beyond STREAMS, students share slots. Stream 0 is that of the teacher."""
    slots = [StreamSlot(device, graphs, 1 + i) for i in range(min(count, STREAMS))]
    return [slots[i % len(slots)] for i in range(count)]


def capture(work: Callable[..., T], inputs: Sequence[Any], slot: StreamSlot) -> tuple[Callable[[], None], T]:
    """A function that replays `work` on the current content of its inputs, and the result that each replay
    overwrites."""
    graph = torch.cuda.CUDAGraph()
    slot.captured.append(graph)  # even if the capture fails
    with torch.cuda.graph(graph, pool=slot.pool, stream=slot.stream):
        result = work(*inputs)
    return graph.replay, result


class GraphRunner:
    """Runs work; after a few calls with the same input tensors, whose content changes, it replays a CUDA graph instead.

    With other inputs (the smaller last batch of an epoch) the work runs directly. It also does if the capture fails, or
    if the first replay, on new content, differs from the work. Each call overwrites the results of the one before.

    A replay repeats no Python code. So the work must keep its state on the device; user code may not do that, and needs
    `allowed=False`. Work that draws random numbers is never captured: all graphs of a device read the same seed and
    offset there, which the replays on other streams overwrite meanwhile.
    """

    def __init__(self, slot: StreamSlot, allowed: bool = True) -> None:
        self.slot = slot
        self.disabled = not (slot.graphs and allowed)
        self.reset()

    def reset(self) -> None:
        """Drop the graph, because more than the content of the inputs changes, such as a loss weight."""
        self.inputs: tuple[Any, ...] = ()
        self.calls = 0
        self.captured: tuple[Any, ...] | None = None
        self.checked = False
        self.replay: Callable[[], None] = lambda: None
        self.result: Any = None

    def __call__(
        self,
        work: Callable[..., T],
        *inputs: Any,
        state: Callable[[], Groups] = lambda: (),
        settings: Sequence[Tensor] = (),
    ) -> T:
        """`work(*inputs)`, directly or by a replay. Raises what `work` raises.

        state: the tensors that the work changes, grouped by kind; always the same tensors.
        settings: the tensors that the work reads and the caller changes between calls, such as a learning rate.
        """
        if _same_objects(inputs, self.captured):
            if not self.checked:
                return self._first_replay(work, inputs, state(), settings)
            self.replay()
            return self.result
        if self.disabled:
            return work(*inputs)
        self.calls = self.calls + 1 if _same_objects(inputs, self.inputs) else 1
        self.inputs = inputs
        random = [generator.get_state() for generator in generators(self.slot.device)]
        result = work(*inputs)
        drawn = [generator.get_state() for generator in generators(self.slot.device)]
        if not all(map(torch.equal, random, drawn)):
            self._disable("they draw random numbers, which replays on several streams would mix up")
        elif self.calls >= WARMUP_CALLS:
            self._capture(work, inputs)
        return result

    def _capture(self, work: Callable[..., T], inputs: tuple[Any, ...]) -> None:
        try:
            self.replay, self.result = capture(work, inputs, self.slot)
            self.captured, self.checked = inputs, False
        except RuntimeError as error:
            if concerns_cohort(error, self.slot.device):
                raise
            self._disable(first_line(error))

    def _first_replay(
        self, work: Callable[..., T], inputs: tuple[Any, ...], groups: Groups, settings: Sequence[Tensor]
    ) -> T:
        """Run the work directly, and again by its graph; keep the graph if both give the same. They must also do so
        with other settings, since a setting that the graph does not read may be nearly the same now as at the capture.
        """
        same = True
        if settings:
            before, values = [_copies(group) for group in groups], _copies(settings)
            for setting in settings:
                setting.mul_(0.5)
            _, same = self._compared(work, inputs, groups)
            _restore([*groups, settings], [*before, values])
        result, again = self._compared(work, inputs, groups)
        if not (same and again):
            self._disable("a replay differs from the step")
        self.checked = True
        return result

    def _compared(self, work: Callable[..., T], inputs: tuple[Any, ...], groups: Groups) -> tuple[T, bool]:
        """The result of the work, run directly and by its graph, and whether both give the same. If they do, result
        and state are the graph's."""
        before = [_copies(group) for group in groups]
        result = work(*inputs)
        after, expected = [_copies(group) for group in groups], _copies(tensors_in(result))
        _restore(groups, before)
        self.replay()
        pairs = zip(tensors_in(self.result), expected, strict=True)
        if all(map(_close, groups, after, before)) and all(_close([a], [b]) for a, b in pairs):
            return self.result, True
        _restore(groups, after)
        return result, False

    def _disable(self, reason: str) -> None:
        self.reset()
        self.disabled = True
        say(f"steps run without a CUDA graph, more slowly: {reason}")


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def _restore(groups: Groups, values: Groups) -> None:
    for group, copies in zip(groups, values, strict=True):
        for tensor, value in zip(group, copies, strict=True):
            tensor.copy_(value)


@torch.no_grad()
def _close(found: Sequence[Tensor], expected: Sequence[Tensor], before: Sequence[Tensor] | None = None) -> bool:
    """True if tensors match up to rounding, relative to their change since `before`; always true if the change is not
    finite. The same kernels may sum in another order, and tied predictions may change a count by up to two."""
    moved = expected if before is None else [a.double() - b for a, b in zip(expected, before, strict=True)]
    gaps = [a.double() - b for a, b in zip(found, expected, strict=True)]
    change, gap = _product(moved, moved) ** 0.5, _product(gaps, gaps) ** 0.5
    if not math.isfinite(change):
        return True
    if before is None and any(not tensor.is_floating_point() for tensor in expected):  # a count of right predictions
        return gap <= max(TOLERANCE * change, 2.0)
    return gap <= TOLERANCE * change and abs(_product(gaps, moved)) <= ALONG * change**2


def _product(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The inner product of all tensors as one vector each."""
    products = [(a.double() * b).sum() for a, b in zip(some, others, strict=True)]
    return float(torch.stack(products).sum()) if products else 0.0


def _same_objects(some: tuple[Any, ...], others: tuple[Any, ...] | None) -> bool:
    return others is not None and len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


class StaticBuffers:
    """Copies batches of one size, and all that belongs to them, into the same tensors each time.

    Batches of other sizes pass through unchanged; all do if the size is None.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.buffers: Any = ()

    def __call__(self, batch: Batch) -> Batch:
        """batch: images, and tensors or tuples of tensors that belong to them."""
        if len(batch[0]) != self.size:
            return batch
        self.buffers = _copied_into(self.buffers, batch)
        return self.buffers


def _copied_into(old: Any, new: Any) -> Any:
    """`new`, with its tensors copied into those of `old` that have the same shape; `old` itself if all have."""
    if isinstance(new, Tensor):
        return old.copy_(new) if isinstance(old, Tensor) and old.shape == new.shape else new.clone()
    if not isinstance(new, tuple | list):
        return new
    alike = isinstance(old, type(new)) and len(old) == len(new)
    olds = old if alike else [None] * len(new)
    items = [_copied_into(a, b) for a, b in zip(olds, new, strict=True)]
    if alike and all(a is b for a, b in zip(olds, items, strict=True)):
        return old
    return type(new)(*items) if hasattr(new, "_fields") else type(new)(items)


def prefetch(batches: Iterator[Batch], slot: StreamSlot, buffers: StaticBuffers) -> Iterator[Batch]:
    """Yield batches from reused buffers while the stream prepares the next batch."""
    coming = next(batches, None)
    while coming is not None:
        slot.join()
        current = buffers(coming)
        coming = next(batches, None)
        yield current
