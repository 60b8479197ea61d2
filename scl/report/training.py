"""Figures of what happened while training: curves, loss shares, agreement, cost. Numbers first, then drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scl import stats
from scl.report.facts import Facts
from scl.report.theme import COLOURS, Figure, axis, figure, labels, line_at, numbers, span, styles

MOST_CURVES = 30
DRAWN_AT_FIRST = 8
MOST_EPOCHS = 300
MOST_SHARES = 12
MOST_POINTS = 30  # of an arm in a cloud


@dataclass(frozen=True)
class Curve:
    """Of one arm over epochs: the mean in %, and Student's 95 % band at each epoch (NaN for one seed)."""

    arm: str
    n: int
    epoch: stats.Array
    mean: stats.Array
    low: stats.Array
    high: stats.Array


@dataclass(frozen=True)
class Curves:
    """metric: the column of epochs.parquet that is drawn. left_out: arms beyond the best MOST_CURVES.

    span: of the axis in %: the arms that learnt, from a fifth of the epochs on, and the line.
    """

    metric: str
    curves: tuple[Curve, ...]
    left_out: int
    line: float
    span: list[float] | None
    baseline: str
    arms: tuple[str, ...]


def curves(facts: Facts) -> Curves:
    """The metric by epoch, over completed trials; the validation accuracy where the metric has no epochs."""
    epochs = facts.results.epochs
    metric = next((m for m in (facts.metric, "test_acc", "val_acc") if m in epochs and epochs[m].notna().any()), "")
    order = facts.completed.groupby("arm")[facts.metric].mean().sort_values(ascending=False, kind="stable").index
    kept = [facts.baseline] if facts.baseline in order else []
    kept += [arm for arm in order if arm != facts.baseline][: MOST_CURVES - len(kept)]
    line = 100 * facts.teacher if metric == "test_acc" else math.nan
    if not metric or not kept:
        return Curves(metric, (), 0, line, None, facts.baseline, facts.arms)
    grid = _by_arm(facts, kept, [metric]).groupby(["arm", "epoch"], observed=True)[metric]
    table = grid.agg(["count", "mean", "std"]).reset_index()
    out = []
    for arm in kept:
        rows = table[table["arm"] == arm]
        rows = rows.iloc[:: math.ceil(max(len(rows), 1) / MOST_EPOCHS)]
        n = rows["count"].to_numpy()
        t = np.array([stats.t_critical(k - 1) if k > 1 else math.nan for k in range(int(n.max(initial=0)) + 1)])
        half = 100 * t[n] * rows["std"].to_numpy() / np.sqrt(np.maximum(n, 1))
        mean = 100 * rows["mean"].to_numpy()
        low, high = np.maximum(mean - half, 0), np.minimum(mean + half, 100)
        out.append(Curve(arm, int(n.max(initial=0)), rows["epoch"].to_numpy(), mean, low, high))
    late = [v for c in out if c.arm in facts.drawn for v in c.mean[c.epoch >= 0.2 * c.epoch.max(initial=0)]]
    beyond = len(order) - len(kept)
    return Curves(metric, tuple(out), beyond, line, span([*late, line]), facts.baseline, facts.arms)


def _by_arm(facts: Facts, arms: list[str], columns: list[str]) -> pd.DataFrame:
    """epochs of the completed trials of these arms, with the arm; float64, so that a mean of equals is equal."""
    arm_of = facts.completed.set_index("trial_id")["arm"]
    epochs = facts.results.epochs
    code = pd.Index(arm_of.index).get_indexer(epochs["trial_id"])
    frame = epochs.loc[code >= 0, ["epoch", *columns]].astype(dict.fromkeys(columns, "float64"))
    frame["arm"] = pd.Categorical(arm_of.to_numpy()[code[code >= 0]], categories=arms)
    return frame.dropna(subset=["arm"])


def draw_curves(shown: Curves) -> Figure:
    style = styles(shown.arms, shown.baseline)
    names = labels([c.arm for c in shown.curves])
    data = []
    for i, c in enumerate(shown.curves):
        look = style[c.arm]
        common = {
            "type": "scatter",
            "mode": "lines",
            "legendgroup": str(i),
            "visible": True if i < DRAWN_AT_FIRST else "legendonly",
        }
        if np.isfinite(c.low).any():
            edge = {**common, "showlegend": False, "hoverinfo": "skip", "line": {"width": 0, "color": look["color"]}}
            data.append({**edge, "x": c.epoch.tolist(), "y": numbers(c.low, 3)})
            fill = {"fill": "tonexty", "fillcolor": f"{look['color']}/0.14"}
            data.append({**edge, **fill, "x": c.epoch.tolist(), "y": numbers(c.high, 3)})
        data.append(
            {
                **common,
                "name": names[c.arm],
                "x": c.epoch.tolist(),
                "y": numbers(c.mean, 3),
                "customdata": [names[c.arm]] * len(c.epoch),
                "hovertemplate": "%{customdata}<br>epoch %{x}: %{y:.2f} %<extra></extra>",
                "line": {"color": look["color"], "dash": look["dash"], "width": 2},
            }
        )
    shapes, notes = line_at(shown.line, "teacher", vertical=False)
    word = {"val_acc": "validation", "train_acc": "training"}.get(shown.metric, "test")
    y = axis(f"{word} accuracy, %", range=shown.span)
    return figure(
        data,
        440,
        legend=len(shown.curves),
        xaxis=axis("epoch", showgrid=False),
        yaxis=y,
        shapes=shapes,
        annotations=notes,
    )


