"""Points of arms on two axes, with a front where one is asked for. Two figures are drawn so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scl import stats
from scl.report.theme import Figure, axis, figure, labels, line_at, literal, numbers, shorten, span, styles

LABELLED = 6  # points of a front that carry their arm's name


@dataclass(frozen=True)
class Cloud:
    """Points of arms on two axes. x, y: one value a point; y in %. front: points no other beats (cost alone).

    seed: of each point, None where a point is an arm's mean. order: all arms, for their colours.
    """

    x_title: str
    arms: tuple[str, ...]
    x: stats.Array
    y: stats.Array
    seed: tuple[int | None, ...]
    line: float
    order: tuple[str, ...]
    baseline: str
    front: NDArray[np.bool_]

    @property
    def present(self) -> list[str]:
        """The arms that have a point, in the study's order."""
        there = set(self.arms)
        return [arm for arm in self.order if arm in there]


def draw_cloud(shown: Cloud, height: int = 400) -> Figure:
    """Drawn without a legend: the page sets one key over all figures that share it."""
    style = styles(shown.order, shown.baseline)
    data: list[dict[str, object]] = []
    if shown.front.any():
        step = np.flatnonzero(shown.front)[np.argsort(shown.x[shown.front], kind="stable")]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": numbers(shown.x[step]),
                "y": numbers(shown.y[step]),
                "line": {"color": "@soft", "width": 1.5, "shape": "hv"},
                "hoverinfo": "skip",
            }
        )
    names = labels(shown.present)
    where = np.array(shown.arms, dtype=object)
    for arm in shown.present:
        index = np.flatnonzero(where == arm)
        notes = ["" if shown.seed[i] is None else f"seed {shown.seed[i]}" for i in index]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": numbers(shown.x[index]),
                "y": numbers(shown.y[index]),
                "customdata": [[names[arm], note] for note in notes],
                "hovertemplate": "%{customdata[0]} %{customdata[1]}<br>%{x:.4s}, %{y:.2f} %<extra></extra>",
                "marker": {"size": 9, "color": style[arm]["color"], "symbol": style[arm]["symbol"]},
            }
        )
    shapes, annotations = line_at(shown.line, "teacher", vertical=False)
    front = np.flatnonzero(shown.front)
    for i in front if len(front) <= LABELLED else []:
        left = shown.x[i] > (shown.x.min() + shown.x.max()) / 2
        place = {"x": float(shown.x[i]), "y": float(shown.y[i]), "xanchor": "right" if left else "left"}
        text = literal(shorten(shown.arms[i], 18))
        shift = {"xshift": -8 if left else 8, "yshift": 9}
        annotations.append({**place, **shift, "text": text, "showarrow": False, "font": {"color": "@ink", "size": 12}})
    x = axis(shown.x_title, range=span(shown.x), nticks=6)
    y = axis("test accuracy, %", range=span([*shown.y, shown.line]))
    return figure(data, height, xaxis=x, yaxis=y, shapes=shapes, annotations=annotations)
