"""Figures that compare arms: accuracy, differences, seeds, pairs. First their numbers, then their drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scl import stats
from scl.report.facts import Facts
from scl.report.figures.rows import MOST_SEEDS_DRAWN, ArmRow, ArmRows, draw_rows, zero_line
from scl.report.theme import (
    COLOURS,
    DASHES,
    SYMBOLS,
    Figure,
    arm_axis,
    axis,
    figure,
    labels,
    line_at,
    numbers,
    rows_height,
)

MOST_ARMS_DRAWN = 50


def highest(facts: Facts, arms: Sequence[str]) -> list[str]:
    """The MOST_ARMS_DRAWN arms with the highest means, by falling mean, the baseline always among them."""
    means = facts.scores[list(arms)].mean().sort_values(ascending=False, kind="stable")
    kept = set(means.index[:MOST_ARMS_DRAWN])
    if len(means) > MOST_ARMS_DRAWN and facts.baseline in means.index[MOST_ARMS_DRAWN:]:
        kept = set(means.index[: MOST_ARMS_DRAWN - 1]) | {facts.baseline}
    return [str(arm) for arm in means.index if arm in kept]


def accuracies(facts: Facts) -> ArmRows:
    """Each arm's accuracy in %: mean, Student's 95 % interval, its seeds."""
    rows = []
    for arm in highest(facts, list(facts.scores.columns)):
        column = 100 * facts.scores[arm].dropna()
        mean = stats.mean_interval(column.to_numpy())
        seeds = {int(seed): float(value) for seed, value in column.items()}
        faint, off_scale = arm in facts.left_out, arm not in facts.drawn
        rows.append(ArmRow(str(arm), mean.mean, mean.low, mean.high, seeds, faint, off_scale))
    beyond = facts.scores.shape[1] - len(rows)
    return ArmRows(tuple(rows), facts.baseline, facts.decimals, beyond, line=100 * facts.teacher)


def differences(facts: Facts) -> ArmRows:
    """Each arm minus the baseline in points: the model's estimate, simultaneous interval, differences by seed."""
    rows = []
    contrasts = sorted(facts.contrasts.values(), key=lambda c: -c.estimate)
    for contrast in contrasts[:MOST_ARMS_DRAWN]:
        arm = contrast.arm
        by_seed = 100 * (facts.scores[arm] - facts.scores[facts.baseline]).dropna()
        seeds = {int(seed): float(value) for seed, value in by_seed.items()}
        rows.append(ArmRow(arm, 100 * contrast.estimate, 100 * contrast.low, 100 * contrast.high, seeds))
    beyond = len(contrasts) - len(rows)
    return ArmRows(tuple(rows), facts.baseline, facts.decimals, beyond, band=100 * facts.detectable())


def draw_accuracies(shown: ArmRows) -> Figure:
    shapes, notes = line_at(shown.line, "teacher", vertical=True)
    x = axis("test accuracy, %")
    return draw_rows(shown, x, shapes, notes, f"%{{x:.{shown.decimals}f}} %", [shown.line], share=True)


def draw_differences(shown: ArmRows) -> Figure:
    shapes, notes = zero_line("baseline")
    if math.isfinite(shown.band):
        ends = {"x0": -shown.band, "x1": shown.band, "y0": 0, "y1": 1, "yref": "paper"}
        shapes.insert(0, {"type": "rect", **ends, "fillcolor": "@band", "line": {"width": 0}, "layer": "below"})
    x = axis("points above the baseline")
    return draw_rows(shown, x, shapes, notes, f"%{{x:+.{shown.decimals}f}} points", [0.0, shown.band, -shown.band])


@dataclass(frozen=True)
class SeedLines:
    """accuracy: (seeds, arms) in %, arms by falling mean. ranks: (arms, all + seeds left out), among all arms."""

    accuracy: pd.DataFrame
    ranks: pd.DataFrame
    line: float
    decimals: int
    beyond: int


def seed_lines(facts: Facts) -> SeedLines:
    arms = highest(facts, facts.drawn)
    ranks = stats.ranks_without_a_seed(facts.scores[facts.drawn]).loc[arms]
    beyond = len(facts.drawn) - len(arms)
    return SeedLines(100 * facts.scores[arms], ranks, 100 * facts.teacher, facts.decimals, beyond)


def draw_seed_lines(shown: SeedLines) -> Figure:
    arms = [str(arm) for arm in shown.accuracy.columns]
    names = labels(arms)
    y, narrow = arm_axis(arms)
    shapes, notes = line_at(shown.line, "teacher", vertical=True)
    data = []
    for i, (seed, values) in enumerate(shown.accuracy.head(MOST_SEEDS_DRAWN).iterrows()):
        style = {"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i % len(DASHES)], "width": 1.5}
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"seed {seed}",
                "x": numbers(values),
                "y": list(range(len(arms))),
                "connectgaps": True,
                "customdata": [names[arm] for arm in arms],
                "hovertemplate": f"%{{customdata}}<br>seed {seed}: %{{x:.{shown.decimals}f}} %<extra></extra>",
                "line": style,
                "marker": {"size": 7, "symbol": SYMBOLS[i % len(SYMBOLS)]},
            }
        )
    return figure(
        data,
        rows_height(len(arms)),
        narrow,
        legend=len(data),
        xaxis=axis("test accuracy, %"),
        yaxis=y,
        shapes=shapes,
        annotations=notes,
    )


