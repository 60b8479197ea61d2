"""How many self-taught neurons? Accuracy by their count, beside networks of the same width.

A family holds the arms that differ only in the count and in which channels are guided: one set of transfer losses, one
student, one recipe. Its k = 0 arm belongs to every guided series; arms without a transfer loss are a control.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from scl import stats
from scl.report.blocks import Block, Cell, Column, Note, Panel, Plot, Row, Table
from scl.report.drawing.lines import Line, draw_lines, line_cells, line_key
from scl.report.facts import Facts
from scl.report.formatting import DASH, listing, p_clause, plural
from scl.report.tables import count_cell, number_cells, number_table, p_cell, text_cell
from scl.report.theme import Figure
from scl.study.metrics import DEFAULT

TITLE = "How many self-taught neurons?"
MOST_FAMILIES = 8
MOST_ANSWERS = 3  # families with a sentence on top
# What may differ inside a family: the count, the guided channels, and the weights and options of the objective.
_INSIDE = ("self_taught", "guided", "connector", "self_taught_from", "ce")

FREE = "self-taught"
ALL = "control: same width, all guided"
ALL_CONNECTED = "control: same width, all guided, connector"
FREE_CONNECTED = "self-taught, connector"
TAKEN = "self-taught, taken from the width"
UNGUIDED = "control: same width, no guidance"
NEITHER = "no guidance, no self-taught neurons"  # UNGUIDED at k = 0 alone: no control of a wider network
MUTED = "self-taught, zeroed at test time"
KINDS = (FREE, FREE_CONNECTED, TAKEN, ALL, ALL_CONNECTED, UNGUIDED, NEITHER)


def panel(facts: Facts) -> Panel:
    found = families(facts)
    if not found:
        return Panel("self-taught", TITLE, "No two arms differ only in the number of self-taught neurons.")
    shown = found[:MOST_FAMILIES]
    pairs = list(zip(shown, equal_width(facts, shown), strict=True))
    blocks: list[Block] = [_response_plot(facts, shown, len(found))]
    blocks += [_equal_width_table(facts, family, tested) for family, tested in pairs if tested]
    if missing := _missing(shown):
        blocks.append(Note(missing))
    answer = " ".join(_best_count(facts, family, tested) for family, tested in pairs[:MOST_ANSWERS])
    more = len(found) - MOST_ANSWERS
    answer += f" {plural(more, 'further set')} of losses: see below." if more > 0 else ""
    return Panel("self-taught", TITLE, answer, blocks)


# A control may have a connector, which guiding all channels needs for some losses.
_CONTROLS = (("same width, all guided", (ALL, ALL_CONNECTED)), ("same width, no guidance", (UNGUIDED,)))


def _missing(shown: Sequence[Family]) -> str:
    """The controls of equal width without a result at a count above 0, and of which losses; empty if all have one."""
    parts = []
    for name, kinds in _CONTROLS:
        lacking = [family.title for family in shown if not set(kinds) & set(family.controls)]
        if lacking:
            parts.append(name if len(lacking) == len(shown) else f"{name} (for {listing(lacking)})")
    if not parts:
        return ""
    them = "it" if len(parts) == 1 else "them"
    return (
        f"Controls missing here, because the study has none or they have no usable result: {' and '.join(parts)}. "
        f"Without {them}, a gain may come from the wider network alone."
    )


@dataclass(frozen=True)
class Family:
    """series: kind → count of self-taught neurons → arm. title: its losses, and its difference from other families."""

    title: str
    series: Mapping[str, Mapping[int, str]]

    @property
    def counts(self) -> list[int]:
        return sorted({k for arms in self.series.values() for k in arms})

    @property
    def controls(self) -> list[str]:
        """The controls of equal width that exist at any count above 0."""
        return [kind for kind in (ALL, ALL_CONNECTED, UNGUIDED) if any(k > 0 for k in self.series.get(kind, {}))]


@dataclass(frozen=True)
class Pair:
    """A self-taught arm of this kind against a control of equal width: paired differences by seed, fractions."""

    kind: str
    count: int
    control: str
    paired: stats.Paired


def families(facts: Facts) -> tuple[Family, ...]:
    """The families with self-taught neurons among the arms that learnt; each has at least two counts."""
    if "param.self_taught" not in facts.completed:
        return ()
    settings = facts.learnt.drop_duplicates("arm").set_index("arm")
    settings["count"] = [_count(value) for value in settings["param.self_taught"]]
    settings = settings[settings["count"] >= 0]
    params = [c for c in settings.columns if c.startswith("param.")]
    weights = [c for c in params if c.startswith("param.weight.")]
    settings[weights] = settings[weights].apply(pd.to_numeric, errors="coerce")  # of another program's table, text
    losses = {c.removeprefix("param.weight.") for c in weights}
    names = {c: c.removeprefix("param.") for c in params if c not in weights}
    outside = [c for c, name in names.items() if name not in _INSIDE and name.split(".")[0] not in {"share", *losses}]
    varied = [c for c in outside if settings[c].nunique(dropna=False) > 1]
    # context → names of the losses → arm → its row
    grouped: dict[tuple[Any, ...], dict[tuple[str, ...], dict[str, Any]]] = {}
    for arm, row in settings.iterrows():
        context = tuple(None if pd.isna(row[c]) else row[c] for c in varied)
        guided_by = tuple(sorted(c.removeprefix("param.weight.") for c in weights if row[c] > 0))
        grouped.setdefault(context, {}).setdefault(guided_by, {})[str(arm)] = row
    out = []
    for context, by_losses in grouped.items():
        unguided = {int(row["count"]): arm for arm, row in by_losses.get((), {}).items()}
        apart = [f"{c.removeprefix('param.')} {v}" for c, v in zip(varied, context, strict=True) if v is not None]
        for guided_by, rows in by_losses.items():
            series: dict[str, dict[int, str]] = {}
            for arm, row in rows.items():
                count = int(row["count"])
                series.setdefault(_kind(row) if count else FREE, {}).setdefault(count, arm)
            if not guided_by or not any(k > 0 for arms in series.values() for k in arms):
                continue
            if 0 in series.get(FREE, {}):
                for kind in series:
                    series[kind].setdefault(0, series[FREE][0])
            if unguided:
                series[UNGUIDED if any(k > 0 for k in unguided) else NEITHER] = unguided
            ordered = {kind: dict(sorted(series[kind].items())) for kind in KINDS if kind in series}
            family = Family(", ".join([" + ".join(guided_by), *apart[:3]]), ordered)
            if len(family.counts) > 1:
                out.append(family)
    return tuple(out)


def _count(value: Any) -> int:
    """k if every guided layer has the same; −1 if layers differ (`0/8/8`) or the value is unknown."""
    parts = set(str(value).split("/"))
    try:
        return int(float(parts.pop())) if len(parts) == 1 else -1
    except (ValueError, OverflowError):
        return -1


def _kind(row: Any) -> str:
    connected = row.get("param.connector") == "always"
    if row.get("param.guided") == "all":
        return ALL_CONNECTED if connected else ALL
    if row.get("param.self_taught_from") == "taken":
        return TAKEN
    return FREE_CONNECTED if connected else FREE


# Guiding all channels needs a connector if a loss wants equal channels. Such a control has one connector more than the
# plain arm, so it is also compared with an arm that has a connector.
_COMPARED = ((FREE, ALL), (FREE_CONNECTED, ALL), (FREE_CONNECTED, ALL_CONNECTED), (FREE, UNGUIDED))


def equal_width(facts: Facts, shown: Sequence[Family]) -> list[tuple[Pair, ...]]:
    """For each family, its self-taught arms minus their controls of the same count, by seed.

    Holm's correction is over the pairs of all families: they are on one panel.
    """
    found = [_pairs(facts, family) for family in shown]
    corrected = iter(stats.holm([pair.paired.p for pairs in found for pair in pairs]))
    return [
        tuple(replace(pair, paired=replace(pair.paired, p_holm=float(next(corrected)))) for pair in pairs)
        for pairs in found
    ]


def _pairs(facts: Facts, family: Family) -> list[Pair]:
    found = []
    for count in [k for k in family.counts if k > 0]:
        for kind, control in _COMPARED:
            arm, other = (family.series.get(name, {}).get(count) for name in (kind, control))
            if arm is not None and other is not None:
                (pair,) = stats.paired(facts.learnt_scores[[other, arm]], other)
                found.append(Pair(kind, count, control, pair))
    return found


def responses(facts: Facts, family: Family) -> tuple[Line, ...]:
    """The family as lines over its counts: the mean metric with Student's 95 % interval."""
    at, unit = {count: i for i, count in enumerate(family.counts)}, facts.unit

    def line(kind: str, arms: Mapping[int, str], colour: int) -> Line:
        means = tuple(
            stats.mean_interval(unit.factor * facts.learnt_scores[arm].to_numpy()).within(0, unit.factor * unit.most)
            for arm in arms.values()
        )
        return Line(kind, tuple(at[k] for k in arms), means, colour, arms=tuple(arms.values()))

    kinds = [(i, kind) for i, kind in enumerate(KINDS) if kind in family.series]
    out = [line(kind, family.series[kind], -1 if kind in (UNGUIDED, NEITHER) else i) for i, kind in kinds]
    if "test_acc_muted" in facts.completed and facts.metric == DEFAULT:
        muted = facts.completed.dropna(subset=["test_acc_muted"]).groupby("arm")["test_acc_muted"]
        zeroed = {
            k: stats.mean_interval(100 * muted.get_group(arm).to_numpy(dtype=float)).within(0, 100)
            for k, arm in family.series.get(FREE, {}).items()
            if k > 0 and arm in muted.groups
        }
        if zeroed:
            arms = tuple(family.series[FREE][k] for k in zeroed)
            places, means = tuple(at[k] for k in zeroed), tuple(zeroed.values())
            out.append(Line(MUTED, places, means, len(KINDS) + 1, joined=False, arms=arms))
    return tuple(out)


