"""The split into training and validation images: seeded, stratified, the same on any machine."""

from __future__ import annotations

import hashlib

import numpy as np

from scl.data.dataset import Dataset
from scl.errors import UserError
from scl.study.augment import without_auto
from scl.study.identity import sha256


def stratified(
    labels: np.ndarray, count: int, *, seed: object, among: np.ndarray | None = None, least: int = 0
) -> np.ndarray:
    """Choose `count` of the labels, stratified by class. Returns their indices, sorted.

    Each class gets `least` images, and its proportional share of the rest (largest remainder, ties to the lower
    class). The SHA-256 of "seed|index" orders the images of a class, so no library version changes the choice.

    Args:
        labels: class numbers (N,).
        count: from least × classes to the number of indices in `among`.
        among: the indices to choose from; all by default.
    """
    among = np.arange(len(labels)) if among is None else among
    present, position, sizes = np.unique(labels[among], return_inverse=True, return_counts=True)
    rest = count - least * len(present)
    spare = sizes - least
    total = max(int(spare.sum()), 1)
    shares, remainders = np.divmod(rest * spare, total)  # whole numbers: exact
    by_remainder = np.argsort(-remainders, kind="stable")
    shares[by_remainder[: rest - int(shares.sum())]] += 1
    ranks = np.array([hashlib.sha256(f"{seed}|{index}".encode()).digest() for index in among], dtype="S32")
    order = np.argsort(ranks, kind="stable")
    by_class = np.split(order[np.argsort(position[order], kind="stable")], np.cumsum(sizes)[:-1])
    chosen = [members[: least + share] for members, share in zip(by_class, shares, strict=True)] if len(among) else []
    return np.sort(among[np.concatenate(chosen)]) if chosen else among[:0]


def split(
    labels: np.ndarray, *, val: float, seed: int, limit: int | None, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split images with `labels` (N,). Returns the indices of the training and of the validation part, each sorted.

    The validation part is round(val × N) images, stratified. `limit` then reduces the training part to that many
    images, stratified, at least one per class. It does not change the validation part.

    Raises:
        UserError: `val` is outside [0, 1), too small for one image, or leaves a class without training images;
            `limit` is below the number of classes.
    """
    if not 0 <= val < 1:
        raise UserError(f"--val {val}: must be a fraction of the training images, 0 or more and below 1")
    if limit is not None and limit < classes:
        raise UserError(
            f"--limit {limit}: fewer training images than the {classes} classes; give {classes} or more, or no --limit"
        )
    held_out = round(val * len(labels))
    if val > 0 and held_out == 0:
        raise UserError(
            f"--val {val}: no image of {len(labels)} would be held out; give {1 / len(labels):.2g} or more, or 0"
        )
    validation = stratified(labels, held_out, seed=seed)
    training = np.setdiff1d(np.arange(len(labels)), validation)
    empty = np.setdiff1d(np.arange(classes), labels[training])
    if len(empty):
        raise UserError(f"--val {val}: class {empty[0]} would have no training image left; hold out a smaller fraction")
    if limit is not None and limit < len(training):
        training = stratified(labels, limit, seed=seed, among=training, least=1)
    return training, validation


def parts_of(
    dataset: Dataset, *, val: float | None, share: float, seed: int, limit: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the training images that train and of those that validate, each sorted. The second is empty if
    the data come with a validation part: then that part validates, and all training images train.

    Args:
        val: what `--val` says; None if the user says nothing. share: to hold out of data without a validation part.
        seed, limit: as in `split`.

    Raises:
        UserError: `val` holds out training images of data that have a validation part; or as `split`.
    """
    if dataset.val_labels is not None:
        if val:
            raise UserError(
                f"--val {val:g}: {dataset.name} has its own validation part of {len(dataset.val_labels):,} images, "
                "which is used; drop --val (--val 0 says the same), or remove that part"
            )
        share = 0
    return split(dataset.train_labels, val=share, seed=seed, limit=limit, classes=len(dataset.classes))


def split_fingerprint(dataset: Dataset, train_indices: np.ndarray, val_indices: np.ndarray) -> str:
    """SHA-256 of what a trial's id contains of its data: content, split, and what `augment = auto` means for them."""
    parts = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in (train_indices, val_indices)]
    auto = without_auto("auto", dataset.flip, max(dataset.train_images.shape[2:]))
    larger = [auto] if auto.startswith("rrc") else []  # up to that size `flip` alone decides it
    return sha256([dataset.fingerprint, *parts, dataset.flip, *larger])
