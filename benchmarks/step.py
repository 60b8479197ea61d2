"""The speed of a training step: against a conventional loop, and in a cohort against alone.

    uv run python benchmarks/step.py                     # on the CPU, one thread: 6 to 8 minutes
    python benchmarks/step.py --device cuda              # needs torch and torchvision, but not Ray
    uv run python benchmarks/step.py --json benchmarks/results/step.json

1. vgg13 → vgg8 with KD, batch 64, 3×32×32, 100 classes: images a second of this project's trainer, and of a loop like
   those of public distillation code: a DataLoader with workers (8, or as many as cores), transforms image by image,
   `.item()` at every step, float32, the teacher under `no_grad`. Both train the same student on equally many images.
2. plain11 → plain5, batch 128: eight arms in one cohort, and each alone. On the CPU also the bound of what sharing the
   teacher can gain: (ΣT + ΣS) / (T + ΣS). S is the time of one student's step, T that of the teacher's forward up to
   the deepest layer that an arm (in the sum), or any arm, reads; both are measured in the same run.
3. On a GPU, the same cohort with torch's kernels and with fused ones, in turn.
4. On the CPU, a profile of one epoch: the share of the first pair's epoch inside convolutions, which no loop around
   them can reduce. On a GPU, `kernels.py` has the profile.

The sides of a comparison take turns; figures are medians of the rounds. Evaluation is not timed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from importlib.util import find_spec
from operator import or_
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.devices import add_device
from benchmarks.record import parsed, record
from scl import Config, Term
from scl.data.batches import SplitData
from scl.data.images import Images
from scl.machine import cores
from scl.models.build import build_model
from scl.models.networks import build_student, example_features
from scl.models.staged import Wanted
from scl.train.loop import train_cohort
from scl.train.objective import Objective
from scl.train.process import freed_memory_kept
from scl.train.teacher import Teacher, TeacherForward, build_teacher
from scl.train.types import EpochDone, TrialSpec

CLASSES = 100
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
DEEP = (-3, -2, -1)
NOTHING = Wanted(frozenset(), head=False)  # read of a teacher
ARMS = {
    "kd": Term(0.9),
    "hint": Term(1.0),
    "at": Term(10.0),
    "sp": Term(3.0),
    "cc": Term(0.02),
    "pkt": Term(30.0),
    "channel": Term(0.3, layers=DEEP),
    "dist": Term(1.0),
}
PAIR = Config(model="vgg8", epochs=2, batch_size=64, lr=0.01, ce=0.1, losses={"kd": Term(0.9)}, nesterov=False)
EIGHT = [Config(model="plain5", epochs=2, batch_size=128, lr=0.01, losses={n: term}) for n, term in ARMS.items()]


def random_images(count: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(count) % CLASSES)


def data_of(images: Images) -> SplitData:
    nothing = images.first(0)
    return SplitData(images, nothing, nothing, torch.tensor(MEAN), torch.tensor(STD), CLASSES, True)


def teacher_of(name: str, width: float = 1.0) -> Teacher:
    torch.manual_seed(0)
    config = Config(model=name, width=width)
    return Teacher(config, build_model(name, CLASSES, width=width).state_dict(), torch.zeros(0, CLASSES))


def trials_of(configs: list[Config]) -> list[TrialSpec]:
    return [TrialSpec(str(i), config, 0, every_epoch=False) for i, config in enumerate(configs)]


def train(configs: list[Config], data: SplitData, teacher: Teacher, device: torch.device) -> float:
    """Seconds of a cohort's last epoch; the first one includes the set-up."""
    trials = trials_of(configs)
    events = train_cohort(trials, data, teacher, device)
    # Timed at the first trial's events: the others' follow the end of each trial, which is not part of a step.
    first = trials[0].id
    ends = [time.perf_counter() for event in events if isinstance(event, EpochDone) and event.trial_id == first]
    return ends[-1] - ends[-2]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images one by one, as public distillation code reads CIFAR."""

    def __init__(self, images: Images) -> None:
        assert isinstance(images.images, Tensor)
        self.images, self.labels = images.images.permute(0, 2, 3, 1).numpy(), images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def conventional_epochs(
    config: Config, images: Images, teacher: Teacher, device: torch.device, workers: int
) -> Iterator[float]:
    """Seconds of each epoch of a conventional loop; the first one starts the workers and warms up."""
    torch.manual_seed(0)
    model = build_model(config.model, CLASSES).to(device)
    network = build_model(teacher.config.model, CLASSES)
    network.load_state_dict(dict(teacher.weights))
    network = network.to(device).eval()
    loader = DataLoader(
        Pictures(images), batch_size=config.batch_size, shuffle=True, num_workers=workers, persistent_workers=True
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9, weight_decay=5e-4)
    while True:
        began = time.perf_counter()
        model.train()
        total, correct = 0.0, 0
        with torch.backends.cudnn.flags(enabled=True, benchmark=True):
            for pixels, target in loader:
                pixels, target = pixels.to(device), target.to(device)
                with torch.no_grad():
                    soft = F.softmax(network(pixels) / 4, 1)
                logits = model(pixels)
                kd = F.kl_div(F.log_softmax(logits / 4, 1), soft, reduction="batchmean") * 16
                loss = 0.1 * F.cross_entropy(logits, target) + 0.9 * kd
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item() * len(target)
                correct += (logits.argmax(1) == target).sum().item()
        yield time.perf_counter() - began


def spread(values: list[float]) -> dict[str, float | int]:
    return {"median": median(values), "least": min(values), "most": max(values), "n": len(values)}


def against_conventional(count: int, rounds: int, device: torch.device, precision: str, workers: int) -> dict[str, Any]:
    """Images a second of this project's trainer and of the conventional loop, and their ratio."""
    images, teacher = random_images(count), teacher_of("vgg13")
    config = PAIR.replace(precision=precision)
    data = data_of(images)
    conventional = conventional_epochs(config, images, teacher, device, workers)
    next(conventional)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(count / train([config], data, teacher, device))
        theirs.append(count / next(conventional))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"ours_images_per_s": spread(ours), "conventional_images_per_s": spread(theirs), "ratio": spread(ratios)}


