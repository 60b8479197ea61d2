"""Small studies and data that many tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from scl.cli.flags import parsed
from scl.cli.main import run_flags
from scl.plan.plan import Plan, make_plan
from scl.store.files import open_folder
from scl.study.config import Config
from scl.study.options import Options
from scl.study.settled import settled
from scl.study.study import Study

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar100"
RECIPE: dict[str, Any] = {"batch_size": 32, "lr": 0.05, "epochs": 3}
CPU = torch.device("cpu")

SMALL = Study(
    name="small",
    question="Does it run?",
    base=Config(model="plain5", width=0.125, epochs=2, batch_size=16, lr=0.02),
    teacher=Config(model="plain7", width=0.125, epochs=2, batch_size=16, lr=0.02),
    arms={
        "baseline": {},
        "scl": {"losses": {"channel": 0.3, "kd": 0.5}, "self_taught": 3},
        "a/branch": {"losses": {"kd": 0.5}, "self_taught": (0, 2, 0, 1), "self_taught_at": "branch"},
    },
    seeds=2,
)


def asked(study: Study, *flags: str) -> tuple[Study, Options]:
    """A study of one size and its options, as a command line asks for them."""
    return settled(study, parsed(study, "study.py", flags))


def planned(study: Study, out: Path | str, *flags: str) -> Plan:
    """The plan of a command line."""
    sized, options = asked(study, "--out", str(out), *flags)
    return make_plan(sized, options, open_folder(str(out)))


def run_study(study: Study, *flags: str) -> int:
    """A study's command line, inline in this process; returns the exit code."""
    return run_flags(study, "study.py", ["--inline", *flags])


def write_images(folder: Path, classes: int, size: int, grey: bool, train: int = 20, test: int = 10) -> Path:
    """train/CLASS/*.png and test/CLASS/*.png in a folder: noise and a bright bar, whose place is the class."""
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for c in range(classes):
            place = folder / part / f"class-{c}"
            place.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 60, (size, size) if grey else (size, size, 3), dtype=np.uint8)
                pixels[c * size // classes : (c + 1) * size // classes] += 150
                Image.fromarray(pixels).save(place / f"{i}.png")
    return folder
