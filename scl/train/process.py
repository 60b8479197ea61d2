"""Settings of the process that a run needs, as context managers that put back what they found."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch

from scl.models.settings import settings_restored

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


@contextmanager
def deterministic(mode: bool) -> Iterator[None]:
    """Switch torch's deterministic algorithms on or off, with the workspace that exact products of cuBLAS need."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(CUBLAS_WORKSPACE)
    if mode and workspace is None:
        os.environ[CUBLAS_WORKSPACE] = ":4096:8"
    if mode != before:  # only then: torch's function imports its compiler, which takes 3 s
        torch.use_deterministic_algorithms(mode)
    try:
        yield
    finally:
        if mode != before:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)
        if mode and workspace is None:
            del os.environ[CUBLAS_WORKSPACE]


@contextmanager
def whole_float32(asked: bool) -> Iterator[None]:
    """If asked, products and convolutions in float32 use all of its 24 bits. By default torch lets cuDNN's convolutions
    use TensorFloat-32, which has 11. Other types and the CPU compute as ever."""
    with settings_restored() if asked else nullcontext():
        if asked:
            cudnn: Any = torch.backends.cudnn
            cudnn.allow_tf32 = False  # this alone would leave a setting for all backends in force
            cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "ieee"
            torch.set_float32_matmul_precision("highest")
        yield


def generators(device: torch.device) -> list[torch.Generator]:
    """The global random generators that layers and losses on this device use."""
    if device.type != "cuda":
        return [torch.default_generator]
    torch.cuda.init()  # type: ignore[no-untyped-call]
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]


class TrainingSettings:
    """Context manager: the deterministic mode of a training and, on a GPU and if `float32`, convolutions in whole
    float32; torch's random state is free to be overwritten.

    Inside, `suspended()` gives the caller's settings back for a while: a generator yields in it, and calls code of
    the caller in it.
    """

    def __init__(self, device: torch.device, mode: bool, float32: bool = False) -> None:
        self.mode, self.gpus = mode, [device] if device.type == "cuda" else []
        self.float32 = float32 and device.type == "cuda"
        self.stack = ExitStack()

    def __enter__(self) -> TrainingSettings:
        self.stack.enter_context(deterministic(self.mode))
        self.stack.enter_context(whole_float32(self.float32))
        self.stack.enter_context(torch.random.fork_rng(self.gpus))
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        self.stack.close()
        try:
            yield
        finally:
            self.__enter__()


@contextmanager
def environment(values: Mapping[str, str] | None = None, defaults: Mapping[str, str] | None = None) -> Iterator[None]:
    """Set environment variables; at the end every variable is as it was before, also those that a library changed.

    Args:
        values: variables to set.
        defaults: variables to set if they are not set yet.
    """
    before = dict(os.environ)
    os.environ.update({**(defaults or {}), **before, **(values or {})})
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this number of CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep large freed blocks in this process instead of returning them to the system; no number changes.

    glibc returns them by default, and each step then waits for fresh pages: a tenth of a plain5 step at batch 128.
    Without glibc on Linux nothing happens.

    mallopt has no way to read its settings. So the end restores glibc's defaults (M_MMAP_MAX 65536, M_TRIM_THRESHOLD
    128 KiB), not other values that the process may have set before. M_TRIM_THRESHOLD also switches off glibc's
    adjustment of its thresholds to the sizes of freed blocks; that stays off.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, 65536)
        mallopt(M_TRIM_THRESHOLD, 128 * 1024)
