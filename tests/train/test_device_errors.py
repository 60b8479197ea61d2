"""What an error of a GPU means. There is none here: broken devices are functions that raise as CUDA does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scl.train import device_errors
from scl.train.device_errors import concerns_cohort, is_broken, is_out_of_memory

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("a loss that says out of memory"), False),
    ],
)
def test_missing_memory_is_recognised_in_the_words_of_each_library(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
    assert concerns_cohort(error, CPU) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, False),
        ("CUDA error: device-side assert triggered", True),
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: uncorrectable ECC error encountered", True),
        ("CUDA error: out of memory", False),  # full, but it works
    ],
)
def test_a_device_is_broken_if_the_simplest_work_fails(
    answer: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ones(*size: int, device: torch.device) -> Any:
        if answer is not None:
            raise torch.AcceleratorError(answer)
        return torch.zeros(*size)

    monkeypatch.setattr(device_errors.torch, "ones", ones)
    assert is_broken(GPU) is expected
    assert concerns_cohort(ValueError("anything"), GPU) is expected
    assert not is_broken(CPU)
