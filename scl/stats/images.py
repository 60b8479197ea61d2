"""What single test images say: the test set's part in a difference, differences by class, a teacher's mistakes.

`ours` and `theirs` are bool arrays (seeds, images): is the image classified correctly by the network of this seed?
Their rows are the same seeds. `labels` holds the class of each image, (images,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from scl.stats.intervals import Array

# The degrees of freedom that the classes together lend to each class's variance over seeds. Simulated with 10 to 100
# classes, equal and unequal, and seeds that move some classes far more than others: see docs/statistics.md.
LENT_DF = 4


@dataclass(frozen=True)
class ImageDifference:
    """The difference of one arm from another, and its standard error by source. All are fractions.

    seeds: shared seeds. images: test images.
    of_seeds: other seeds on these images. of_images: the same networks on another test set of this size;
    of_images_in_class: on another test set with as many images of each class. of_both: other seeds and another test
    set; its square is less than the sum of both squares, because the luck of single predictions is in each. NaN with
    too few seeds or images.
    """

    seeds: int
    images: int
    estimate: float
    of_seeds: float
    of_images: float
    of_images_in_class: float
    of_both: float


@dataclass(frozen=True)
class ClassDifferences:
    """Differences by class, an entry for each class with test images; fractions.

    label: the class. images: how many the test set has. ours, theirs: accuracies over seeds and images. se, p: for
    other seeds and other images of the class together; p is two-sided and not corrected. NaN with one seed or image.
    spread: the standard deviation of the true differences between classes: chance is subtracted. shrunk: each
    difference drawn towards the mean of all classes, the more the larger its share of chance is.
    """

    label: Array
    images: Array
    ours: Array
    theirs: Array
    difference: Array
    se: Array
    p: Array
    shrunk: Array
    spread: float


@dataclass(frozen=True)
class Mistakes:
    """One network on the images that its teacher gets wrong. images: their number.

    same: the share where it predicts the teacher's wrong class. right: the share where it is right. NaN without images.
    """

    images: int
    same: float
    right: float


def mistakes(predicted: Array, teacher: Array, labels: Array) -> Mistakes:
    """What a network does where its teacher errs. predicted, teacher: classes (images,)."""
    wrong = teacher != labels
    n = int(wrong.sum())
    if not n:
        return Mistakes(0, math.nan, math.nan)
    mine = predicted[wrong]
    return Mistakes(n, float((mine == teacher[wrong]).mean()), float((mine == labels[wrong]).mean()))


def image_difference(ours: Array, theirs: Array, labels: Array) -> ImageDifference:
    """The mean of ours − theirs, with the standard errors of a design in which seeds and images are crossed.

    With the mean squares of seeds, images and residual, their variances are MS(seeds)/nN, MS(images)/nN and, for both,
    [MS(seeds) + MS(images) − MS(residual)]/nN (Cornfield and Tukey 1956).
    """
    parts = _Squares.of(ours, theirs, np.zeros(len(labels), dtype=np.int64))
    if not len(labels) or not len(ours):
        return ImageDifference(len(ours), len(labels), *(math.nan,) * 5)
    n, size = len(ours), len(labels)
    seeds, images, noise = (float(v[0]) for v in (parts.of_seeds, parts.of_images, parts.of_noise))
    both = images + max(seeds - noise, 0.0) if n > 1 else math.nan
    by_class = _Squares.of(ours, theirs, labels)
    share = by_class.images / size
    inside = float((share**2 * by_class.of_images).sum())  # NaN if a class has one image
    errors = (math.sqrt(v) if v >= 0 else math.nan for v in (seeds, images, inside, both))
    return ImageDifference(n, size, float(parts.difference[0]), *errors)


def class_differences(ours: Array, theirs: Array, labels: Array) -> ClassDifferences:
    """Differences by class. Three seeds say little about the spread over seeds in one class, so classes lend to others.

    The variance of a class's difference over seeds is that of its single predictions, times 1 + κ · images: seeds also
    move whole classes. κ is estimated over all classes. The variance of one class is then a weighted mean of its own,
    with n − 1 degrees of freedom, and this expected one, with LENT_DF. Degrees of freedom of the sum with the variance
    over images are Satterthwaite's.
    """
    parts = _Squares.of(ours, theirs, labels)
    n = len(ours)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise, own = n * parts.of_noise, n * parts.of_seeds  # of one seed
        known = np.isfinite(noise)
        per_image = float((noise * parts.images)[known].sum())
        kappa = max(float((own - noise)[known].sum()) / per_image, 0.0) if per_image > 0 else 0.0
        expected = noise * (1 + kappa * parts.images)
        over_seeds = (LENT_DF * expected + (n - 1) * own) / (LENT_DF + n - 1) / n
        over_images = np.maximum(parts.of_images - parts.of_noise, 0.0)
        # A class in which every image of every seed changes has no variance: as if one of its images had not.
        whole = (over_seeds + over_images == 0) & (parts.difference != 0)
        over_images = np.where(whole, 1 / (parts.images * (parts.images + 1)), over_images)
        variance = over_seeds + over_images
        df = variance**2 / (over_seeds**2 / (LENT_DF + n - 1) + over_images**2 / (parts.images - 1))
        p = 2 * special.stdtr(df, -np.abs(parts.difference) / np.sqrt(variance))
    p = np.where((variance == 0) & (parts.difference == 0), 1.0, p)
    spread, shrunk = _shrunk(parts.difference, variance)
    ours_by_class, theirs_by_class = (_by_class(right.mean(axis=0), parts) / parts.images for right in (ours, theirs))
    return ClassDifferences(
        parts.label,
        parts.images,
        ours_by_class,
        theirs_by_class,
        parts.difference,
        np.sqrt(variance),
        p,
        shrunk,
        spread,
    )


def _shrunk(difference: Array, variance: Array) -> tuple[float, Array]:
    """The sd of the true differences by the method of moments, and the differences drawn towards their mean."""
    known = np.isfinite(variance)
    if known.sum() < 2:
        return math.nan, np.full(len(difference), math.nan)
    mean = float(difference[known].mean())
    between = max(float(difference[known].var(ddof=1) - variance[known].mean()), 0.0)
    total = between + variance
    weight = np.divide(between, total, out=np.zeros(len(total)), where=total > 0)
    return math.sqrt(between), np.where(known, mean + weight * (difference - mean), math.nan)


@dataclass(frozen=True)
class _Squares:
    """Seeds × images in each class: the mean difference, and variances of this mean, an entry for each class.

    of_seeds, of_images, of_noise: the mean squares of seeds, images and residual, divided by seeds · images.
    """

    label: Array
    images: Array
    order: Array
    start: Array
    difference: Array
    of_seeds: Array
    of_images: Array
    of_noise: Array

    @classmethod
    def of(cls, ours: Array, theirs: Array, labels: Array) -> _Squares:
        order = np.argsort(labels, kind="stable")
        label, start, images = np.unique(labels[order], return_index=True, return_counts=True)
        d = (ours.astype(np.int8) - theirs.astype(np.int8))[:, order]
        n = len(d)

        def sums(values: Array) -> Array:
            return np.add.reduceat(values, start, axis=-1, dtype=np.float64) if len(label) else values[..., :0]

        of_image = d.sum(axis=0, dtype=np.float64)  # n times the mean over seeds
        of_seed = sums(d)
        total = of_seed.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            centre = total**2 / (n * images)
            seeds = (of_seed**2).sum(axis=0) / images - centre
            pictures = sums(of_image**2) / n - centre
            noise = np.maximum(
                sums(np.abs(d).sum(axis=0, dtype=np.float64)) - centre - seeds - pictures, 0.0
            )  # d² = |d|
            squares = (seeds / (n - 1), pictures / (images - 1), noise / ((n - 1) * (images - 1)))
            variances = (np.maximum(s, 0.0) / (n * images) for s in squares)
            return cls(label, images, order, start, total / (n * images), *variances)


def _by_class(values: Array, parts: _Squares) -> Array:
    return np.add.reduceat(values[parts.order], parts.start) if len(parts.label) else values[:0]
