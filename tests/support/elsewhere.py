"""A teacher that was trained under plain torch, with its own normalisation, size and order of classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scl.models.build import build_model

MEAN, STD, SIZE = (0.3, 0.6, 0.9), (0.9, 0.2, 0.1), 24
CLASSES = ("red fox", "Cat", "owl", "bee")  # in the order of its logits; the data have them in alphabetical order
FOLDERS = ("bee", "cat", "owl", "red_fox")


@dataclass(frozen=True)
class Elsewhere:
    """weights: its state dict. right: how many of the `images` test images it gets right."""

    weights: dict[str, Tensor]
    right: int
    images: int


def write_data(folder: Path) -> Path:
    """train/CLASS/*.png and test/CLASS/*.png: noise, and a patch of a colour of the class that is hard to see."""
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 20)):
        for c, name in enumerate(FOLDERS):
            place = folder / part / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 200, (16, 16, 3))
                pixels[4 * (c // 2) : 4 * (c // 2) + 8, 2:14, c % 2] += 34
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{i}.png")
    return folder


def read_data(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images as this other library takes them, and labels in its order."""
    images, labels = [], []
    for c, name in enumerate(CLASSES):
        for file in sorted((folder / part / name.lower().replace(" ", "_")).iterdir()):
            pixels = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255
            images.append(F.interpolate(pixels[None], (SIZE, SIZE), mode="bilinear", antialias=True)[0])
            labels.append(c)
    mean, std = (torch.tensor(of).view(1, 3, 1, 1) for of in (MEAN, STD))
    return (torch.stack(images) - mean) / std, torch.tensor(labels)


@cache
def trained(folder: Path) -> Elsewhere:
    torch.manual_seed(0)
    model = build_model("plain5", len(CLASSES), 3, 0.125)
    images, labels = read_data(folder, "train")
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        part = torch.randperm(len(labels))[:64]
        optimiser.zero_grad()
        F.cross_entropy(model(images[part]), labels[part]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    model.eval()
    images, labels = read_data(folder, "test")
    with torch.no_grad():
        right = int((model(images).argmax(1) == labels).sum())
    return Elsewhere({k: v.clone() for k, v in model.state_dict().items()}, right, len(labels))
