"""The box for a decision, of every kind of store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scl.report.decision_box import box
from tests.report.test_decision import CLEAR, LOSS, NONE, facts_of, first_by_validation

HUGE = {"val_loss": lambda row: 1e30, "test_loss": lambda row: 1e30 * (1 + row["seed"])}
FLAT = {"test_acc": lambda row: 0.7, "val_acc": lambda row: 0.7}
TEACHER = {"model": "plain11", "params": 710_000, "macs": 2_050_000, "per_seed": False, "test_acc": {"all": 0.74}}
CONTROL = {"effects": {"baseline": 0, "kd": 0.05, "at": 0.06}, "roles": {"at": "control"}}


@pytest.mark.parametrize(
    ("given", "term", "words"),
    [
        ({"effects": CLEAR}, "It costs",
         "71 k parameters (1.01 × the baseline’s); 2.05 M multiply-adds an image (1.02 × "),
        ({"effects": CLEAR, "teacher": TEACHER}, "It costs",
         "71 k parameters (1.01 × the baseline’s, 0.10 × the teacher’s); 2.05 M multiply-adds an image (1.02 × the "
         "baseline’s, as the teacher); 1.26 ms an image on one CPU thread (1.01 × the baseline’s); 13 s of training"),
        ({"effects": NONE, "teacher": {**TEACHER, "params": 7_000_000}}, "It costs",
         "70 k parameters (1/100 of the teacher’s);"),
        ({"effects": CLEAR, "columns": {"params": lambda row: None, "train_seconds": lambda row: 0.25}}, "It costs",
         "2.05 M multiply-adds an image (1.02 × the baseline’s); 1.26 ms an image on one CPU thread (1.01 × the "
         "baseline’s); 0.25 s of training steps a seed (as the baseline)."),
        ({"effects": CLEAR, "columns": {"device": lambda row: row["arm"]}}, "It costs", "times do not compare."),
        ({"effects": CLEAR}, "It gains",
         "+4.8 points (simultaneous 95 % interval +4.4 to +5.1) of test accuracy: 74.9 % "
         "against 70.2 %. It is 0.9 points above its teacher (74.0 %)."),
        ({"effects": NONE}, "It gains",
         "Test accuracy 70.2 %, 3.8 points below its teacher (74.0 %). The best other arm"),
        ({"effects": CLEAR, "columns": first_by_validation("at")}, "It gains", "“at”: −0.2 points"),
        ({"effects": CLEAR, "seeds": 1}, "It gains", "“kd”: +4.5 points (no interval)."),
        ({"effects": CLEAR, "columns": {"val_loss": lambda row: 1 - row["test_acc"]}, **LOSS}, "It gains",
         "−0.0476 nats (simultaneous 95 % interval −0.0513 to −0.0439) of test log loss, where lower is better: 0"),
        ({"effects": CLEAR, "columns": HUGE, **LOSS}, "It gains", "Test log loss 3e+30 nats, where lower is better."),
        ({"effects": CLEAR}, "How sure", "5 seeds; the interval excludes 0; p < 0.001, corrected for 2 comparisons."),
        ({"effects": NONE}, "How sure", "5 seeds; no arm’s interval excludes 0 on the better side. A difference"),
        ({"effects": {"baseline": 0, "kd": -0.05}}, "How sure", "every other arm excludes 0 on the worse side."),
        ({"effects": CLEAR, "seeds": 1}, "How sure", "Not at all: one seed shows no spread"),
        ({"effects": CLEAR, "seeds": 2, "states": {("baseline", 1): "failed"}}, "How sure",
         "Not at all: one seed that arm and baseline share, and on which both learnt, shows no spread"),
        ({"effects": CLEAR, "columns": FLAT}, "How sure", "5 seeds without spread in the differences"),
        ({"effects": {"baseline": 0}}, "How sure", "5 seeds, but nothing is compared, so nothing is shown."),
        (CONTROL, "How sure", "But “at” gains as much, and cannot win: the cause of the gain is open."),
        ({"effects": CLEAR, "metric_after_look": True}, "How sure", "The metric was chosen after results were seen."),
        ({"effects": CLEAR, "states": {("at", 0): "failed", ("baseline", 2): "missing"}}, "How sure",
         "Of 15 planned trials, 1 failed and 1 missing."),
        ({"effects": CLEAR}, "Not asked", "Other teachers; other data than digits; other test images (they"),
        ({"effects": CLEAR, "teacher": {}, "columns": {"teacher_test_acc": lambda row: None}}, "Not asked", "Other "),
        ({"effects": CLEAR, "teacher": {**TEACHER, "per_seed": True, "test_acc": {str(s): 0.7 for s in range(5)}}},
         "Not asked", "Other data than digits"),
        ({"effects": CLEAR, "teacher": {**TEACHER, "test_acc": {str(s): 0.7 for s in range(2)}}}, "Not asked",
         "Other teachers than these 2;"),
        ({"effects": CLEAR, "data": {"name": "/data/faces/"}}, "Not asked", "other data than faces;"),
        ({"effects": CLEAR, "data": {"name": "x", "limit": 100}}, "Not asked", "training on more than 100 images"),
    ],
)  # fmt: skip
def test_the_box_says(given: dict[str, Any], term: str, words: str, tmp_path: Path) -> None:
    shown = dict(box(facts_of(tmp_path, **given)))
    assert words in shown[term]
    assert next(iter(shown)) == "Use"
