"""Figures of what happened while training: learning curves and loss shares. First their numbers, then their drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scl import stats
from scl.dunnett import t_critical
from scl.report.facts import Facts
from scl.report.theme import COLOURS, Figure, axis, figure, labels, line_at, numbers, span, styles

MOST_CURVES = 30
DRAWN_AT_FIRST = 8
MOST_EPOCHS = 300
LAST = 0.25  # share of the epochs that is enlarged
MOST_SHARES = 12


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

    late: the first epoch of the enlarged end. span: of its axis in %: the arms that learnt, and the line.
    """

    metric: str
    curves: tuple[Curve, ...]
    left_out: int
    line: float
    late: int
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
        return Curves(metric, (), 0, line, 1, None, facts.baseline, facts.arms)
    grid = _by_arm(facts, kept, [metric]).groupby(["arm", "epoch"], observed=True)[metric]
    table = grid.agg(["count", "mean", "std"]).reset_index()
    out = []
    for arm in kept:
        rows = table[table["arm"] == arm]
        rows = rows.iloc[:: math.ceil(max(len(rows), 1) / MOST_EPOCHS)]
        n = rows["count"].to_numpy()
        t = np.array([t_critical(k - 1) if k > 1 else math.nan for k in range(int(n.max(initial=0)) + 1)])
        half = 100 * t[n] * rows["std"].to_numpy() / np.sqrt(np.maximum(n, 1))
        mean = 100 * rows["mean"].to_numpy()
        low, high = np.maximum(mean - half, 0), np.minimum(mean + half, 100)
        out.append(Curve(arm, int(n.max(initial=0)), rows["epoch"].to_numpy(), mean, low, high))
    first, last = (int(f([e for c in out for e in c.epoch])) for f in (min, max))
    late = max(first, last - max(round((last - first) * LAST), 2))
    drawn = [c for c in out if c.arm in facts.drawn][:DRAWN_AT_FIRST]
    # The means, and the bands where they are narrowest: an early wide band would flatten all curves.
    ends = [v for c in drawn for v in (*c.mean[c.epoch >= late], *c.low[-1:], *c.high[-1:])]
    beyond = len(order) - len(kept)
    return Curves(metric, tuple(out), beyond, line, late, span([*ends, line]), facts.baseline, facts.arms)


def _by_arm(facts: Facts, arms: list[str], columns: list[str]) -> pd.DataFrame:
    """epochs of the completed trials of these arms, with the arm; float64, so that a mean of equals is equal."""
    arm_of = facts.completed.set_index("trial_id")["arm"]
    epochs = facts.results.epochs
    code = pd.Index(arm_of.index).get_indexer(epochs["trial_id"])
    frame = epochs.loc[code >= 0, ["epoch", *columns]].astype(dict.fromkeys(columns, "float64"))
    frame["arm"] = pd.Categorical(arm_of.to_numpy()[code[code >= 0]], categories=arms)
    return frame.dropna(subset=["arm"])


def draw_curves(shown: Curves) -> Figure:
    """All epochs, and beside them the last ones enlarged; a frame in the first tells where those lie."""
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
        late = c.epoch >= shown.late
        for part, axes in ((slice(None), {}), (late, {"xaxis": "x2", "yaxis": "y2", "showlegend": False})):
            x = c.epoch[part].tolist()
            if np.isfinite(c.low).any():
                edge = {**common, **axes, "showlegend": False, "hoverinfo": "skip"}
                edge |= {"x": x, "line": {"width": 0, "color": look["color"]}}
                data.append({**edge, "y": numbers(c.low[part], 3)})
                fill = {"fill": "tonexty", "fillcolor": f"{look['color']}/0.09"}
                data.append({**edge, **fill, "y": numbers(c.high[part], 3)})
            data.append(
                {
                    **common,
                    **axes,
                    "name": names[c.arm],
                    "x": x,
                    "y": numbers(c.mean[part], 3),
                    "customdata": [names[c.arm]] * len(x),
                    "hovertemplate": "%{customdata}<br>epoch %{x}: %{y:.2f} %<extra></extra>",
                    "line": {"color": look["color"], "dash": look["dash"], "width": 2},
                }
            )
    shapes, notes = line_at(shown.line, "teacher", vertical=False)
    for item in [*shapes, *notes]:
        item["xref"] = "x domain"
    twins = [{**item, "xref": "x2 domain", "yref": "y2"} for item in shapes]
    last = max(int(c.epoch.max(initial=1)) for c in shown.curves)
    frame = []
    if shown.span:
        box = {"x0": shown.late, "x1": last, "y0": shown.span[0], "y1": shown.span[1]}
        frame = [{"type": "rect", **box, "line": {"color": "@soft", "width": 1}}]
    word = {"val_acc": "validation", "train_acc": "training"}.get(shown.metric, "test")
    head = {"xref": "x2 domain", "yref": "y2 domain", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    notes.append({**head, "text": "the last epochs", "showarrow": False, "font": {"color": "@soft", "size": 12}})
    under = {"xaxis.domain": [0, 1], "xaxis2.domain": [0, 1], "yaxis.domain": [0.58, 1], "yaxis2.domain": [0, 0.42]}
    return figure(
        data,
        440,
        {**under, "height": 620 + 22 * len(shown.curves), "legend.y": -56 / (620 - 88)},
        legend=len(shown.curves),
        xaxis=axis("epoch", showgrid=False, domain=[0, 0.56]),
        yaxis=axis(f"{word} accuracy, %"),
        xaxis2=axis("epoch", showgrid=False, domain=[0.66, 1], anchor="y2", range=[shown.late, last], nticks=5),
        yaxis2=axis("", anchor="x2", range=shown.span),
        shapes=[*shapes, *twins, *frame],
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
    there = set(facts.completed["arm"])
    arms = [arm for arm in facts.arms if arm in there]
    if not columns or not arms:
        return ()
    means = _by_arm(facts, arms, columns).groupby(["arm", "epoch"], observed=True)[columns].mean()
    out: list[Shares] = []
    for arm, rows in means.groupby(level="arm", observed=True):
        rows = rows.droplevel("arm").fillna(0.0).clip(lower=0.0)
        rows = rows.loc[:, rows.sum() > 0].rename(columns=lambda c: c.removeprefix("weighted."))
        if rows.shape[1] > 1:
            rows = rows.iloc[:: math.ceil(len(rows) / MOST_EPOCHS)]
            out.append(Shares(str(arm), rows.div(rows.sum(axis=1), axis=0)))
        if len(out) == MOST_SHARES:
            break
    return tuple(out)


def term_colour(term: str, terms: list[str]) -> str:
    """The colour of a term, the same in every arm; cross-entropy's is the soft one."""
    return "@soft" if term == "ce" else COLOURS[[t for t in terms if t != "ce"].index(term) % len(COLOURS)]


def draw_shares(shown: Shares, terms: list[str]) -> Figure:
    """terms: all terms of the study, so that one keeps its colour in every arm."""
    data = []
    for term in shown.share.columns:
        colour = term_colour(term, terms)
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
    return figure(data, 210, top=28, xaxis=x, yaxis=y)
