"""What changes from step to step: the learning rate, and the place of a batch among those that are accumulated."""

from __future__ import annotations

import math
from typing import NamedTuple

from scl.study.config import Config

# Of the one-cycle schedule, as in torch's OneCycleLR: the share of the epochs in which the rate rises, and the factors
# between the peak and the first rate, and between the first rate and the last.
RISE, FIRST, LAST = 0.3, 25.0, 1e4


def learning_rate(config: Config, epochs: float) -> float:
    """The learning rate after a number of epochs, which may be fractional.

    Pre-training has a constant rate. Then comes linear warm-up, then cosine decay to 0 or multi-step decay. Or one
    cycle (Smith & Topin, 2017) by the formula of torch's OneCycleLR: half a cosine up from lr / 25 to lr over 30 % of
    the epochs, and one down to lr / 250,000. Momentum and betas stay constant.
    """
    epochs -= config.pretrain_epochs
    if epochs <= 0 < config.pretrain_epochs:
        return config.lr
    if config.schedule == "onecycle":
        first = config.lr / FIRST
        share = min(1.0, epochs / config.epochs)
        if share <= RISE:
            return _between(first, config.lr, share / RISE)
        return _between(config.lr, first / LAST, (share - RISE) / (1 - RISE))
    if epochs < config.warmup_epochs:
        return config.lr * epochs / config.warmup_epochs
    if config.schedule == "multistep":
        # The last step of an epoch is at a whole number; it belongs to the epoch before the milestone.
        return config.lr * config.lr_decay ** sum(epochs > m for m in config.milestones)
    length = max(config.epochs - config.warmup_epochs, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (epochs - config.warmup_epochs) / length)))


class Place(NamedTuple):
    """The place of a batch among the batches whose gradients make one step of the optimizer.

    together: the number of these batches. first, last: the batch is the first, or the last of them. number: of the step
    of the optimizer, from 1 in the first epoch.
    """

    together: int
    first: bool
    last: bool
    number: int


def place(accumulate: int, epoch: int, step: int, steps: int) -> Place:
    """The place of batch `step` (from 0) of the `steps` batches of an epoch, after `epoch` epochs. The last batches of
    an epoch may be fewer than `accumulate`: they are a step of their own."""
    within = step % accumulate
    together = min(accumulate, steps - (step - within))
    number = epoch * math.ceil(steps / accumulate) + step // accumulate + 1
    return Place(together, within == 0, within + 1 == together, number)


def _between(start: float, end: float, share: float) -> float:
    """The value on half a cosine from start to end."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
