"""Tensors that a loss cannot compare raise a ValueError that says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scl import losses
from tests.support.losses import maps


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.channel_correlation(maps(0, 2, 3, 2, 2), maps(0, 2, 4, 2, 2)), "3 .* 4.*connector"),
        (lambda: losses.channel_correlation(maps(0, 2, 1, 2, 2), maps(0, 2, 1, 2, 2)), "one channel"),
        (lambda: losses.channel_correlation(maps(0, 2, 3, 1, 1), maps(0, 2, 3, 2, 2)), "student.*one location"),
        (lambda: losses.channel_correlation(maps(0, 2, 3, 2, 2), maps(0, 2, 3, 1, 1)), "teacher.*one location"),
        (lambda: losses.channel_correlation(maps(0, 2, 3), maps(0, 2, 3, 2, 2)), r"\(B, C, H, W\)"),
        (lambda: losses.channel_correlation(maps(0, 2, 3, 2, 2), maps(0, 1, 3, 2, 2)), "2 and 1 images"),
        (lambda: losses.channel_correlation(*[maps(0, 2, 3, 2, 2)] * 2, norm="cos"), "'cos'; valid: pearson"),
        (lambda: losses.spatial_correlation(*[maps(0, 2, 3, 2, 2)] * 2, pool="all"), "'all'; valid: sample"),
        (lambda: losses.spatial_correlation(maps(0, 2, 3, 2, 2), maps(0, 2, 3, 1, 1)), "one location"),
        (lambda: losses.spatial_correlation(maps(0, 2, 3, 2, 2), maps(0, 2, 1, 2, 2)), "teacher.*one channel"),
        (lambda: losses.logit_correlation(maps(0, 2, 3), maps(0, 2, 4)), "one shape"),
        (lambda: losses.logit_correlation(maps(0, 2, 1), maps(0, 2, 1)), "at least two classes, got 1"),
        (lambda: losses.logit_correlation(*[maps(0, 1, 3)] * 2, between="images"), "a batch of at least 2, got 1"),
        (lambda: losses.logit_correlation(*[maps(0, 1, 3)] * 2, norm="pearson"), "a batch of at least 2, got 1"),
        (lambda: losses.logit_correlation(*[maps(0, 2, 3)] * 2, norm="row"), "'row'; valid: pearson"),
        (lambda: losses.logit_correlation(*[maps(0, 2, 3)] * 2, between="class"), "'class'; valid: classes, images"),
        (lambda: losses.kd(maps(0, 2, 3), maps(0, 2, 4)), "one shape"),
        (lambda: losses.kd(maps(0, 2, 3, 2, 2), maps(0, 2, 3, 2, 2)), r"\(B, K\)"),
        (lambda: losses.kd(maps(0, 2, 3), maps(0, 2, 3), temperature=0.0), "temperature"),
        (lambda: losses.ldrld(maps(0, 2, 3), maps(0, 2, 3), temperature=0.0), "temperature"),
        (lambda: losses.ldrld(maps(0, 2, 3), maps(0, 2, 3), top=1), "whole number from 2, got 1"),
        (lambda: losses.ldrld(maps(0, 2, 3), maps(0, 2, 3), top=2.5), "whole number from 2, got 2.5"),
        (lambda: losses.ldrld(maps(0, 2, 1), maps(0, 2, 1)), "at least two classes, got 1"),
        (lambda: losses.ofd((3, 3), (3, 3, 3)), "as many maps, got 2 and 3"),
        (lambda: losses.ofd((3,), (3,)), "the embedding alone"),
        (lambda: losses.ofd((3, 3), (3, 3))((maps(0, 2, 3, 2, 2),), (maps(0, 2, 3, 2, 2),)), "for 2 maps, got 1, 1"),
        (lambda: losses.dkd(maps(0, 2, 3), maps(0, 2, 3), torch.zeros(3, dtype=torch.long)), "target"),
        (lambda: losses.dkd(maps(0, 2, 1), maps(0, 2, 1), torch.zeros(2, dtype=torch.long)), "at least two classes"),
        (lambda: losses.dist(maps(0, 2, 3), maps(0, 1, 3)), "one shape"),
        (lambda: losses.hint(maps(0, 2, 3, 2, 2), maps(0, 2, 1, 2, 2)), "one shape"),
        (lambda: losses.at(maps(0, 2, 3), maps(0, 2, 3)), r"\(B, C, H, W\)"),
        (lambda: losses.sp(maps(0, 2, 3), maps(0, 3, 3)), "2 and 3 images"),
        (lambda: losses.rkd(maps(0, 1, 3), maps(0, 1, 3)), "at least 2"),
        (lambda: losses.pkt(maps(0, 1, 3), maps(0, 1, 3)), "at least 2"),
        (lambda: losses.cc(3, 3)(maps(0, 1, 3).float(), maps(0, 1, 3).float()), "at least 2"),
        (lambda: losses.fsp((maps(0, 1, 3, 2, 2),) * 2, (maps(0, 1, 4, 2, 2),) * 2), "connector"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