def together_and_alone(count: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Student-images a second of a cohort, what it gains over each arm alone, and on a CPU the bound of that gain."""
    data, teacher = data_of(random_images(count)), teacher_of("plain11")
    rates, gains, bounds, shares = [], [], [], []
    for _ in range(rounds):
        cohort = train(EIGHT, data, teacher, device)
        alone = [train([arm], data, teacher, device) for arm in EIGHT]
        rates.append(len(EIGHT) * count / cohort)
        gains.append(sum(alone) / cohort)
        if device.type == "cpu":  # on a GPU, the teacher and the students run at the same time
            forwards, forward = forward_seconds(count, data, teacher)
            bounds.append(sum(alone) / (sum(alone) - sum(forwards) + forward))
            shares.append(gains[-1] / bounds[-1])
    found: dict[str, Any] = {"arms": list(ARMS), "student_images_per_s": spread(rates), "gain": spread(gains)}
    return found | ({"bound": spread(bounds), "share_of_bound": spread(shares)} if bounds else {})


def fused_against_torch(count: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Student-images a second of a cohort with fused kernels and with torch's, and their ratio."""
    data, teacher = data_of(random_images(count)), teacher_of("plain11")
    rates: dict[str, list[float]] = {"torch": [], "fused": []}
    for _ in range(rounds):
        for kernels, found in rates.items():
            arms = [arm.replace(kernels=kernels) for arm in EIGHT]
            found.append(len(arms) * count / train(arms, data, teacher, device))
    ratios = [a / b for a, b in zip(rates["fused"], rates["torch"], strict=True)]
    return {name: spread(found) for name, found in rates.items()} | {"ratio": spread(ratios)}


def forward_seconds(count: int, data: SplitData, teacher: Teacher) -> tuple[list[float], float]:
    """Seconds of the teacher's forwards in an epoch on the CPU: for each arm alone, and for all together."""
    config = EIGHT[0]
    network = build_teacher(teacher, data, torch.device("cpu"))
    wanted_by = [read_of_teacher(arm, data, network) for arm in EIGHT]
    forward = TeacherForward(network, config.tap, bf16=False)
    batch = torch.randn(config.batch_size, 3, 32, 32).to(memory_format=torch.channels_last)

    @cache
    def seconds(wanted: Wanted) -> float:
        return count / len(batch) * seconds_of_forward([batch], forward, wanted, 5)

    return [seconds(wanted) for wanted in wanted_by], seconds(reduce(or_, wanted_by))


def read_of_teacher(config: Config, data: SplitData, network: nn.Module) -> Wanted:
    """What a configuration's losses read of a teacher; NOTHING if it has no losses."""
    if not config.losses:
        return NOTHING
    models = (build_student(config, data, 0), network)
    student, teacher = (example_features(model, data, config.tap) for model in models)
    return Objective(config, student, teacher).wanted(config.total_epochs)[1] or NOTHING


def seconds_of_forward(batches: Sequence[Tensor], forward: TeacherForward, wanted: Wanted, times: int) -> float:
    """Median seconds of a teacher's forward of a batch; 0 if nothing is wanted."""
    if wanted == NOTHING:
        return 0.0
    seconds = []
    for i in range(times + 1):  # the first warms up
        began = time.perf_counter()
        forward(batches[i % len(batches)], wanted)
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])


