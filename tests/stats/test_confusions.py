"""Confusions of classes, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from scl.stats import class_differences, confusion, pair_differences

LABELS = np.array([0, 0, 1, 1, 1, 2])


def test_images_of_each_class_by_what_they_are_taken_for() -> None:
    predicted = np.array([[0, 1, 1, 1, 0, 2], [0, 0, 1, 2, 0, 9]])
    assert confusion(predicted, LABELS, 3).tolist() == [[1.5, 0.5, 0.0], [1.0, 1.5, 0.5], [0.0, 0.0, 0.5]]


def test_differences_of_pairs_are_those_of_their_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(range(3), 50)
    theirs = np.where(rng.random((4, 150)) < 0.9, labels, (labels + 1) % 3)
    ours = np.where((labels == 0) & (rng.random((4, 150)) < 0.5), 2, theirs)
    found = pair_differences(ours, theirs, labels, [(0, 2), (1, 2)], of=6)
    by_class = class_differences(ours == 2, theirs == 2, labels)
    assert found["difference"].tolist() == by_class.difference[:2].tolist()
    assert found["p"].tolist() == by_class.p[:2].tolist()
    assert found["ours"].iloc[0] == pytest.approx((ours[:, :50] == 2).mean())
    assert found["p_holm"].iloc[0] == pytest.approx(6 * found["p"].iloc[0])  # of all pairs, not of those shown
    assert found["p_holm"].iloc[1] == 1.0


def test_no_pair_is_no_row() -> None:
    assert pair_differences(LABELS[None], LABELS[None], LABELS, [], of=6).empty
