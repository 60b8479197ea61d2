"""What ran."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scl.report.questions.setting import setting, teachers_of_arms
from scl.store.study_file import read_study, write_study
from tests.support.pages import built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    make_store,
)


def test_rows_of_other_settings_are_counted_in_one_line(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS))
    study = read_study(store)
    plan = [cell for cell in study["plan"] if cell["seed"] < 2]
    write_study(store, {**study, "plan": plan})
    page, _, _ = built(store)
    assert "5 rows of other settings, not part of this page" in page.text
    assert page.tables["main-table"][0]["n"][0] == "2"


def test_damaged_and_missing_trials_are_named(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS[:2], range(2), accuracy(EFFECTS), {("kd", 1): "missing"})
    (store / "damaged").write("trials.parquet", b"x")
    page, _, _ = built(store)
    assert "1 file of this study did not match the checksum" in page.text
    assert "Trials with a damaged checkpoint resumed from the previous one" in page.text
    assert "Missing: “kd” seed 1. The same command trains them." in page.text


def test_caveats_of_the_data_are_on_the_page(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS[:2], range(2), accuracy(EFFECTS))
    study = read_study(store)
    text = "3 of 797 test images are also training images"
    write_study(store, {**study, "data": {**study["data"], "caveats": [text]}})
    assert text in built(store)[0].text


def test_what_auto_means_is_on_the_page(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS[:2], range(2), accuracy(EFFECTS))
    assert "augment auto is" not in built(store)[0].text
    study = read_study(store)
    write_study(store, {**study, "data": {**study["data"], "auto_augment": "rrc+flip"}})
    assert "augment auto is rrc+flip on these images" in built(store)[0].text


def test_settings_are_words() -> None:
    losses = {"kd": {"weight": 0.9, "options": {"temperature": 2}}, "at": {"weight": 100.0}}
    assert setting({"epochs": 30, "losses": losses}) == "epochs 30; at × 100; kd × 0.9 (temperature 2)"
    assert setting({}) == "nothing"


def test_the_teachers_of_arms_are_named_with_their_accuracies() -> None:
    by = {"kd": ["self:2"], "two": ["teacher", "vgg8", "self", "self:1", "ema"]}
    entries = [
        {"arm": arm, "by": names, "test_acc": 0.7, "each": [0.61, 0.62, 0.63, 0.64][: len(names)]}
        for arm, names in by.items()
    ]
    facts: Any = SimpleNamespace(study={"teacher": {"of_arms": entries}})
    assert teachers_of_arms(facts) == (
        "“kd”: the student’s own network in generation 2 61.0 %; “two”: the study’s teacher 61.0 %, vgg8 62.0 %, the "
        "student’s own network and recipe 63.0 %, the student’s own network in generation 1 64.0 % and the average of "
        "the student’s weights (mean logits of the trained ones: 70.0 %)"
    )