def profiled(
    configs: list[Config], data: SplitData, teacher: Teacher, device: torch.device
) -> tuple[torch.profiler.profile, float]:
    """The profile of a cohort's second epoch, and the epoch's seconds."""
    events = train_cohort(trials_of(configs), data, teacher, device)
    for _ in zip(configs, events, strict=False):
        pass  # the first epoch, with the set-up and the capture of graphs
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CUDA if device.type == "cuda" else activity.CPU]) as profile:
        began = time.perf_counter()
        next(events)
        wall = time.perf_counter() - began
    return profile, wall


def in_convolutions(count: int, precision: str) -> float:
    """Share of an epoch of vgg13 → vgg8 on the CPU that is spent inside convolutions."""
    data, teacher = data_of(random_images(count)), teacher_of("vgg13")
    profile, wall = profiled([PAIR.replace(precision=precision)], data, teacher, torch.device("cpu"))
    inside = ("aten::mkldnn_convolution", "aten::convolution_backward")
    return sum(e.self_cpu_time_total for e in profile.key_averages() if e.key in inside) / 1e6 / wall


@freed_memory_kept()  # as in a worker
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--images", type=int, help="images of an epoch (default: 512 on the CPU, 25600 on cuda)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of this project's trainer"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument(
        "--workers",
        type=int,
        default=min(8, cores()),
        help="of the conventional loop (default: 8 or all cores)",
    )
    options = parsed(parser)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    count = options.images or (25_600 if on_gpu else 512)
    found: dict[str, Any] = {
        "device": options.device,
        "workers": options.workers,
        "threads": options.threads,
        "precision": options.precision,
        "images": count,
    }
    parts: dict[str, Callable[[], Any]] = {
        "vgg13 → vgg8, KD, batch 64": lambda: against_conventional(
            count, options.rounds, device, options.precision, options.workers
        ),
        "plain11 → plain5, 8 arms, batch 128": lambda: together_and_alone(count, options.rounds, device),
    }
    if on_gpu and find_spec("triton"):
        parts["fused kernels"] = lambda: fused_against_torch(count, options.rounds, device)
    if not on_gpu:
        parts["in_convolutions"] = lambda: in_convolutions(count, options.precision)
    for name, measure in parts.items():
        found[name] = measure()
        print(json.dumps({name: found[name]}, indent=1, ensure_ascii=False), flush=True)
        record("step", found, options.json, n=options.rounds)  # after each part, in case the next is cut off


if __name__ == "__main__":
    main()
