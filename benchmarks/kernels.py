"""What a GPU does in an epoch: how long it computes, and how much of that each kind of kernel takes.

    python benchmarks/kernels.py --device cuda                       # cohorts of 1, 8 and 16
    python benchmarks/kernels.py --device cuda --cohort 8

plain11 → plain5, batch 128, the arms of `step.py`. Profiled is the second epoch: the first has the set-up and the
capture of graphs. On the CPU, kernels are torch's operators, which shows that the script runs and nothing of a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import re
from typing import Any

import torch

from benchmarks.devices import add_device
from benchmarks.record import parsed, record
from benchmarks.step import EIGHT, data_of, profiled, random_images, teacher_of
from scl.train.process import freed_memory_kept

# Kind of a kernel → a pattern of its name; the first match counts.
KINDS = {
    "fused": "_tile_statistics|_statistics$|_activate|_tile_gradients|_gradients$",  # scl's own, of Triton
    "batch norm": r"batch_?norm|\bbn_|::bn_",
    "convolutions": r"fprop|dgrad|wgrad|conv(?!ert)|nchwToNhwc|nhwcTo",
    "pooling": "pool",
    "products": r"gemm|gemv|nvjet|cutlass|splitKreduce|\bmm\b|addmm",
    "copies and casts": "copy|memcpy|memset|_to_copy|fill",
    "reductions": "reduce_kernel|softmax|norm|::sum|::mean",
    "optimizer": "multi_tensor|foreach|fused_sgd|fused_adam",
    "elementwise": "elementwise|clamp|functor|relu|::add|::mul|triton_poi",
}


def kind_of(kernel: str) -> str:
    """The kind of a kernel by its name; `other` for one that no pattern knows."""
    return next((kind for kind, names in KINDS.items() if re.search(names, kernel, re.IGNORECASE)), "other")


def kernels(cohort: int, count: int, device: torch.device) -> dict[str, Any]:
    """Of the second epoch of a cohort: the share in which the device computes, its kernels, and the share of each kind.

    cohort: the number of students, of the arms of `step.py` in turn. count: images of an epoch.
    """
    configs = [EIGHT[i % len(EIGHT)] for i in range(cohort)]
    profile, wall = profiled(configs, data_of(random_images(count)), teacher_of("plain11"), device)
    on = "CUDA" if device.type == "cuda" else "CPU"
    events = [e for e in profile.events() if e.device_type.name == on]  # type: ignore[no-untyped-call]
    if on == "CPU":  # an operator's time is its own, without that of those it calls
        spans = [(e.name, e.time_range.start, e.time_range.start + e.self_cpu_time_total) for e in events]
    else:
        spans = [(e.name, e.time_range.start, e.time_range.end) for e in events]
    covered, end = 0.0, float("-inf")
    for _, start, stop in sorted(spans, key=lambda span: span[1:]):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    spent = dict.fromkeys([*KINDS, "other"], 0.0)
    for name, start, stop in spans:
        spent[kind_of(name)] += stop - start
    total = sum(spent.values()) or 1.0
    batches = max(1, count // configs[0].batch_size)
    return {
        "busy": covered / 1e6 / wall,
        "student_images_per_s": cohort * count / wall,  # while it is profiled, which costs time
        "kernels_per_step": len(spans) / batches,
        "kinds": {kind: of / total for kind, of in spent.items()},
    }


@freed_memory_kept()  # as in a worker
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--cohort", type=int, nargs="+", default=[1, 8, 16], help="students (default: 1 8 16)")
    few = "images of an epoch (default: 256 on the CPU, 6400 on cuda: more take minutes to read)"
    parser.add_argument("--images", type=int, help=few)
    options = parsed(parser)
    device = torch.device(options.device)
    count = options.images or (6400 if device.type == "cuda" else 256)
    found: dict[str, Any] = {"device": options.device, "images": count}
    for cohort in options.cohort:
        found[f"cohort of {cohort}"] = kernels(cohort, count, device)
        print(json.dumps({f"cohort of {cohort}": found[f"cohort of {cohort}"]}, indent=1), flush=True)
        record("kernels", found, options.json, n=1)  # after each, in case the next is cut off


if __name__ == "__main__":
    main()
