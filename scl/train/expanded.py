"""Students whose deepest map is expanded while they train (NORM; Liu et al., ICLR 2023)."""

from __future__ import annotations

import torch
from torch import nn

from scl.errors import UserError
from scl.models.staged import Features, Staged
from scl.study.config import Config
from scl.study.fields import LARGEST
from scl.study.identity import stream_seed
from scl.study.term import loss_row


def expansion(config: Config, teacher: Features | None) -> int:
    """The channels to which a student's deepest map is expanded in training; 0 if it is not.

    Args:
        teacher: features of an example batch; None, or without maps, if no loss can compare maps.

    Raises:
        UserError: they are too many.
    """
    if not config.expanding:
        return config.expansion
    term = config.losses[config.expanding[0]]
    segments = {**loss_row(term).options, **term.options}["segments"]
    channels = int(segments) * teacher.maps[-1].shape[1] if teacher is not None and teacher.maps else 0
    if channels > (most := LARGEST["expansion"]):
        raise UserError(
            f"loss {config.expanding[0]!r}: {segments:g} segments of the teacher's channels are {channels}, and a map "
            f"is expanded to at most {most}; give fewer segments"
        )
    return channels


def expand(network: nn.Module, config: Config, teacher: Features | None, seed: int) -> None:
    """Give a network of scl the transform that its training has, initialised from the seed alone."""
    channels = expansion(config, teacher)
    if not channels or not isinstance(network, Staged):
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream_seed("expansion", seed))
        network.expand(channels)
