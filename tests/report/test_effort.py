"""Device hours and energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scl.report.effort import effort, energy
from tests.support.synthetic import accuracy, gathered, make_store, rewrite_trials

TEACHER = {"model": "plain11", "ids": {"all": "t" * 64}, "train_seconds": {"all": 3600.0}}
MEASURED: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "energy_joules": lambda row: 3600.0 if row["arm"] == "kd" else None,
    "energy_source": lambda row: "RAPL" if row["arm"] == "kd" else None,
}


@pytest.mark.parametrize(
    ("columns", "study", "term", "words"),
    [
        ({}, {}, "Device time", "50 s of training steps on cpu"),
        ({}, {"teacher": TEACHER}, "Device time", "50 s of the students’ training steps on cpu, and 1 h 00 min of the "
         "teacher: 1 device hours together, without evaluation and start"),
        ({}, {"teacher": {"ids": {"0": "a", "1": "a", "2": "b"}, "train_seconds": {"0": 60.0, "1": 60.0, "2": 30.0}}},
         "Device time", "and 1 min 30 s of 2 teachers"),  # one that serves two seeds counts once
        ({}, {}, "Energy", None),
        (MEASURED, {}, "Energy", "2 Wh of 2 trials (of 4 that trained), counted by the processor’s own counter (RAPL)"),
        (MEASURED, {"teacher": {**TEACHER, "energy_joules": {"all": 7.2e6}}}, "Energy", "2 kWh of the teacher"),
        (MEASURED, {"slots": 2}, "Energy", "so the sum may be too high"),
        ({**MEASURED, "energy_source": lambda row: "NVML"}, {}, "Energy", "the GPU’s own counter (NVML)"),
    ],
)  # fmt: skip
def test_what_the_study_took(
    columns: dict[str, Any], study: dict[str, Any], term: str, words: str | None, tmp_path: Path
) -> None:
    store = make_store(tmp_path, ["baseline", "kd"], range(2), accuracy({"baseline": 0, "kd": 0}), **study)

    def changed(trials: pd.DataFrame) -> pd.DataFrame:
        rows = trials.to_dict("records")
        return trials.assign(**{name: [value(row) for row in rows] for name, value in columns.items()})

    found = dict(effort(gathered(rewrite_trials(store, changed) if columns else store)))
    assert found.get(term) is None if words is None else words in found[term]


@pytest.mark.parametrize(
    ("joules", "text"),
    [(0.0, "0 J"), (250.0, "250 J"), (1512.0, "0.42 Wh"), (3.6e6, "1 kWh"), (4.5e9, "1.25 MWh")],
)
def test_energy_as_people_pay_for_it(joules: float, text: str) -> None:
    assert energy(joules) == text
