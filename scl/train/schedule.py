"""The learning-rate schedule."""

from __future__ import annotations

import math

from scl.study.config import Config

# Of the one-cycle schedule, as in torch's OneCycleLR: the share of the epochs in which the rate rises, and the factors
# between the peak and the first rate, and between the first rate and the last.
RISE, FIRST, LAST = 0.3, 25.0, 1e4


def learning_rate(config: Config, epochs: float) -> float:
    """The learning rate after a number of epochs, which may be fractional.

    Pre-training has a constant rate. Then comes linear warm-up, then cosine decay to 0 or multi-step decay. Or one cycle
    (Smith & Topin, 2017) by the formula of torch's OneCycleLR: half a cosine up from lr / 25 to lr over 30 % of the
    epochs, and one down to lr / 250,000. Momentum and betas stay constant.
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


def _between(start: float, end: float, share: float) -> float:
    """The value on half a cosine from start to end."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
