"""What the headers of a folder's images say: their sizes, grey or colour. From them the preprocessing is chosen."""

from __future__ import annotations

import itertools
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from scl.data.ahead import ahead
from scl.data.encoded import EncodedFolder, Source
from scl.data.preprocessing import Header, Preprocessing, header_of
from scl.errors import UserError
from scl.machine import cores
from scl.study.options import FITS

SMALLEST_SIDE = 4
LARGEST_CHOICE = 224  # pixels of a side that is chosen without being asked for: what networks for photos are made for
MULTIPLE = 32  # of which a chosen side is one: networks for photos halve it five times
CHUNK = 64
SAMPLE = 64  # images that a plan decodes


@dataclass(frozen=True)
class Survey:
    """The headers of a folder's images, in the order of its parts.

    sample: some of the images, evenly spread. count: of all images; there are fewer headers if time ran out.
    """

    headers: Sequence[Header]
    first: str
    sample: Sequence[Source]
    count: int

    @property
    def channels(self) -> int:
        return 1 if all(header.grey for header in self.headers) else 3


def survey(folder: EncodedFolder, seconds: float | None = None) -> Survey:
    """Read the headers of all images, or of those that can be read in so many seconds.

    Raises:
        UserError: an image that is none, too large or of a kind that is not decoded; names it.
    """
    count = sum(len(part.labels) for part in folder.parts.values())
    step, sample, headers = max(1, count // SAMPLE), list[Source](), list[Header]()
    began = time.monotonic()

    def chunks() -> Iterator[list[Source]]:
        sources = itertools.chain.from_iterable(part.sources for part in folder.parts.values())
        while chunk := list(itertools.islice(sources, CHUNK)):
            yield chunk

    def read(chunk: list[Source]) -> tuple[list[Header], list[Source]]:
        return [header_of(content, where) for where, content in chunk], chunk

    with quiet_pillow():
        for found, chunk in ahead(read, chunks(), min(4, cores()), 6):
            sample += [source for i, source in enumerate(chunk, len(headers)) if i % step == 0]
            headers += found
            if seconds is not None and time.monotonic() - began > seconds:
                break
    return Survey(headers, sample[0][0], sample, count)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Without Pillow's warnings of large images, which are refused here, and of trifles, which are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def chosen(found: Survey, size: int | None, fit: str | None) -> tuple[Preprocessing, list[str]]:
    """How the images become pixels, and what a reader must know of it, in sentences.

    Args:
        size: the side in pixels, of --image-size. fit: of FITS, of --image-fit. Without both, images of one size keep
            it. Those of several sizes get the multiple of 32, from 32 to 224, that is nearest to the median of their
            shorter sides.

    Raises:
        UserError: images of one size that is too small for a network.
    """
    heights, widths = (np.array([getattr(h, side) for h in found.headers]) for side in ("height", "width"))
    many = len({(h.height, h.width) for h in found.headers}) > 1
    remarks = _kinds(found)
    if size is None and fit is None and not many:
        height, width = int(heights[0]), int(widths[0])
        if min(height, width) < SMALLEST_SIDE:
            raise UserError(
                f"{found.first}: an image of {height}×{width} pixels; the networks need at least "
                f"{SMALLEST_SIDE}×{SMALLEST_SIDE}; --image-size N enlarges images"
            )
        return Preprocessing(height, width, found.channels), remarks
    shorter, longer = np.minimum(heights, widths), np.maximum(heights, widths)
    fit = fit or FITS[0]
    if size is None:
        median = statistics.median(shorter.tolist())
        size = min(LARGEST_CHOICE, max(MULTIPLE, MULTIPLE * round(median / MULTIPLE)))
        small, large = int(np.argmin(heights * widths)), int(np.argmax(heights * widths))
        sizes = f"from {heights[small]}×{widths[small]} to {heights[large]}×{widths[large]} pixels (height×width)"
        sizes = f"The images have sizes {sizes}" if many else f"The images have {heights[0]}×{widths[0]} pixels"
        remarks.append(
            f"{sizes}; each was brought to {size}×{size} ({fit}). That is the multiple of {MULTIPLE}, up to "
            f"{LARGEST_CHOICE}, nearest to the median of their shorter sides, {median:g}. --image-size N and "
            f"--image-fit {'|'.join(FITS)} choose otherwise."
        )
    if fit == "crop" and (long := int((longer > 2 * shorter).sum())):
        remarks.append(
            f"{_images(long)} more than twice as long as wide: less than half of each is kept (--image-fit crop)."
        )
    sides = longer if fit == "pad" else shorter
    if small := int((sides < size).sum()):
        remarks.append(f"{_images(small)} smaller than {size} pixels and enlarged.")
    return Preprocessing(size, size, found.channels, fit), remarks


def _kinds(found: Survey) -> list[str]:
    frames, deep = (sum(getattr(h, kind) for h in found.headers) for kind in ("frames", "deep"))
    moving = (
        f"{frames:,} image {'files have' if frames > 1 else 'file has'} several frames or pages; the first is used."
    )
    bits = f"{_images(deep)} of 16 bits a channel, of which the upper 8 are used."
    return [moving] * bool(frames) + [bits] * bool(deep)


def _images(count: int) -> str:
    return f"{count:,} images are" if count > 1 else "1 image is"
