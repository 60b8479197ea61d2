"""What the study took: device hours of students and teachers, and energy where the device counted it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scl.report.facts import Facts
from scl.report.formatting import duration, enumerated, plain, plural

WHAT = {
    "RAPL": "the processor’s own counter (RAPL): the whole processor, not the memory, screen or power supply",
    "NVML": "the GPU’s own counter (NVML): the whole GPU, not the rest of the machine",
}


def effort(facts: Facts) -> list[tuple[str, str]]:
    """Device time, energy and how it was measured, as (term, text)."""
    items = [("Device time", _time(facts))]
    if energy := _energy(facts):
        items.append(("Energy", energy))
    return items


def device_seconds(facts: Facts) -> tuple[float, float]:
    """Seconds of training steps of all students, and of the teachers that were trained here."""
    return float(facts.trials["train_seconds"].sum()), sum(_of_teachers(facts, "train_seconds").values())


def _time(facts: Facts) -> str:
    devices = sorted({plain(d) for d in facts.trials["device"].dropna()})
    where = f" on {enumerated(devices[:4])}" if devices else ""
    seconds, own = device_seconds(facts)
    teachers = _of_teachers(facts, "train_seconds")
    if not teachers:
        return f"{duration(seconds)} of training steps{where}"
    one = "the teacher" if len(teachers) == 1 else f"{len(teachers)} teachers"
    hours = (seconds + own) / 3600
    return (
        f"{duration(seconds)} of the students’ training steps{where}, and {duration(own)} of {one}: "
        f"{hours:.2g} device hours together, without evaluation and start"
    )


def _of_teachers(facts: Facts, name: str) -> dict[str, float]:
    """A number of each teacher that was trained here, once each."""
    teacher = facts.study.get("teacher") or {}
    known: Mapping[str, Any] = teacher.get(name) or {}
    ids = teacher.get("ids") or {}
    return {str(ids.get(key, key)): float(value) for key, value in known.items() if math.isfinite(value)}


def _energy(facts: Facts) -> str:
    """Joules of the trials that have a figure, and what they are worth; "" without one."""
    if "energy_joules" not in facts.trials:
        return ""
    rows = facts.trials.dropna(subset=["energy_joules"])
    if rows.empty:
        return ""
    teachers = _of_teachers(facts, "energy_joules")
    sources = sorted({str(source) for source in rows["energy_source"].dropna()})
    ended = int(facts.trials["train_seconds"].notna().sum())
    text = f"{energy(float(rows['energy_joules'].sum()))} of {plural(len(rows), 'trial')}"
    text += f" (of {ended:,} that trained)" if ended > len(rows) else ""
    text += f", {energy(sum(teachers.values()))} of the teacher{'s' * (len(teachers) > 1)}" if teachers else ""
    text += ", counted by " + enumerated([WHAT.get(source, plain(source)) for source in sources])
    text += ". Idle power and all else that ran on it meanwhile are included. A cohort’s energy is split among its "
    text += "trials by their shares of its time"
    if _side_by_side(facts, rows):
        text += "; cohorts ran side by side: those on one device each count all of it, so the sum may be too high"
    return text


def _side_by_side(facts: Facts, rows: pd.DataFrame) -> bool:
    return int(facts.study.get("slots") or 1) > 1 and len(rows) > 1


def energy(joules: float) -> str:
    """Joules as people pay for them: 250 J, 0.42 Wh, 1.3 kWh, 2 MWh."""
    for unit, size in (("MWh", 3.6e9), ("kWh", 3.6e6), ("Wh", 3600.0)):
        if joules >= size / (10 if unit == "Wh" else 1):
            return f"{joules / size:.3g} {unit}"
    return f"{joules:.3g} J"
