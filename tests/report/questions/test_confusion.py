"""The panel about confusions and images that turned."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.report.blocks import Panel, Pictures, Plot, Table
from scl.report.questions.confusion import MOST_CLASSES, panel
from scl.store.files import Folder
from scl.store.pictures import write_pictures
from scl.store.study_file import read_study, write_study
from tests.support.pages import built
from tests.support.synthetic import gathered, make_image_store, make_store

PNG = b"\x89PNG\r\n\x1a\n picture"


def made(folder: Path, classes: int = 3, seeds: int = 3, per_class: int = 40, mended: bool = True) -> Folder:
    """The baseline takes a third of the last class for the first; kd does not, if `mended`."""
    rng = np.random.default_rng(0)
    labels = np.repeat(range(classes), per_class)
    predicted = {}
    for arm in ("baseline", "kd"):
        for seed in range(seeds):
            noise = np.where(rng.random(len(labels)) < 0.02, (labels + 1) % classes, labels)
            taken = (labels == classes - 1) & (rng.random(len(labels)) < 0.33) & (arm == "baseline" or not mended)
            predicted[arm, seed] = np.where(taken, 0, noise)
    names = ["</script><b>cat", *(f"class {i}!" for i in range(1, classes))]
    about = {"data": {"classes": classes, "test": len(labels)}, "class_names": names}
    return make_image_store(folder, predicted, labels, None, **about)


def table(shown: Panel, label: str) -> list[list[str]]:
    (found,) = [b for b in shown.blocks if isinstance(b, Table) and b.label == label]
    return [[cell.shown for cell in row.cells] for row in found.rows]


def test_a_mended_confusion_is_found_and_significant(tmp_path: Path) -> None:
    shown = panel(gathered(made(tmp_path)))
    assert "1 pair of classes changed significantly, most clearly “class 2!” for “</script><b>cat”" in shown.answer
    (plot,) = [b for b in shown.blocks if isinstance(b, Plot)]
    assert plot.titles == ["kd", "kd minus baseline"]
    assert len(plot.table.rows) == 6  # of both figures
    rows = table(shown, "Confused classes")
    (mended,) = [row for row in rows if row[:2] == ["class 2!", "</script><b>cat"]]
    assert mended[-1] == "< 0.001"
    assert float(mended[5].replace("−", "-")) < -20


def test_nothing_is_found_where_nothing_differs(tmp_path: Path) -> None:
    shown = panel(gathered(made(tmp_path, mended=False)))
    assert "No pair of classes is shown to be confused more or less often." in shown.answer


@pytest.mark.parametrize("classes", [MOST_CLASSES, MOST_CLASSES + 1, 100])
def test_many_classes_are_a_list_of_pairs(classes: int, tmp_path: Path) -> None:
    shown = panel(gathered(made(tmp_path, classes, per_class=20)))
    plots = [b for b in shown.blocks if isinstance(b, Plot)]
    assert [plot.id for plot in plots] == ([] if classes > MOST_CLASSES else ["confusions", "confusion-change"])
    rows = table(shown, "Confused classes")
    assert 2 <= len(rows) <= 30
    (mended,) = [row for row in rows if row[:2] == [f"class {classes - 1}!", "</script><b>cat"]]
    assert float(mended[5].replace("−", "-")) < -20


def test_one_arm_has_confusions_without_a_comparison(tmp_path: Path) -> None:
    labels = np.repeat(range(3), 10)
    predicted = {("baseline", 0): np.where(np.arange(30) < 4, 2, labels)}
    store = make_image_store(tmp_path, predicted, labels, None, data={"classes": 3, "test": 30})
    shown = panel(gathered(store))
    assert shown.answer == "“baseline” most often takes “class 0” for “class 2”: 40 % of that class."
    assert not any("turned" in str(block) for block in shown.blocks)


@pytest.mark.parametrize(
    ("made_by", "said"),
    [
        (lambda at: make_store(at, ["baseline", "kd"], range(2)), "The store holds no predictions"),
        (
            lambda at: make_image_store(at, {("baseline", 0): np.arange(3)}, np.arange(3), None),
            "“baseline” makes no mistake on the test images.",
        ),
    ],
)
def test_what_is_missing_is_said(made_by: Any, said: str, tmp_path: Path) -> None:
    shown = panel(gathered(made_by(tmp_path)))
    assert shown.answer.startswith(said)
    assert not shown.blocks


def test_pictures_are_embedded_where_the_store_has_them(tmp_path: Path) -> None:
    store = made(tmp_path)
    bare = panel(gathered(store))
    assert not any(isinstance(block, Pictures) for block in bare.blocks)
    turned = [int(row[0]) for row in table(bare, "Test images that turned")]
    write_pictures(store, dict.fromkeys(turned, PNG))
    page, text, _ = built(store)
    images = re.findall(r'<img src="([^"]*)" alt="Test image (\d+)"', text)
    assert sorted(int(number) for _, number in images) == sorted(turned)
    assert {source for source, _ in images} == {f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
    assert "</script><b>cat, mistaken for" not in text
    assert "This store holds no pictures" not in page.text
    write_study(store, {**read_study(store), "pictures": False})
    page, text, _ = built(store)
    assert "<img" not in text
    assert "This store holds no pictures of them." in page.text
