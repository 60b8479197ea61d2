"""When do the curves separate? Accuracy by epoch, and the last epochs enlarged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scl import stats
from scl.report import theme
from scl.report.appearance import Appearance
from scl.report.blocks import Column, Panel, Plot
from scl.report.facts import Facts
from scl.report.findings import leading
from scl.report.formatting import PERCENT, UNITS, capital, name_of, plural
from scl.report.tables import interval_cell, number_table
from scl.report.theme import Figure, axis, numbers, scatter, span
from scl.study.metrics import DEFAULT, METRICS, Metric

TITLE = "When do the curves separate?"
MOST_CURVES = 30
DRAWN_AT_FIRST = 8
MOST_EPOCHS = 300
LAST = 0.25  # the share of the epochs that is enlarged
MOST_COLUMNS = 24  # epochs in the table
MOST_SYMBOLS = 6  # on a curve: more would hide it


def panel(facts: Facts) -> Panel:
    shown = curves(facts)
    if not shown.curves:
        return Panel("curves", TITLE, f"The store holds no epochs of completed trials.{_in_training(facts)}")
    drawn = min(len(shown.curves), DRAWN_AT_FIRST)
    unit = UNITS[_of(shown.metric).unit]
    banded = any(c.n > 1 for c in shown.curves)
    caption = "Mean over seeds by epoch"
    caption += (
        f"; band: its 95 % interval at each epoch (Student's t), cut at {'0 and 100 %' if unit is PERCENT else '0'}."
        if banded
        else "."
    )
    caption += f" {facts.appearance.meaning} Completed trials only.{_in_training(facts)}"
    caption += " The right side enlarges the frame on the left, the last epochs."
    if drawn < len(shown.curves):
        first = f"the baseline and the {drawn - 1}" if shown.curves[0].arm == facts.baseline else f"the {drawn}"
        caption += f" The figure starts with {first} {facts.extreme} arms; click a name or pick an arm to show more."
    if shown.left_out:
        caption += f" {plural(shown.left_out, 'arm')} below the best {len(shown.curves)} are not in this figure."
    epochs = sorted({int(e) for c in shown.curves for e in c.epoch})
    listed = _spread(epochs)
    rows = []
    for c in shown.curves:
        nothing = (math.nan, math.nan, math.nan)
        at = {int(e): (m, low, high) for e, m, low, high in zip(c.epoch, c.mean, c.low, c.high, strict=True)}
        rows.append((c.arm, [interval_cell(*at.get(e, nothing), facts.decimals) for e in listed]))
    table = number_table(
        [Column(f"epoch_{e}", f"{e}") for e in listed], rows, label=f"{capital(_of(shown.metric).words)} by epoch"
    )
    answer = f"{capital(_word(shown))} over {plural(max(epochs), 'epoch')}. {_separation(facts, shown)}".strip()
    return Panel("curves", TITLE, answer, [Plot("learning", caption, [draw_curves(shown)], table)])


def _in_training(facts: Facts) -> str:
    """Where the curves of trials are that have not ended, if there are any."""
    trials = (facts.results.running or {}).get("running")
    return " The bar on top has the curves of the trials in training." if trials else ""


def _spread(epochs: Sequence[int]) -> list[int]:
    """At most MOST_COLUMNS of the epochs, evenly spread, with the first and the last."""
    if len(epochs) <= MOST_COLUMNS:
        return list(epochs)
    return sorted({epochs[round(i * (len(epochs) - 1) / (MOST_COLUMNS - 1))] for i in range(MOST_COLUMNS)})


@dataclass(frozen=True)
class Curve:
    """One arm over epochs: the mean in %, and Student's 95 % band within 0 and 100 (NaN for one seed)."""

    arm: str
    n: int
    epoch: stats.Array
    mean: stats.Array
    low: stats.Array
    high: stats.Array


@dataclass(frozen=True)
class Curves:
    """metric: the column of epochs.parquet that is drawn. left_out: the number of arms below the best MOST_CURVES.

    late: the first epoch of the enlarged end. span: the range of its axis in %, for the arms that learnt and the line.
    """

    metric: str
    curves: tuple[Curve, ...]
    left_out: int
    line: float
    late: int
    span: list[float] | None
    appearance: Appearance


