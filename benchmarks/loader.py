"""The speed of loading photos: decoding them once, and the batches of the cache that training reads.

    uv run python benchmarks/loader.py                     # 2,000 photos at 224×224 on this machine: about a minute
    uv run python benchmarks/loader.py --images 20000 --device cuda
    uv run python benchmarks/loader.py --json benchmarks/results/loader.json

1. Decoding: JPEG photos of 500×375 pixels, made of noise, to 224×224; on 1 core and on all. And where the time of one
   photo goes on one core: the JPEG itself, scaling and the rest, checksums.
2. Reading: batches of 64 in random order, uint8, from the system's cache of files, by one thread.
3. Training batches: the same with each augmentation, normalised, float32; with `--device cuda` on the GPU, where a set
   of this size stays (`resident`) or is read ahead of each step (`streamed`).

Figures are images a second, and in brackets images a second of processor time, summed over threads: what one core does,
also on a machine that does other work meanwhile. They are medians of the rounds. Memory is the growth of the process's
own pages (RssAnon) during 2.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import io
import os
import re
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.devices import add_device
from benchmarks.record import parsed, record
from scl.data import cache, decode
from scl.data.batches import training_batches
from scl.data.images import Images
from scl.data.named import load_dataset
from scl.data.preprocessing import Preprocessing, prepare
from scl.data.stored import StoredImages, digest_of

SIZE, BATCH, CLASSES = 224, 64, 10
AUGMENTS = ("none", "crop+flip")


def write_photos(folder: Path, count: int) -> list[bytes]:
    """A folder of JPEG photos, and the contents of some."""
    draw, contents = np.random.default_rng(0), []
    for _ in range(50):
        rough = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        rough.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
    for part, share in (("train", count), ("test", CLASSES)):
        for i in range(share):
            path = folder / part / f"class{i % CLASSES}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents[i % len(contents)] + b"%d" % i)
    return contents


def rate(work: Callable[[], Iterator[int]], rounds: int) -> dict[str, float]:
    """Images a second, of time and of processor time; `work` yields how many it has done."""
    rates = []
    for _ in range(rounds):
        began = time.perf_counter(), time.process_time()
        done = sum(work())
        rates.append((done / (time.perf_counter() - began[0]), done / (time.process_time() - began[1])))
    return dict(zip(("a_second", "a_core_second"), map(median, zip(*rates, strict=True)), strict=True))


def decoding(folder: Path, count: int, threads: int) -> Iterator[int]:
    with tempfile.TemporaryDirectory() as place, patch.object(decode, "cores", lambda: threads):
        load_dataset(str(folder), Path(place), size=SIZE)
    yield count


def parts_of_decoding(contents: list[bytes]) -> dict[str, float]:
    """Milliseconds of processor time of a photo."""
    how = Preprocessing(SIZE, SIZE, 3, "crop")
    pixels = prepare(contents[0], how)

    def milliseconds(work: Callable[[bytes], Any]) -> float:
        began = time.process_time()
        for content in contents:
            work(content)
        return 1000 * (time.process_time() - began) / len(contents)

    jpeg = milliseconds(lambda content: Image.open(io.BytesIO(content)).load())
    return {
        "jpeg_ms": jpeg,
        "scaling_ms": milliseconds(lambda content: prepare(content, how)) - jpeg,
        "checksums_ms": milliseconds(lambda content: (zlib.crc32(pixels.data), digest_of(pixels))),
    }


def own_megabytes() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"RssAnon:\s+(\d+)", status)[0]) / 1000


def of_batches(images: Images, device: torch.device, augment: str | None) -> Iterator[int]:
    mean = std = torch.full((3,), 0.5)
    if augment is None:
        batches: Iterator[Any] = images.batches(torch.randperm(len(images)), BATCH)
    else:
        pairs = training_batches(images, batch_size=BATCH, seed=0, epoch=1, augment=augment, mean=mean, std=std)
        batches = (pixels for pixels, _ in pairs)
    for batch in batches:
        yield len(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parsed(parser)
    device = torch.device(options.device)
    torch.set_num_threads(1)
    cache.IN_MEMORY = 0
    figures: dict[str, Any] = {"images": options.images, "size": SIZE, "batch": BATCH}
    with tempfile.TemporaryDirectory() as scratch:
        folder, place = Path(scratch, "photos"), Path(scratch, "cache")
        contents = write_photos(folder, options.images)
        every = len(os.sched_getaffinity(0))
        for threads in sorted({1, every}):
            work = partial(decoding, folder, options.images, threads)
            figures[f"decoding, threads: {threads}"] = rate(work, options.rounds)
        figures |= parts_of_decoding(contents)
        dataset = load_dataset(str(folder), place, size=SIZE)
        assert isinstance(dataset.train_images, StoredImages)
        before = own_megabytes()
        images = Images(dataset.train_images, torch.from_numpy(dataset.train_labels))
        figures["reading"] = rate(lambda: of_batches(images, torch.device("cpu"), None), options.rounds)
        figures["reading_mb"] = own_megabytes() - before
        kinds = {"streamed": images.to(device)}
        if device.type == "cuda":
            kinds["resident"] = images.to(device, whole=True)
        for kind, of in kinds.items():
            for augment in AUGMENTS:
                figures[f"{kind} {augment}"] = rate(partial(of_batches, of, device, augment), options.rounds)
    for name, value in figures.items():
        if isinstance(value, dict):
            value = f"{value['a_second']:,.0f} ({value['a_core_second']:,.0f})"
        print(f"{name:24} {value:>16,.2f}" if isinstance(value, float) else f"{name:24} {value:>16}")
    record("loader", figures, options.json, options.rounds)


if __name__ == "__main__":
    main()
