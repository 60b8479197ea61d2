"""Time and memory of every transfer loss, forward and backward, beside one training step of plain5.

    uv run python benchmarks/losses.py            # all losses on the CPU, one thread: about 3 minutes
    uv run python benchmarks/losses.py kd nst     # two losses
    python benchmarks/losses.py --device cuda     # needs torch, but not Ray
    uv run python benchmarks/losses.py --json benchmarks/results/losses.json

Feature maps are 64×32×32 at batch 64 (the shallowest guided layer of plain5 on CIFAR, and the most expensive); `fsp`
compares two of them, and `norm` the deepest maps, 4096×4×4 with 512×4×4. Embeddings have 512 numbers, logits 100
classes; `crd` remembers 50,000 images. On the CPU each loss runs in a separate process, where its steps alternate with
those of plain5. The figures are the median times, their ratio, and the growth of the peak memory of the process (on
CUDA: of the device) beyond the inputs. On CUDA both steps are CUDA graphs, as in training, and plain5 runs in bfloat16.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.devices import add_device
from benchmarks.record import parsed, record
from scl import losses
from scl.models.build import build_model
from scl.study.loss_table import LOSSES, LossRow
from scl.train.cuda_graphs import GraphRunner, StreamSlot, supports_graphs
from scl.train.process import freed_memory_kept, threads

BATCH, CHANNELS, SIDE, WIDTH, CLASSES, IMAGES = 64, 64, 32, 512, 100, 50_000


def inputs(name: str, batch: int, device: str) -> tuple[list[Tensor], Callable[[], Tensor]]:
    """The student's tensors, and the loss as a call; maps are channels last in memory, as in training."""
    row = LOSSES[name]
    if row.compares in ("levels", "crossed"):
        return _levels(row, batch, device)
    deepest = (batch, WIDTH, 4, 4) if row.expands else (batch, CHANNELS, SIDE, SIDE)
    shape = {"logits": (batch, CLASSES), "embedding": (batch, WIDTH), "cams": (batch, CLASSES, 4, 4)}.get(
        row.compares, deepest
    )
    of_student = (batch, 8 * WIDTH, 4, 4) if row.expands else shape
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    student, teacher = (
        [torch.randn(size, device=device).to(memory_format=layout).requires_grad_(learns) for _ in range(2)]
        for size, learns in ((of_student, True), (shape, False))
    )
    loss = loss_of(row)
    if row.learned:
        labels = (torch.arange(IMAGES) % CLASSES,) if row.remembers else ()
        loss = loss(shape[1], shape[1], *labels).to(device)
    if row.compares == "pairs":
        return student, lambda: loss(tuple(student), tuple(teacher))
    beside = torch.arange(batch, device=device)
    asked = (beside % CLASSES,) if row.needs_target else (beside,) if row.remembers else ()
    return student[:1], lambda: loss(student[0], teacher[0], *asked)


def loss_of(row: LossRow) -> Callable[..., Any]:
    found: Callable[..., Any] = attrgetter(row.function)(losses)
    return found


def _levels(row: LossRow, batch: int, device: str) -> tuple[list[Tensor], Callable[[], Tensor]]:
    """The same for a loss of all levels: those of plain5 at width 1, with or without the embedding."""
    count = 5 if row.compares == "levels" else 4
    channels, sides = (64, 128, 256, 512, 512)[:count], (32, 16, 8, 4, 1)[:count]
    student, teacher = (
        [
            torch.randn(batch, c, n, n, device=device)
            .contiguous(memory_format=torch.channels_last)
            .requires_grad_(learns)
            for c, n in zip(channels, sides, strict=True)
        ]
        for learns in (True, False)
    )
    beside = (batch,) if row.of_batches else ()
    module = loss_of(row)(channels, channels, *beside).to(device).to(memory_format=torch.channels_last)
    return student, lambda: module(tuple(student), tuple(teacher))


def peak(device: str) -> float:
    """Peak memory so far, MB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # Not ru_maxrss: a child process inherits that of its parent.
    return int(Path("/proc/self/status").read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) / 1024


def seconds(step: Callable[[], object], device: str) -> float:
    """Seconds of one step; on a GPU the mean of many steps in a row."""
    count = 20 if device == "cuda" else 1
    began = time.perf_counter()
    for _ in range(count):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


@threads(1)
@freed_memory_kept()  # as in a worker
def measure(name: str, device: str, repeats: int) -> dict[str, float]:
    """Median milliseconds of the loss and of a plain5 step, their ratio, and the loss's peak memory in MB."""
    warm_up = inputs(name, 2, device)[1]()
    warm_up.backward()  # type: ignore[no-untyped-call]  # the set-up of a first call is not memory of the loss
    leaves, loss = inputs(name, BATCH, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = peak(device)
    loss().backward()  # type: ignore[no-untyped-call]
    grown = peak(device) - before

    student: nn.Module = build_model("plain5", CLASSES).to(device).to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, SIDE, SIDE, device=device).contiguous(memory_format=torch.channels_last)
    target = torch.arange(BATCH, device=device) % CLASSES

    def loss_step() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    def student_step() -> Tensor:
        student.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = student(images)
        value = F.cross_entropy(logits.float(), target)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    slot = StreamSlot(torch.device(device), supports_graphs(torch.device(device)))
    runners = [GraphRunner(slot) for _ in range(2)]
    steps = [partial(run, work) for run, work in zip(runners, (loss_step, student_step), strict=True)]
    # The first round is set-up.
    times = [[seconds(step, device) for step in steps] for _ in range(repeats + 1)][1:]
    if slot.graphs and any(runner.disabled for runner in runners):
        raise RuntimeError(f"{name}: the step could not be captured")
    of_loss, of_plain5 = (median(t) for t in zip(*times, strict=True))
    return {"ms": 1e3 * of_loss, "plain5_ms": 1e3 * of_plain5, "ratio": of_loss / of_plain5, "peak_mb": grown}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("losses", nargs="*", default=[], metavar="LOSS", help=f"of {', '.join(LOSSES)} (default: all)")
    add_device(parser)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parsed(parser)
    wrong = [name for name in options.losses if name not in LOSSES]
    if wrong:
        parser.error(f"unknown loss {wrong[0]!r}; valid: {', '.join(LOSSES)}")
    if options.one:
        print(json.dumps(measure(options.losses[0], options.device, options.repeats)))
        return
    figures: dict[str, dict[str, float]] = {}
    print(f"{'loss':8} {'ms':>8} {'of a plain5 step':>17} {'peak MB':>8}")
    for name in options.losses or LOSSES:
        if options.device == "cuda":
            row = measure(name, options.device, options.repeats)
        else:
            command = [sys.executable, __file__, name, "--one", "--repeats", str(options.repeats)]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout)
        figures[name] = row
        print(f"{name:8} {row['ms']:8.2f} {row['ratio']:17.2f} {row['peak_mb']:8.0f}", flush=True)
    record("losses", figures, options.json, n=options.repeats)


if __name__ == "__main__":
    main()