def curves(facts: Facts) -> Curves:
    """The metric by epoch over completed trials, on validation images if it is not stored by epoch on test images."""
    epochs = facts.results.epochs
    measure = facts.measure
    wanted = (measure.column, measure.validation, "test_acc", "val_acc")
    metric = next((m for m in wanted if m in epochs and epochs[m].notna().any()), "")
    unit = UNITS[_of(metric).unit]
    order = facts.best_first(facts.completed.groupby("arm")[facts.metric].mean()).index
    drawn = [facts.baseline] if facts.baseline in order else []
    drawn += [arm for arm in order if arm != facts.baseline][: MOST_CURVES - len(drawn)]
    line = unit.factor * facts.teacher if metric == facts.metric else math.nan
    if not metric or not drawn:
        return Curves(metric, (), 0, line, 1, None, facts.appearance)
    by_epoch = epochs_by_arm(facts, drawn, [metric]).groupby(["arm", "epoch"], observed=True)[metric]
    table = by_epoch.agg(["count", "mean", "std"]).reset_index()
    out = []
    for arm in drawn:
        rows = table[table["arm"] == arm]
        rows = rows.iloc[thinned(len(rows))]
        n = rows["count"].to_numpy()
        t = np.array([stats.t_critical(k - 1) if k > 1 else math.nan for k in range(int(n.max(initial=0)) + 1)])
        sd = rows["std"].to_numpy()
        sd = np.where(sd > stats.NO_SPREAD, sd, math.nan)  # equal seeds give no interval
        half = unit.factor * t[n] * sd / np.sqrt(np.maximum(n, 1))
        mean = unit.factor * rows["mean"].to_numpy()
        low, high = np.maximum(mean - half, 0), np.minimum(mean + half, unit.factor * unit.most)
        out.append(Curve(arm, int(n.max(initial=0)), rows["epoch"].to_numpy(), mean, low, high))
    first, last = (int(f([e for c in out for e in c.epoch])) for f in (min, max))
    late = max(first, last - max(round((last - first) * LAST), 2))
    learnt = [c for c in out if c.arm in facts.drawn][:DRAWN_AT_FIRST]
    # The means, and the bands only at the end: a wide early band would flatten all curves.
    ends = [v for c in learnt for v in (*c.mean[c.epoch >= late], *c.low[-1:], *c.high[-1:])]
    left_out = len(order) - len(drawn)
    return Curves(metric, tuple(out), left_out, line, late, span([*ends, line]), facts.appearance)


