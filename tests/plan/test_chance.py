"""Teachers that are fed wrongly are found, and what would mend them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from scipy.stats import binom

from scl.plan.chance import BELOW, LEVEL, NEAR, suspicion


def outcome(right: Sequence[int], of: Sequence[int], reached: float | None = None) -> str:
    """The suspicion of a teacher that gets so many right of each class, and takes the others for the next class."""
    labels = torch.repeat_interleave(torch.arange(len(of)), torch.tensor(of))
    predicted = labels.clone()
    start = 0
    for c, (hits, count) in enumerate(zip(right, of, strict=True)):
        predicted[start + hits : start + count] = (c + 1) % len(of)
        start += count
    return suspicion(predicted, labels, len(of), reached)


@pytest.mark.parametrize(
    ("right", "of", "suspected"),
    [
        ([10] * 10, [100] * 10, True),  # chance
        ([14] * 10, [100] * 10, True),  # significant, and hardly above chance
        ([20] * 10, [100] * 10, False),
        ([0] * 10, [100] * 10, True),  # another order: below chance
        ([900, 0], [900, 100], True),  # always the largest class
        ([905, 0], [1000, 1], True),
        ([780, 90], [900, 100], False),  # below the majority's share, and it tells the classes apart
        ([3, 3], [5, 5], True),  # too few images to tell
        ([5, 5], [5, 5], False),
        ([1] * 100, [1] * 100, False),
    ],
)
def test_a_teacher_at_chance_is_suspected(right: list[int], of: list[int], suspected: bool) -> None:
    assert ("guessing" in outcome(right, of)) == suspected


@pytest.mark.parametrize(
    ("right", "reached", "suspected"),
    [(60, 0.95, True), (90, 0.95, False), (60, 0.65, False), (60, None, False), (84, 0.95, True), (86, 0.95, False)],
)
def test_a_teacher_far_below_what_it_reached_is_suspected(right: int, reached: float | None, suspected: bool) -> None:
    assert ("far below" in outcome([right] * 4, [100] * 4, reached)) == suspected


def test_the_error_rates_of_the_rule() -> None:
    """A teacher that guesses passes in at most 1 % of test sets; one at 30 % of ten classes is stopped in fewer."""
    for n in (50, 360, 10_000):
        least = next(k for k in range(n + 1) if binom.sf(k - 1, n, 0.1) <= LEVEL and k / n >= 0.1 + NEAR * 0.9)
        assert binom.sf(least - 1, n, 0.1) <= 0.01
        if n >= 360:
            assert binom.cdf(least - 1, n, 0.3) < 1e-6
    assert BELOW == 0.1
