"""The level at each look: all looks together keep their error."""

from __future__ import annotations

import numpy as np
import pytest

from scl import stats


@pytest.mark.parametrize(
    ("seeds", "planned", "error"),
    [
        ([3], (), 0.05),
        ([], (), 0.05),
        ([3, 5], (), 0.0015),
        ([3, 5, 10], (), 0.00075),
        ([3], (3, 5, 10), 0.015),
        ([3, 5], (3, 5, 10), 0.01),
        ([3, 5, 10], (3, 5, 10), 0.025),
        ([10], (3, 5, 10), 0.05),  # a planned look that was left out leaves its share to the next
        ([4], (3, 5, 10), 0.02),  # an unplanned number of seeds takes the share of its seeds
        ([3, 5, 10, 12], (3, 5, 10), 0.0015),
        ([5, 4], (), 0.0015),  # other seeds, not more of them
    ],
)
def test_the_error_of_a_look(seeds: list[int], planned: tuple[int, ...], error: float) -> None:
    assert 1 - stats.level_of_look(seeds, planned) == pytest.approx(error)


@pytest.mark.parametrize("planned", [(), (2, 4, 6, 8, 10, 12)])
def test_many_looks_keep_the_error(planned: tuple[int, ...]) -> None:
    """A declared contrast of equal arms, looked at after every second seed: the share of studies that show it."""
    n, studies = 12, 20_000
    apart = np.random.default_rng(1).standard_normal((studies, n))
    shown, looks = np.zeros(studies, dtype=bool), []
    for k in range(2, n + 1, 2):
        looks.append(k)
        t = np.abs(apart[:, :k].mean(1)) / apart[:, :k].std(1, ddof=1) * np.sqrt(k)
        shown |= t > stats.t_critical(k - 1, stats.level_of_look(looks, planned))
    assert shown.mean() <= 0.055
    assert sum(1 - stats.level_of_look(looks[:i], planned) for i in range(1, len(looks) + 1)) <= 0.053 + 1e-9
