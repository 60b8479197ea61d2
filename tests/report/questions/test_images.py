"""The panel about images and classes, from stores in which the truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scl.report.blocks import Note, Panel, Plot
from scl.report.questions import images
from scl.store.files import Folder
from tests.support.pages import Page, built
from tests.support.synthetic import gathered, make_image_store, make_store

SIZES = [40, 40, 80, 80, 160]
LABELS = np.repeat(range(5), SIZES)
TEACHER = np.where(np.arange(400) % 10 == 0, (LABELS + 1) % 5, LABELS)  # 40 mistakes


def made(folder: Path, seeds: int = 4, copies: float = 0.0, lost: float = 0.0, teacher: bool = True) -> Folder:
    """baseline, kd and hint have equal chances, but for two things: kd copies this share of the teacher's mistakes, and
    hint loses this share of the right predictions in class 1."""
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.3
    predicted = {}
    for arm in ("baseline", "kd", "hint"):
        for seed in range(seeds):
            right = rng.random(400) < np.where(hard, 0.3, 0.95)
            right &= ~((arm == "hint") & (LABELS == 1) & (rng.random(400) < lost))
            classes = np.where(right, LABELS, (LABELS + rng.integers(1, 5, 400)) % 5)
            copied = (arm == "kd") & (TEACHER != LABELS) & (rng.random(400) < copies)
            predicted[arm, seed] = np.where(copied, TEACHER, classes)
    about = {"data": {"classes": 5, "test": 400}, "class_names": ["ant", "bee", "cat", "dog", "<eel>"]}
    return make_image_store(folder, predicted, LABELS, TEACHER if teacher else None, **about)


def panel_of(store: Folder) -> Panel:
    return images.panel(gathered(store))


def cells(panel: Panel, plot: str) -> dict[str, list[str]]:
    (table,) = [block.table for block in panel.blocks if isinstance(block, Plot) and block.id == plot]
    return {row.cells[0].shown: [cell.shown for cell in row.cells[1:]] for row in table.rows}


def test_nothing_is_found_where_nothing_differs(tmp_path: Path) -> None:
    panel = panel_of(made(tmp_path))
    assert "No arm is shown to repeat the teacher's mistakes (40 test images) more often" in panel.answer
    assert "No difference by class is significant (Holm). The clearest:" in panel.answer
    assert [block.id for block in panel.blocks if isinstance(block, Plot)] == [
        "image-error",
        "teacher-mistakes",
        "classes",
    ]
    assert not [block for block in panel.blocks if isinstance(block, Note)]


def test_copied_mistakes_and_a_lost_class_are_found_and_named(tmp_path: Path) -> None:
    page, _, results = built(made(tmp_path, copies=0.8, lost=0.7))
    panel = images.panel(results.facts)
    # hint's lost predictions are the teacher's wrong class in one of four cases.
    assert "2 of 2 arms repeat the teacher's mistakes (40 test images) significantly more often" in panel.answer
    assert "“kd” by " in panel.answer
    assert " by class are significant (Holm). The clearest: “hint” is " in panel.answer
    assert "points below the baseline in “bee” (40 images, p " in panel.answer
    same, right, otherwise = map(float, cells(panel, "teacher-mistakes")["kd"][2:5])
    assert same == pytest.approx(80, abs=8)
    assert same + right + otherwise == pytest.approx(100, abs=1)
    assert panel.answer in page.text
    assert "eel" not in {tag for tag, _ in page.tags}


def test_the_error_of_the_test_set_is_that_of_the_paired_difference(tmp_path: Path) -> None:
    panel = panel_of(made(tmp_path))
    n, difference, seeds, test_set, in_class, both = cells(panel, "image-error")["kd"]
    assert n == "4"
    assert f"({difference} points)" in panel.answer or "“hint”" in panel.answer
    assert float(test_set) < 100 * np.sqrt(2 * 0.25 / 400)  # less than two independent accuracies
    assert float(in_class) <= float(test_set) <= float(both)
    assert float(both) < np.hypot(float(seeds), float(test_set)) + 0.01


def test_one_seed_has_the_error_of_the_test_set_alone(tmp_path: Path) -> None:
    panel = panel_of(made(tmp_path, seeds=1))
    assert "one seed does not show how much other seeds would shift it." in panel.answer
    assert "Differences by class need two seeds" in panel.answer
    assert "The teacher gets 40 test images wrong." in panel.answer
    assert cells(panel, "image-error")["kd"][2] == cells(panel, "image-error")["kd"][5] == "–"
    assert all("95 %" not in block.caption for block in panel.blocks if isinstance(block, Plot))


def test_a_store_without_predictions_or_labels_says_so(tmp_path: Path) -> None:
    panel = panel_of(make_store(tmp_path / "a", ["baseline", "kd"]))
    assert (panel.answer, panel.blocks) == ("The store holds no predictions of single test images.", ())
    store = made(tmp_path / "b", teacher=False)
    notes = [block.text for block in panel_of(store).blocks if isinstance(block, Note)]
    assert notes == ["No predictions of 1 teacher are stored, so its mistakes are unknown."]


def test_figures_hold_no_more_than_can_be_read(tmp_path: Path) -> None:
    labels = np.repeat(range(100), 3)
    rng = np.random.default_rng(0)
    predicted = {
        (arm, seed): np.where(rng.random(300) < 0.6, labels, 0) for arm in ("baseline", "kd") for seed in range(2)
    }
    page: Page
    page, _, results = built(make_image_store(tmp_path, predicted, labels, None))
    panel = images.panel(results.facts)
    heat = page.figures()["classes-0"]["data"][0]
    assert len(heat["z"]) == images.MOST_CLASSES
    assert "The figure holds the 40 of 100 classes with the smallest p." in panel.blocks[-2].caption  # type: ignore[union-attr]
