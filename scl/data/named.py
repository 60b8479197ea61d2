"""Loading a data set: the embedded digits, torchvision's by name, or a folder.

Every mistake in the user's data is a UserError that names the file. torch and torchvision are imported only when a data
set needs them, so that a plan is made quickly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from scl.data.cache import cached_dataset
from scl.data.cifar import load_cifar
from scl.data.dataset import Dataset, make_dataset
from scl.data.layouts import LAYOUTS, exists, find_dataset
from scl.data.parts import Choices
from scl.data.split import stratified
from scl.errors import UserError, first_line, unknown
from scl.study.options import DATA

DIGITS_TEST = 797


def load_dataset(
    name: str,
    cache: Path,
    label: str | None = None,
    keep: bool = True,
    drop: tuple[str, ...] = (),
    test: float | None = None,
    size: int | None = None,
    fit: str | None = None,
    plan: bool = False,
) -> Dataset:
    """Load a data set by its name (one of DATA), or from a folder or file; `~` is expanded.

    A name takes precedence over a folder of that name: `./digits` is the folder.

    Args:
        cache: where decoded folders are stored, and downloads, in `torchvision`.
        keep: store what had to be decoded in the cache.
        label: the label column, if a table has several.
        drop: names of classes to leave out. test: share set aside as test part, if the folder has none.
        size: the side in pixels to which the images of a folder are brought. fit: how, one of FITS.
        plan: the images of a large folder need not be decoded.

    Raises:
        UserError: no such data set or folder, a failed download, or a mistake in the folder.
    """
    if name in DATA:
        given = {f"--label {label!r}": label, f"--drop-class {','.join(drop)}": drop or None, f"--test {test}": test}
        for flag in [flag for flag, value in given.items() if value is not None]:
            raise UserError(
                f"{flag}: it is for data of your own, and {name} has its parts and labels; drop {flag.split()[0]}"
            )
        if size is not None or fit is not None:
            flag = "--image-size" if size is not None else "--image-fit"
            raise UserError(
                f"{flag}: the images of {name} have one size; only those of a folder are scaled, drop {flag}"
            )
        return _digits() if name == "digits" else _from_torchvision(name, cache / "torchvision")
    if not name or not exists(expanded := os.path.expanduser(name)):
        raise UserError(f"{unknown('data', name, DATA)}, or a folder; there is no folder {name!r}")
    folder = Path(expanded)
    try:
        files = find_dataset(folder, Choices(label, drop, test))
        place = folder if folder.is_dir() else folder.parent
        dataset = cached_dataset(name, place, cache, files, keep, size, fit, plan)
        return dataclasses.replace(dataset, skipped={**dataset.skipped, **files.skipped})
    except OSError as error:
        where = error.filename or folder
        raise UserError(f"--data {name}: {where} cannot be read: {error.strerror or error}") from error


def _digits() -> Dataset:
    # From scikit-learn's file: importing scikit-learn takes two seconds.
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.int64)  # 64 pixels of 0 … 16, then the digit
    images = ((table[:, :-1] * 255 + 8) // 16).astype(np.uint8).reshape(-1, 1, 8, 8)  # 0 … 255, rounded
    labels = table[:, -1]
    test = stratified(labels, DIGITS_TEST, seed="digits-test")
    train = np.setdiff1d(np.arange(len(labels)), test)
    return make_dataset(
        "digits",
        (images[train], labels[train]),
        (images[test], labels[test]),
        [str(digit) for digit in range(10)],
        flip=False,
        what="scikit-learn's digits, 1,797 images of handwritten digits",
        caveat=(
            f"There is no official test part: this project fixed a stratified test part of {DIGITS_TEST} images. "
            "The data show that a study runs; they are too few and too easy to rank methods."
        ),
    )


def _from_torchvision(name: str, root: Path) -> Dataset:
    import torchvision  # noqa: PLC0415

    class_name, load, flip, what = TORCHVISION[name]
    reader = getattr(torchvision.datasets, class_name)
    try:
        # torchvision draws progress bars. An error may have any type: network, disk, archive, checksum.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            root.mkdir(parents=True, exist_ok=True)
            train, test, classes = load(reader, root)
    except Exception as error:
        raise UserError(
            f"--data {name}: the files cannot be downloaded or read ({first_line(error)}); put torchvision's files of "
            f"{class_name} into {root}, or give a folder: {LAYOUTS}"
        ) from error
    caveat = (
        "The test part is the official one. Published numbers train on the whole training part; "
        "results with --val 0 are comparable with them."
    )
    return make_dataset(name, train, test, classes, flip, what, caveat)


def _fashion_mnist(reader: Any, root: Path) -> tuple[Any, Any, list[str]]:
    train, test = (reader(root=str(root), train=part, download=True) for part in (True, False))

    def arrays(part: Any) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(np.asarray(part.data)[:, None]), np.asarray(part.targets, dtype=np.int64)

    return arrays(train), arrays(test), train.classes


# Name → torchvision's class, the function that reads it, whether a mirrored image keeps its class, and a description.
# A further one is a row here and a name in `scl.study.options.DATA`.
TORCHVISION = {
    "cifar10": ("CIFAR10", load_cifar, True, "CIFAR-10, photographs of things and animals"),
    "cifar100": ("CIFAR100", load_cifar, True, "CIFAR-100, photographs of things, plants and animals, fine labels"),
    "fashion_mnist": ("FashionMNIST", _fashion_mnist, True, "Fashion-MNIST, pictures of clothes"),
}
