"""One trial in the words and units of the page."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from scl.report.trial import GROUPS, described
from scl.store.schema import TRIALS

NOT_NUMBERS = {"trial_id", "study", "arm", "config_id", "seed", "state", "error", "config_json", "teacher_id"}


def test_every_column_has_words() -> None:
    named = {column for group in GROUPS.values() for column in group}
    assert set(TRIALS.names) - NOT_NUMBERS == named


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("test_acc", 0.71, ("Test accuracy", "71.00 %")),
        ("test_loss", 0.4641, ("Test log loss", "0.4641 nats")),
        ("val_macro_f1", 1.0, ("Validation macro F1", "100.00 %")),
        ("gap_closed", -0.25, ("Gap closed", "−25.00 %")),
        ("params", 39194, ("Params", "39.2 k")),
        ("latency_ms", 0.11153, ("Latency for one image", "0.112 ms")),
        ("train_seconds", 5400.0, ("Device time", "1 h 30 min (1.5 device hours)")),
        ("restarts", 1, ("Resumed from a checkpoint", "1 time")),
        ("started", datetime(2026, 1, 2, 10, 30, tzinfo=UTC), ("Started", "2026-01-02 10:30 UTC")),
        ("watts_of_a_later_version", 0.1234567, ("watts_of_a_later_version", "0.123457")),
    ],
)
def test_a_value_has_its_unit(column: str, value: Any, said: tuple[str, str]) -> None:
    ((_, values),) = described({column: value, "param.lr": 0.1, "arm": "kd"}, NOT_NUMBERS)
    assert values == [(*said, column)]


@pytest.mark.parametrize("value", [None, math.nan, pd.NaT, pd.NA, math.inf])
def test_what_is_missing_is_left_out(value: Any) -> None:
    assert list(described({"test_acc": value, "started": value, "other": value}, set())) == []
