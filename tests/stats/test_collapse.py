"""Trials that did not learn."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from scl import stats


@pytest.mark.parametrize(
    ("base", "arm", "chance", "images", "seeds"),
    [
        ([0.70, 0.70], [0.69, 0.70], 0.1, None, {}),  # chance .1, so the floor is .4
        ([0.70, 0.70], [0.41, 0.70], 0.1, None, {}),
        ([0.70, 0.70], [0.39, 0.70], 0.1, None, {"arm": (0,)}),
        ([0.70, 0.70], [0.10, 0.11], 0.1, None, {"arm": (0, 1)}),
        ([0.70, 0.70], [0.99, 0.99], 0.1, None, {}),
        ([0.10, 0.11], [0.70, 0.70], 0.1, None, {"base": (0, 1)}),  # a baseline that learnt nothing
        ([0.11, 0.11], [0.70, 0.70], 0.1, 100, {"base": (0, 1)}),  # chance is ± 3 points on 100 images
        ([0.0567, 0.0571], [0.06, 0.05], 0.01, 10_000, {}),  # 47 standard errors above chance
        ([0.0567, 0.0571], [0.06, 0.012], 0.01, 10_000, {"arm": (1,)}),
        ([0.70, 0.10], [0.71, 0.70], 0.1, None, {"base": (1,)}),  # one seed of the baseline
    ],
)
def test_the_seeds_that_collapsed(
    base: list[float], arm: list[float], chance: float, images: int | None, seeds: dict[str, tuple[int, ...]]
) -> None:
    frame = pd.DataFrame({"base": base, "arm": arm})
    error = math.sqrt(chance * (1 - chance) / images) if images else math.nan
    above = frame >= stats.collapse_floor(frame, "base", chance, error)
    assert stats.collapsed(frame, above) == seeds
    kept = stats.learnt(frame, above)
    assert {name: int(kept[name].isna().sum()) for name in kept} == {
        name: len(seeds.get(name, ())) for name in ("base", "arm")
    }


def test_without_a_baseline_or_results() -> None:
    assert math.isfinite(stats.collapse_floor(pd.DataFrame({"arm": [0.5]}), "base", 0.1))
    frame = pd.DataFrame({"arm": [math.nan]})
    assert stats.collapsed(frame, frame >= 0.4) == {}
