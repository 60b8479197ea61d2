"""Points of arms on two axes, with their Pareto front if there is one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scl import stats
from scl.report import theme
from scl.report.appearance import Appearance
from scl.report.blocks import Mark
from scl.report.theme import Figure, axis, numbers, span

MOST_LABELLED = 6  # points of a front that show the name of their arm
LABEL = 24  # characters of such a name


@dataclass(frozen=True)
class Cloud:
    """Points of arms on two axes. x, y: one value for each point. front: the points that no other beats.

    seed: of each point, None if a point is the mean of an arm. appearance: of all arms. y_title, unit: of y.
    bound: the most of x that a winner may have, NaN without one.
    """

    x_title: str
    arms: tuple[str, ...]
    x: stats.Array
    y: stats.Array
    seed: tuple[int | None, ...]
    line: float
    appearance: Appearance
    front: NDArray[np.bool_]
    y_title: str = "test accuracy, %"
    unit: str = "%"
    bound: float = math.nan

    @property
    def present(self) -> list[str]:
        """The arms with a point, in the order of the study."""
        there = set(self.arms)
        return [arm for arm in self.appearance.arms if arm in there]


def cloud_key(shown: Cloud) -> list[Mark]:
    """The colour and symbol of each arm. The figures have no legend: the page shows one key for all of them."""
    styles = [(arm, shown.appearance.style(arm)) for arm in shown.present]
    return [Mark(arm, style["color"], style["symbol"]) for arm, style in styles]


def draw_cloud(shown: Cloud, height: int = 400) -> Figure:
    data = []
    if shown.front.any():
        step = np.flatnonzero(shown.front)[np.argsort(shown.x[shown.front], kind="stable")]
        stairs = {"line": {"color": "@soft", "width": 1.5, "shape": "hv"}, "hoverinfo": "skip"}
        data.append(theme.scatter("lines", numbers(shown.x[step]), numbers(shown.y[step]), **stairs))
    names = shown.appearance.hovers(shown.present)
    where = np.array(shown.arms, dtype=object)
    for arm in shown.present:
        index = np.flatnonzero(where == arm)
        seeds = ["" if shown.seed[i] is None else f"seed {shown.seed[i]}" for i in index]
        x, y, about = numbers(shown.x[index]), numbers(shown.y[index]), [[names[arm], seed] for seed in seeds]
        hover = "%{customdata[0]} %{customdata[1]}<br>%{x:.4s}, %{y:.2f} " + shown.unit
        style = shown.appearance.style(arm)
        data.append(theme.markers(x, y, hover, 9, style["symbol"], style["color"], customdata=about, arm=arm))
    shapes, notes = theme.teacher_line(shown.line, vertical=False)
    front, short = np.flatnonzero(shown.front), shown.appearance.labels(shown.present, LABEL)
    for i in front if len(front) <= MOST_LABELLED else []:
        left = shown.x[i] > (shown.x.min() + shown.x.max()) / 2
        place = {"x": float(shown.x[i]), "y": float(shown.y[i]), "xanchor": "right" if left else "left"}
        shift = {"xshift": -8 if left else 8, "yshift": 9}
        notes.append(theme.label(short[shown.arms[i]], "@ink", **place, **shift))
    if math.isfinite(shown.bound):
        shapes, notes = theme.both((shapes, notes), theme.bound_line(shown.bound))
    x_axis = axis(shown.x_title, range=span([*shown.x, shown.bound]), nticks=6)
    y_axis = axis(shown.y_title, range=span([*shown.y, shown.line]))
    narrow = {"xaxis.nticks": 4}
    return theme.figure(data, height, narrow, marks=(shapes, notes), xaxis=x_axis, yaxis=y_axis)
