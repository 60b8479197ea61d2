"""Which arms differ from each other? All pairs in one model, with Holm's correction."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scl import stats
from scl.report.blocks import Column, Panel, Plot
from scl.report.drawing.arms import beyond, highest
from scl.report.facts import Facts
from scl.report.formatting import DASH, capital, plural, signed
from scl.report.tables import number_cells, number_table, p_cell, text_cell
from scl.report.theme import Figure, axis, figure, labels, ticks

TITLE = "Which arms differ from each other?"
MOST_PAIRS = 400  # rows of the table
MOST_WITH_TEXT = 12  # arms of a matrix whose cells show their number


def panel(facts: Facts) -> Panel:
    if facts.comparison is None or not math.isfinite(facts.comparison.critical) or facts.compared.shape[1] < 3:
        return Panel("pairs", TITLE, "This needs at least three arms that can be compared, and two seeds.")
    shown = pair_matrix(facts)
    n = len(shown.arms)
    answer = f"{shown.significant:,} of {plural(shown.pairs, 'pair')} differ significantly (Holm, "
    answer += f"{100 * facts.alpha:.2g} %)."
    caption = (
        f"Row minus column in {facts.unit.many}, best mean first; columns have the order of the rows. Coloured: the "
        "difference is "
        "significant after Holm's correction over all pairs, by the rule that compares arms with the baseline. Pale: "
        "not shown to differ. These pairs are another family than the comparison with the baseline, so their p differ."
        + beyond(facts.compared.shape[1] - n)
    )
    columns = [
        Column("other", "Minus", number=False),
        Column("difference", capital(facts.unit.many)),
        Column("p_holm", "Holm p"),
    ]
    order = sorted(itertools.combinations(range(n), 2), key=lambda pair: np.nan_to_num(shown.p[pair], nan=2.0))
    rows = []
    for i, j in order[:MOST_PAIRS]:
        difference = number_cells(facts.unit.difference, facts.decimals, shown.difference[i, j], unit=facts.unit.factor)
        rows.append((shown.arms[i], [text_cell(shown.arms[j]), *difference, p_cell(shown.p[i, j])]))
    if len(order) > MOST_PAIRS:
        caption += f" The table below holds the {MOST_PAIRS} pairs with the smallest p."
    plot = Plot("matrix", caption, [draw_pair_matrix(shown)], number_table(columns, rows))
    return Panel("pairs", TITLE, answer, [plot])


@dataclass(frozen=True)
class PairMatrix:
    """difference: (arms, arms), row minus column, as it is shown. p: Holm's over all pairs, also those not drawn.

    pairs, significant: the number of all pairs, and of those with a significant difference, p below alpha. sign: 1 if
    more is better, else −1. unit: of a difference.
    """

    arms: tuple[str, ...]
    difference: stats.Array
    p: stats.Array
    decimals: int
    pairs: int
    significant: int
    alpha: float
    sign: int = 1
    unit: str = "points"


def pair_matrix(facts: Facts) -> PairMatrix:
    arms = tuple(highest(facts, list(facts.compared.columns)))
    tested = facts.pairs
    at = np.array([arms.index(arm) if arm in arms else -1 for arm in tested.arms])
    difference = np.full((len(arms), len(arms)), math.nan)
    p = difference.copy()
    i, j = at[tested.first], at[tested.second]
    shown = (i >= 0) & (j >= 0)
    i, j, estimate = i[shown], j[shown], facts.unit.factor * tested.estimate[shown]
    difference[i, j], difference[j, i] = estimate, -estimate
    p[i, j] = p[j, i] = tested.p[shown]
    significant = int((tested.p < facts.alpha).sum())
    about = facts.alpha, facts.measure.sign, facts.unit.many
    return PairMatrix(arms, difference, p, facts.decimals, len(tested.p), significant, *about)


def draw_pair_matrix(shown: PairMatrix) -> Figure:
    """Significant pairs in colour by the sign of their difference; all others pale."""
    wide, narrow = labels(shown.arms), labels(shown.arms, 12)
    rows = range(len(shown.arms))
    significant = np.nan_to_num(shown.p, nan=1.0) < shown.alpha
    sign = np.where(significant, shown.sign * np.sign(shown.difference), 0.0)
    with_text = len(shown.arms) <= MOST_WITH_TEXT
    names = list(wide.values())
    heat: dict[str, Any] = {"type": "heatmap", "x": list(rows), "y": list(rows), "xgap": 2, "ygap": 2}
    heat["z"] = [[None if i == j else float(sign[i, j]) for j in rows] for i in rows]
    heat |= {"zmin": -1, "zmax": 1, "colorscale": [[0, "@worse"], [0.5, "@pale"], [1, "@better"]], "showscale": False}
    heat["customdata"] = [[[names[i], names[j], *_pair_text(shown, i, j)] for j in rows] for i in rows]
    hover = f"%{{customdata[0]}}<br>minus %{{customdata[1]}}<br>%{{customdata[2]}} {shown.unit}, Holm p "
    hover += "%{customdata[3]}"
    heat |= {"hovertemplate": f"{hover}<extra></extra>", "hoverongaps": False}
    if with_text:
        heat["text"] = [[_pair_text(shown, i, j)[0] for j in rows] for i in rows]
        heat["texttemplate"] = "%{text}"
        heat["textfont"] = {"color": "@ink"}  # without a size, Plotly shrinks the text, then hides it, in small cells
    look = {"showgrid": False, "tickfont": {"color": "@ink"}}
    # The names of many columns would overlap; the columns have the order of the rows.
    columns = list(narrow.values()) if with_text else [""] * len(names)
    x = axis("minus this arm", **ticks(columns), tickangle=-45, **look)
    y = axis("", **ticks(names), range=[len(names) - 0.5, -0.5], **look)
    change: dict[str, Any] = {"yaxis.ticktext": list(narrow.values())}
    if with_text:
        change |= {"xaxis.ticktext": list(labels(shown.arms, 8).values()), "margin.b": 20}
    height = 150 + max(len(shown.arms), 3) * (38 if with_text else 20)
    return figure([heat], height, change, xaxis=x, yaxis=y)


def _pair_text(shown: PairMatrix, i: int, j: int) -> tuple[str, str]:
    d, p = shown.difference[i, j], shown.p[i, j]
    if not math.isfinite(d):
        return "", DASH
    return signed(d, shown.decimals), DASH if not math.isfinite(p) else "below 0.001" if p < 0.001 else f"{p:.3f}"
