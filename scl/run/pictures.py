"""Small pictures of the test images that the page shows, chosen from stored predictions at the end of a run."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from scl.plan.plan import Plan
from scl.report.facts import gather
from scl.report.flips import worth_a_picture
from scl.store.files import Folder
from scl.store.pictures import read_pictures, remove_pictures, write_pictures
from scl.store.results import read_results

SIDE = 64  # pixels of the longer side, at most
SMALL = 32  # pixels up to which PNG is small enough; photographs of more are JPEG


def keep_pictures(plan: Plan, store: Folder, wanted: bool) -> None:
    """Write the pictures of a store whose trials have ended, or remove them if they are not wanted.

    Raises OSError if the store cannot be written to.
    """
    if not wanted:
        remove_pictures(store)
        return
    images = plan.context.images["test"]
    numbers = [i for i in worth_a_picture(gather(read_results(store))) if i < len(images)]
    pictures = {
        i: picture(pixels) for i, pixels in zip(numbers, images[np.array(numbers, dtype=np.int64)], strict=True)
    }
    if pictures != read_pictures(store):
        write_pictures(store, pictures)


def picture(pixels: np.ndarray) -> bytes:
    """A picture of an image, uint8 (C, H, W) with one or three channels: PNG, or JPEG of a larger one."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    if max(image.size) <= SMALL:
        image.save(out, "PNG", optimize=True)
    else:
        image.save(out, "JPEG", quality=85)
    return out.getvalue()
