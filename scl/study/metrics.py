"""The metrics that a study can be judged by, and those that counts of classes determine. Plain data and arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """What a study is judged by.

    name: as users give it. column: of trials.parquet, on test images. validation: of trials.parquet and
    epochs.parquet, the same on validation images; selection sees this one alone. teacher: of trials.parquet, the
    teacher's. direction: `max` or `min`. unit: `%`, whose stored values are fractions, or `nats`. words: for people.
    learnt_by: the accuracy that tells whether a trial has learnt anything, which log loss, with its weight on
    confidence, does not.
    """

    name: str
    column: str
    validation: str
    teacher: str
    direction: str
    unit: str
    words: str
    learnt_by: str

    @property
    def sign(self) -> int:
        """1 if higher is better, −1 if lower is."""
        return 1 if self.direction == "max" else -1

    @property
    def title(self) -> str:
        return f"test {self.words}"


DEFAULT = "test_acc"
METRICS = {
    metric.name: metric
    for metric in (
        Metric(DEFAULT, DEFAULT, "val_acc", "teacher_test_acc", "max", "%", "accuracy", DEFAULT),
        Metric(
            "balanced_acc", "balanced_acc", "val_balanced_acc", "teacher_balanced_acc", "max", "%",
            "balanced accuracy", "balanced_acc",
        ),
        Metric(
            "macro_f1", "macro_f1", "val_macro_f1", "teacher_macro_f1", "max", "%", "macro F1", "balanced_acc",
        ),
        Metric("test_acc5", "test_acc5", "val_acc5", "teacher_test_acc5", "max", "%", "top-5 accuracy", DEFAULT),
        Metric("test_loss", "test_loss", "val_loss", "teacher_test_loss", "min", "nats", "log loss", DEFAULT),
    )
}  # fmt: skip

# Costs of a network that a study may bound, columns of trials.parquet → what they are.
COSTS = {
    "params": "parameters",
    "macs": "multiply-adds for one image",
    "latency_ms": "latency of one image, ms",
    "file_bytes": "size of the file, bytes",
}


def balanced_accuracy(right: Sequence[int], images: Sequence[int]) -> float:
    """The mean over classes of the share of their images that are right; NaN without images.

    Args:
        right: correctly classified images of each class. images: all of each class. A class without images does not
            count.
    """
    shares = [r / n for r, n in zip(right, images, strict=True) if n]
    return math.fsum(shares) / len(shares) if shares else math.nan


def macro_f1(right: Sequence[int], images: Sequence[int], predicted: Sequence[int]) -> float:
    """The mean over classes of F1, the harmonic mean of precision and recall; NaN without images.

    Args:
        right, images: as above. predicted: images that are predicted to be of each class. A class that is neither
            there nor predicted does not count; one that is only there, or only predicted, counts 0.
    """
    f1 = [2 * r / (n + p) for r, n, p in zip(right, images, predicted, strict=True) if n + p]
    return math.fsum(f1) / len(f1) if f1 else math.nan


@dataclass(frozen=True)
class Chance:
    """What a network reaches that has learnt nothing from the images. error: the standard error of a metric at this
    level on these images; NaN if it is not known."""

    level: float
    error: float


def chance(name: str, images: Sequence[float]) -> Chance:
    """Chance for a metric, by the best rule that never looks at an image.

    Accuracy: always the largest class, its share. Top-5 accuracy: the five largest classes. Balanced accuracy: one over
    the number of classes, whichever rule. Macro F1: always the largest class. Log loss: the shares of the classes as
    probabilities, their entropy in nats.

    Args:
        images: of each class in this part of the data; classes without images do not count.
    """
    counts = sorted((n for n in images if n), reverse=True)
    total, classes = sum(counts), len(counts)
    if not counts:
        return Chance(0.0 if name != "test_loss" else math.nan, math.nan)
    if name == "test_loss":
        return Chance(-math.fsum(n / total * math.log(n / total) for n in counts), math.nan)
    if name in ("test_acc", "test_acc5"):
        share = sum(counts[: 1 if name == "test_acc" else 5]) / total
        return Chance(share, math.sqrt(share * (1 - share) / total))
    level = 1 / classes
    error = math.sqrt(math.fsum(level * (1 - level) / n for n in counts)) / classes
    if name == "macro_f1":
        share = counts[0] / total
        return Chance(2 * share / (1 + share) / classes, error)
    return Chance(level, error)
