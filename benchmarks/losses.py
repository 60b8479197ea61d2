"""Time and memory of every transfer loss, forward and backward, beside one training step of plain5.

    uv run python benchmarks/losses.py            # all losses on the CPU, one thread: about 3 minutes
    uv run python benchmarks/losses.py kd nst     # some
    python benchmarks/losses.py --device cuda     # needs torch alone, no Ray

Feature maps are 64×32×32 at batch 64 (the shallowest guided layer of plain5 on CIFAR, the dearest), `fsp` compares
two of them, embeddings have 512 numbers, logits 100 classes. On the CPU each loss runs in a process of its own. There
its step and plain5's alternate; the figures are the median of each, their ratio, and by how much the peak memory of the
process (of the device, on CUDA) grew over what the inputs take. On CUDA both are CUDA graphs, as in training, and
plain5's runs in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the project is not installed

from benchmarks.devices import add_device
from scl import graphs, memory
from scl.config import LOSSES
from scl.models import build_model
from scl.objective import FEEDS, FUNCTIONS, LEARNED

BATCH, CHANNELS, SIDE, WIDTH, CLASSES = 64, 64, 32, 512, 100


def inputs(name: str, batch: int, device: str) -> tuple[list[Tensor], Callable[[], Tensor]]:
    """The student's tensors and the loss as a call; maps lie in memory as in training, channels last."""
    shape = {"logits": (batch, CLASSES), "embedding": (batch, WIDTH)}.get(FEEDS[name], (batch, CHANNELS, SIDE, SIDE))
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    student, teacher = (
        [torch.randn(shape, device=device).to(memory_format=layout).requires_grad_(learns) for _ in range(2)]
        for learns in (True, False)
    )
    loss = FUNCTIONS[name](shape[1], shape[1]).to(device) if name in LEARNED else FUNCTIONS[name]
    if FEEDS[name] == "pairs":
        return student, lambda: loss(tuple(student), tuple(teacher))
    target = (torch.arange(batch, device=device) % CLASSES,) if name == "dkd" else ()
    return student[:1], lambda: loss(student[0], teacher[0], *target)


def peak(device: str) -> float:
    """Peak memory so far, MB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # Not ru_maxrss: a child inherits that of the process that started it.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def seconds(step: Callable[[], object], device: str) -> float:
    """Of one step; on a GPU of many in a row."""
    row = 20 if device == "cuda" else 1
    began = time.perf_counter()
    for _ in range(row):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / row


def measure(name: str, device: str, repeats: int) -> dict[str, float | str]:
    torch.set_num_threads(1)
    memory.keep_freed()  # as a worker does
    inputs(name, 2, device)[1]().backward()  # what a first call sets up is not the loss's memory
    leaves, loss = inputs(name, BATCH, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = peak(device)
    loss().backward()
    grown = peak(device) - before

    student: nn.Module = build_model("plain5", CLASSES).to(device, memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, SIDE, SIDE, device=device).contiguous(memory_format=torch.channels_last)
    target = torch.arange(BATCH, device=device) % CLASSES

    def loss_step() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        value = loss()
        value.backward()
        return value.detach()

    def student_step() -> Tensor:
        student.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = student(images)
        value = F.cross_entropy(logits.float(), target)
        value.backward()
        return value.detach()

    lane = graphs.Lane(torch.device(device), graphs.can_replay(torch.device(device)))
    steps = [partial(graphs.Replayed(lane), work) for work in (loss_step, student_step)]
    # The first is set-up.
    times = [[seconds(step, device) for step in steps] for _ in range(repeats + 1)][1:]
    if lane.graphs and any(step.func.refused for step in steps):
        raise RuntimeError(f"{name}: its step could not be captured")
    own, whole = (median(t) for t in zip(*times, strict=True))
    return {"loss": name, "ms": 1e3 * own, "plain5_ms": 1e3 * whole, "ratio": own / whole, "peak_mb": grown}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("losses", nargs="*", default=[], metavar="LOSS", help=f"of {', '.join(LOSSES)} (default: all)")
    add_device(parser)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    wrong = [name for name in options.losses if name not in LOSSES]
    if wrong:
        parser.error(f"unknown loss {wrong[0]!r}; valid: {', '.join(LOSSES)}")
    if options.one:
        print(json.dumps(measure(options.losses[0], options.device, options.repeats)))
        return
    figures = []
    print(f"{'loss':8} {'ms':>8} {'of a plain5 step':>17} {'peak MB':>8}")
    for name in options.losses or LOSSES:
        if options.device == "cuda":
            row = measure(name, options.device, options.repeats)
        else:
            command = [sys.executable, __file__, name, "--one", "--repeats", str(options.repeats)]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        figures.append(row)
        print(f"{name:8} {row['ms']:8.2f} {row['ratio']:17.2f} {row['peak_mb']:8.0f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
