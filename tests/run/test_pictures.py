"""Pictures of test images that a run keeps, and that it keeps none if it is told so."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scl
from scl.cli.command import main
from scl.plan.plan import Plan
from scl.report.flips import MOST
from scl.run.pictures import SIDE, keep_pictures, picture
from scl.run.provenance import wants_pictures
from scl.store.files import open_folder
from scl.store.pictures import NAME, read_pictures, type_of
from scl.store.results import load
from tests.support.pages import built
from tests.support.plans import SHORT, STUDY
from tests.support.studies import planned, run_study
from tests.support.synthetic import make_image_store


@pytest.mark.parametrize(
    ("shape", "kind", "size"),
    [
        ((1, 8, 8), "image/png", (8, 8)),
        ((3, 32, 32), "image/png", (32, 32)),
        ((1, 64, 48), "image/jpeg", (48, 64)),
        ((3, 300, 150), "image/jpeg", (32, 64)),
        ((3, 1, 500), "image/jpeg", (64, 1)),
    ],
)
def test_a_picture_is_small_and_shows_the_image(shape: tuple[int, int, int], kind: str, size: tuple[int, int]) -> None:
    pixels = np.broadcast_to(np.arange(shape[0], dtype=np.uint8)[:, None, None] * 90 + 40, shape)
    found = picture(pixels)
    shown = Image.open(io.BytesIO(found))
    assert (type_of(found), shown.size) == (kind, size)
    assert max(shown.size) <= SIDE
    assert np.allclose(np.asarray(shown.convert("RGB"))[0, 0], (40, 130, 220) if shape[0] == 3 else 40, atol=6)


def pictures_of_page(page: str) -> set[bytes]:
    return {base64.b64decode(found) for found in re.findall(r'<img src="data:image/\w+;base64,([^"]+)"', page)}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan whose store has predictions: kd is right where the baseline is wrong, in 9 images, and wrong in 2 more."""
    out = tmp_path_factory.mktemp("pictures")
    plan = planned(STUDY, out, "--seeds", "2")
    labels = plan.context.labels["test"]
    at = np.arange(len(labels))
    wrong = {"baseline": at < 9, "kd": (at == 20) | (at == 30)}
    predicted = {(arm, s): np.where(of, (labels + 1) % 10, labels) for arm, of in wrong.items() for s in range(2)}
    make_image_store(out / "tiny", predicted, labels, None)
    return plan


def test_a_run_keeps_pictures_of_the_images_that_its_page_shows(plan: Plan) -> None:
    store = plan.context.store
    keep_pictures(plan, store, wanted=True)
    kept = read_pictures(store)
    assert list(kept) == [*range(MOST), 20, 30]
    assert kept[0] == picture(plan.context.images["test"][np.array([0])][0])
    before = (Path(store.path) / NAME).stat().st_mtime_ns
    keep_pictures(plan, store, wanted=True)
    assert (Path(store.path) / NAME).stat().st_mtime_ns == before  # nothing has changed
    shown = pictures_of_page(built(store)[1])
    assert shown == set(kept.values())
    keep_pictures(plan, store, wanted=False)
    assert not store.exists(NAME)
    assert pictures_of_page(built(store)[1]) == set()


@pytest.mark.parametrize(
    ("flags", "earlier", "wanted"),
    [([], {}, True), (["--no-pictures"], {}, False), ([], {"pictures": False}, False), ([], {"pictures": True}, True)],
)
def test_a_store_keeps_the_choice_of_no_pictures(
    flags: list[str], earlier: dict[str, Any], wanted: bool, plan: Plan
) -> None:
    asked_for = replace(plan, options=replace(plan.options, no_pictures=bool(flags)))
    assert wants_pictures(asked_for, earlier) == wanted


def test_a_page_may_be_without_the_pictures_of_its_store(plan: Plan, tmp_path: Path) -> None:
    store, page = plan.context.store, tmp_path / "page.html"
    keep_pictures(plan, store, wanted=True)
    for more, count in ([], MOST + 2), (["--no-pictures"], 0):
        assert main(["report", str(store), "--page", str(page), *more]) == 0
        assert len(pictures_of_page(page.read_text())) == count
    assert run_study(STUDY, "--out", plan.context.out.path, "--report-only", "--no-pictures") == 0
    assert pictures_of_page(store.read("report.html").decode()) == set()
    assert store.exists(NAME)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert run_study(STUDY, *SHORT, "--seeds", "1", "--out", str(out)) == 0
    return out


@pytest.fixture
def out(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "out")
    return tmp_path / "out"


def test_a_store_without_pictures_stays_so(out: Path, tmp_path: Path) -> None:
    store = out / "tiny"
    for flags in (["--no-pictures"], []):  # a later run without the flag, too
        assert run_study(STUDY, *SHORT, "--seeds", "1", "--out", str(out), *flags) == 0
        assert not (store / NAME).exists()
        assert pictures_of_page((store / "report.html").read_text()) == set()
        assert json.loads((store / "study.json").read_text())["pictures"] is False
    assert "Test images that turned" in (store / "report.html").read_text()


def test_python_asks_for_it_too(tmp_path: Path) -> None:
    options = {"limit": 60, "epochs": 1, "seeds": 1, "inline": True, "no_pictures": True, "out": str(tmp_path)}
    assert scl.run(STUDY, **options).study["pictures"] is False
    assert not (tmp_path / "tiny" / NAME).exists()


@pytest.mark.parametrize("private", [False, True])
def test_merged_stores_have_the_pictures_of_all_parts(private: bool, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / "teachers", tmp_path / "other" / "teachers")
    more = ["--no-pictures"] if private else []
    assert run_study(STUDY, *SHORT, "--seed-list", "1", "--out", str(tmp_path / "other"), *more) == 0
    assert main(["merge", str(out), str(tmp_path / "other"), "--out", str(tmp_path / "all")]) == 0
    merged = open_folder(str(tmp_path / "all" / "tiny"))
    parts = [read_pictures(open_folder(str(place / "tiny"))) for place in (out, tmp_path / "other")]
    assert read_pictures(merged) == ({} if private else parts[0] | parts[1])
    assert (load(str(tmp_path / "all" / "tiny")).study.get("pictures") is False) == private
    assert bool(pictures_of_page((tmp_path / "all" / "tiny" / "report.html").read_text())) != private


def test_the_record_tells_what_the_teacher_took(out: Path) -> None:
    teacher = json.loads((out / "tiny" / "study.json").read_text())["teacher"]
    assert teacher["train_seconds"]["all"] > 0
    assert teacher["params"] > 0
    assert teacher["macs"] > 0
    assert "of the teacher" in (out / "tiny" / "report.html").read_text()
