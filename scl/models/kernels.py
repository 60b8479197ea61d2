"""Batch norm, ReLU and 2×2 max-pooling as Triton kernels that read each map as seldom as they can.

Sums have a fixed order: each program writes the sums of its own tile, and one more program a block of channels adds
these up. Nothing is atomic, so a step's bits depend on its batch alone. This file imports Triton, which is optional;
`fused.py` loads it.

A map (B, C, H, W) is cut into windows of P×P pixels, with P = 1 or 2 as in the pooling after it. Windows at the lower
and right edge may lack pixels: pooling drops those windows, but their pixels count in the statistics.

Height and width are constants of a kernel, since a GPU divides by what it does not know through a routine of some
hundred instructions. Images alone are counted in 64 bits, for the same reason: windows are fewer than 2³¹.
"""

# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, CHANNELS, TILES = 64, 32, 64  # windows and channels of a tile; partial sums added at once


@triton.jit
def _pixels(row, i: tl.constexpr, j: tl.constexpr, height: tl.constexpr, width: tl.constexpr, rows, P: tl.constexpr):
    """The image, the place and the existence of pixel (i, j) of windows."""
    across: tl.constexpr = (width + P - 1) // P
    down: tl.constexpr = (height + P - 1) // P
    y = row // across % down * P + i
    x = row % across * P + j
    return (row // (across * down)).to(tl.int64), y, x, (row < rows) & (y < height) & (x < width)


@triton.jit
def _tile_statistics(
    maps, means, squares, counts, channels, height: tl.constexpr, width: tl.constexpr, rows, sb, sc, sh, sw,
    P: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The mean of each channel in a tile, the sum of squared distances from it, and the number of pixels."""
    tile = tl.program_id(0)
    row = tile * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    count = 0.0
    total = tl.zeros([CHANNELS], tl.float32)
    for i in tl.static_range(P):
        for j in tl.static_range(P):
            b, y, x, exists = _pixels(row, i, j, height, width, rows, P)
            place = (b * sb + y * sh + x * sw)[:, None] + channel[None, :] * sc
            value = tl.load(maps + place, exists[:, None] & (channel < channels)[None, :], 0.0).to(tl.float32)
            total += tl.sum(value, 0)
            count += tl.sum(exists.to(tl.float32), 0)
    mean = total / count
    square = tl.zeros([CHANNELS], tl.float32)
    for i in tl.static_range(P):
        for j in tl.static_range(P):
            b, y, x, exists = _pixels(row, i, j, height, width, rows, P)
            place = (b * sb + y * sh + x * sw)[:, None] + channel[None, :] * sc
            value = tl.load(maps + place, exists[:, None] & (channel < channels)[None, :], 0.0).to(tl.float32)
            gap = tl.where(exists[:, None], value - mean[None, :], 0.0)
            square += tl.sum(gap * gap, 0)
    tl.store(means + tile * channels + channel, mean, channel < channels)
    tl.store(squares + tile * channels + channel, square, channel < channels)
    tl.store(counts + tile, count)  # the same from each block of channels


@triton.jit
def _statistics(
    means, squares, counts, mean, scale, running_mean, running_var, channels, tiles, pixels, eps, momentum,
    CHANNELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The mean of each channel and 1 / its standard deviation, from those of tiles; and the running statistics."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    here = (channel < channels)[None, :]
    total = tl.zeros([CHANNELS], tl.float32)
    for start in range(0, tiles, TILES):
        tile = start + tl.arange(0, TILES)
        found = tl.load(means + tile[:, None] * channels + channel[None, :], here & (tile < tiles)[:, None], 0.0)
        total += tl.sum(found * tl.load(counts + tile, tile < tiles, 0.0)[:, None], 0)
    middle = total / pixels
    square = tl.zeros([CHANNELS], tl.float32)
    for start in range(0, tiles, TILES):
        tile = start + tl.arange(0, TILES)
        mask = here & (tile < tiles)[:, None]
        place = tile[:, None] * channels + channel[None, :]
        gap = tl.load(means + place, mask, 0.0) - middle[None, :]
        within = tl.load(squares + place, mask, 0.0)
        square += tl.sum(within + gap * gap * tl.load(counts + tile, tile < tiles, 0.0)[:, None], 0)
    inside = channel < channels
    tl.store(mean + channel, middle, inside)
    tl.store(scale + channel, 1.0 / tl.sqrt(square / pixels + eps), inside)
    old = tl.load(running_mean + channel, inside, 0.0)
    tl.store(running_mean + channel, old + momentum * (middle - old), inside)
    old = tl.load(running_var + channel, inside, 0.0)
    tl.store(running_var + channel, old + momentum * (square / (pixels - 1) - old), inside)


@triton.jit
def _activate(
    maps, out, weight, bias, mean, scale, channels, height: tl.constexpr, width: tl.constexpr, rows,
    sb, sc, sh, sw, ob, oc, oh, ow, P: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The largest normalised value of each whole window, or 0."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    factor = tl.load(scale + channel, inside, 0.0) * tl.load(weight + channel, inside, 0.0)
    shift = tl.load(bias + channel, inside, 0.0) - tl.load(mean + channel, inside, 0.0) * factor
    most = tl.zeros([ROWS, CHANNELS], tl.float32)
    for i in tl.static_range(P):
        for j in tl.static_range(P):
            b, y, x, exists = _pixels(row, i, j, height, width, rows, P)
            place = (b * sb + y * sh + x * sw)[:, None] + channel[None, :] * sc
            value = tl.load(maps + place, exists[:, None] & inside[None, :], 0.0).to(tl.float32)
            value = value * factor[None, :] + shift[None, :]
            most = tl.where(
                (value > most) | (value != value), value, most
            )  # what is not a number stays so, as in torch
    b, y, x, whole = _pixels(row, P - 1, P - 1, height, width, rows, P)
    place = (b * ob + y // P * oh + x // P * ow)[:, None] + channel[None, :] * oc
    tl.store(out + place, most.to(out.dtype.element_ty), whole[:, None] & inside[None, :])


@triton.jit
def _chosen(
    maps, factor, shift, row, channel, channels, height: tl.constexpr, width: tl.constexpr, rows, sb, sc, sh, sw,
    dtype: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """The first pixel of each window with its largest normalised value, as rounded by torch between its kernels, and
    its value before the norm; -1 for none, since the largest is not above 0 or the window not whole."""
    _, _, _, whole = _pixels(row, P - 1, P - 1, height, width, rows, P)
    most = tl.zeros([row.shape[0], channel.shape[0]], tl.float32)
    at = tl.full([row.shape[0], channel.shape[0]], -1, tl.int32)
    taken = tl.zeros([row.shape[0], channel.shape[0]], tl.float32)
    for i in tl.static_range(P):
        for j in tl.static_range(P):
            b, y, x, exists = _pixels(row, i, j, height, width, rows, P)
            place = (b * sb + y * sh + x * sw)[:, None] + channel[None, :] * sc
            raw = tl.load(maps + place, exists[:, None] & (channel < channels)[None, :], 0.0).to(tl.float32)
            value = (raw * factor[None, :] + shift[None, :]).to(dtype).to(tl.float32)
            above = whole[:, None] & ((value > most) | (value != value))
            at = tl.where(above, i * P + j, at)
            most = tl.where(above, value, most)
            taken = tl.where(above, raw, taken)
    return at, taken


@triton.jit
def _tile_gradients(
    maps, gradient, weight, bias, mean, scale, sums, products, channels,
    height: tl.constexpr, width: tl.constexpr, rows, sb, sc, sh, sw, ob, oc, oh, ow,
    P: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The sums in a tile of the gradient after the norm, and of its product with the standardised value."""
    tile = tl.program_id(0)
    row = tile * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    middle, spread = tl.load(mean + channel, inside, 0.0), tl.load(scale + channel, inside, 0.0)
    factor = spread * tl.load(weight + channel, inside, 0.0)
    shift = tl.load(bias + channel, inside, 0.0) - middle * factor
    at, taken = _chosen(
        maps, factor, shift, row, channel, channels, height, width, rows, sb, sc, sh, sw, maps.dtype.element_ty, P
    )
    b, y, x, whole = _pixels(row, P - 1, P - 1, height, width, rows, P)
    place = (b * ob + y // P * oh + x // P * ow)[:, None] + channel[None, :] * oc
    given = tl.load(gradient + place, whole[:, None] & inside[None, :], 0.0).to(tl.float32)
    given = tl.where(at >= 0, given, 0.0)
    tl.store(sums + tile * channels + channel, tl.sum(given, 0), inside)
    product = given * (taken - middle[None, :]) * spread[None, :]
    tl.store(products + tile * channels + channel, tl.sum(product, 0), inside)


@triton.jit
def _gradients(
    maps, gradient, weight, bias, mean, scale, total, product, out, channels,
    height: tl.constexpr, width: tl.constexpr, rows, pixels, sb, sc, sh, sw, ob, oc, oh, ow,
    P: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of each pixel, from the sums over all."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    middle, spread = tl.load(mean + channel, inside, 0.0), tl.load(scale + channel, inside, 0.0)
    factor = spread * tl.load(weight + channel, inside, 0.0)
    shift = tl.load(bias + channel, inside, 0.0) - middle * factor
    mean_gradient = tl.load(total + channel, inside, 0.0) / pixels
    slope = tl.load(product + channel, inside, 0.0) / pixels * spread
    at, _ = _chosen(
        maps, factor, shift, row, channel, channels, height, width, rows, sb, sc, sh, sw, maps.dtype.element_ty, P
    )
    b, y, x, whole = _pixels(row, P - 1, P - 1, height, width, rows, P)
    place = (b * ob + y // P * oh + x // P * ow)[:, None] + channel[None, :] * oc
    given = tl.load(gradient + place, whole[:, None] & inside[None, :], 0.0).to(tl.float32)
    for i in tl.static_range(P):
        for j in tl.static_range(P):
            b, y, x, exists = _pixels(row, i, j, height, width, rows, P)
            place = (b * sb + y * sh + x * sw)[:, None] + channel[None, :] * sc
            mask = exists[:, None] & inside[None, :]
            value = tl.load(maps + place, mask, 0.0).to(tl.float32)
            here = tl.where(at == i * P + j, given, 0.0)
            found = factor[None, :] * (here - mean_gradient[None, :] - (value - middle[None, :]) * slope[None, :])
            tl.store(out + place, found.to(out.dtype.element_ty), mask)


def _grid(maps: Tensor, pool: int) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Tiles and blocks of channels; channels, height, width and windows."""
    images, channels, height, width = maps.shape
    windows = images * -(-height // pool) * -(-width // pool)
    return (triton.cdiv(windows, ROWS), triton.cdiv(channels, CHANNELS)), (channels, height, width, windows)


def forward(
    maps: Tensor, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], momentum: float, eps: float, pool: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The pooled maps after norm and ReLU; mean and 1 / standard deviation of each channel of the batch, float32.

    Args:
        maps: (B, C, H, W), contiguous or channels last, at least two pixels a channel. weight, bias: (C,), float32.
        running: mean and variance (C,), float32, which are updated. pool: 1 or 2.
    """
    grid, sizes = _grid(maps, pool)
    images, channels, height, width = maps.shape
    shape = dict[str, Any](P=pool, ROWS=ROWS, CHANNELS=CHANNELS)
    means, squares = torch.empty(2, grid[0], channels, device=maps.device).unbind()
    mean, scale = torch.empty(2, channels, device=maps.device).unbind()
    counts = torch.empty(grid[0], device=maps.device)
    _tile_statistics[grid](maps, means, squares, counts, *sizes, *maps.stride(), **shape)
    pixels = images * height * width
    _statistics[(grid[1],)](
        means, squares, counts, mean, scale, *running, channels, grid[0], pixels, eps, momentum, CHANNELS, TILES
    )
    last = maps.is_contiguous(memory_format=torch.channels_last)
    out = torch.empty(
        (images, channels, height // pool, width // pool), dtype=maps.dtype, device=maps.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )  # fmt: skip
    _activate[grid](maps, out, weight, bias, mean, scale, *sizes, *maps.stride(), *out.stride(), **shape)
    return out, mean, scale


def backward(
    gradient: Tensor, maps: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, pool: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients at maps, weight and bias, from that at the result of `forward`."""
    grid, sizes = _grid(maps, pool)
    images, channels, height, width = maps.shape
    shape = dict[str, Any](P=pool, ROWS=ROWS, CHANNELS=CHANNELS)
    tiles = torch.empty(2, grid[0], channels, device=maps.device)
    known = (weight, bias, mean, scale)
    strides = (*maps.stride(), *gradient.stride())
    _tile_gradients[grid](maps, gradient, *known, *tiles.unbind(), *sizes, *strides, **shape)
    total, product = tiles.sum(1).unbind()
    out = torch.empty_strided(maps.shape, maps.stride(), dtype=maps.dtype, device=maps.device)
    _gradients[grid](maps, gradient, *known, total, product, out, *sizes, images * height * width, *strides, **shape)
    return out, product, total
