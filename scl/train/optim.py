"""The learning-rate schedule."""

from __future__ import annotations

import math

from scl.study.config import Config


def learning_rate(config: Config, epochs: float) -> float:
    """The learning rate after a number of epochs, which may be fractional.

    Pre-training has a constant rate. Then comes linear warm-up, then cosine decay to 0 or multi-step decay.
    """
    epochs -= config.pretrain_epochs
    if epochs <= 0 < config.pretrain_epochs:
        return config.lr
    if epochs < config.warmup_epochs:
        return config.lr * epochs / config.warmup_epochs
    if config.schedule == "multistep":
        # The last step of an epoch is at a whole number; it belongs to the epoch before the milestone.
        return config.lr * config.lr_decay ** sum(epochs > m for m in config.milestones)
    length = max(config.epochs - config.warmup_epochs, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (epochs - config.warmup_epochs) / length)))
