"""The numbers of single test images, from stores in which the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl import stats
from scl.report.per_image import MOST_COMPARED, per_image
from tests.support.synthetic import gathered, make_image_store, rewrite_trials

LABELS = np.repeat([0, 1, 2], [6, 30, 60])
TEACHER = np.where(np.arange(96) % 8 == 0, (LABELS + 1) % 3, LABELS)  # 12 mistakes


def predictions(arms: list[str], seeds: int = 3, share: float = 0.7) -> dict[tuple[str, int], np.ndarray]:
    rng = np.random.default_rng(0)
    right = {(arm, seed): rng.random(96) < share for arm in arms for seed in range(seeds)}
    return {at: np.where(mine, LABELS, (LABELS + 2) % 3) for at, mine in right.items()}


def test_numbers_are_those_of_the_predictions(tmp_path: Path) -> None:
    predicted = predictions(["baseline", "kd", "hint"])
    copies = TEACHER != LABELS
    predicted |= {("kd", s): np.where(copies, TEACHER, predicted["kd", s]) for s in range(3)}
    del predicted["hint", 1]
    shown = per_image(gathered(make_image_store(tmp_path, predicted, LABELS, TEACHER)))
    assert shown is not None
    assert (shown.images, shown.beyond, shown.remarks) == (96, 0, ())
    for arm, seeds in (("kd", [0, 1, 2]), ("hint", [0, 2])):
        ours, theirs = (np.stack([predicted[a, s] == LABELS for s in seeds]) for a in (arm, "baseline"))
        wanted = stats.image_difference(ours, theirs, LABELS)
        assert shown.errors.loc[arm].to_dict() == pytest.approx(vars(wanted))
        by_class = shown.classes[shown.classes["arm"] == arm]
        assert by_class["images"].tolist() == [6, 30, 60]
        assert by_class["p"].to_numpy() == pytest.approx(stats.class_differences(ours, theirs, LABELS).p)
    assert shown.classes["p_holm"].to_numpy() == pytest.approx(stats.holm(shown.classes["p"].to_numpy()))
    kd = shown.mistakes[shown.mistakes["arm"] == "kd"]
    assert (kd["images"].tolist(), kd["same"].tolist(), kd["right"].tolist()) == ([12] * 3, [1.0] * 3, [0.0] * 3)
    assert (shown.mistakes[shown.mistakes["arm"] == "hint"]["same"] == 0).all()


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["cat", "dog", "<b>"], ["cat", "dog", "<b>"]),
        (["0", "1", "2"], ["class 0", "class 1", "class 2"]),
        (["cat", "cat", "dog"], ["class 0", "class 1", "class 2"]),  # two alike name nothing
        (["cat", "dog"], ["class 0", "class 1", "class 2"]),
        (["cat", 7, "dog"], ["class 0", "class 1", "class 2"]),
        (None, ["class 0", "class 1", "class 2"]),
    ],
    ids=str,
)
def test_classes_have_their_names_if_the_store_knows_them(tmp_path: Path, names: Any, shown: list[str]) -> None:
    study = {"data": {"classes": 3, "test": 96}} | ({} if names is None else {"class_names": names})
    found = per_image(
        gathered(make_image_store(tmp_path, predictions(["baseline", "kd"], 1), LABELS, TEACHER, **study))
    )
    assert found is not None
    assert list(found.names.values()) == shown


def test_rows_that_say_nothing_are_counted(tmp_path: Path) -> None:
    predicted = predictions(["baseline", "kd"])
    store = make_image_store(tmp_path, predicted, LABELS, None)
    shown = per_image(
        gathered(rewrite_trials(store, lambda t: t.assign(test_acc=t["test_acc"].where(t["seed"] < 2, 0.5))))
    )
    assert shown is not None
    assert len(shown.mistakes) == 0
    unknown, other = shown.remarks
    assert unknown.startswith("No predictions of 1 teacher are stored")
    assert other.startswith("The stored predictions of 2 trials give another accuracy than the column test_acc")


def test_more_arms_than_are_compared_by_class(tmp_path: Path) -> None:
    arms = ["baseline", *(f"arm {i}" for i in range(MOST_COMPARED + 3))]
    shown = per_image(gathered(make_image_store(tmp_path, predictions(arms, 2), LABELS, TEACHER)))
    assert shown is not None
    assert len(shown.errors) == MOST_COMPARED + 3
    assert shown.classes["arm"].nunique() == MOST_COMPARED
