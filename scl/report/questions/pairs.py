"""Which arms differ from each other? All pairs in one model, with Holm's correction."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scl import stats
from scl.report.appearance import NO_ARMS, Appearance
from scl.report.blocks import Block, Column, Format, Heading, Panel, Plot, Row, Table
from scl.report.drawing.arms import beyond, highest
from scl.report.facts import Facts
from scl.report.formatting import DASH, capital, format_seeds, name_of, plural, signed
from scl.report.tables import arm_cell, count_cell, number_cells, p_cell, text_cell
from scl.report.theme import NARROW, WIDE, Figure, axis, figure, ticks

TITLE = "Which arms differ from each other?"
MOST_PAIRS = 200  # rows of the table as HTML; the page builds the others on request
MOST_WITH_TEXT = 12  # arms of a matrix whose cells show their number


def panel(facts: Facts) -> Panel:
    if facts.comparison is None or not math.isfinite(facts.comparison.critical) or facts.compared.shape[1] < 3:
        return Panel("pairs", TITLE, "This needs at least three arms that can be compared, and two seeds.")
    shown = pair_matrix(facts)
    n = len(shown.arms)
    answer = f"{shown.significant:,} of {plural(shown.pairs, 'pair')} differ significantly (Holm, "
    answer += f"{100 * facts.alpha:.2g} %)."
    many = n > MOST_WITH_TEXT
    order = "the numbers below the columns are those of the rows" if many else "columns have the order of the rows"
    caption = (
        f"Row minus column in {facts.unit.many}, best mean first; {order}. Coloured: the difference is significant "
        "after Holm's correction over all pairs, by the rule that compares arms with the baseline. Pale: not shown to "
        "differ. These pairs are another family than the comparison with the baseline, so their p differ."
        + beyond(facts.compared.shape[1] - n)
    )
    blocks: list[Block] = [Plot("matrix", caption, [draw_pair_matrix(shown)], _pair_table(facts, shown))]
    if many:
        answer += _about_the_best(shown)
        blocks = [Heading("What each arm is shown to differ from"), _standing_table(facts, shown), *blocks]
    return Panel("pairs", TITLE, answer, blocks)


def _pair_table(facts: Facts, shown: PairMatrix) -> Table:
    """Every pair of the figure, the smallest p first."""
    unit = facts.unit
    columns = [
        Column("arm", "Arm", number=False),
        Column("other", "Minus", number=False),
        Column("difference", capital(unit.many)),
        Column("p_holm", "Holm p"),
    ]
    pairs = itertools.combinations(range(len(shown.arms)), 2)
    order = sorted(pairs, key=lambda pair: np.nan_to_num(shown.p[pair], nan=2.0))
    rows = []
    for i, j in order:
        difference = number_cells(unit.difference, facts.decimals, shown.difference[i, j] / unit.factor)
        rows.append(
            Row([arm_cell(shown.arms[i]), arm_cell(shown.arms[j]), *difference, p_cell(shown.p[i, j])], shown.arms[i])
        )
    formats = (None, None, Format(unit.factor, facts.decimals, "signed"), Format(kind="p"))
    return Table(columns, rows[:MOST_PAIRS], label="All pairs", rest=rows[MOST_PAIRS:], formats=formats)


def _standing_table(facts: Facts, shown: PairMatrix) -> Table:
    """The matrix in words: the numbers of the arms that each arm is shown to be above and below, and of the others."""
    columns = [
        Column("arm", "Arm", number=False),
        Column("number", "Number", "by mean, 1 is the best"),
        Column("mean", "Mean", f"{facts.measure.title}, {facts.unit.name}"),
        Column("better", "Better than", "the numbers of the arms, Holm's correction over all pairs", number=False),
        Column("unclear", "Not shown to differ from", "the numbers of the arms", number=False),
        Column("worse", "Worse than", "the numbers of the arms, Holm's correction over all pairs", number=False),
    ]
    means = facts.learnt_scores.mean()
    rows = []
    for i, arm in enumerate(shown.arms):
        groups = [text_cell(format_seeds(shown.standing(i, side)) or DASH) for side in (1, 0, -1)]
        mean = number_cells(facts.unit.number, facts.decimals, float(means[arm]))
        kind = "baseline" if arm == facts.baseline else ""
        rows.append(Row([arm_cell(arm), count_cell(i + 1), *mean, *groups], arm, kind))
    return Table(columns, rows, label="What each arm is shown to differ from")


def _about_the_best(shown: PairMatrix) -> str:
    """The arms that are not shown to differ from the one with the best mean."""
    like = len(shown.standing(0, 0))
    best = name_of(shown.arms[0])
    if not like:
        return f" {best} has the best mean, and each other arm is shown to differ from it."
    others = f"{like} of the {len(shown.arms) - 1} others in the figure {'is' if like == 1 else 'are'}"
    return f" {best} has the best mean; {others} not shown to differ from it."


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
    appearance: Appearance = NO_ARMS

    @property
    def shown(self) -> NDArray[np.int_]:
        """(arms, arms): 1 if the row is shown to be better than the column, −1 if worse, else 0."""
        significant = np.nan_to_num(self.p, nan=1.0) < self.alpha
        return np.where(significant, self.sign * np.sign(np.nan_to_num(self.difference)), 0).astype(int)

    def standing(self, arm: int, side: int) -> list[int]:
        """The numbers, from 1, of the arms that this one is shown to be better (1) or worse (−1) than, or neither."""
        return [j + 1 for j in range(len(self.arms)) if j != arm and self.shown[arm, j] == side]


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
    about = facts.alpha, facts.measure.sign, facts.unit.many, facts.appearance
    return PairMatrix(arms, difference, p, facts.decimals, len(tested.p), significant, *about)


def draw_pair_matrix(shown: PairMatrix) -> Figure:
    """Significant pairs in colour by the sign of their difference; all others pale."""
    rows, look = range(len(shown.arms)), shown.appearance
    wide, narrow, tiny = (list(look.labels(shown.arms, most).values()) for most in (WIDE, NARROW, 8))
    with_text = len(shown.arms) <= MOST_WITH_TEXT
    whole, sign = list(look.hovers(shown.arms).values()), shown.shown
    heat: dict[str, Any] = {"type": "heatmap", "x": list(rows), "y": list(rows), "xgap": 2, "ygap": 2}
    heat["z"] = [[None if i == j else int(sign[i, j]) for j in rows] for i in rows]
    heat |= {"zmin": -1, "zmax": 1, "colorscale": [[0, "@worse"], [0.5, "@pale"], [1, "@better"]], "showscale": False}
    heat["customdata"] = [[[whole[i], whole[j], *_pair_text(shown, i, j)] for j in rows] for i in rows]
    hover = f"%{{customdata[0]}}<br>minus %{{customdata[1]}}<br>%{{customdata[2]}} {shown.unit}, Holm p "
    heat |= {"hovertemplate": f"{hover}%{{customdata[3]}}<extra></extra>", "hoverongaps": False}
    if with_text:
        heat["text"] = [[_pair_text(shown, i, j)[0] for j in rows] for i in rows]
        heat["texttemplate"] = "%{text}"
        heat["textfont"] = {"color": "@ink"}  # without a size, Plotly shrinks the text, then hides it, in small cells
    plainly = {"showgrid": False, "tickfont": {"color": "@ink"}}
    every = 1 if len(rows) <= 25 else 2
    columns = narrow if with_text else _numbers(len(rows), every)
    x = axis("minus this arm", **ticks(columns), tickangle=-45 if with_text else 0, **plainly)
    numbered = [name if with_text else f"{name} · {i + 1}" for i, name in enumerate(wide)]
    y = axis("", **ticks(numbered), range=[len(wide) - 0.5, -0.5], **plainly)
    change: dict[str, Any] = {"yaxis.ticktext": narrow}
    if with_text:
        change |= {"xaxis.ticktext": tiny, "margin.b": 20}
    else:
        x["tickfont"] = {"color": "@ink", "size": 11}
        change |= {
            "xaxis.ticktext": _numbers(len(rows), 5),
            "yaxis.ticktext": [f"{name} · {i + 1}" for i, name in enumerate(narrow)],
        }
    height = 150 + max(len(shown.arms), 3) * (38 if with_text else 20)
    return figure([heat], height, change, rows=shown.arms, columns=shown.arms, xaxis=x, yaxis=y)


def _numbers(columns: int, every: int) -> list[str]:
    """The number of every so many columns, the others empty, so that they stay apart."""
    return [str(i) if i % every == 0 else "" for i in range(1, columns + 1)]


def _pair_text(shown: PairMatrix, i: int, j: int) -> tuple[str, str]:
    d, p = shown.difference[i, j], shown.p[i, j]
    if not math.isfinite(d):
        return "", DASH
    return signed(d, shown.decimals), DASH if not math.isfinite(p) else "below 0.001" if p < 0.001 else f"{p:.3f}"
