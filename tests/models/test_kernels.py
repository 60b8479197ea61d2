"""Kernels of batch norm, ReLU and max-pooling give what torch does. Without a GPU, Triton's interpreter runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scl.models.fused import norm_relu_pool

# Images, channels, height, width: sizes that fill no tile, one pixel a side, more channels or windows than a tile.
SHAPES = [(2, 3, 4, 4), (3, 5, 7, 5), (4, 1, 1, 1), (2, 33, 6, 3), (1, 2, 1, 9), (5, 40, 9, 9)]
CASES = [
    (shape, layout, dtype, pool)
    for shape in SHAPES
    for layout in ("contiguous", "channels_last", "sliced")
    for dtype in (torch.float32, torch.bfloat16)
    for pool in (1, 2)
    if min(shape[2:]) >= pool
]


def agrees(shape: tuple[int, ...], layout: str, dtype: torch.dtype, pool: int, device: str) -> None:
    """Values, gradients and running statistics of two steps, against torch in float32; negative weights included."""
    torch.manual_seed(0)
    channels = shape[1]
    ours, theirs = (nn.BatchNorm2d(channels).to(device) for _ in range(2))
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.linspace(-1.0, 1.5, channels))
            norm.bias.copy_(torch.linspace(0.5, -0.5, channels))
    exact = dtype == torch.float32
    close = {"rtol": 1e-5, "atol": 1e-5} if exact else {"rtol": 2e-2, "atol": 2e-2}
    for step in range(2):
        base = (torch.randn(shape, device=device) * (1 + step) + (3 if exact else 0)).to(dtype)
        if layout == "channels_last":
            base = base.to(memory_format=torch.channels_last)
        elif layout == "sliced":
            base = torch.cat([base, base], 1)[:, :channels]
        mine = base.detach().requires_grad_()
        other = base.detach().clone().requires_grad_()
        found = norm_relu_pool(mine, ours, pool)
        wanted = F.relu(F.max_pool2d(theirs(other), pool))
        gradient = torch.randn(wanted.shape, device=device).to(dtype)
        one = torch.autograd.grad(found, [mine, ours.weight, ours.bias], gradient)
        two = torch.autograd.grad(wanted, [other, theirs.weight, theirs.bias], gradient)
        torch.testing.assert_close(found, wanted, **close)
        scale = max(1.0, shape[0] * shape[2] * shape[3] / 16)  # of sums over pixels
        for a, b in zip(one, two, strict=True):
            other_pixels = (a - b).abs() > close["atol"] * scale + close["rtol"] * b.abs()
            # In bfloat16 rounding makes ties, and another pixel of a window may have its gradient.
            allowed = 4 + a.numel() // 1000 if pool == 2 and not exact else 0
            assert other_pixels.sum() <= allowed, (a - b).abs().max()
        again = torch.autograd.grad(norm_relu_pool(mine, ours, pool), [mine, ours.weight, ours.bias], gradient)
        assert all(map(torch.equal, one, again))
        theirs(other)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(dict(ours.named_buffers())[name], buffer, rtol=1e-5, atol=1e-5)


INTERPRETED = """
from tests.models.test_kernels import CASES, agrees
for case in CASES:
    try:
        agrees(*case, device="cpu")
    except AssertionError as error:
        raise SystemExit(f"{case}: {error}")
"""


@pytest.mark.slow
def test_the_kernels_agree_with_torch() -> None:
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED], cwd=Path(__file__).parents[2],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from scl.models import kernels
sizes = {"height": 24, "width": 20, "P": 2, "ROWS": 64, "CHANNELS": 32, "TILES": 64, "sc": 1, "oc": 1}
for name in ("_tile_statistics", "_statistics", "_activate", "_tile_gradients", "_gradients"):
    kernel = getattr(kernels, name)
    names = [parameter.name for parameter in kernel.params]
    fixed = {p.name for p in kernel.params if p.is_constexpr} | {"sc", "oc"} & set(names)
    kinds = dict.fromkeys(fixed, "constexpr")
    kinds |= {name: "*bf16" for name in names if name in ("maps", "out", "gradient")}
    kinds |= {name: "fp32" for name in names if name in ("eps", "momentum")}
    numbers = ("channels", "height", "width", "rows", "tiles", "pixels", "sb", "sh", "sw", "ob", "oh", "ow")
    kinds |= {name: "i32" for name in names if name in numbers and name not in fixed}
    kinds = {name: kinds.get(name, "*fp32") for name in names}
    source = triton.compiler.ASTSource(kernel, kinds, {name: sizes[name] for name in fixed})
    text = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    assert not any(f"{word}.{kind}" in text for word in ("div", "rem") for kind in ("s32", "s64", "u32", "u64")), name
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_and_divide_by_constants_alone(tmp_path: Path) -> None:
    """The interpreter takes more than the compiler, which needs no GPU. A division takes a GPU some hundred steps."""
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, "-c", COMPILED], cwd=Path(__file__).parents[2],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("shape", "layout", "dtype", "pool"), [*CASES, ((128, 64, 32, 32), "channels_last", torch.bfloat16, 2)]
)
def test_on_a_gpu(shape: tuple[int, ...], layout: str, dtype: torch.dtype, pool: int) -> None:
    agrees(shape, layout, dtype, pool, "cuda")
