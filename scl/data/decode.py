"""Decoding the images of a data set: in threads, once, with progress. Pillow works outside of Python's lock."""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from PIL import Image

from scl.data.ahead import ahead
from scl.data.encoded import EncodedFolder, Source
from scl.data.preprocessing import Header, Preprocessing, prepare
from scl.data.stored import digest_of
from scl.data.survey import Survey, quiet_pillow
from scl.errors import UserError
from scl.machine import cores
from scl.terminal import progress

# Raised by hand when decoding changes pixels, labels or descriptions: caches of older versions are not read.
DECODER_VERSION = 5
CHUNK_BYTES = 2**21  # decoded images that a thread hands over at once: a small one takes less time than handing over
LEAST_OF_DEEP = 16  # of 256 levels that the brightest of all 16-bit images must reach


@dataclass(frozen=True)
class About:
    """What is known of the decoded images of a folder: by part, the CRC-32 (uint32 (N,)) and the digest (uint8 (N, 16))
    of each; and how often each value occurs in the training images, int64 (C, 256)."""

    crcs: Mapping[str, np.ndarray]
    digests: Mapping[str, np.ndarray]
    histogram: np.ndarray


@dataclass(frozen=True)
class _Chunk:
    pixels: np.ndarray
    crcs: list[int]
    digests: list[bytes]
    deepest: int  # the largest value of the images of 16 bits; -1 without one


def decode(
    folder: EncodedFolder, found: Survey, how: Preprocessing, write: Callable[[str, int, np.ndarray], None]
) -> About:
    """Decode all images of a folder.

    Args:
        write: takes a part, the place of the first image in it, and images, uint8 (n, C, H, W). Called in order.

    Raises:
        UserError: an image cannot be decoded; names it. Or all images of 16 bits are nearly black.
    """
    crcs: dict[str, list[int]] = {part: [] for part in folder.parts}
    digests: dict[str, list[bytes]] = {part: [] for part in folder.parts}
    histogram = np.zeros((how.channels, 256), dtype=np.int64)
    deepest, at = -1, 0
    with quiet_pillow(), progress("decoding images", found.count) as advance:
        for part, encoded in folder.parts.items():
            headers = found.headers[at : at + len(encoded.labels)]
            for chunk in _chunks(encoded.sources, headers, how):
                write(part, len(crcs[part]), chunk.pixels)
                crcs[part] += chunk.crcs
                digests[part] += chunk.digests
                deepest = max(deepest, chunk.deepest)
                if part == "train":
                    histogram += values_of(chunk.pixels)
                advance(len(chunk.pixels))
            at += len(encoded.labels)
    if 0 <= deepest < LEAST_OF_DEEP:
        raise UserError(
            f"the images of 16 bits use at most 12 of them (their largest value is below {(deepest + 1) * 256:,} of "
            "65,535), so 8 bits would keep almost nothing; scale their values to the full range"
        )
    return About(
        {part: np.array(of, dtype=np.uint32) for part, of in crcs.items()},
        {part: np.frombuffer(b"".join(of), dtype=np.uint8).reshape(-1, 16) for part, of in digests.items()},
        histogram,
    )


def _chunks(sources: Iterable[Source], headers: Sequence[Header], how: Preprocessing) -> Iterator[_Chunk]:
    size = min(256, max(1, CHUNK_BYTES // prod(how.shape)))
    pairs = zip(sources, headers, strict=True)
    threads = cores()
    yield from ahead(
        lambda chunk: _decoded(chunk, how), iter(lambda: list(itertools.islice(pairs, size)), []), threads, threads + 2
    )


def _decoded(chunk: Sequence[tuple[Source, Header]], how: Preprocessing) -> _Chunk:
    pixels, deepest = np.empty((len(chunk), *how.shape), dtype=np.uint8), -1
    for image, ((where, content), header) in zip(pixels, chunk, strict=True):
        image[:] = prepare(content, how, where)
        if header.deep:
            deepest = max(deepest, int(image.max()))
    return _Chunk(pixels, [zlib.crc32(image.data) for image in pixels], [digest_of(image) for image in pixels], deepest)


def values_of(images: np.ndarray) -> np.ndarray:
    """How often each value occurs in uint8 (N, C, H, W): int64 (C, 256). Pillow counts five times as fast as numpy."""
    counts = [Image.fromarray(images[:, c].reshape(-1, images.shape[3])).histogram() for c in range(images.shape[1])]
    return np.array(counts, dtype=np.int64)


def decoded_sample(found: Survey, how: Preprocessing) -> tuple[np.ndarray, float]:
    """Some decoded images, uint8 (S, C, H, W), and the seconds that decoding all of them would take here."""
    began = time.perf_counter()
    with quiet_pillow():
        (chunk,) = ahead(lambda pairs: _decoded(pairs, how), [[(s, found.headers[0]) for s in found.sample]], 1, 1)
    return chunk.pixels, (time.perf_counter() - began) * found.count / len(found.sample) / cores()