def draw_responses(facts: Facts, lines: tuple[Line, ...], counts: list[int]) -> Figure:
    levels, teacher = [str(k) for k in counts], facts.unit.factor * facts.teacher
    title = "self-taught neurons of each guided layer"
    return draw_lines(lines, levels, title, facts.axis, facts.unit.name, teacher)


def _response_plot(facts: Facts, shown: Sequence[Family], total: int) -> Plot:
    lines = [responses(facts, family) for family in shown]
    drawn = [draw_responses(facts, own, family.counts) for own, family in zip(lines, shown, strict=True)]
    key = line_key({line.name: line.colour for own in lines for line in own})
    caption = (
        f"Mean {facts.measure.title} by the number of self-taught neurons of each guided layer"
        + ("; bar: its 95 % interval over seeds (Student's t)" if facts.seeds > 1 else "; one seed")
        + ". The losses of a layer do not see its self-taught channels. Counts are spaced evenly, not to scale."
    )
    if any(family.controls for family in shown):
        side = "above" if facts.measure.sign > 0 else "below"
        caption += (
            f" Self-taught neurons help if they are {side} the controls of the same width by more than chance; "
            "otherwise "
            "the gain is that of a wider layer."
        )
    if any(line.name == MUTED for own in lines for line in own):
        caption += " Zeroing the self-taught channels at test time shows how much the classifier relies on them."
    if total > len(shown):
        caption += f" The first {len(shown)} of {total} sets of losses are drawn."
    widest = max(shown, key=lambda family: len(family.counts))
    same = all(family.counts == widest.counts for family in shown)
    heads = [f"k = {k}" for k in widest.counts] if same else [f"count {i + 1}" for i in range(len(widest.counts))]
    rows = []
    for own, family in zip(lines, shown, strict=True):
        empty = [Cell(DASH)] * (len(heads) - len(family.counts))
        for line in own:
            name = f"{line.name} ({family.title})" if len(shown) > 1 else line.name
            rows.append((name, [*line_cells(line, len(family.counts), max(facts.decimals, 1)), *empty]))
    table = number_table([Column(f"at_{i}", head) for i, head in enumerate(heads)], rows, "Series", "Response by count")
    return Plot("self-taught-response", caption, drawn, table, [family.title for family in shown], key)


