"""Test images that an arm turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scl.report.facts import Facts
from scl.report.flips import MOST, flips, shown_arm, worth_a_picture
from tests.support.synthetic import gathered, make_image_store, make_store

LABELS = np.arange(60) % 3


def facts_of(folder: Path, wrong: dict[tuple[str, int], list[int]], **about: object) -> Facts:
    """Arms and seeds with the images that each gets wrong: it takes them for the next class."""
    predicted = {at: np.where(np.isin(np.arange(60), images), (LABELS + 1) % 3, LABELS) for at, images in wrong.items()}
    about = {"data": {"classes": 3, "test": 60}, "class_names": ["a", "b", "c"], **about}
    return gathered(make_image_store(folder, predicted, LABELS, None, **about))


def test_images_turn_by_most_seeds_and_the_clearest_come_first(tmp_path: Path) -> None:
    wrong = {
        ("baseline", 0): [1, 2, 5], ("baseline", 1): [1, 2, 6], ("baseline", 2): [1, 3, 7],
        ("kd", 0): [9, 8], ("kd", 1): [2, 9, 8], ("kd", 2): [9],
    }  # fmt: skip
    found = flips(facts_of(tmp_path, wrong), "kd")
    assert found is not None
    # Image 2 is wrong in two of three seeds of the baseline and right in two of the arm's; 5, 6 and 7 in one alone.
    assert [(f.image, f.ours, f.theirs, f.said) for f in found.gained] == [(1, 1.0, 0.0, 2), (2, 2 / 3, 1 / 3, 0)]
    assert [(f.image, f.ours, f.said) for f in found.lost] == [(9, 0.0, 1), (8, 1 / 3, 0)]
    assert (found.all_gained, found.all_lost, found.seeds) == (2, 2, 3)


def test_a_handful_is_kept_and_all_are_counted(tmp_path: Path) -> None:
    wrong = {("baseline", s): list(range(12)) for s in range(2)} | {("kd", s): list(range(30, 40)) for s in range(2)}
    facts = facts_of(tmp_path, wrong)
    found = flips(facts, "kd")
    assert found is not None
    assert (len(found.gained), len(found.lost), found.all_gained, found.all_lost) == (MOST, MOST, 12, 10)
    assert worth_a_picture(facts) == [*range(MOST), *range(30, 30 + MOST)]
    assert shown_arm(facts) == "kd"


def test_half_of_the_seeds_is_not_most(tmp_path: Path) -> None:
    found = flips(facts_of(tmp_path, {("baseline", 0): [1], ("baseline", 1): [], ("kd", 0): [], ("kd", 1): []}), "kd")
    assert found is not None
    assert (found.gained, found.lost) == ((), ())


def test_nothing_turns_without_predictions_or_a_common_seed(tmp_path: Path) -> None:
    facts = facts_of(tmp_path / "a", {("baseline", 0): [1], ("kd", 1): [2]})
    assert flips(facts, "kd") is None
    assert flips(facts, "baseline") is None
    assert worth_a_picture(facts) == []
    bare = gathered(make_store(tmp_path / "b", ["baseline", "kd"], range(2)))
    assert (flips(bare, "kd"), worth_a_picture(bare)) == (None, [])
    nothing = gathered(make_store(tmp_path / "c", ["baseline"], [0], states={("baseline", 0): "failed"}))
    assert (shown_arm(nothing), worth_a_picture(nothing)) == ("", [])
