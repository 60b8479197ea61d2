"""Linear parts of a network merged with their neighbours: batch norms, useless biases, the transform of NORM."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scl.models.staged import Convolution, Staged


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """Fold the batch norms of a network in evaluation mode into the convolutions before them, in place.

    Only networks of this project change: another library's network may use a layer in more than one place.
    """
    for parent, (first, convolution), (second, norm) in list(_normalised_convolutions(model)):
        setattr(parent, first, fuse_conv_bn_eval(convolution, norm).requires_grad_(False))
        setattr(parent, second, nn.Identity())
    return model


def folded_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network without its `FeatureTransform`, if it has one: its classifier does the same."""
    state: dict[str, Tensor] = model.state_dict()
    if not isinstance(model, Staged) or model.transform is None:
        return state
    folded = model.transform.folded(model.classifier).state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("transform.")}
    return kept | {f"classifier.{name}": tensor for name, tensor in folded.items()}


@torch.no_grad()
def absorb_biases(model: nn.Module) -> None:
    """Move the biases of convolutions into the running means of the batch norms behind them, in place.

    The outputs of the trained network stay the same. The biases are then zero and do not learn; batch norm would
    remove whatever they add.
    """
    for _, (_, convolution), (_, norm) in _normalised_convolutions(model):
        if isinstance(convolution, Convolution) and convolution.bias is not None and norm.running_mean is not None:
            norm.running_mean -= convolution.bias
            convolution.bias.zero_()
            convolution.absorbed = True


def _normalised_convolutions(
    model: nn.Module,
) -> Iterator[tuple[nn.Module, tuple[str, nn.Conv2d], tuple[str, nn.BatchNorm2d]]]:
    """Each convolution directly followed by a batch norm, with its parent and both names; only in this project's
    networks."""
    if isinstance(model, Staged):
        for parent in model.modules():
            for (first, convolution), (second, norm) in pairwise(parent.named_children()):
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    yield parent, (first, convolution), (second, norm)
