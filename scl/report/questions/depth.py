"""Does the effect of one factor depend on another (loss × depth)? Lines over levels, and an analysis of variance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from scl import stats
from scl.report.blocks import Block, Cell, Column, Heading, Note, Panel, Plot, Row, Table
from scl.report.drawing.lines import Line, draw_lines, line_cells, line_key
from scl.report.factors import factor_names, factors_of
from scl.report.facts import Facts
from scl.report.formatting import DASH, capital, fixed, listing, p_clause, plural
from scl.report.tables import number_cells, number_table, p_cell, text_cell
from scl.report.theme import Figure

MOST_LINES = 12


def panel(facts: Facts) -> Panel:
    design = layout(facts)
    if design is None:
        title = "Does the effect of the loss depend on depth?"
        why = "This study does not cross two factors such as loss and depth."
        if len(factor_names(facts.study)) > 1:
            why = "This needs results of at least three arms that learnt and that are combinations of the factors."
        return Panel("depth", title, why)
    across, by = design.across, design.by
    title = f"Does the effect of {by} depend on {across}?"
    anova = variance(facts, design)
    blocks: list[Block] = [_plot(facts, design)]
    if anova.table.empty:
        blocks.append(Note(f"No analysis of variance: {anova.why_not}."))
        answer = "Lines over the levels, without a test."
    else:
        blocks += [Heading("Analysis of variance, type II, with the seed as a block"), _anova_table(facts, anova)]
        if anova.why_not:
            blocks.append(Note(f"There is {anova.why_not}."))
        answer = _answer(anova, across, by)
    return Panel("depth", title, answer, blocks)


@dataclass(frozen=True)
class Layout:
    """The arms as combinations of factors. levels: (arms, factors) as text; order: factor → its levels in order.

    across: the factor along the axis. by: the factor with a line for each level. reference: the baseline's level of it.
    """

    levels: pd.DataFrame
    order: dict[str, list[str]]
    across: str
    by: str
    reference: str

    @property
    def steps(self) -> list[str]:
        return self.order[self.across]


@dataclass(frozen=True)
class Interaction:
    """accuracy: a line for each level of `by`, the metric as it is shown; gain: the same minus the reference, by seed.

    left_out: the number of further levels of `by`. uneven: some cells average fewer arms than others, because
    combinations with the remaining factors have no result.
    """

    layout: Layout
    accuracy: tuple[Line, ...]
    gain: tuple[Line, ...]
    left_out: int
    uneven: bool


def layout(facts: Facts) -> Layout | None:
    """The factorial of a study with at least two factors, else None."""
    factors = factors_of(facts.study, [str(arm) for arm in facts.scores.columns if arm not in facts.collapsed])
    if factors is None or len(factors.levels) < 3:
        return None
    frame = pd.DataFrame.from_dict(factors.levels, orient="index")[list(factors.order)]
    base = frame.loc[facts.baseline, factors.by] if facts.baseline in frame.index else None
    order = {name: list(levels) for name, levels in factors.order.items()}
    return Layout(frame, order, factors.across, factors.by, str(base or order[factors.by][0]))


def interaction(facts: Facts, design: Layout) -> Interaction:
    """Means over seeds for each pair of levels; further factors are averaged within a seed first."""
    groups = design.levels.groupby([design.across, design.by]).groups
    by_cell = {key: facts.scores[list(arms)].mean(axis=1, skipna=False) for key, arms in groups.items()}
    steps, unit = design.steps, facts.unit
    drawn = design.order[design.by][:MOST_LINES]

    def line(level: str, colour: int, minus: str | None = None) -> Line:
        means = {}
        for i, step in enumerate(steps):
            values, other = by_cell.get((step, level)), by_cell.get((step, minus), 0.0 if minus is None else None)
            if values is not None and other is not None:
                mean = stats.mean_interval(unit.factor * (values - other).to_numpy())
                if mean.n:
                    means[i] = mean.within(0, unit.factor * unit.most) if minus is None else mean
        cells = [list(groups[steps[i], level]) for i in means]
        arms = tuple(str(cell[0]) for cell in cells) if all(len(cell) == 1 for cell in cells) else ()
        return Line(level, tuple(means), tuple(means.values()), colour, arms=arms)

    colours = {level: i for i, level in enumerate(level for level in drawn if level != design.reference)}
    if facts.appearance.factor == design.by:  # as the arms of these levels are coloured
        colours = {level: facts.appearance.level_colours[level] for level in colours}
    accuracy = tuple(line(level, colours.get(level, -1)) for level in drawn)
    gain = tuple(line(level, colours[level], design.reference) for level in colours)
    uneven = len({len(arms) for arms in groups.values()}) > 1
    left_out = len(design.order[design.by]) - len(drawn)
    return Interaction(design, tuple(a for a in accuracy if a.at), tuple(g for g in gain if g.at), left_out, uneven)


def variance(facts: Facts, design: Layout) -> stats.Anova:
    """Type-II analysis of variance of the metric as it is shown, with the seed as a block."""
    long = facts.unit.factor * facts.scores[list(design.levels.index)]
    long = long.reset_index().melt("seed", var_name="arm", value_name="y").dropna()
    for name in design.levels.columns:
        long[name] = long["arm"].map(design.levels[name])
    return stats.anova(long, list(design.levels.columns))


def draw_accuracy(facts: Facts, shown: Interaction) -> Figure:
    steps, across, unit = shown.layout.steps, shown.layout.across, facts.unit
    return draw_lines(shown.accuracy, steps, across, facts.axis, unit.name, unit.factor * facts.teacher)


def draw_gain(facts: Facts, shown: Interaction) -> Figure:
    steps, across, unit = shown.layout.steps, shown.layout.across, facts.unit.many
    ends = (-facts.possible[1], facts.possible[1])
    return draw_lines(shown.gain, steps, across, f"{unit} above the reference", unit=unit, zero="reference", ends=ends)


def _plot(facts: Facts, design: Layout) -> Plot:
    across, by, reference = design.across, design.by, design.reference
    shown = interaction(facts, design)
    drawn, titles = [draw_accuracy(facts, shown)], [capital(facts.measure.title)]
    bars = (
        "; bar: its 95 % interval (Student's t)" if any(m.n > 1 for line in shown.accuracy for m in line.means) else ""
    )
    caption = (
        f"A line for each level of {by}, over the levels of {across}. Mark: mean over seeds{bars}. Parallel lines: the "
        f"effect of {by} is the same for all levels of {across}. Lines that diverge or cross by more than chance: it "
        f"depends on {across}."
    )
    if shown.gain:
        drawn.append(draw_gain(facts, shown))
        titles.append(f"Minus “{reference}” at the same {across}, by seed")
        caption += (
            f" The right side subtracts “{reference}” of the same seed first, which removes what a seed does to all "
            "arms: lines that are flat up to chance show no interaction."
        )
    others = [name for name in design.order if name not in (across, by)]
    caption += f" Averaged over {', '.join(others)}." if others else ""
    if shown.uneven:
        caption += (
            " Some cells average fewer arms than others, because combinations are missing, so their lines also differ "
            "in the remaining factors. The analysis of variance takes this into account."
        )
    if shown.left_out:
        caption += f" Not drawn: {plural(shown.left_out, 'further level')} of {by}."
    collapsed = [arm for arm in facts.collapsed if arm in (facts.study.get("arm_levels") or {})]
    caption += f" Left out because they collapsed: {listing(collapsed)}." if collapsed else ""
    steps = design.steps
    columns = [Column(f"at_{i}", f"{across} {step}") for i, step in enumerate(steps)]
    d = max(facts.decimals, 1)
    rows = [(line.name, line_cells(line, len(steps), d)) for line in shown.accuracy]
    rows += [(f"{line.name} minus {reference}", line_cells(line, len(steps), d)) for line in shown.gain]
    table = number_table(columns, rows, by.capitalize(), "Means by cell")
    key = line_key({line.name: line.colour for line in shown.accuracy})
    return Plot("interaction", caption, drawn, table, titles, key)


def _answer(anova: stats.Anova, across: str, by: str) -> str:
    table = anova.table
    name = next((n for n in (f"{across} × {by}", f"{by} × {across}") if n in table.index), "")
    if not name:
        return f"The interaction of {by} and {across} cannot be tested: {anova.why_not}."
    row = table.loc[name]
    spread = f"F({row['df']:.0f}, {table.loc['residual', 'df']:.0f}) = {row['F']:.2f}, {p_clause(row['p'])}"
    start = f"The effect of {by} {'depends' if row['p'] < 1 - stats.LEVEL else 'is not shown to depend'} on {across}"
    return f"{start} ({spread}, partial η² {row['eta_sq']:.2f})."


def _anova_table(facts: Facts, anova: stats.Anova) -> Table:
    columns = [
        Column("term", "Term", number=False),
        Column("df", "df"),
        Column("sum_sq", "Sum of squares", f"of {facts.measure.words} in {facts.unit.many}"),
        Column("F", "F"),
        Column("p", "p", "of this term, not corrected for the number of terms"),
        Column("eta_sq", "partial η²", "share of the term in the variance of itself and the residual"),
    ]
    rows = []
    for term, r in anova.table.iterrows():
        cells = [text_cell(term), *number_cells(fixed, 0, r["df"]), Cell(f"{r['sum_sq']:.3g}", r["sum_sq"])]
        tested = [*number_cells(fixed, 2, r["F"]), p_cell(r["p"]), *number_cells(fixed, 2, r["eta_sq"])]
        rows.append(Row([*cells, *(tested if math.isfinite(r["F"]) else [Cell(DASH)] * 3)]))
    return Table(columns, rows, id="anova", label="Analysis of variance")
