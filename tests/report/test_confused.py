"""The numbers of confusions. Counts and tests of pairs: tests/stats/test_confusions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scl.report.confused import confusions
from tests.support.synthetic import gathered, make_image_store

LABELS = np.repeat(range(3), 10)
ABOUT = {"data": {"classes": 3, "test": 30}}


def test_predictions_of_classes_that_the_test_part_lacks_count_nowhere(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 20)
    predicted = {(arm, s): np.where(np.arange(40) < 5, 60_000, labels) for arm in ("baseline", "kd") for s in range(2)}
    found = confusions(gathered(make_image_store(tmp_path, predicted, labels, None, data={"classes": 2, "test": 40})))
    assert found is not None
    assert found.ours.shape == (2, 2)
    assert found.pairs.empty


def test_seeds_are_those_that_arm_and_baseline_share(tmp_path: Path) -> None:
    wrong = np.where(np.arange(30) < 2, 2, LABELS)
    predicted = {("baseline", 0): LABELS, ("baseline", 1): wrong, ("kd", 1): wrong, ("kd", 2): LABELS}
    found = confusions(gathered(make_image_store(tmp_path, predicted, LABELS, None, **ABOUT)))
    assert found is not None
    assert (found.arm, found.seeds, found.tested) == ("kd", 1, 6)
    assert found.ours.tolist() == [[8, 0, 2], [0, 10, 0], [0, 0, 10]]
    assert found.pairs[["label", "predicted", "ours", "difference"]].to_numpy().tolist() == [[0, 2, 0.2, 0.0]]


def test_more_classes_than_a_matrix_can_hold_have_none(tmp_path: Path) -> None:
    labels = np.array([0, 1, 60_000] * 10)
    predicted = {("baseline", 0): labels}
    assert confusions(gathered(make_image_store(tmp_path, predicted, labels, None))) is None