def draw_ranks(shown: SeedLines) -> Figure:
    """Each arm's rank over all seeds, and the bar from its best to its worst with one seed left out."""
    arms = [str(arm) for arm in shown.ranks.index]
    names = labels(arms)
    y, narrow = arm_axis(arms)
    others = shown.ranks.drop(columns="all")
    best, worst = others.min(axis=1), others.max(axis=1)
    bars = {
        "type": "scatter",
        "mode": "lines",
        "x": [v for arm in arms for v in (float(best[arm]), float(worst[arm]), None)],
        "y": [v for i in range(len(arms)) for v in (i, i, None)],
        "hoverinfo": "skip",
        "line": {"color": "@c1", "width": 4},
    }
    marks = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers(shown.ranks["all"]),
        "y": list(range(len(arms))),
        "customdata": [[names[arm], f"{best[arm]:.0f} to {worst[arm]:.0f}"] for arm in arms],
        "hovertemplate": "%{customdata[0]}<br>rank %{x}, with one seed left out %{customdata[1]}<extra></extra>",
        "marker": {"size": 10, "symbol": "diamond", "color": "@ink"},
    }
    last = float(worst.max())
    x = axis("rank by mean, 1 is best", range=[0.5, last + 0.5], dtick=max(1, round(last / 12)), tick0=1)
    return figure([bars, marks], rows_height(len(arms)), narrow, xaxis=x, yaxis=y)


@dataclass(frozen=True)
class PairMatrix:
    """difference: (arms, arms), row minus column, in points. p: Holm's over all pairs, undrawn ones too."""

    arms: tuple[str, ...]
    difference: stats.Array
    p: stats.Array
    decimals: int
    pairs: int
    told_apart: int


def pair_matrix(facts: Facts) -> PairMatrix:
    arms = tuple(highest(facts, list(facts.compared.columns)))
    tested = facts.pairs
    at = np.array([arms.index(arm) if arm in arms else -1 for arm in tested.arms])
    difference = np.full((len(arms), len(arms)), math.nan)
    p = difference.copy()
    i, j = at[tested.first], at[tested.second]
    shown = (i >= 0) & (j >= 0)
    i, j, estimate = i[shown], j[shown], 100 * tested.estimate[shown]
    difference[i, j], difference[j, i] = estimate, -estimate
    p[i, j] = p[j, i] = tested.p[shown]
    told = int((tested.p < 1 - stats.LEVEL).sum())
    return PairMatrix(arms, difference, p, facts.decimals, len(tested.p), told)


def draw_pair_matrix(shown: PairMatrix) -> Figure:
    """Credible pairs in colour by the sign of their difference; all others are left pale."""
    wide, narrow = labels(shown.arms), labels(shown.arms, 12)
    rows = range(len(shown.arms))
    credible = np.nan_to_num(shown.p, nan=1.0) < 1 - stats.LEVEL
    sign = np.where(credible, np.sign(shown.difference), 0.0)
    with_text = len(shown.arms) <= 12
    heat = {
        "type": "heatmap",
        "x": list(rows),
        "y": list(rows),
        "z": [[None if i == j else float(sign[i, j]) for j in rows] for i in rows],
        "zmin": -1,
        "zmax": 1,
        "colorscale": [[0, "@worse"], [0.5, "@pale"], [1, "@better"]],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "customdata": [
            [[wide[shown.arms[i]], wide[shown.arms[j]], *_pair_text(shown, i, j)] for j in rows] for i in rows
        ],
        "hovertemplate": "%{customdata[0]}<br>minus %{customdata[1]}<br>%{customdata[2]} points, "
        "Holm p %{customdata[3]}<extra></extra>",
    }
    if with_text:
        heat["text"] = [[_pair_text(shown, i, j)[0] for j in rows] for i in rows]
        heat["texttemplate"] = "%{text}"
        heat["textfont"] = {"color": "@ink"}  # no size: it shrinks, then goes, as cells get small
    ticks = {"tickmode": "array", "tickvals": list(rows), "showgrid": False, "tickfont": {"color": "@ink"}}
    # Names of many columns would overlap; they stand in the order of the rows.
    columns = [narrow[a] for a in shown.arms] if with_text else [""] * len(shown.arms)
    x = axis("minus this arm", ticktext=columns, tickangle=-45, **ticks)
    y = axis("", ticktext=[wide[a] for a in shown.arms], range=[len(shown.arms) - 0.5, -0.5], **ticks)
    change: dict[str, Any] = {"yaxis.ticktext": [narrow[a] for a in shown.arms]}
    if with_text:
        change |= {"xaxis.ticktext": [labels(shown.arms, 8)[a] for a in shown.arms], "margin.b": 20}
    height = 150 + max(len(shown.arms), 3) * (38 if with_text else 20)
    return figure([heat], height, change, xaxis=x, yaxis=y)


def _pair_text(shown: PairMatrix, i: int, j: int) -> tuple[str, str]:
    d, p = shown.difference[i, j], shown.p[i, j]
    if not math.isfinite(d):
        return "", "–"
    text = f"{d:+.{shown.decimals}f}".replace("-", "−")
    text = text[1:] if float(text[1:]) == 0 else text
    return text, "–" if not math.isfinite(p) else "below 0.001" if p < 0.001 else f"{p:.3f}"
