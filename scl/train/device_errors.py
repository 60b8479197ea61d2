"""What an error of a GPU means: a trial that failed, too little memory, or a process that can compute no more."""

from __future__ import annotations

import torch

from scl.errors import RunFailed

# Libraries below torch report missing memory in words of their own, and torch raises a plain RuntimeError for them.
NO_MEMORY = ("ALLOC_FAILED", "out of memory", "cudaErrorMemoryAllocation")


class BrokenDevice(RunFailed):
    """A GPU that this process can no longer use; another process can."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU's memory was too small, for torch or for a library below it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def is_broken(device: torch.device) -> bool:
    """Whether the device fails at the simplest work. After some errors, such as an illegal memory access, CUDA answers
    each later call of the process with the same error."""
    if device.type != "cuda":
        return False
    try:
        torch.ones(1, device=device).add_(1).item()
    except RuntimeError as error:
        return not is_out_of_memory(error)
    return False


def concerns_cohort(error: BaseException, device: torch.device) -> bool:
    """Whether an error of one trial is the affair of all that train beside it: they share the device's memory, and the
    process."""
    return is_out_of_memory(error) or is_broken(device)
