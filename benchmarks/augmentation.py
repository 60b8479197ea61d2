"""Images a second of each augmentation at 224 px, from a set in memory to normalised batches.

    uv run python benchmarks/augmentation.py                       # on one thread, about a minute
    uv run python benchmarks/augmentation.py --threads 2
    python benchmarks/augmentation.py --device cuda                # needs torch and torchvision, but not Ray
    uv run python benchmarks/augmentation.py --json benchmarks/results/augmentation.json

Each augmentation is what training does before a step: batches of 128 of 512 images, drawn, changed and normalised. The
figures are medians of some epochs: by the clock, and on a CPU by the time that it worked, which other processes move
less. Beside them stand the kernels that a batch launches and the bytes of their results, counted by torch's dispatcher,
because these bound what a GPU can do.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.devices import add_device
from benchmarks.record import parsed, record
from scl.data.batches import training_batches
from scl.data.images import Images
from scl.losses.arithmetic import tensors_in
from scl.train.process import freed_memory_kept, threads

AUGMENTATIONS = (
    "none",
    "crop+flip",
    "rrc+flip",
    "rrc+flip+jitter",
    "rrc+flip+randaugment",
    "rrc+flip+trivialaugment",
    "rrc+flip+erasing",
    "rrc+flip+mixup+cutmix",
    "rrc+flip+randaugment+jitter+erasing+mixup+cutmix",
)
BATCH, CLASSES = 128, 1000
FREE = ("view", "permute", "slice", "select", "unsqueeze", "expand", "split", "unbind", "alias", "as_strided", "empty")


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that launch work, and the bytes of their results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels, self.bytes = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not str(function).split(".")[1].strip("_").startswith(FREE):
            self.kernels += 1
            self.bytes += sum(tensor.nbytes for tensor in tensors_in(result))
        return result


def batches(images: Images, augment: str, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    mean, std = (torch.full((3,), value, device=images.device) for value in (0.45, 0.25))
    return training_batches(
        images, batch_size=BATCH, seed=0, epoch=epoch, augment=augment, mean=mean, std=std, classes=CLASSES
    )


def measure(images: Images, augment: str, repeats: int) -> dict[str, float]:
    seconds, worked = [], []
    for epoch in range(repeats + 1):  # the first is set-up
        began, began_work = time.perf_counter(), time.process_time()
        for _ in batches(images, augment, epoch):
            pass
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        worked.append(time.process_time() - began_work)
    coming = batches(images, augment, 0)
    with Counted() as counted:
        next(coming)
    return {
        "images_per_second": round(len(images) / median(seconds[1:])),
        "images_per_cpu_second": round(len(images) / median(worked[1:])),
        "kernels_per_batch": counted.kernels,
        "megabytes_per_image": round(counted.bytes / BATCH / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: 1)")
    parser.add_argument("--size", type=int, default=224, help="pixels of a side (default: 224)")
    parser.add_argument("--images", type=int, default=512, help="of the set (default: 512)")
    parser.add_argument("--repeats", type=int, default=3, help="timed epochs (default: 3)")
    given = parsed(parser)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (given.images, 3, given.size, given.size), generator=draw, dtype=torch.uint8)
    images = Images(pixels, torch.randint(0, CLASSES, (given.images,), generator=draw)).to(given.device)
    print(f"{'augmentation':50} {'images/s':>9} {'a CPU s':>8} {'kernels':>8} {'MB/image':>9}")
    figures = {}
    with threads(given.threads), freed_memory_kept():
        for augment in AUGMENTATIONS:
            found = figures[augment] = measure(images, augment, given.repeats)
            print("{:50} {:9,} {:8,} {:8,} {:9.1f}".format(augment, *found.values()))
    size, device = given.size, given.device
    record(
        "augmentation", {"device": device, "threads": given.threads, "size": size, **figures}, given.json, given.repeats
    )


if __name__ == "__main__":
    main()
