"""Latency of exported students on the devices where it was measured, by arm."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from scl.report.blocks import Cell, Column, Table
from scl.report.facts import Facts
from scl.report.formatting import DASH, plain, plural
from scl.report.tables import number_table
from scl.store.latencies import architecture_of


def device_table(facts: Facts) -> Table | None:
    """A row for each arm that has a figure, a column for each device, runtime, batch and number of threads; None if
    nothing was measured. Figures belong to an architecture: arms that share one have the same."""
    data = facts.study.get("data") or {}
    shape: list[Any] = [data.get(name) for name in ("channels", "height", "width")]
    measured: dict[str, dict[str, float]] = {}
    for one in facts.results.latencies:
        measured.setdefault(one["architecture"], {})[_where(one)] = one["latency_ms"]
    if not measured or None in shape:
        return None
    first = facts.completed.drop_duplicates("arm").set_index("arm")["config_json"]
    by_arm = {
        str(arm): measured.get(architecture_of(_fields(first[arm]), shape, int(data.get("classes") or 0)), {})
        for arm in facts.arms
        if arm in first.index
    }
    places = list(dict.fromkeys(place for figures in by_arm.values() for place in figures))
    if not places:
        return None
    columns = [Column(f"device_{i}", plain(place)) for i, place in enumerate(places)]
    rows = [(arm, [_cell(figures.get(place)) for place in places]) for arm, figures in by_arm.items() if figures]
    return number_table(columns, rows, label="Latency by device, ms")


def _where(one: Mapping[str, Any]) -> str:
    size = "" if one["batch"] == 1 else f", batches of {one['batch']}"
    return f"{one['device']}, {one['runtime']}, {plural(one['threads'], 'thread')}{size}, ms"


def _fields(stored: Any) -> Mapping[str, Any]:
    try:
        fields = json.loads(stored)
    except (TypeError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _cell(milliseconds: float | None) -> Cell:
    return Cell(DASH, math.nan) if milliseconds is None else Cell(f"{milliseconds:.3g}", milliseconds)
