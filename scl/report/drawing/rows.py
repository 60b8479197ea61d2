"""Rows of arms, one below the other: a mark with its interval and a ring for each seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report import theme
from scl.report.appearance import NO_ARMS, Appearance
from scl.report.blocks import Column, Table
from scl.report.formatting import PERCENT, Unit
from scl.report.tables import number_cells, number_table
from scl.report.theme import ANY, Ends, Figure, Marks, clipped, numbers

MOST_SEEDS_DRAWN = 30
MOST_SEED_CELLS = 600  # of a table with a column a seed


@dataclass(frozen=True)
class ArmRow:
    """One arm of a figure: a value, its interval, and the values by seed, all in one unit.

    faint: the arm is left out of the comparison. off_scale: the axis does not stretch to it.
    """

    arm: str
    value: float
    low: float
    high: float
    seeds: dict[int, float]
    faint: bool = False
    off_scale: bool = False


@dataclass(frozen=True)
class ArmRows:
    """rows: the best first. beyond: the number of lower arms that are left out.

    line: the teacher's value. band: the smallest detectable effect. Either may be NaN. unit: of all values. ends: the
    least and the most that a value can be; what is drawn ends there, the numbers do not.
    """

    rows: tuple[ArmRow, ...]
    baseline: str
    decimals: int
    beyond: int = 0
    line: float = math.nan
    band: float = math.nan
    unit: Unit = PERCENT
    ends: Ends = ANY
    appearance: Appearance = NO_ARMS

    def colour(self, row: ArmRow) -> str:
        if row.faint:
            return "@soft"
        return "@ink" if row.arm == self.baseline else self.appearance.style(row.arm)["color"]

    def span(self, include: Iterable[float] = ()) -> list[float] | None:
        """The range of the axis: it holds these values, and all rows but those off the scale, within `ends`."""
        rows = [row for row in self.rows if not row.off_scale] or self.rows
        points = [v for row in rows for v in (row.value, *row.seeds.values())]
        bars = [v for row in rows for v in (row.low, row.high)]
        return theme.span([*points, *(clipped(v, self.ends) for v in (*include, *bars))])

    def off(self, include: Iterable[float] = ()) -> dict[int, str]:
        """The rows that the axis does not reach, and the side on which they lie: left or right."""
        span = self.span(include)
        low, high = span or theme.ANY
        rows = [(i, row.value) for i, row in enumerate(self.rows) if row.off_scale]
        sides = [(i, "left" if value < low else "right" if value > high else "") for i, value in rows]
        return {i: side for i, side in sides if side}

    @property
    def cut(self) -> str:
        """For a caption: that a bar ends at what is possible; empty if none does."""
        off = self.off([self.line])
        rows = [row for i, row in enumerate(self.rows) if i not in off]
        low, high = any(row.low < self.ends[0] for row in rows), any(row.high > self.ends[1] for row in rows)
        if not low and not high:
            return ""
        if self.ends[0] != 0:
            return BARS_END
        ends = [name for name, beyond in (("0", low), (f"{self.ends[1]:g} {self.unit.name}", high)) if beyond]
        return f" Bars end at {' and '.join(ends)}, because no value is beyond; the table holds the whole intervals."


BARS_END = " Bars end where the arm itself would be below 0 or above 100 %; the table holds the whole intervals."

Show = Callable[[float, int], str]  # a fraction and its decimals → text


def mean_row(
    arm: str,
    values: pd.Series,
    faint: bool = False,
    off_scale: bool = False,
    ends: tuple[float, float] = (-math.inf, math.inf),
) -> ArmRow:
    """The mean with Student's 95 % interval, cut at `ends`. values: by seed, in the unit of the axis."""
    mean = stats.mean_interval(values.to_numpy(dtype=float)).within(*ends)
    return ArmRow(arm, mean.mean, mean.low, mean.high, by_seed(values), faint, off_scale)


def by_seed(values: pd.Series) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in values.items()}


