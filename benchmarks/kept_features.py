"""What a later cohort gains if an earlier one has kept what their teacher gives.

    uv run python benchmarks/kept_features.py                      # one thread, a few minutes
    python benchmarks/kept_features.py --device cuda

Cohorts of 1, 2, 4 and 8 plain5 that learn by KD from one plain11, batch 128, random images of 3×32×32, 100 classes.
Three sides take turns: nothing is kept; an epoch is computed and written; it is read. Prints the seconds of an epoch
without evaluation, and two ratios: computed ÷ read, and written ÷ computed. The file is on the disk that holds
temporary files, and comes from the system's memory when it is read.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import tempfile
import time
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.devices import add_device
from benchmarks.record import parsed, record
from benchmarks.step import data_of, random_images, teacher_of
from scl import Config, Term
from scl.data.batches import SplitData
from scl.store.files import Folder, open_folder
from scl.train.loop import train_cohort
from scl.train.process import freed_memory_kept
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec

COUNTS = (1, 2, 4, 8)
EPOCH = "epoch-00001.safetensors"


def seconds(
    count: int, width: float, data: SplitData, teacher: Teacher, device: torch.device, kept: Folder | None
) -> float:
    """Seconds of the epoch of a cohort of so many students, without what comes before its first step."""
    student = Config(width=width, epochs=1, batch_size=128, lr=0.01, ce=0.1)
    configs = [student.replace(losses={"kd": Term(0.9, options={"temperature": 2.0 + i})}) for i in range(count)]
    trials = [TrialSpec(str(i), config, 0, every_epoch=False) for i, config in enumerate(configs)]
    began: list[float] = []

    def at_a_step() -> bool:
        began.append(time.perf_counter())
        return False

    events = train_cohort(trials, data, teacher, device, stop=at_a_step, kept=kept)
    next(events)
    return time.perf_counter() - began[1]  # the first step also sets things up


def sides(
    count: int, width: float, data: SplitData, teacher: Teacher, device: torch.device, rounds: int
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        kept = open_folder(place)
        timed = partial(seconds, count, width, data, teacher, device)
        found: dict[str, list[float]] = {"computed": [], "written": [], "read": []}
        timed(None)  # warms up
        for _ in range(rounds):
            found["computed"].append(timed(None))
            found["written"].append(timed(kept))
            found["read"].append(timed(kept))
            kept.remove(EPOCH)
    medians = {side: median(values) for side, values in found.items()}
    gain = median(a / b for a, b in zip(found["computed"], found["read"], strict=True))
    cost = median(a / b for a, b in zip(found["written"], found["computed"], strict=True))
    return {**medians, "computed ÷ read": gain, "written ÷ computed": cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=float, default=0.25, help="of the students (default: 0.25)")
    parser.add_argument("--teacher-width", type=float, default=0.25, help="default: 0.25")
    options = parsed(parser)
    device = torch.device(options.device)
    torch.set_num_threads(1)
    data = data_of(random_images(options.images))
    teacher = teacher_of("plain11", options.teacher_width)
    figures: dict[str, Any] = {"images": options.images, "width": options.width, "teacher": options.teacher_width}
    with freed_memory_kept():
        for count in COUNTS:
            figures[f"students: {count}"] = of = sides(count, options.width, data, teacher, device, options.rounds)
            print(f"students: {count}  " + "  ".join(f"{name} {value:.3f}" for name, value in of.items()), flush=True)
    record("kept_features", figures, options.json, options.rounds)


if __name__ == "__main__":
    main()