def thinned(epochs: int) -> stats.Array:
    """Indices of at most MOST_EPOCHS of this many epochs, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, max(epochs - 1, 0), min(epochs, MOST_EPOCHS)).round().astype(int))


def epochs_by_arm(facts: Facts, arms: list[str], columns: list[str]) -> pd.DataFrame:
    """The epochs of the completed trials of these arms, with the arm. float64, so that the mean of equals is equal."""
    arm_of = facts.completed.set_index("trial_id")["arm"]
    epochs = facts.results.epochs
    # By distinct id: a million ids as strings of Python would take more memory than all numbers of the epochs.
    which, ids = pd.factorize(epochs["trial_id"])
    trial = pd.Index(arm_of.index).get_indexer(ids)
    codes = np.where(trial >= 0, pd.Categorical(arm_of, categories=arms).codes[trial], -1)[which]
    frame = epochs.loc[codes >= 0, ["epoch", *columns]].astype(dict.fromkeys(columns, "float64"))
    return frame.assign(arm=pd.Categorical.from_codes(codes[codes >= 0], categories=arms))


def _of(column: str) -> Metric:
    """The metric that a column of epochs.parquet holds, on test or validation images."""
    return next((m for m in METRICS.values() if column in (m.column, m.validation)), METRICS[DEFAULT])


def _word(shown: Curves) -> str:
    """`test accuracy`, `validation log loss`"""
    part = {"val_": "validation", "trai": "training"}.get(shown.metric[:4], "test")
    return f"{part} {_of(shown.metric).words}"


def _separation(facts: Facts, shown: Curves) -> str:
    """The epoch from which the leading arm stays on one side of the baseline, in the mean over the seeds of both."""
    lead = leading(facts) if facts.scores.size else ""
    drawn = {c.arm for c in shown.curves}
    if lead == facts.baseline or lead not in drawn or facts.baseline not in drawn:
        return ""
    done = facts.completed.set_index("trial_id")
    both = done[done["arm"].isin([lead, facts.baseline])]
    epochs = facts.results.epochs
    rows = epochs.loc[epochs["trial_id"].isin(both.index), ["trial_id", "epoch", shown.metric]].dropna()
    rows = rows.join(both[["arm", "seed"]], on="trial_id", how="inner")
    ours, base = (
        rows[rows["arm"] == arm].set_index(["seed", "epoch"])[shown.metric].astype(float)
        for arm in (lead, facts.baseline)
    )
    ahead = np.sign((ours - base).dropna().groupby(level="epoch").mean())
    if ahead.empty:
        return ""
    epochs, side = ahead.index, ahead.iloc[-1]
    since = int(epochs[np.flatnonzero(np.r_[True, (ahead != side).to_numpy()])[-1]])
    where = "above" if side > 0 else "below" if side < 0 else "level with"
    return f"In the mean over their common seeds, {name_of(lead)} stays {where} the baseline from epoch {since} on."


def draw_curves(shown: Curves) -> Figure:
    """All epochs, and beside them the last ones enlarged; a frame on the left marks them."""
    look, unit = shown.appearance, _of(shown.metric).unit
    names, whole = (f(c.arm for c in shown.curves) for f in (look.labels, look.hovers))
    data = []
    for i, c in enumerate(shown.curves):
        colour, dash, symbol = look.style(c.arm).values()
        common = {"legendgroup": str(i), "visible": True if i < DRAWN_AT_FIRST else "legendonly", "arm": c.arm}
        late = c.epoch >= shown.late
        for part, axes in ((slice(None), {}), (late, {"xaxis": "x2", "yaxis": "y2", "showlegend": False})):
            x = c.epoch[part].tolist()
            if np.isfinite(c.low).any():
                edge = {**common, **axes, "showlegend": False, "hoverinfo": "skip"}
                edge["line"] = {"width": 0, "color": colour}
                fill = {"fill": "tonexty", "fillcolor": f"{colour}/0.09"}
                data.append(scatter("lines", x, numbers(c.low[part], 3), **edge))
                data.append(scatter("lines", x, numbers(c.high[part], 3), **edge, **fill))
            line = {
                "name": names[c.arm],
                "meta": [whole[c.arm]],
                "hovertemplate": "%{meta[0]}<br>epoch %{x}: %{y:.2f} " + f"{unit}<extra></extra>",
                "line": {"color": colour, "dash": dash, "width": 2},
                "marker": {"symbol": symbol, "size": 7, "color": colour, "maxdisplayed": MOST_SYMBOLS},
            }
            data.append(scatter("lines+markers", x, numbers(c.mean[part], 3), **common, **axes, **line))
    shapes, notes = theme.teacher_line(shown.line, vertical=False)
    for item in [*shapes, *notes]:
        item["xref"] = "x domain"
    twins = [{**item, "xref": "x2 domain", "yref": "y2"} for item in shapes]
    last = max(int(c.epoch.max(initial=1)) for c in shown.curves)
    frame = []
    if shown.span:
        box = {"x0": shown.late, "x1": last, "y0": shown.span[0], "y1": shown.span[1]}
        frame = [{"type": "rect", **box, "line": {"color": "@soft", "width": 1}}]
    heading = {"xref": "x2 domain", "yref": "y2 domain", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    notes.append(theme.label("the last epochs", "@soft", **heading))
    below: dict[str, Any] = {"height": 620 + 22 * len(shown.curves), "legend.y": -56 / (620 - 88)}
    below |= {"xaxis.domain": [0, 1], "xaxis2.domain": [0, 1], "yaxis.domain": [0.58, 1], "yaxis2.domain": [0, 0.42]}
    looks: dict[str, Any] = {
        "xaxis": axis("epoch", showgrid=False, domain=[0, 0.56]),
        "yaxis": axis(f"{_word(shown)}, {unit}"),
        "xaxis2": axis("epoch", showgrid=False, domain=[0.66, 1], anchor="y2", range=[shown.late, last], nticks=5),
        "yaxis2": axis("", anchor="x2", range=shown.span),
    }
    return theme.figure(data, 440, below, legend=len(names), marks=([*shapes, *twins, *frame], notes), **looks)
