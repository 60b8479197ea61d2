"""Analysis of variance."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from scl import stats


def test_an_interaction_that_the_combinations_at_hand_do_not_determine_is_left_out() -> None:
    """Each pair of factors has all of its combinations, and yet six cells cannot carry seven means."""
    cells = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]
    rng = np.random.default_rng(0)
    rows = [
        {"a": a, "b": b, "c": c, "seed": seed, "y": a + 2 * b + rng.normal(0, 0.1)}
        for a, b, c in cells
        for seed in range(3)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = stats.anova(pd.DataFrame(rows), ["a", "b", "c"])
    assert list(found.table.index) == ["a", "b", "c", "a × b", "a × c", "seed", "residual"]
    assert "b × c" in found.why_not
    assert found.table.loc["b", "p"] < 1e-6
    assert found.table["df"].tolist() == [1, 1, 1, 1, 1, 2, 10]


def test_a_balanced_factorial_by_sums_of_squares() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=(2, 3, 4))  # factors a and b, four seeds
    index = np.indices(y.shape).reshape(3, -1)
    found = stats.anova(pd.DataFrame({"a": index[0], "b": index[1], "seed": index[2], "y": y.ravel()}), ["a", "b"])
    a, b, seed = (y.mean(axis=axes) - y.mean() for axes in ((1, 2), (0, 2), (0, 1)))
    cells = y.mean(axis=2) - y.mean() - a[:, None] - b[None, :]
    squares = [12 * (a**2).sum(), 8 * (b**2).sum(), 4 * (cells**2).sum(), 6 * (seed**2).sum()]
    squares.append(((y - y.mean()) ** 2).sum() - sum(squares))
    assert found.why_not == ""
    assert found.table["sum_sq"].tolist() == pytest.approx(squares)
    assert found.table["df"].tolist() == [1, 2, 2, 3, 15]


def test_too_few_levels_seeds_or_results_are_explained() -> None:
    frame = pd.DataFrame({"a": [0, 1, 0, 1], "seed": [0, 0, 1, 1], "y": [0.1, 0.2, 0.3, 0.4]})
    assert "two levels and two seeds" in stats.anova(frame[frame["a"] == 0], ["a"]).why_not
    assert "two levels and two seeds" in stats.anova(frame[frame["seed"] == 0], ["a"]).why_not
    assert "no residual is left" in stats.anova(frame.iloc[:3], ["a"]).why_not
