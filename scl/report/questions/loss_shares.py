"""Which loss term dominates? The share of each weighted term in the training loss, by epoch."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pandas as pd

from scl.report.blocks import Cell, Column, Mark, Panel, Plot
from scl.report.facts import Facts
from scl.report.formatting import DASH, listing, plain
from scl.report.questions.curves import MOST_EPOCHS, epochs_by_arm
from scl.report.tables import number_table
from scl.report.theme import COLOURS, Figure, axis, figure, labels, numbers, scatter

TITLE = "Which loss term dominates?"
MOST_SHARES = 12


def panel(facts: Facts) -> Panel:
    shown = shares(facts)
    if not shown:
        return Panel("loss-shares", TITLE, "The store holds no arm with more than one loss term.")
    terms = sorted({term for s in shown for term in s.share.columns})
    caption = (
        "Share of each weighted term in the training loss, mean over seeds. A term that fills its figure outweighs the "
        "others; a term with a tiny share may have little effect. Shares of the loss are not shares of the gradient."
    )
    last = {s.arm: s.share.iloc[-1] for s in shown}
    both = list(itertools.product(terms, ("first", "last")))
    columns = [Column(f"{when}_{term}", f"{plain(term)}, {when} epoch, %") for term, when in both]
    ends = {s.arm: {"first": s.share.iloc[0], "last": s.share.iloc[-1]} for s in shown}
    rows = [(s.arm, [_cell(ends[s.arm][when].get(term)) for term, when in both]) for s in shown]
    small = [s.arm for s in shown if "ce" in s.share.columns and last[s.arm]["ce"] < 0.1]
    answer = _dominating(last)
    answer += f" Cross-entropy ends below 10 % of the loss in {listing(small)}." if small else ""
    figures = [draw_shares(s, terms) for s in shown]
    key = [Mark(term, _colour(term, terms)) for term in terms]
    table = number_table(columns, rows, label="Loss shares by arm")
    plot = Plot("loss-shares", caption, figures, table, list(last), key)
    return Panel("loss-shares", TITLE, answer, [plot])


def _dominating(last: dict[str, pd.Series]) -> str:
    """The largest term of the last epoch, for each arm."""
    largest: dict[str, list[str]] = {}
    for arm, share in last.items():
        largest.setdefault(str(share.idxmax()), []).append(arm)
    parts = [f"{plain(term)} in {listing(arms)}" for term, arms in largest.items()]
    return f"The largest term of the last epoch is {'; '.join(parts)}."


def _cell(share: float | None) -> Cell:
    return Cell(DASH) if share is None else Cell(f"{100 * share:.1f}", float(100 * share))


@dataclass(frozen=True)
class Shares:
    """One arm: the share of each loss term in the weighted training loss, (epochs, terms), in [0, 1]."""

    arm: str
    share: pd.DataFrame


def shares(facts: Facts) -> tuple[Shares, ...]:
    """The first MOST_SHARES arms whose loss has more than one term, mean over completed trials."""
    columns = [c for c in facts.results.epochs.columns if c.startswith("weighted.")]
    with_trials = set(facts.completed["arm"])
    arms = [arm for arm in facts.arms if arm in with_trials]
    if not columns or not arms:
        return ()
    means = epochs_by_arm(facts, arms, columns).groupby(["arm", "epoch"], observed=True)[columns].mean()
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


def _colour(term: str, terms: list[str]) -> str:
    """The colour of a term, the same in every arm; cross-entropy is grey."""
    return "@soft" if term == "ce" else COLOURS[[t for t in terms if t != "ce"].index(term) % len(COLOURS)]


def draw_shares(shown: Shares, terms: list[str]) -> Figure:
    """terms: all terms of the study, so that a term has one colour in every arm."""
    data = []
    for term in shown.share.columns:
        colour = _colour(term, terms)
        (name,) = labels([term]).values()
        x, y = [int(e) for e in shown.share.index], numbers(100 * shown.share[term], 2)
        hover = "%{customdata}<br>epoch %{x}: %{y:.1f} %<extra></extra>"
        trace = scatter("lines", x, y, name=name, customdata=[name] * len(x), hovertemplate=hover, stackgroup="one")
        data.append({**trace, "line": {"color": colour, "width": 1}, "fillcolor": f"{colour}/0.45"})
    return figure(data, 210, top=28, xaxis=axis("epoch", showgrid=False), yaxis=axis("share, %", range=[0, 100]))
