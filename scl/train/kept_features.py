"""What a teacher gives for the batches of an epoch, kept for later cohorts that see the same batches.

A search trains hundreds of small cohorts under one teacher, and each would pay for the same forwards. Where all of a
cohort's losses read the teacher's head alone (its embedding and its logits), an epoch is a small file. Maps are not
kept: those of an epoch would be gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import torch
from torch import Tensor

from scl.errors import Damaged
from scl.models.staged import Features, Wanted
from scl.train.checkpoint import pack, unpack

LARGEST = 128 * 2**20  # bytes of an epoch that are kept, on the device until its end

Forward = Callable[[Tensor, Wanted | None], Features]


class KeptFiles(Protocol):
    """The methods of `scl.store.node.NodeFiles` that this needs; training does not import pyarrow."""

    def read(self, name: str) -> bytes: ...
    def write(self, name: str, content: bytes) -> None: ...


class KeptEpoch:
    """A teacher's forward pass over the batches of one epoch, in their order: read from a file that an earlier cohort
    left, or else computed, and then left for others. The same numbers, bit for bit, on the machine that computed them.

    A file that is missing, damaged or of another epoch's size is computed anew, and one that cannot be written is not
    kept.

    Args:
        forward: computes features (B, …) of images (B, C, H, W).
        files: of one machine, teacher and stream of batches (`Config.stream`).
        epoch: from 1. images: number of images in the epoch.
        device: of the features.
    """

    def __init__(self, forward: Forward, files: KeptFiles, epoch: int, images: int, device: torch.device) -> None:
        self.forward, self.files, self.images, self.device = forward, files, images, device
        self.name = f"epoch-{epoch:05d}.safetensors"
        self.seen = 0
        self.maps = 0  # of the teacher, which nobody reads
        self.kept: dict[str, Tensor] | None = None
        self.computed: dict[str, Tensor] = {}  # empty if it is too large

    def __call__(self, images: Tensor, wanted: Wanted | None) -> Features:
        if self.seen == 0:
            self.kept = self._read()  # here, so that it is copied to a GPU on the stream that uses it
        batch = slice(self.seen, self.seen + len(images))
        self.seen = batch.stop
        if self.kept is not None:
            # Clones, because memory at another alignment may change the last bit of a matrix product.
            return _features({name: tensor[batch].clone() for name, tensor in self.kept.items()}, self.maps)
        features = self.forward(images, wanted)
        self._collect(features, batch)
        if self.seen == self.images and self.computed:
            with suppress(OSError):
                self.files.write(self.name, pack(self.computed, {"maps": len(features.maps)}))
        return features

    def _read(self) -> dict[str, Tensor] | None:
        try:
            tensors, record = unpack(self.files.read(self.name))
        except (OSError, Damaged):
            return None
        if any(len(tensor) != self.images for tensor in tensors.values()):
            return None
        self.maps = record["maps"]
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def _collect(self, features: Features, batch: slice) -> None:
        given = _tensors(features)
        if batch.start == 0:
            size = self.images * sum(tensor[0].nbytes for tensor in given.values())
            if size <= LARGEST:
                self.computed = {n: tensor.new_empty(self.images, *tensor.shape[1:]) for n, tensor in given.items()}
        for name, tensor in self.computed.items():
            tensor[batch] = given[name]  # a copy: a CUDA graph overwrites its result


def _tensors(features: Features) -> dict[str, Tensor]:
    """The head of features by name. The mean of several teachers has no embedding."""
    found = {"logits": features.logits, "embedding": features.embedding}
    found |= {f"each.{i}": logits for i, logits in enumerate(features.each)}
    return {name: tensor for name, tensor in found.items() if tensor.numel()}


def _features(tensors: dict[str, Tensor], maps: int) -> Features:
    """Features as the teacher's own forward gives them: with an empty tensor for each map that is not wanted."""
    logits = tensors["logits"]
    empty = logits.new_empty(0)
    each = tuple(tensors[f"each.{i}"] for i in range(sum(name.startswith("each.") for name in tensors)))
    return Features([empty] * maps, tensors.get("embedding", empty), logits, each=each)
