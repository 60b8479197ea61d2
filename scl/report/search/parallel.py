"""Parallel coordinates: an axis for the objective and one for each searched parameter, a line for each trial.

The lines are drawn in groups by rank, one trace a group, as ordinary SVG lines: Plotly's own parallel coordinates need
WebGL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scl.report import theme
from scl.report.blocks import Cell, Column, Plot
from scl.report.facts import Facts
from scl.report.formatting import DASH, plural
from scl.report.search.history import value_cell
from scl.report.search.objectives import Objective, objectives
from scl.report.search.parameters import Parameter, parameters
from scl.report.tables import number_table
from scl.report.theme import NARROW, Figure, axis, figure, labels, literal, scatter

MOST_AXES = 12
MOST_LEVEL = 5  # axes whose titles stand level
MOST_LINES = {"best tenth": 60, "upper half": 120, "lower half": 120}  # drawn of each group, evenly over its ranks
LOOKS = {
    "lower half": {"color": "@soft/0.3", "width": 1},
    "upper half": {"color": "@c1/0.45", "width": 1},
    "best tenth": {"color": "@c2", "width": 1.6, "dash": "dot"},
    "best trial": {"color": "@ink", "width": 3},
}
UNUSED = -0.13  # where a line passes the axis of a parameter that its trial does not have
MOST_LISTED = 20


@dataclass(frozen=True)
class Ticks:
    """One axis from 0 to 1. at: places of its labels. clipped: values beyond the lower or the upper end are drawn on
    it."""

    title: str
    at: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Parallel:
    """The completed trials of a search that keep every constraint, the best first.

    axes: the objective, then the parameters. at: (trials, axes), the place of each value on its axis from 0 to 1, NaN
    if the trial does not have the parameter. texts: the values. numbers: of the trials, as the search counted them.
    left_out: parameters beyond the first MOST_AXES, or of which all trials have one value.
    """

    objective: Objective
    axes: tuple[Ticks, ...]
    at: np.ndarray
    texts: pd.DataFrame
    values: np.ndarray
    numbers: tuple[int, ...]
    left_out: int

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """The rows of each group: the best trial, the rest of the best tenth and of the upper half, and all others."""
        n = len(self.numbers)
        tenth, half = math.ceil(n / 10), math.ceil(n / 2)
        ends = {"best trial": (0, 1), "best tenth": (1, tenth), "upper half": (max(tenth, 1), half)}
        found = {name: np.arange(start, max(stop, start)) for name, (start, stop) in ends.items()}
        return found | {"lower half": np.arange(max(half, 1), n)}


def parallel(facts: Facts) -> Parallel | None:
    """None with fewer than two completed trials, or if no parameter took two values."""
    aim = objectives(facts)[0]
    rows = facts.searched[(facts.searched["state"] == "completed") & facts.searched[aim.name].notna()]
    if len(rows) < 2:
        return None
    rows = rows.assign(value=aim.unit * rows[aim.name].astype(float))
    rows = rows.iloc[np.argsort(-aim.sign * rows["value"].to_numpy(), kind="stable")]
    found = [(p, p.frame["x"].reindex(rows.index)) for p in parameters(facts)]
    varied = [(p, x) for p, x in found if x.nunique(dropna=False) > 1]
    if not varied:
        return None
    shown = varied[:MOST_AXES]
    value = rows["value"].to_numpy(float)
    columns, axes = [_of_objective(aim, value)], []
    axes.append(Ticks(aim.title.replace("validation", "val."), columns[0][1]))
    for parameter, x in shown:
        columns.append(_of_parameter(parameter, x))
        axes.append(Ticks(parameter.name, columns[-1][1]))
    texts = pd.DataFrame({p.name: [_text(p, v) for v in x] for p, x in shown})
    at, whole = np.column_stack([places for places, _ in columns]), tuple(map(int, rows["number"]))
    return Parallel(aim, tuple(axes), at, texts, value, whole, len(found) - len(shown))


def _of_objective(aim: Objective, value: np.ndarray) -> tuple[np.ndarray, tuple[tuple[float, str], ...]]:
    """Places and labels of the objective. The axis begins at the worst twentieth, so that one failure squeezes none."""
    worst = float(np.quantile(aim.sign * value, 0.05)) if len(value) >= 20 else float((aim.sign * value).min())
    ends = sorted([aim.sign * worst, float(value.max() if aim.maximise else value.min())])
    low, high = ends if ends[0] < ends[1] else (ends[0] - 0.5, ends[1] + 0.5)
    places = np.clip((value - low) / (high - low), 0, 1)
    below, above = "≤ " if (value < low).any() else "", "≥ " if (value > high).any() else ""
    marks = ((0.0, f"{below}{low:.4g}"), (0.5, f"{(low + high) / 2:.4g}"), (1.0, f"{above}{high:.4g}"))
    return places, marks


def _of_parameter(p: Parameter, x: pd.Series) -> tuple[np.ndarray, tuple[tuple[float, str], ...]]:
    """Places and labels of a parameter: its range from low to high, or its choices evenly."""
    if p.choices:
        steps = max(len(p.choices) - 1, 1)
        where = {choice: (i / steps if len(p.choices) > 1 else 0.5) for i, choice in enumerate(p.choices)}
        named = list(where.items())
        named = named if len(named) <= 12 else [named[0], named[-1]]
        return x.map(where).to_numpy(float), tuple((at, choice) for choice, at in named)
    value = x.to_numpy(float)
    low, high = (np.nanmin([p.low, np.nanmin(value)]), np.nanmax([p.high, np.nanmax(value)]))
    log = p.log and low > 0
    scaled = np.log10([low, high]) if log else np.array([low, high])
    width = float(scaled[1] - scaled[0]) or 1.0
    places = ((np.log10(value) if log else value) - scaled[0]) / width
    if log:
        decades = [10.0**i for i in range(math.ceil(scaled[0]), math.floor(scaled[1]) + 1)]
        inner = [(float((math.log10(d) - scaled[0]) / width), d) for d in decades[:: math.ceil(len(decades) / 5) or 1]]
        inner = [(at, d) for at, d in inner if 0.08 < at < 0.92]
    else:
        inner = [(0.5, (low + high) / 2)]
    return places, tuple((at, f"{v:.3g}") for at, v in [(0.0, low), *inner, (1.0, high)])


def _text(p: Parameter, value: Any) -> str:
    return "" if pd.isna(value) else str(value) if p.choices else f"{float(value):.4g}"


def draw_parallel(shown: Parallel) -> Figure:
    used = np.isfinite(shown.at)
    places = np.where(used, shown.at, UNUSED)
    data = []
    for name in LOOKS:
        rows = shown.groups[name]
        rows = rows[:: math.ceil(len(rows) / MOST_LINES.get(name, 1)) or 1]
        if not len(rows):
            continue
        x = [i for _ in rows for i in (*range(len(shown.axes)), None)]
        y = [v for r in rows for v in (*theme.numbers(places[r], 3), None)]
        more: dict[str, Any] = {"line": LOOKS[name], "name": name, "hoverinfo": "skip"}
        if name.startswith("best"):
            about = [t for r in rows for t in (*_hover(shown, r), None)]
            more = {"line": LOOKS[name], "name": name, "text": about, "hovertemplate": "%{text}<extra></extra>"}
        data.append(scatter("lines", x, y, **more))
    names = [ticks.title for ticks in shown.axes]
    missing = not used.all()
    lines = [
        {"type": "line", "x0": i, "x1": i, "y0": 0, "y1": 1, "line": {"color": "@rule", "width": 1}}
        for i in range(len(names))
    ]
    notes = [_mark(i, at, text) for i, ticks in enumerate(shown.axes) for at, text in ticks.at]
    notes += [_mark(int(i), UNUSED, "not used") for i in np.flatnonzero(~used.all(axis=0))]
    few = [note for note in notes if note["y"] in (0.0, 1.0, UNUSED)]
    short = list(labels(names, 12).values())
    narrow = {"annotations": few, "xaxis.ticktext": short, "xaxis.tickangle": -50}
    x_axis = axis(
        "",
        side="top",
        showgrid=False,
        **theme.ticks(labels(names, 22 if len(names) <= MOST_LEVEL else NARROW).values()),
    )
    x_axis |= {"range": [-0.1, len(names) - 0.45], "tickfont": {"color": "@ink"}, "ticks": ""}
    y_axis = {"visible": False, "range": [-0.2 if missing else -0.06, 1.06], "fixedrange": True}
    # Room for the first and the last title, which Plotly does not reckon with.
    level = len(names) <= MOST_LEVEL
    x_axis["tickangle"] = 0 if level else -25
    margin = {"l": 72 if level else 16, "r": 16 if level else 56, "t": 44, "b": 8}
    return figure(data, 400, narrow, legend=len(data), marks=(lines, notes), xaxis=x_axis, yaxis=y_axis, margin=margin)


def _mark(i: int, at: float, text: str) -> dict[str, Any]:
    """A label right of axis i, on a ground that keeps it legible above the lines."""
    place = {"x": i, "y": at, "xanchor": "left", "yanchor": "middle", "xshift": 3}
    return theme.label(literal(text), "@ink", **place, bgcolor="@page/0.75", borderpad=1)


def _hover(shown: Parallel, row: int) -> list[str]:
    """What each point of a line says: its trial and the value on this axis."""
    texts = [f"{shown.values[row]:.4g}", *shown.texts.iloc[row]]
    names = [literal(ticks.title) for ticks in shown.axes]
    head = f"trial {shown.numbers[row]}<br>"
    return [f"{head}{name}: {literal(text) or 'not used'}" for name, text in zip(names, texts, strict=True)]


def parallel_plot(facts: Facts, shown: Parallel) -> Plot:
    n, groups = len(shown.numbers), shown.groups
    drawn = {name: min(len(rows), MOST_LINES.get(name, 1)) for name, rows in groups.items()}
    sampled = f", {sum(drawn.values())} of them drawn, evenly by rank" if sum(drawn.values()) < n else ""
    caption = (
        f"Parallel coordinates: a line for each of {plural(n, 'completed trial')}{sampled}, through its "
        f"{shown.objective.title.split(',')[0]} and the value of each parameter. Lines of good trials that bundle show "
        "where a parameter matters; at the end of an axis, a wider range may be better. Parameters that were searched "
        "on a logarithmic axis have one here."
    )
    if not np.isfinite(shown.at).all():
        caption += " A line below an axis belongs to a trial that does not use this parameter."
    if shown.left_out:
        caption += (
            f" {plural(shown.left_out, 'parameter')} without an axis: beyond the first {MOST_AXES}, or of one value."
        )
    first = np.arange(n)[: min(max(math.ceil(n / 10), 1), MOST_LISTED)]
    names = list(shown.texts.columns)
    rows = []
    for row in first:
        cells = [value_cell(facts, shown.objective, float(shown.values[row]))]
        cells += [_cell(text) for text in shown.texts.iloc[row]]
        rows.append((f"trial {shown.numbers[row]}", cells))
    columns = [Column("value", shown.objective.title), *[Column(f"p{i}", name) for i, name in enumerate(names)]]
    table = number_table(columns, rows, "Trial", "The best tenth of the trials, the best first")
    return Plot("parallel", caption, [draw_parallel(shown)], table)


def _cell(text: str) -> Cell:
    if not text:
        return Cell(DASH)
    try:
        return Cell(text, float(text))
    except ValueError:
        return Cell(text)
