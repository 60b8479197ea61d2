"""A factorial study: one factor along the axis, a line for each level of another, and the analysis of variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report.facts import Facts
from scl.report.figures.lines import Line, draw_lines
from scl.report.theme import Figure

MOST_LINES = 12


@dataclass(frozen=True)
class Layout:
    """The arms as cells of a factorial. levels: (arms, factors) as text; order: factor → its levels in order.

    across: the factor along the axis; by: the factor whose levels are lines; reference: its level of the baseline.
    """

    levels: pd.DataFrame
    order: dict[str, list[str]]
    across: str
    by: str
    reference: str


@dataclass(frozen=True)
class Interaction:
    """accuracy: a line a level of `by`, in %; gain: the same minus the reference level, paired by seed, in points."""

    layout: Layout
    accuracy: tuple[Line, ...]
    gain: tuple[Line, ...]
    left_out: int


def layout(facts: Facts) -> Layout | None:
    """The factorial of a study with two factors or more, or None. `depth` goes along the axis where there is one."""
    declared = facts.study.get("factors") or {}
    placed = facts.study.get("arm_levels") or {}
    # Which control of equal width an arm is, is no factor to cross with others: the self-taught panel shows that.
    names = [name for name, about in declared.items() if len(_levels(about)) > 1 and name != "control"]
    rows = {
        arm: {name: _text(placed[arm][name]) for name in names}
        for arm in facts.scores.columns
        if arm in placed and arm not in facts.collapsed and all(name in placed[arm] for name in names)
    }
    if len(names) < 2 or len(rows) < 3:
        return None
    frame = pd.DataFrame.from_dict(rows, orient="index")[names]
    order = {name: [level for level in map(_text, _levels(declared[name])) if (frame[name] == level).any()]
             for name in names}  # fmt: skip
    numeric = [name for name in names if all(_is_number(level) for level in _levels(declared[name]))]
    across = "depth" if "depth" in names else max(numeric or names, key=lambda name: len(order[name]))
    by = "loss" if "loss" in names and across != "loss" else next(name for name in names if name != across)
    base = frame.loc[facts.baseline, by] if facts.baseline in frame.index else None
    return Layout(frame, order, across, by, str(base or order[by][0]))


def _levels(about: Any) -> list[Any]:
    return list(about.get("levels", [])) if isinstance(about, dict) else list(about or [])


def _text(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _is_number(level: Any) -> bool:
    return isinstance(level, (int, float)) and not isinstance(level, bool)


def interaction(facts: Facts, design: Layout) -> Interaction:
    """Means over seeds at each pair of levels; cells of further factors are averaged within a seed first."""
    levels = design.levels
    by_cell: dict[tuple[str, str], pd.Series] = {}
    for key, arms in levels.groupby([design.across, design.by]).groups.items():
        by_cell[key] = facts.scores[list(arms)].mean(axis=1, skipna=False)
    steps = design.order[design.across]
    drawn = design.order[design.by][:MOST_LINES]

    def line(level: str, colour: int, minus: str | None) -> Line:
        at, means = [], []
        for i, step in enumerate(steps):
            values = by_cell.get((step, level))
            other = by_cell.get((step, minus)) if minus is not None else None
            if values is None or (minus is not None and other is None):
                continue
            at.append(i)
            means.append(stats.mean_interval(100 * (values if other is None else values - other).to_numpy()))
        return Line(level, tuple(at), tuple(means), colour)

    colours = {level: i for i, level in enumerate(level for level in drawn if level != design.reference)}
    accuracy = tuple(line(level, colours.get(level, -1), None) for level in drawn)
    gain = tuple(line(level, colours[level], design.reference) for level in colours)
    gain = tuple(g for g in gain if g.at)
    return Interaction(design, accuracy, gain, len(design.order[design.by]) - len(drawn))


def variance(facts: Facts, design: Layout) -> stats.Anova:
    """Type-II analysis of variance of the accuracy in points, with the seed as a block."""
    long = 100 * facts.scores[list(design.levels.index)]
    long = long.reset_index().melt("seed", var_name="arm", value_name="y").dropna()
    for name in design.levels.columns:
        long[name] = long["arm"].map(design.levels[name])
    return stats.anova(long, list(design.levels.columns))


def draw_accuracy(shown: Interaction, teacher: float) -> Figure:
    steps = shown.layout.order[shown.layout.across]
    return draw_lines(shown.accuracy, steps, shown.layout.across, "test accuracy, %", teacher=teacher)


def draw_gain(shown: Interaction) -> Figure:
    steps = shown.layout.order[shown.layout.across]
    title = "points above the reference"
    return draw_lines(shown.gain, steps, shown.layout.across, title, unit="points", zero="reference")
