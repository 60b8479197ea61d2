"""The distance of Gram matrices: both ways to compute it, its gradients, its precision and its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scl import losses
from scl.losses.grams import gram_distance
from tests.support.losses import maps

seeds = st.integers(0, 2**31)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(2, 30), p=st.integers(1, 4), q=st.integers(1, 4))
def test_either_side_is_the_naive_product(seed: int, rows: int, p: int, q: int) -> None:
    """And so are the gradients of both stacks, which are written out."""
    x, y = maps(seed, 2, rows, p).requires_grad_(), maps(seed + 1, 2, rows, q).requires_grad_()
    value = gram_distance(x, y)
    naive = gap_of_products(x, y).square().sum()
    torch.testing.assert_close(value, naive, rtol=1e-9, atol=1e-9)
    for found, expected in zip(*(torch.autograd.grad(3 * v, (x, y)) for v in (value, naive)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(2, 30), p=st.integers(1, 4), q=st.integers(1, 4))
def test_without_the_diagonal_rows_are_of_length_1_or_0(seed: int, rows: int, p: int, q: int) -> None:
    """The gradient is right in every direction but a row's own."""
    alive = [torch.rand(2, rows, 1, generator=torch.Generator().manual_seed(seed + i)) > 0.3 for i in (0, 1)]
    x, y = (nn.functional.normalize(maps(seed + i, 2, rows, n), dim=-1) * alive[i] for i, n in ((0, p), (1, q)))
    x.requires_grad_()
    value = gram_distance(x, y, (alive[0] ^ alive[1]).sum())
    naive = (gap_of_products(x, y) * (1 - torch.eye(rows))).square().sum()
    torch.testing.assert_close(value, naive, rtol=1e-9, atol=1e-9)
    across = [g - x * (g * x).sum(-1, keepdim=True) for g in (torch.autograd.grad(v, x)[0] for v in (value, naive))]
    torch.testing.assert_close(*across, rtol=1e-9, atol=1e-9)


def gap_of_products(x: Tensor, y: Tensor) -> Tensor:
    return torch.einsum("gip,gjp->gij", x, x) - torch.einsum("gip,gjp->gij", y, y)


TALL = [("spatial_correlation", (2, 64, 16, 16)), ("nst", (2, 64, 16, 16)), ("channel_correlation", (2, 400, 4, 4))]


@pytest.mark.parametrize(("name", "shape"), TALL, ids=str)
def test_cheaper_side_keeps_nearly_equal_maps_apart_in_float32(name: str, shape: tuple[int, ...]) -> None:
    """They are 1e-4 apart where a float32 rounds by 6e-8: 6e-4 is what rounding the maps costs, and nearly all that is
    lost. With the gradient's products in float32 it was 1e-3 to 2e-3."""
    loss, x = getattr(losses, name), maps(0, *shape)
    exact = (x + 1e-4 * maps(1, *shape)).requires_grad_()
    single = exact.detach().float().requires_grad_()
    value, rounded = loss(exact, x), loss(single, x.float())
    value.backward()
    rounded.backward()
    assert rounded.item() == pytest.approx(value.item(), rel=1e-3)
    assert (single.grad - exact.grad).norm() < 9e-4 * exact.grad.norm()


@pytest.mark.parametrize("name", ["spatial_correlation", "nst"])
def test_no_matrix_of_locations_is_kept(name: str) -> None:
    """64 channels of 32 × 32: 1024 × 1024 an image would be 16 times the map."""
    kept: list[int] = []

    def pack(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    student, teacher = torch.randn(2, 64, 32, 32, requires_grad=True), torch.randn(2, 64, 32, 32)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        getattr(losses, name)(student, teacher)
    assert max(kept) == student.numel()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spatial_correlation", "nst"])
def test_peak_memory_of_a_large_map(name: str) -> None:
    """64 images of 64 channels × 32 × 32, forward and backward, in a separate process."""
    script = f"""
import torch
from scl.losses import {name} as loss
# Not ru_maxrss: a child process inherits that of its parent.
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
loss(torch.randn(2, 64, 32, 32, requires_grad=True), torch.randn(2, 64, 32, 32)).backward()
student, teacher = torch.randn(64, 64, 32, 32, requires_grad=True), torch.randn(64, 64, 32, 32)
before = peak()
loss(student, teacher).backward()
print(peak() - before)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 10 < float(out.stdout) < 600
