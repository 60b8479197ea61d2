"""Which loss term dominates? The share of each weighted term in the training loss, by epoch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pandas as pd

from scl.report.blocks import Cell, Column, Mark, Panel, Plot
from scl.report.facts import Facts
from scl.report.formatting import DASH, listing, plain, plural
from scl.report.questions.curves import epochs_by_arm, thinned
from scl.report.tables import number_table
from scl.report.theme import COLOURS, Figure, axis, figure, labels, numbers, scatter

TITLE = "Which loss term dominates?"
MOST_SHARES = 12


def panel(facts: Facts) -> Panel:
    every = weighted_terms(facts)
    several = with_several_terms(every)
    shown = [_shares(arm, every.loc[arm]) for arm in several[:MOST_SHARES]]
    if not shown:
        return Panel("loss-shares", TITLE, "The store holds no epochs of an arm with more than one loss term.")
    terms = sorted({term for s in shown for term in s.share.columns})
    caption = (
        "Share of each weighted term in the training loss, mean over completed trials. A term that fills its figure "
        "outweighs the others; a term with a tiny share may have little effect. Shares of the loss are not shares of "
        "the gradient."
    )
    if any(s.negative for s in shown):
        caption += " Terms below 0 count by their size."
    if len(several) > len(shown):
        caption += f" The first {len(shown)} of {plural(len(several), 'arm')} with several terms are shown."
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
    """One arm: the share of each loss term in the weighted training loss, (epochs, terms), in [0, 1].

    negative: a term was below 0 in some epoch, and counts by its size.
    """

    arm: str
    share: pd.DataFrame
    negative: bool = False


def shares(facts: Facts) -> tuple[Shares, ...]:
    """The arms whose loss has more than one term, mean over completed trials."""
    terms = weighted_terms(facts)
    return tuple(_shares(arm, terms.loc[arm]) for arm in with_several_terms(terms))


def weighted_terms(facts: Facts) -> pd.DataFrame:
    """(arm and epoch, loss terms): the weighted terms, mean over completed trials; 0 for a term that an arm lacks."""
    columns = [c for c in facts.results.epochs.columns if c.startswith("weighted.")]
    with_trials = set(facts.completed["arm"])
    arms = [arm for arm in facts.arms if arm in with_trials]
    if not columns or not arms:
        return pd.DataFrame()
    means = epochs_by_arm(facts, arms, columns).groupby(["arm", "epoch"], observed=True)[columns].mean()
    return means.rename(columns=lambda c: c.removeprefix("weighted.")).fillna(0.0)


def with_several_terms(terms: pd.DataFrame) -> list[str]:
    """The arms with more than one term that is not 0 in all epochs."""
    if terms.empty:
        return []
    several = (terms.abs().groupby(level="arm", observed=True).sum() > 0).sum(axis=1) > 1
    return [str(arm) for arm in several.index[several]]


def _shares(arm: str, rows: pd.DataFrame) -> Shares:
    """rows: (epochs, terms)"""
    size = rows.abs()
    size = size.loc[size.sum(axis=1) > 0, size.sum() > 0]
    size = size.iloc[thinned(len(size))]
    return Shares(arm, size.div(size.sum(axis=1), axis=0), bool((rows < 0).any(axis=None)))


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
        about = {"customdata": [name] * len(x), "hovertemplate": hover, "stackgroup": "one", "arm": shown.arm}
        trace = scatter("lines", x, y, name=name, **about)
        data.append({**trace, "line": {"color": colour, "width": 1}, "fillcolor": f"{colour}/0.45"})
    return figure(data, 210, top=28, xaxis=axis("epoch", showgrid=False), yaxis=axis("share, %", range=[0, 100]))
