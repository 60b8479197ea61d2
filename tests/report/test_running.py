"""The bar of a page whose study runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scl.report import render
from scl.report.running import running
from scl.store.results import read_results
from tests.support.synthetic import ARMS, EFFECTS, accuracy, make_store

RECORD: dict[str, Any] = {
    "title": "students", "since": "then", "updated": "2026-01-02T10:00:00+00:00", "host": "here", "command": "x",
    "expected": 24, "ended": 12, "failed": 0, "seconds_left": 2400.0, "running": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "12 of 24 trials ended, about 40 min left"),
        ({"seconds_left": None}, "12 of 24 trials ended"),
        ({"seconds_left": 3}, "12 of 24 trials ended, about 5 s left"),
        ({"seconds_left": 9000}, "12 of 24 trials ended, about 2.5 h left"),
        ({"seconds_left": math.inf}, "12 of 24 trials ended"),
        ({"failed": 1}, "12 of 24 trials ended, 1 failure, about 40 min left"),
        ({"title": "teacher", "expected": 1, "ended": 0}, "0 of 1 trial ended, about 40 min left (teacher)"),
    ],
)
def test_the_bar_in_words(changes: dict[str, Any], text: str) -> None:
    bar = running({**RECORD, **changes})
    assert bar is not None
    assert (bar.text, bar.where) == (text, "on here since then")


def test_nothing_runs() -> None:
    assert running(None) is None


@pytest.mark.parametrize(
    ("values", "accuracy", "curve"),
    [
        ([], "–", ""),
        ([0.5], "50.0 %", ""),
        ([math.nan, math.nan], "–", ""),
        ([0.0, 1.0], "100.0 %", "0.0,23.0 30.0,1.0"),
        ([0.0, math.nan, 1.0], "100.0 %", "0.0,23.0 30.0,1.0"),
    ],
)
def test_a_trial_in_training(values: list[float], accuracy: str, curve: str) -> None:
    bar = running({**RECORD, "running": [{"label": "kd", "epoch": 2, "epochs": 5, "val_acc": values}]})
    assert bar is not None
    (trial,) = bar.trials
    assert (trial.epochs, trial.accuracy, trial.curve) == ("2 of 5", accuracy, curve)


def test_a_stage_without_trials_is_named() -> None:
    bar = running({**RECORD, "title": "starting Ray <b>", "expected": 0, "ended": 0, "running": []})
    assert bar is not None
    assert (bar.text, bar.expected, list(bar.trials)) == ("starting Ray <b>", 0, [])


def test_a_verdict_does_not_sound_final_while_trials_run(tmp_path: Path) -> None:
    read = read_results(make_store(tmp_path, ARMS[:2], range(3), accuracy(EFFECTS)))
    assert "Which arm won" in render(read)
    page = render(replace(read, running=RECORD))
    assert "Which arm won" not in page
    assert "Which arm leads so far?" in page
    assert '<p class="lead">So far: ' in page