@dataclass(frozen=True)
class Shares:
    """Of one arm: each loss term's share of the weighted training loss, (epochs, terms), in [0, 1]."""

    arm: str
    share: pd.DataFrame


def shares(facts: Facts) -> tuple[Shares, ...]:
    """Arms whose loss has more than one term, at most MOST_SHARES of them, the mean over completed trials."""
    columns = [c for c in facts.results.epochs.columns if c.startswith("weighted.")]
    arms = [arm for arm in facts.arms if (facts.completed["arm"] == arm).any()]
    if not columns or not arms:
        return ()
    means = _by_arm(facts, arms, columns).groupby(["arm", "epoch"], observed=True)[columns].mean()
    out = []
    for arm in arms:
        rows = means.xs(arm) if arm in means.index.get_level_values(0) else means.iloc[:0]
        rows = rows.fillna(0.0).clip(lower=0.0)
        rows = rows.loc[:, rows.sum() > 0].rename(columns=lambda c: c.removeprefix("weighted."))
        if rows.shape[1] > 1:
            rows = rows.iloc[:: math.ceil(len(rows) / MOST_EPOCHS)]
            out.append(Shares(arm, rows.div(rows.sum(axis=1), axis=0)))
    return tuple(out[:MOST_SHARES])


def draw_shares(shown: Shares, terms: list[str]) -> Figure:
    """terms: all terms of the study, so that one keeps its colour in every arm."""
    data = []
    for term in shown.share.columns:
        colour = "@soft" if term == "ce" else COLOURS[[t for t in terms if t != "ce"].index(term) % len(COLOURS)]
        (name,) = labels([term]).values()
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "stackgroup": "one",
                "name": name,
                "x": [int(e) for e in shown.share.index],
                "y": numbers(100 * shown.share[term], 2),
                "customdata": [name] * len(shown.share),
                "hovertemplate": "%{customdata}<br>epoch %{x}: %{y:.1f} %<extra></extra>",
                "line": {"color": colour, "width": 1},
                "fillcolor": f"{colour}/0.45",
            }
        )
    x, y = axis("epoch", showgrid=False), axis("share, %", range=[0, 100])
    return figure(data, 250, legend=len(data), xaxis=x, yaxis=y)


@dataclass(frozen=True)
class Cloud:
    """Points of arms on two axes. x, y: one value a point; y in %. front: points no other beats (cost alone)."""

    x_title: str
    arms: tuple[str, ...]
    x: stats.Array
    y: stats.Array
    seed: tuple[int | None, ...]
    line: float
    order: tuple[str, ...]
    baseline: str
    front: NDArray[np.bool_]


def agreement(facts: Facts) -> Cloud:
    """A point a completed trial: agreement with the teacher against accuracy, both in %; arms that learnt."""
    rows = facts.completed[~facts.completed["arm"].isin(facts.collapsed)].dropna(subset=["agreement"])
    best = rows.groupby("arm")[facts.metric].mean().sort_values(ascending=False, kind="stable").index[:MOST_CURVES]
    rows = rows[rows["arm"].isin([*best, facts.baseline])].groupby("arm", sort=False).head(MOST_POINTS)
    return Cloud(
        "agreement with the teacher, %",
        tuple(rows["arm"]),
        100 * rows["agreement"].to_numpy(),
        100 * rows[facts.metric].to_numpy(),
        tuple(int(s) for s in rows["seed"]),
        100 * facts.teacher,
        facts.arms,
        facts.baseline,
        np.zeros(len(rows), dtype=bool),
    )


def cost(facts: Facts) -> Cloud:
    """A point an arm that learnt: accuracy in % against a prediction's cost, or training's if that is equal."""
    rows = facts.completed[facts.completed["arm"].isin(facts.drawn)]
    means = rows.groupby("arm")[["macs", "params", "train_seconds", facts.metric]].mean()
    means = means.loc[facts.drawn]
    column, title = "train_seconds", "training time of one trial, s"
    for name, words in (("params", "parameters"), ("macs", "multiply-adds of one image")):
        if means[name].nunique() > 1:
            column, title = name, words
    means = means.dropna(subset=[column])
    x, y = means[column].to_numpy(dtype=float), 100 * means[facts.metric].to_numpy(dtype=float)
    return Cloud(
        title,
        tuple(str(arm) for arm in means.index),
        x,
        y,
        (None,) * len(means),
        100 * facts.teacher,
        facts.arms,
        facts.baseline,
        stats.pareto(x, y),
    )


def draw_cloud(shown: Cloud) -> Figure:
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
                "showlegend": False,
            }
        )
    present = [arm for arm in shown.order if arm in set(shown.arms)]
    names = labels(present)
    where = np.array(shown.arms, dtype=object)
    for arm in present:
        index = np.flatnonzero(where == arm)
        notes = ["" if shown.seed[i] is None else f"seed {shown.seed[i]}" for i in index]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": names[arm],
                "x": numbers(shown.x[index]),
                "y": numbers(shown.y[index]),
                "customdata": [[names[arm], note] for note in notes],
                "hovertemplate": "%{customdata[0]} %{customdata[1]}<br>%{x:.4s}, %{y:.2f} %<extra></extra>",
                "marker": {"size": 9, "color": style[arm]["color"], "symbol": style[arm]["symbol"]},
            }
        )
    shapes, annotations = line_at(shown.line, "teacher", vertical=False)
    return figure(
        data,
        420,
        legend=len(present),
        xaxis=axis(shown.x_title),
        yaxis=axis("test accuracy, %"),
        shapes=shapes,
        annotations=annotations,
    )
