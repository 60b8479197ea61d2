"""Predictions of new images are those of the test images, whatever holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scl.errors import UserError
from scl.students.predict import BATCH, images_in, predict, preprocessing_of
from scl.students.student import Student, load_student


@pytest.fixture(scope="module", params=[True, False], ids=["pixels", "normalised"])
def student(small: Path, request: pytest.FixtureRequest) -> Student:
    return load_student(str(small), "scl/0", normalise=request.param)


def test_each_image_has_its_probabilities_in_order(small: Path, student: Student) -> None:
    images, others = images_in([str(small.parents[1] / "images" / "test")])
    assert (len(images), others) == (30, 0)
    images *= 3  # more than a batch
    assert len(images) > BATCH
    found = list(predict(student, images, preprocessing_of(student)))
    assert [one.path for one in found] == images
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(path))[None] for path in images])).float() / 255
    given = pixels if student.normalise else (pixels - student.mean) / student.std
    expected = student(given).softmax(1).numpy()
    np.testing.assert_allclose(np.stack([one.probabilities for one in found]), expected, atol=1e-6)
    right = [student.classes[int(np.argmax(one.probabilities))] == one.path.parent.name for one in found]
    assert np.mean(right) == pytest.approx(student.record["test_acc"])


def test_an_image_that_cannot_be_read_stops_no_other(student: Student, tmp_path: Path) -> None:
    Image.new("L", (12, 12)).save(tmp_path / "right.png")
    Image.new("L", (40, 30)).save(tmp_path / "larger.png")
    Image.new("RGB", (12, 12), "red").save(tmp_path / "red.png")
    (tmp_path / "text.png").write_text("text")
    images, _ = images_in([str(tmp_path)])
    found = {one.path.name: one for one in predict(student, images, preprocessing_of(student))}
    assert found["right.png"].probabilities is not None
    for name in ("larger.png", "red.png", "text.png"):
        assert found[name].probabilities is None
        assert name in found[name].error
    for fit in ("crop", "stretch", "pad"):
        (one,) = predict(student, [tmp_path / "larger.png"], preprocessing_of(student, fit))
        assert one.probabilities is not None


def test_files_of_folders_are_sorted_and_others_counted(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "n.txt", ".hidden.png", "in/c.webp", ".no/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images, others = images_in([str(tmp_path), str(tmp_path / "n.txt")])
    assert [path.name for path in images] == ["a.JPG", "b.png", "c.webp", "n.txt"]  # what is named is tried
    assert others == 1
    for wrong, message in ((tmp_path / "none", "no such file"), (tmp_path / ".no" / "x", "no such file")):
        with pytest.raises(UserError, match=message):
            images_in([str(wrong)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no image; images end in \.png"):
        images_in([str(tmp_path / "empty")])


def test_a_fit_that_does_not_exist_is_refused(student: Student) -> None:
    with pytest.raises(UserError, match="did you mean 'crop'"):
        preprocessing_of(student, "corp")
