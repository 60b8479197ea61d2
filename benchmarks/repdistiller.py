"""The speed of a training step here, and of RepDistiller's loop with its networks and losses.

    git clone https://github.com/HobbitLong/RepDistiller
    uv run python benchmarks/repdistiller.py RepDistiller                # on the CPU, one thread: 5 minutes
    uv run python benchmarks/repdistiller.py RepDistiller --threads 2
    python benchmarks/repdistiller.py RepDistiller --device cuda         # needs torch and torchvision, but not Ray

vgg13 → vgg8, batch 64, 3×32×32, 100 classes: with KD, with KD and attention transfer, and with KD and similarity, at
the published weights. RepDistiller's `train_distill` runs unchanged, fed by a DataLoader with 8 workers and the
transforms of its scripts. Both sides train on equally many random images and take turns. Then all three methods train
here in one cohort, against RepDistiller's three runs. Figures are medians of the rounds; evaluation is not timed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import io
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.devices import add_device
from benchmarks.record import parsed, record
from benchmarks.step import CLASSES, PAIR, Pictures, data_of, random_images, spread, teacher_of, train
from scl.data.images import Images
from scl.train.process import freed_memory_kept


@dataclass(frozen=True)
class Method:
    """A loss that is added to KD: its name and weight here and in RepDistiller."""

    ours: dict[str, float]
    theirs: str
    criterion: str
    beta: float


METHODS = {
    "KD": Method({}, "kd", "DistillKL", 0.0),
    "KD and AT": Method({"at": 1000.0}, "attention", "Attention", 1000.0),
    "KD and SP": Method({"sp": 3000.0}, "similarity", "Similarity", 3000.0),
}


class Numbered(Pictures):
    """Images one by one with their numbers, as RepDistiller's loop expects them."""

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:  # type: ignore[override]
        return *super().__getitem__(index), index


def their_epochs(method: Method, images: Images, device: torch.device, workers: int) -> Iterator[float]:
    """Seconds of each epoch of RepDistiller's loop."""
    # From the checkout, which is on the path only now.
    import distiller_zoo  # type: ignore[import-not-found]  # noqa: PLC0415
    from helper import loops  # type: ignore[import-not-found]  # noqa: PLC0415
    from models import model_dict  # type: ignore[import-not-found]  # noqa: PLC0415

    torch.manual_seed(0)
    networks = nn.ModuleList([model_dict[name](num_classes=CLASSES) for name in ("vgg8", "vgg13")]).to(device)
    kd = distiller_zoo.DistillKL(4)
    other = kd if method.criterion == "DistillKL" else getattr(distiller_zoo, method.criterion)()
    losses = nn.ModuleList([nn.CrossEntropyLoss(), kd, other]).to(device)
    optimizer = torch.optim.SGD(networks[0].parameters(), lr=PAIR.lr, momentum=0.9, weight_decay=5e-4)
    options = argparse.Namespace(distill=method.theirs, gamma=0.1, alpha=0.9, beta=method.beta, print_freq=10**9)
    # Persistent workers: their start is a small part of an epoch of 50,000 images, but would be a large part here.
    loader = DataLoader(
        Numbered(images), batch_size=PAIR.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        began = time.perf_counter()
        with redirect_stdout(io.StringIO()):
            loops.train_distill(1, loader, networks, losses, optimizer, options)
        yield time.perf_counter() - began


def compared(count: int, rounds: int, device: torch.device, workers: int) -> dict[str, Any]:
    """Each method here and in RepDistiller, and all of them here in one cohort."""
    images, teacher = random_images(count), teacher_of("vgg13")
    data = data_of(images)
    configs = {name: PAIR.replace(losses={"kd": 0.9, **method.ours}) for name, method in METHODS.items()}
    them = {name: their_epochs(method, images, device, workers) for name, method in METHODS.items()}
    for epochs in them.values():
        next(epochs)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in [*METHODS, "all, here in one cohort"]}
    for _ in range(rounds):
        for name, epochs in them.items():
            seconds[name].append((train([configs[name]], data, teacher, device), next(epochs)))
        theirs = sum(seconds[name][-1][1] for name in METHODS)
        seconds["all, here in one cohort"].append((train(list(configs.values()), data, teacher, device), theirs))
    found = {}
    for name, pairs in seconds.items():
        seen = count if name in METHODS else count * len(METHODS)
        found[name] = {
            "ours_images_per_s": spread([seen / a for a, _ in pairs]),
            "theirs_images_per_s": spread([seen / b for _, b in pairs]),
            "ratio": spread([b / a for a, b in pairs]),
        }
    return found


@freed_memory_kept()  # as in a worker
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "repdistiller", type=Path, metavar="CHECKOUT", help="a clone of RepDistiller, whose code is run"
    )
    add_device(parser)
    parser.add_argument("--images", type=int, help="images of an epoch (default: 512 on the CPU, 12800 on cuda)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument(
        "--workers", type=int, default=8, help="of RepDistiller's loader (default: 8, as in its scripts)"
    )
    options = parsed(parser)
    if not (options.repdistiller / "helper" / "loops.py").is_file():
        parser.error(f"{options.repdistiller} is not a clone of RepDistiller: it has no helper/loops.py")
    sys.path.insert(0, str(options.repdistiller))
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    count = options.images or (12_800 if device.type == "cuda" else 512)
    found = compared(count, options.rounds, device, options.workers)
    for name, figures in found.items():
        ours, theirs, ratio = (f"{spread['median']:.4g}" for spread in figures.values())
        print(f"{name}: {ours} student-images a second here, {theirs} in RepDistiller, ratio {ratio}")
    about = {"device": options.device, "threads": options.threads, "workers": options.workers, "images": count}
    record("repdistiller", {**about, **found}, options.json, n=options.rounds)


if __name__ == "__main__":
    main()
