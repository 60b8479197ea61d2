"""What happened while training: learning curves, and what the loss consisted of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from scl.report.blocks import Cell, Column, Mark, Panel, Plot, number_table
from scl.report.facts import Facts
from scl.report.figures import training
from scl.report.theme import plain
from scl.report.words import DASH, bare, leading, listing, name_of, plural


def curves(facts: Facts) -> Panel:
    title = "When do they part?"
    shown = training.curves(facts)
    if not shown.curves:
        return Panel("curves", title, "No epochs of completed trials are stored, so there is nothing to draw.")
    drawn = min(len(shown.curves), training.DRAWN_AT_FIRST)
    banded = any(c.n > 1 for c in shown.curves)
    caption = "Mean over seeds by epoch"
    caption += ", the band its 95 % interval at each epoch (Student's t)." if banded else "; one seed has no band."
    caption += " Completed trials only. The frame on the left is what the right side enlarges: the last epochs."
    if drawn < len(shown.curves):
        caption += f" The baseline and the {drawn - 1} highest arms are drawn; a click on a name shows more."
    if shown.left_out:
        caption += f" {plural(shown.left_out, 'arm')} below the best {len(shown.curves)} are not in this figure."
    epochs = sorted({int(e) for c in shown.curves for e in c.epoch})
    rows = []
    for c in shown.curves:
        at = {int(e): (m, h - m) for e, m, h in zip(c.epoch, c.mean, c.high, strict=True)}
        cells = [_curve_cell(*at.get(e, (math.nan, math.nan)), facts.decimals) for e in _some(epochs)]
        rows.append((c.arm, cells))
    columns = [Column(f"epoch_{e}", f"{e}") for e in _some(epochs)]
    word = "Validation" if shown.metric == "val_acc" else "Test"
    answer = f"{word} accuracy over {plural(max(epochs), 'epoch')}. {_parting(facts, shown)}".strip()
    table = number_table(columns, rows, label="Accuracy by epoch")
    plot = Plot("learning", caption, [training.draw_curves(shown)], table, wide=True)
    return Panel("curves", title, answer, [plot])


def _parting(facts: Facts, shown: training.Curves) -> str:
    """From which epoch on the leading arm's curve stays on its side of the baseline's."""
    lead = leading(facts) if facts.scores.size else ""
    by_arm = {c.arm: c for c in shown.curves}
    if lead == facts.baseline or lead not in by_arm or facts.baseline not in by_arm:
        return ""
    ours, base = by_arm[lead], by_arm[facts.baseline]
    epochs, i, j = np.intersect1d(ours.epoch, base.epoch, return_indices=True)
    if not len(epochs):
        return ""
    ahead = np.sign(ours.mean[i] - base.mean[j])
    stays = np.flatnonzero(ahead != ahead[-1])
    since = int(epochs[0] if not len(stays) else epochs[min(stays[-1] + 1, len(epochs) - 1)])
    side = "above" if ahead[-1] > 0 else "below" if ahead[-1] < 0 else "level with"
    return f"The mean of {name_of(lead)} stays {side} that of the baseline from epoch {since} on."


def _some(epochs: Sequence[int], most: int = 24) -> list[int]:
    """At most `most` of the epochs, evenly spread, the first and the last among them."""
    if len(epochs) <= most:
        return list(epochs)
    return sorted({epochs[round(i * (len(epochs) - 1) / (most - 1))] for i in range(most)})


def _curve_cell(mean: float, half: float, decimals: int) -> Cell:
    if not math.isfinite(mean):
        return Cell(DASH)
    spread = f" ± {bare(half / 100, decimals)}" if math.isfinite(half) else ""
    return Cell(bare(mean / 100, decimals) + spread, float(mean))


def shares(facts: Facts) -> Panel:
    title = "Which loss term dominates?"
    shown = training.shares(facts)
    if not shown:
        return Panel("shares", title, "No arm has more than one loss term on record, so there are no shares to draw.")
    terms = sorted({term for s in shown for term in s.share.columns})
    caption = (
        "Share of each weighted term in the training loss, the mean over seeds. A term that fills its panel drowns "
        "the others; one that is hardly seen may do little. Shares of the loss are not shares of the gradient."
    )
    last = {s.arm: s.share.iloc[-1] for s in shown}
    first = {s.arm: s.share.iloc[0] for s in shown}
    columns = [
        Column(f"{when}_{term}", f"{plain(term)}, {when} epoch, %") for term in terms for when in ("first", "last")
    ]
    rows = [(s.arm, [_share_cell(when[s.arm].get(term)) for term in terms for when in (first, last)]) for s in shown]
    loud = [s.arm for s in shown if "ce" in s.share.columns and last[s.arm]["ce"] < 0.1]
    answer = f"{_dominating(last)}"
    if loud:
        answer += f" Cross-entropy ends under 10 % of the loss in {listing(loud)}."
    figures = [training.draw_shares(s, terms) for s in shown]
    key = [Mark(term, training.term_colour(term, terms)) for term in terms]
    table = number_table(columns, rows, label="Loss shares by arm")
    plot = Plot("loss-shares", caption, figures, table, [s.arm for s in shown], key, wide=True)
    return Panel("shares", title, answer, [plot])


def _dominating(last: dict[str, pd.Series]) -> str:
    """The largest term of the last epoch, over arms."""
    largest: dict[str, list[str]] = {}
    for arm, share in last.items():
        largest.setdefault(str(share.idxmax()), []).append(arm)
    parts = [f"{plain(term)} in {listing(arms)}" for term, arms in largest.items()]
    return f"The largest term of the last epoch is {'; '.join(parts)}."


def _share_cell(share: float | None) -> Cell:
    return Cell(DASH) if share is None else Cell(f"{100 * share:.1f}", float(100 * share))
