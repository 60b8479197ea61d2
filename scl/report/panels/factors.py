"""Panels of factors: the count of self-taught neurons, and one factor against another (loss × depth)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scl import stats
from scl.report.blocks import Block, Cell, Column, Heading, Mark, Note, Panel, Plot, Row, Table, number_table, text_cell
from scl.report.facts import Facts
from scl.report.figures import factors as figures
from scl.report.figures import self_taught as counts
from scl.report.figures.lines import Line, look
from scl.report.words import DASH, bare, listing, p_clause, p_value, percent, plural, points

MOST_FAMILIES = 8


def self_taught(facts: Facts) -> Panel:
    title = "How many self-taught neurons?"
    families = counts.families(facts)
    if not families:
        why = "No two arms differ in the number of self-taught neurons alone, so there is no response to draw."
        return Panel("self-taught", title, why)
    shown = families[:MOST_FAMILIES]
    teacher = 100 * facts.teacher
    lines = [counts.responses(facts, family) for family in shown]
    drawn = [counts.draw_responses(own, family.counts, teacher) for own, family in zip(lines, shown, strict=True)]
    kinds = {line.name: line.colour for own in lines for line in own}
    key = [Mark(name, look(colour)["color"], look(colour)["symbol"]) for name, colour in kinds.items()]
    caption = (
        "Mean test accuracy by the number of self-taught neurons of each guided layer"
        + (", the bar its 95 % interval over seeds (Student's t)" if facts.seeds > 1 else ", one seed")
        + ". Self-taught: the layer's losses do not see those channels. That line has to rise above the controls of "
        "the same width, or it shows no more than what a wider layer does. Zeroing the self-taught channels at the "
        "test shows how far the classifier leans on them. Counts stand evenly, not to scale."
    )
    if len(families) > len(shown):
        caption += f" The first {len(shown)} of {len(families)} sets of losses are drawn."
    rows = [
        (f"{line.name} ({family.title})" if len(shown) > 1 else line.name, _line_cells(line, len(family.counts)))
        for own, family in zip(lines, shown, strict=True)
        for line in own
    ]
    widest = max(shown, key=lambda family: len(family.counts))
    same = all(family.counts == widest.counts for family in shown)
    heads = [f"k = {k}" for k in widest.counts] if same else [f"{i + 1}. count" for i in range(len(widest.counts))]
    rows = [(name, [*cells, *[Cell(DASH)] * (len(heads) - len(cells))]) for name, cells in rows]
    table = number_table([Column(f"at_{i}", head) for i, head in enumerate(heads)], rows, "Series", "Response by count")
    titles = [family.title for family in shown]
    blocks: list[Block] = [Plot("self-taught-response", caption, drawn, table, titles, key, wide=True)]
    pairs = [(family, counts.equal_width(facts, family)) for family in shown]
    blocks += [_equal_width(facts, family, found) for family, found in pairs if found]
    lacking = sorted({kind for f in shown for kind in (counts.ALL, counts.UNGUIDED) if kind not in f.controls})
    if lacking:
        what = " and ".join(kind.removeprefix("control: ") for kind in lacking)
        blocks.append(
            Note(
                f"Not in this study{'' if len(shown) == 1 else ' for every set of losses'}: {what}. Without "
                f"{'it' if len(lacking) == 1 else 'them'} a gain cannot be told from that of a wider network."
            )
        )
    return Panel("self-taught", title, " ".join(_best_count(facts, f, found) for f, found in pairs[:3]), blocks)


def _best_count(facts: Facts, family: counts.Family, pairs: Sequence[counts.Pair]) -> str:
    arms = family.series.get(counts.FREE) or next(iter(family.series.values()))
    means = {k: float(facts.scores[arm].mean()) for k, arm in arms.items()}
    best = max(means, key=lambda k: means[k])
    text = f"With {family.title} the highest mean is at {best} self-taught ({percent(means[best], facts.decimals)})"
    if 0 in means and best != 0:
        text += f", {points(means[best] - means[0], facts.decimals)} points from none"
    against = [p for p in pairs if p.count == best and p.kind == counts.FREE and math.isfinite(p.paired.p_holm)]
    if against:
        worst = max(against, key=lambda p: p.paired.p_holm)
        gain = worst.paired.differences.mean
        told = worst.paired.p_holm < 1 - stats.LEVEL
        how = "cannot be told from" if not told else "is credibly above" if gain > 0 else "is credibly below"
        text += (
            f"; at that width it {how} the {worst.control} "
            f"({points(gain, facts.decimals)} points, Holm {p_clause(worst.paired.p_holm)})"
        )
    elif facts.seeds == 1:
        text += "; one seed cannot tell whether that is luck"
    return text + "."


def _equal_width(facts: Facts, family: counts.Family, pairs: Sequence[counts.Pair]) -> Table:
    columns = [
        Column("kind", "Arm", number=False),
        Column("control", "Minus, at the same width", number=False),
        Column("count", "k"),
        Column("n", "n"),
        Column("difference", "points"),
        Column("low", "from", "Student's t interval of the paired difference, by itself", "95 % interval"),
        Column("high", "to", "Student's t interval of the paired difference, by itself", "95 % interval"),
        Column("p_holm", "Holm p", "paired t, over all rows of this table"),
    ]
    rows = []
    for pair in pairs:
        m = pair.paired.differences
        cells = [text_cell(pair.kind), text_cell(pair.control.removeprefix("control: same width, "))]
        cells.append(Cell(str(pair.count), pair.count))
        cells += [Cell(str(m.n), m.n), *[Cell(points(v, facts.decimals), v) for v in (m.mean, m.low, m.high)]]
        rows.append(Row([*cells, Cell(p_value(pair.paired.p_holm), pair.paired.p_holm)], pair.paired.arm))
    return Table(columns, rows, label=f"Self-taught against equal width: {family.title}")


def _line_cells(line: Line, levels: int) -> list[Cell]:
    by_level = dict(zip(line.at, line.means, strict=True))
    return [_mean_cell(by_level.get(i)) for i in range(levels)]


def _mean_cell(mean: stats.Mean | None, decimals: int = 2) -> Cell:
    """A mean that is already in the unit of its axis, with the half-width of its interval."""
    if mean is None or mean.n == 0:
        return Cell(DASH)
    half = mean.high - mean.mean
    return Cell(bare(mean.mean / 100, decimals) + (f" ± {half:.{decimals}f}" if math.isfinite(half) else ""), mean.mean)


def depth(facts: Facts) -> Panel:
    title = "Loss × depth?"
    design = figures.layout(facts)
    if design is None:
        why = "This study does not cross two factors, such as loss and depth, so there is no interaction to look for."
        return Panel("depth", title, why)
    across, by = design.across, design.by
    title = f"{by.capitalize()} × {across}?"
    shown = figures.interaction(facts, design)
    anova = figures.variance(facts, design)
    colours = [Mark(line.name, look(line.colour)["color"], look(line.colour)["symbol"]) for line in shown.accuracy]
    drawn = [figures.draw_accuracy(shown, 100 * facts.teacher)]
    titles = ["Test accuracy"]
    if shown.gain:
        drawn.append(figures.draw_gain(shown))
        titles.append(f"Above “{design.reference}” at the same {across}, by seed")
    caption = (
        f"A line a level of {by}, over the levels of {across}; a mark is a mean over seeds, the bar its 95 % interval "
        "(Student's t). Lines that keep their distance say that the two act each by itself; lines that part or cross "
        f"say that what {by} is worth depends on {across}."
    )
    if shown.gain:
        caption += (
            f" On the right each seed's difference to “{design.reference}” is taken first, which removes what a seed "
            "does to all: flat lines mean no interaction."
        )
    others = [name for name in design.order if name not in (across, by)]
    caption += f" Averaged over {', '.join(others)}." if others else ""
    caption += f" {plural(shown.left_out, 'further level')} of {by} not drawn." if shown.left_out else ""
    gone = [arm for arm in facts.collapsed if arm in (facts.study.get("arm_levels") or {})]
    caption += f" Left out, as they collapsed: {listing(gone)}." if gone else ""
    steps = design.order[across]
    columns = [Column(f"at_{i}", f"{across} {step}") for i, step in enumerate(steps)]
    rows = [(line.name, _line_cells(line, len(steps))) for line in shown.accuracy]
    rows += [(f"{line.name} minus {design.reference}", _line_cells(line, len(steps))) for line in shown.gain]
    table = number_table(columns, rows, by.capitalize(), "Means by cell")
    blocks: list[Block] = [Plot("interaction", caption, drawn, table, titles, colours, wide=True)]
    if anova.table.empty:
        blocks.append(Note(f"No analysis of variance: {anova.why_not}."))
        answer = "Lines over the levels, without a test."
    else:
        blocks += [Heading("Analysis of variance, type II, with the seed as a block"), _anova_table(anova)]
        if anova.why_not:
            blocks.append(Note(f"There is {anova.why_not}."))
        answer = _anova_answer(anova, across, by)
    return Panel("depth", title, answer, blocks)


def _anova_answer(anova: stats.Anova, across: str, by: str) -> str:
    table = anova.table
    name = next((n for n in (f"{across} × {by}", f"{by} × {across}") if n in table.index), "")
    if not name:
        return f"The interaction of {by} and {across} cannot be tested: {anova.why_not}."
    row = table.loc[name]
    told = row["p"] < 1 - stats.LEVEL
    start = f"What {by} is worth depends on {across}" if told else f"No interaction of {by} and {across} can be seen"
    spread = f"F({row['df']:.0f}, {table.loc['residual', 'df']:.0f}) = {row['F']:.2f}, {p_clause(row['p'])}"
    return f"{start} ({spread}, partial η² {row['eta_sq']:.2f})."


def _anova_table(anova: stats.Anova) -> Table:
    columns = [
        Column("term", "Term", number=False),
        Column("df", "df"),
        Column("sum_sq", "Sum of squares", "of accuracy in points"),
        Column("F", "F"),
        Column("p", "p", "of this term, not corrected for the number of terms"),
        Column("eta_sq", "partial η²", "share of the term in the variance that it and the residual make up"),
    ]
    rows = []
    for term, r in anova.table.iterrows():
        cells = [text_cell(term), Cell(f"{r['df']:.0f}", float(r["df"])), Cell(f"{r['sum_sq']:.3g}", r["sum_sq"])]
        known = math.isfinite(r["F"])
        cells.append(Cell(f"{r['F']:.2f}", r["F"]) if known else Cell(DASH))
        cells.append(Cell(p_value(r["p"]), r["p"]) if known else Cell(DASH))
        cells.append(Cell(f"{r['eta_sq']:.2f}", r["eta_sq"]) if known else Cell(DASH))
        rows.append(Row(cells))
    return Table(columns, rows, id="anova", label="Analysis of variance")
