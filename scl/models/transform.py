"""A linear transform behind a student's deepest map, for training alone (NORM; Liu et al., ICLR 2023)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scl.models.layout import first_channels


class FeatureTransform(nn.Module):
    """Two 1×1 convolutions, each with BN, beside a residual connection (Liu et al., ICLR 2023): they expand the first C
    channels of a map and contract them again, linearly.

    In training the classifier reads their output. In evaluation it reads the map itself, with weights into which they
    are folded: these are the weights of the final network, so that one predicts bitwise as the other.
    """

    def __init__(self, channels: int, expanded: int) -> None:
        super().__init__()
        self.channels = channels
        self.up = _linear(channels, expanded)
        self.down = _linear(expanded, channels)

    def forward(self, seen: Tensor, classifier: nn.Linear, read: bool) -> tuple[Tensor | None, Tensor, nn.Linear]:
        """The expanded map (B, expanded, H, W), the map whose mean is classified, and the classifier.

        Args:
            seen: the map whose mean would be classified without this transform, (B, C + others, H, W).
            read: whether the expanded map is read; if not, evaluation has None in its place.
        """
        x = first_channels(seen, self.channels)
        if not self.training:
            return self.up(x) if read else None, seen, self.folded(classifier)
        expanded = self.up(x)
        x = x + self.down(expanded)
        others = seen.shape[1] - self.channels
        return expanded, torch.cat([x, seen[:, self.channels :]], 1) if others else x, classifier

    @torch.no_grad()
    def folded(self, classifier: nn.Linear) -> nn.Linear:
        """The classifier that gives without this transform, in evaluation, the logits of the present one behind it.
        Computed in float64: only the result is rounded."""
        exact = copy.deepcopy(self).double().eval()
        up, down = fuse_conv_bn_eval(*exact.up), fuse_conv_bn_eval(*exact.down)
        assert up.bias is not None
        assert down.bias is not None
        contract = down.weight.flatten(1)
        matrix = contract @ up.weight.flatten(1)
        matrix += torch.eye(self.channels, dtype=matrix.dtype, device=matrix.device)
        shift = contract @ up.bias + down.bias
        weight = classifier.weight.double()
        mine, others = weight[:, : self.channels], weight[:, self.channels :]
        folded = nn.Linear(classifier.in_features, classifier.out_features, device="meta")
        parts = {"weight": torch.cat([mine @ matrix, others], 1), "bias": classifier.bias.double() + mine @ shift}
        for name, tensor in parts.items():
            setattr(folded, name, nn.Parameter(tensor.to(classifier.weight.dtype), requires_grad=False))
        return folded


def _linear(channels: int, out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out))