def _best_count(facts: Facts, family: Family, pairs: Sequence[Pair]) -> str:
    d = facts.decimals
    kind = next(kind for kind in (FREE, FREE_CONNECTED, TAKEN, *family.series) if kind in family.series)
    arms = family.series[kind]
    means = {k: float(facts.learnt_scores[arm].mean()) for k, arm in arms.items()}
    best = max(means, key=lambda k: facts.ahead(means[k]))
    of = "" if kind == FREE else f" of “{kind}”"
    text = f"With {family.title}, the {facts.extreme} mean{of} is at k = {best} ({facts.unit.value(means[best], d)})"
    if 0 in means and best != 0:
        apart = (facts.learnt_scores[arms[best]] - facts.learnt_scores[arms[0]]).mean()  # over the seeds of both
        text += f", {facts.unit.distance(apart, d)} k = 0" if math.isfinite(apart) else ""
    against = [p for p in pairs if p.count == best and p.kind == kind and math.isfinite(p.paired.p_holm)]
    if against:
        worst = max(against, key=lambda p: p.paired.p_holm)
        mean, p = worst.paired.differences.mean, worst.paired.p_holm
        direction = "above" if mean > 0 else "below"
        how = "not shown to differ from" if p >= 1 - stats.LEVEL else f"significantly {direction}"
        control = worst.control.removeprefix("control: ")
        text += f"; it is {how} its control ({control}): {facts.unit.gain(mean, d)}, Holm {p_clause(p)}"
    elif facts.seeds == 1:
        text += "; one seed cannot separate this from chance"
    return text + "."


def _equal_width_table(facts: Facts, family: Family, pairs: Sequence[Pair]) -> Table:
    hint = "Student's t interval of the paired difference, not corrected"
    columns = [Column("kind", "Arm", number=False), Column("control", "Minus, at the same width", number=False)]
    columns += [Column("count", "k"), Column("n", "n"), Column("difference", facts.unit.many)]
    columns += [Column("low", "from", hint, "95 % interval"), Column("high", "to", hint, "95 % interval")]
    columns.append(Column("p_holm", "Holm p", "paired t, over all such rows of this panel"))
    rows = []
    for pair in pairs:
        m = pair.paired.differences
        cells = [text_cell(pair.kind), text_cell(pair.control.removeprefix("control: same width, "))]
        cells += [
            count_cell(pair.count),
            count_cell(m.n),
            *number_cells(facts.unit.difference, facts.decimals, m.mean, m.low, m.high),
        ]
        rows.append(Row([*cells, p_cell(pair.paired.p_holm)], pair.paired.arm))
    return Table(columns, rows, label=f"Self-taught against equal width: {family.title}")
