"""What tests share: one thread, a tiny data set, a teacher for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scl import cli, data, datasets, runner, trainer
from scl.config import Config
from scl.data import Images
from scl.study import Study
from scl.trial import Data, Teacher, Trial, TrialEnded

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar100"
RECIPE = {"batch_size": 32, "lr": 0.05, "epochs": 3}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """200 digits to train on, 100 to validate, 797 to test."""
    digits = datasets.load("digits", tmp_path_factory.mktemp("cache"))
    train, val = data.split(digits.train_labels, val=0.1, seed=0, limit=200, classes=10)
    mean, std = data.normalisation(digits)

    def part(images, labels) -> Images:  # type: ignore[no-untyped-def]
        return Images(torch.from_numpy(images), torch.from_numpy(labels))

    return Data(
        part(digits.train_images[train], digits.train_labels[train]),
        part(digits.train_images[val], digits.train_labels[val]),
        part(digits.test_images, digits.test_labels),
        torch.from_numpy(mean),
        torch.from_numpy(std),
        classes=10,
        flip=False,
    )


@pytest.fixture(scope="session")
def teacher(tiny: Data) -> Teacher:
    config = Config(student="plain11", width=0.125, **RECIPE)
    ended = [e for e in trainer.train_cohort([Trial("t", config, 0)], tiny, None, CPU) if isinstance(e, TrialEnded)]
    assert ended[0].test_logits is not None
    return Teacher(config, ended[0].weights, ended[0].test_logits)


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


def run_study(study: Study, *flags: str) -> int:
    """A study's command line, in this process."""
    return runner.run(study, cli.Options(**vars(cli.parser(study).parse_args(["--inline", *flags]))))


SMALL = Study(
    name="small",
    question="Does it run?",
    base=Config(student="plain5", width=0.125, epochs=2, batch_size=16, lr=0.02),
    teacher=Config(student="plain7", width=0.125, epochs=2, batch_size=16, lr=0.02),
    arms={
        "baseline": {},
        "scl": {"losses": {"channel": 0.3, "kd": 0.5}, "self_taught": 3},
        "a/branch": {"losses": {"kd": 0.5}, "self_taught": (0, 2, 0, 1), "self_taught_at": "branch"},
    },
    seeds=2,
)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of SMALL on an own data set: a folder of 12×12 grey images in 3 classes."""
    out = tmp_path_factory.mktemp("small")
    data = write_images(out / "images", classes=3, size=12, grey=True)
    assert run_study(SMALL, "--out", str(out / "results"), "--data", str(data)) == 0
    return out / "results" / "small"
