"""Which loss term dominates? The share of each weighted term in the training loss, by epoch, and beside it the strength
of its gradient, as far as that was measured."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scl.report.blocks import Cell, Column, Mark, Panel, Plot
from scl.report.epochs import epochs_by_arm
from scl.report.facts import Facts
from scl.report.formatting import DASH, listing, plain, plural
from scl.report.questions.curves import thinned
from scl.report.tables import number_table
from scl.report.theme import COLOURS, Figure, axis, figure, labels, numbers, scatter

TITLE = "Which loss term dominates?"
MOST_SHARES = 12
GRADIENTS = "gradient-shares"
GRADIENT = "gradient ÷ that of cross-entropy"
GRADIENT_HINT = "Norm of the weighted term's gradient at the trunk, divided by that of plain cross-entropy"
UNMEASURED = "Gradients are measured for terms with a share, as in Term(share=0.3); other terms have none here."


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
    measured = gradients(facts, [s.arm for s in shown])
    caption += "" if measured else f" {UNMEASURED}"
    if any(s.negative for s in shown):
        caption += " Terms below 0 count by their size."
    if len(several) > len(shown):
        caption += f" The first {len(shown)} of {plural(len(several), 'arm')} with several terms are shown."
    last = {s.arm: s.share.iloc[-1] for s in shown}
    both = list(itertools.product(terms, ("first", "last")))
    columns = [Column(f"{when}_{term}", f"{plain(term)}, {when} epoch, %") for term, when in both]
    ends = {s.arm: {"first": s.share.iloc[0], "last": s.share.iloc[-1]} for s in shown}
    by_term = {term: i for i, term in enumerate(dict.fromkeys(t for g in measured.values() for t in g.columns))}
    columns += [
        Column(f"{when}_gradient_{term}", f"{plain(term)}, {when} epoch, {GRADIENT}", GRADIENT_HINT)
        for term, when in itertools.product(by_term, ("first", "last"))
    ]
    rows = [
        (
            s.arm,
            [_cell(ends[s.arm][when].get(term)) for term, when in both]
            + [
                _gradient_cell(measured.get(s.arm), term, when)
                for term, when in itertools.product(by_term, ("first", "last"))
            ],
        )
        for s in shown
    ]
    small = [s.arm for s in shown if "ce" in s.share.columns and last[s.arm]["ce"] < 0.1]
    answer = _dominating(last)
    answer += f" Cross-entropy ends below 10 % of the loss in {listing(small)}." if small else ""
    figures = [draw_shares(s, terms) for s in shown]
    key = [Mark(term, _colour(term, terms)) for term in terms]
    table = number_table(columns, rows, label="Loss shares by arm")
    plots = [Plot("loss-shares", caption, figures, table, list(last), key)]
    if measured:
        answer += f" {_strongest(measured)}"
        plots.append(_gradient_plot(measured, terms, len(shown)))
    return Panel("loss-shares", TITLE, answer, plots)


def _strongest(measured: dict[str, pd.DataFrame]) -> str:
    """The terms whose gradient is stronger than that of cross-entropy in the last epoch."""
    strong: dict[str, list[str]] = {}
    for arm, ratios in measured.items():
        for term, ratio in ratios.iloc[-1].items():
            if ratio > 1:
                strong.setdefault(str(term), []).append(arm)
    if not strong:
        return "No measured gradient is stronger than that of cross-entropy in the last epoch."
    parts = [f"{plain(term)} in {listing(arms)}" for term, arms in strong.items()]
    return f"In the last epoch, the gradient is stronger than that of cross-entropy for {'; '.join(parts)}."


def _gradient_plot(measured: dict[str, pd.DataFrame], terms: list[str], shown: int) -> Plot:
    """terms: all terms of the study, so that a term has one colour in both figures."""
    used = [term for term in terms if any(term in ratios.columns for ratios in measured.values())]
    caption = (
        "The norm of the gradient of each weighted term at the trunk, divided by that of plain cross-entropy, in the "
        "first step of each epoch, geometric mean over completed trials. At 1, the term moves the trunk as much as "
        "cross-entropy does. It starts at the share that was asked for, and drifts as the network learns, because the "
        "weight is fixed after the first steps."
    )
    if len(measured) < shown:
        caption += f" {UNMEASURED}"
    rows = [
        (arm, [Cell(plain(term)), Cell(str(int(epoch)), int(epoch)), number(ratio)])
        for arm, ratios in measured.items()
        for term in ratios.columns
        for epoch, ratio in ratios[term].dropna().items()
    ]
    columns = [
        Column("term", "Term", number=False),
        Column("epoch", "Epoch"),
        Column("gradient", GRADIENT.capitalize()),
    ]
    table = number_table(columns, rows, label="Strength of the gradients by arm, term and epoch")
    figures = [draw_gradients(arm, ratios, terms) for arm, ratios in measured.items()]
    return Plot(GRADIENTS, caption, figures, table, list(measured), [Mark(t, _colour(t, terms)) for t in used])


def gradients(facts: Facts, arms: list[str]) -> dict[str, pd.DataFrame]:
    """Arm → how strong the gradient of each weighted term is beside that of plain cross-entropy: (epochs, terms), the
    geometric mean over completed trials, NaN where it was not measured. Arms without a measured term are left out."""
    columns = [c for c in facts.results.epochs.columns if c.startswith("share.")]
    if not columns or not arms:
        return {}
    rows = epochs_by_arm(facts, arms, columns)
    rows[columns] = np.log(rows[columns].where(rows[columns] > 0))
    means = np.exp(rows.groupby(["arm", "epoch"], observed=True)[columns].mean())
    means = means.rename(columns=lambda c: c.removeprefix("share."))
    found = {}
    for arm in means.index.unique("arm"):
        own = means.loc[arm].dropna(how="all").dropna(axis=1, how="all")
        if own.size:
            found[str(arm)] = own.iloc[thinned(len(own))]
    return found


def _dominating(last: dict[str, pd.Series]) -> str:
    """The largest term of the last epoch, for each arm."""
    largest: dict[str, list[str]] = {}
    for arm, share in last.items():
        largest.setdefault(str(share.idxmax()), []).append(arm)
    parts = [f"{plain(term)} in {listing(arms)}" for term, arms in largest.items()]
    return f"The largest term of the last epoch is {'; '.join(parts)}."


def number(ratio: float) -> Cell:
    return Cell(f"{ratio:.3g}", float(ratio)) if math.isfinite(ratio) else Cell(DASH)


def _gradient_cell(ratios: pd.DataFrame | None, term: str, when: str) -> Cell:
    """The strength of a term's gradient in the first or last epoch that was measured."""
    if ratios is None or term not in ratios.columns:
        return Cell(DASH)
    known = ratios[term].dropna()
    return number(float(known.iloc[0 if when == "first" else -1]))


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


def draw_gradients(arm: str, ratios: pd.DataFrame, terms: list[str]) -> Figure:
    """ratios: (epochs, terms) of one arm. terms: all terms of the study."""
    data = []
    for term in ratios.columns:
        known = ratios[term].dropna()
        (name,) = labels([term]).values()
        x, y = [int(e) for e in known.index], numbers(known, 4)
        hover = "%{customdata}<br>epoch %{x}: %{y:.3g} × cross-entropy’s<extra></extra>"
        about = {"customdata": [name] * len(x), "hovertemplate": hover, "arm": arm}
        trace = scatter("lines+markers", x, y, name=name, **about)
        data.append({**trace, "line": {"color": _colour(term, terms), "width": 1.5}, "marker": {"size": 4}})
    return figure(
        data, 210, top=28, xaxis=axis("epoch", showgrid=False), yaxis=axis("gradient ratio", type="log", dtick="D2")
    )