def seeds_listed(arms: int) -> int:
    """The number of seeds with a column of their own in a table. trials.parquet has all; the page stays small."""
    return min(MOST_SEEDS_DRAWN, max(MOST_SEED_CELLS // max(arms, 1), 1))


def rows_table(shown: ArmRows, show: Show, show_end: Show | None = None) -> Table:
    """The numbers of the figure. show_end: of the ends of intervals, if they are shown in another way."""
    seeds = sorted({seed for row in shown.rows for seed in row.seeds})[: seeds_listed(len(shown.rows))]
    columns = [Column("value", "Estimate"), Column("low", "95 % from"), Column("high", "to")]
    columns += [Column(f"seed_{seed}", f"Seed {seed}") for seed in seeds]
    rows, unit = [], shown.unit.factor
    for r in shown.rows:
        cells = number_cells(show, shown.decimals, r.value, unit=unit)
        cells += number_cells(show_end or show, shown.decimals, r.low, r.high, unit=unit)
        of_seeds = [r.seeds.get(seed, math.nan) for seed in seeds]
        rows.append((r.arm, [*cells, *number_cells(show, shown.decimals, *of_seeds, unit=unit)]))
    return number_table(columns, rows)


def draw_rows(shown: ArmRows, x: dict[str, Any], marks: Marks, unit: str, include: list[float]) -> Figure:
    """unit: a hover template of x. include: values that the axis must hold besides those of the arms."""
    rows = shown.rows
    spans = {row.arm: (clipped(row.low, shown.ends), clipped(row.high, shown.ends)) for row in rows}
    x["range"], off = shown.span(include), shown.off(include)
    marks = theme.both(marks, ([], [_off_scale(shown, i, side) for i, side in off.items()]))
    arms = [row.arm for row in rows]
    names, whole = shown.appearance.labels(arms), shown.appearance.hovers(arms)
    y, narrow = theme.arm_axis(names.values(), shown.appearance.labels(arms, theme.NARROW).values())
    colours = [shown.colour(row) for row in rows]
    at = [i for i in range(len(rows)) if i not in off]
    drawn = [(i, seed, v) for i in at for seed, v in list(rows[i].seeds.items())[:MOST_SEEDS_DRAWN]]
    # Seeds stand a little below the interval of their arm, so that neither hides the other.
    values, below = numbers(value for _, _, value in drawn), [i + 0.24 for i, _, _ in drawn]
    about = [[names[arms[i]], seed] for i, seed, _ in drawn]
    hover, of = f"%{{customdata[0]}}<br>seed %{{customdata[1]}}: {unit}", [arms[i] for i, _, _ in drawn]
    look: dict[str, Any] = {"customdata": about, "arm": of}
    rings = theme.markers(values, below, hover, 6, "circle-open", [colours[i] for i, _, _ in drawn], **look)
    bars = [
        theme.scatter(
            "lines",
            numbers(spans[arms[i]]),
            [i, i],
            hoverinfo="skip",
            line={"color": colours[i], "width": 2},
            arm=arms[i],
        )
        for i in at
        if math.isfinite(rows[i].low)
    ]
    values = numbers(rows[i].value for i in at)
    about = [[whole[arms[i]], _interval(rows[i], shown.decimals)] for i in at]
    hover = f"%{{customdata[0]}}<br>{unit} %{{customdata[1]}}"
    look = {"customdata": about, "arm": [arms[i] for i in at]}
    diamonds = theme.markers(values, at, hover, 10, "diamond", [colours[i] for i in at], **look)
    height, data = theme.rows_height(len(rows)), [rings, *bars, diamonds]
    return theme.figure(data, height, narrow, marks=marks, rows=arms, xaxis=x, yaxis=y)


def _off_scale(shown: ArmRows, i: int, side: str) -> dict[str, Any]:
    """The value of row i as text at its end of the axis; nothing else of the row is drawn, so nothing covers it."""
    text = f"{shown.rows[i].value:.{shown.decimals}f} {shown.unit.name}, off the scale"
    text = f"◂ {text}" if side == "left" else f"{text} ▸"
    return theme.label(text, "@soft", y=i, x=0 if side == "left" else 1, xref="paper", xanchor=side)


def _interval(row: ArmRow, decimals: int) -> str:
    return f"[{row.low:.{decimals}f}, {row.high:.{decimals}f}]" if math.isfinite(row.low) else ""
