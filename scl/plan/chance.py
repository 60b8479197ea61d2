"""Whether a user's teacher is what it was: no better than guessing, or far below what it reached, is most likely fed
wrongly. What would mend it is tried on a few images.
"""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scl.data.batches import SplitData
from scl.data.images import Images
from scl.errors import UserError
from scl.plan.described import IMAGENET
from scl.study.config import Config
from scl.train.evaluation import evaluate
from scl.train.inputs import Inputs
from scl.train.teacher import Teacher, build_teacher

# A teacher that guesses passes in at most this share of test sets: the level of a one-sided binomial test.
LEVEL = 0.01
# It must be above chance by more than this share of the way to 1: on many images significance alone is little.
NEAR = 0.05
# On unequal classes, balanced accuracy above equal guessing by this share of the way to 1 clears it.
INFORMED = 0.25
UNEQUAL = 1.25  # the largest class has so many times its equal share
# Far below what its file says: by more than this, and by more than the luck of the test images (at this level).
BELOW, BELOW_LEVEL = 0.10, 0.001
# Its classes are in another order if another one makes it better by more than this on images that did not choose it.
MISORDERED = 0.2
SAMPLE = 256  # training images on which remedies are tried
SECONDS = 15.0  # after which no further remedy is tried
SIZES = (32, 64, 96, 128, 224)
NORMALISATIONS = {
    "ImageNet's": (IMAGENET["mean"], IMAGENET["std"]),
    "±1": ((0.5,) * 3, (0.5,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
    "0 to 255": ((0.0,) * 3, (1 / 255,) * 3),
}
MOST_CLASSES = 40  # whose order is printed


def suspicion(predicted: Tensor, labels: Tensor, classes: int, reached: float | None) -> str:
    """Why a teacher with these predictions (N,) is suspected; '' if it is not.

    It is suspected at chance, the share of the largest class: if it is not significantly above it by a one-sided
    binomial test, or above it by less than a twentieth of what is possible. On unequal classes, balanced accuracy
    may clear it. It is suspected far below `reached`, what its file says.
    """
    from scipy.stats import binom  # noqa: PLC0415

    n = len(labels)
    right = int((predicted == labels).sum())
    counts = torch.bincount(labels, minlength=classes)
    chance = int(counts.max()) / n
    hits = torch.bincount(labels[predicted == labels], minlength=classes)
    balanced = (hits / counts)[counts > 0].double().mean().item()
    equal = 1 / int((counts > 0).sum())
    near = binom.sf(right - 1, n, chance) > LEVEL or right / n < chance + NEAR * (1 - chance)
    informed = chance > UNEQUAL * equal and balanced > equal + INFORMED * (1 - equal)
    if near and not informed:
        guessing = f"{chance:.2%}, the share of the largest class"
        return f"its test accuracy {right / n:.2%} is about that of guessing ({guessing})"
    if reached is not None and right / n < reached - BELOW and binom.cdf(right, n, reached) < BELOW_LEVEL:
        return f"its test accuracy {right / n:.2%} is far below the {reached:.2%} that its file says it reached"
    return ""


def misordered(
    config: Config, weights: Mapping[str, Tensor], inputs: Inputs | None, data: SplitData, names: tuple[str, ...]
) -> str:
    """Whether another order of its classes makes a teacher much better, on a sample of training images; '' if not.

    The order is found on half of the sample and judged on the other half.
    """
    sample, now = _sample(data), inputs or Inputs()
    logits = _logits(config, weights, dataclasses.replace(now, columns=()), sample)
    if logits is None:
        return ""
    plainly, reordered = _judged(logits, sample.test.labels, now, names, "")
    if reordered.accuracy < plainly.accuracy + MISORDERED:
        return ""
    return (
        f"of a sample of training images it gets {plainly.accuracy:.0%} right, and {reordered.accuracy:.0%} with its "
        "classes in another order"
    )


@dataclass(frozen=True)
class Remedy:
    """Another way to feed a teacher, by flags, and the accuracy that it gives on a sample."""

    flags: str
    accuracy: float


def remedy(
    config: Config, weights: Mapping[str, Tensor], inputs: Inputs | None, data: SplitData, names: tuple[str, ...]
) -> tuple[Remedy | None, float]:
    """The best other way to feed a teacher, None if none is much better; and the accuracy as it is, on the same sample.

    Other normalisations, sizes and orders of the classes are tried on training images, until SECONDS have passed. An
    order is found on half of the sample and judged on the other half.
    """
    began = time.monotonic()
    sample = _sample(data)
    now = inputs or Inputs()
    channels = data.image_shape[0]
    tries: dict[str, Inputs] = {"": now}
    for mean, std in NORMALISATIONS.values():
        count = now.channels or channels
        flags = f"--teacher-mean {_text(mean[:count])} --teacher-std {_text(std[:count])}"
        tries[flags] = dataclasses.replace(now, mean=mean[:count], std=std[:count])
    sized = {
        f"{flags} --teacher-size {size}".strip(): dataclasses.replace(tried, size=size)
        for size in SIZES
        if size != now.size
        for flags, tried in list(tries.items())[:2]
    }
    best, present = Remedy("", 0.0), 0.0
    for flags, tried in (tries | sized).items():
        if time.monotonic() - began > SECONDS:
            break
        logits = _logits(config, weights, dataclasses.replace(tried, columns=()), sample)
        if logits is None:
            continue
        found = _judged(logits, sample.test.labels, now, names, flags)
        present = found[0].accuracy if not flags else present
        for candidate in found[not flags :]:
            best = max(best, candidate, key=lambda r: r.accuracy)
    much = best.accuracy >= present + 0.1 and best.accuracy >= 1.5 * present
    return (best if much else None), present


def _sample(data: SplitData) -> SplitData:
    """Some training images of all classes as test images of the data."""
    order = torch.randperm(len(data.train.labels), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    (images,) = data.train.batches(order, SAMPLE)
    some = Images(images, data.train.labels[order])
    return dataclasses.replace(data, test=some)


def _logits(config: Config, weights: Mapping[str, Tensor], inputs: Inputs, data: SplitData) -> Tensor | None:
    """Logits (N, outputs) of the sample; None if the network does not take such images."""
    try:
        model = build_teacher(Teacher(config, weights, None, inputs), data, torch.device("cpu"))
        (logits,) = evaluate([model], data.test, data)
    except (UserError, RuntimeError, ValueError, AssertionError):
        return None
    return logits


def _judged(logits: Tensor, labels: Tensor, inputs: Inputs, names: tuple[str, ...], flags: str) -> tuple[Remedy, ...]:
    """The accuracy with the present order of classes, and with the order that fits the first half of the sample best,
    on the second half."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415

    columns = torch.tensor(inputs.columns) if inputs.columns else torch.arange(logits.shape[1])
    plainly = (logits.index_select(1, columns).argmax(1) == labels).double().mean().item()
    predicted, half = logits.argmax(1), len(labels) // 2
    table = torch.zeros(len(names), logits.shape[1])
    table.index_put_((labels[:half], predicted[:half]), torch.ones(half), accumulate=True)
    rows, chosen = linear_sum_assignment(-table.numpy())
    order = dict(zip(chosen.tolist(), rows.tolist(), strict=True))  # logit → class of the data
    mapped = torch.tensor([order.get(i, -1) for i in range(logits.shape[1])])[predicted[half:]]
    reordered = (mapped == labels[half:]).double().mean().item()
    listed = [names[order[i]] if i in order else f"other-{i}" for i in range(logits.shape[1])]
    text = _order(listed, names)
    return Remedy(flags, plainly), Remedy(f"{flags} {text}".strip(), reordered if len(names) > 1 else 0.0)


def _order(listed: list[str], names: tuple[str, ...]) -> str:
    alphabetical = " (alphabetical)" if listed == sorted(names) else ""
    if len(listed) > MOST_CLASSES or any("," in name for name in listed):
        return f"--teacher-classes FILE, with the names in the teacher's order{alphabetical}"
    joined = ",".join(listed)
    return f"--teacher-classes {shlex.quote(joined)}{alphabetical}"


def _text(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.4g}" for value in values)
