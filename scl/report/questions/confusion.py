"""Which classes does it confuse? The confusions of the best arm beside the baseline's, and test images that turned."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from scl import stats
from scl.report import theme
from scl.report.blocks import Block, Column, Heading, Note, Panel, Picture, Pictures, Plot, Row, Table
from scl.report.confused import Confusions, confusions
from scl.report.facts import Facts
from scl.report.findings import baseline_name
from scl.report.flips import Flip, Flips, flips
from scl.report.formatting import fixed, gain, name_of, p_clause, percent, percent_number, plural, points
from scl.report.tables import count_cell, number_cells, p_cell, text_cell
from scl.report.theme import Figure, axis, figure, labels, numbers, ticks
from scl.store.pictures import type_of

TITLE = "Which classes does it confuse?"
MOST_CLASSES = 20  # of a figure; more are a list of pairs
SIDE_BY_SIDE = 10  # classes of two figures beside each other


def panel(facts: Facts) -> Panel:
    shown = confusions(facts)
    if shown is None:
        return Panel("confusion", TITLE, "The store holds no predictions of single test images with their classes.")
    if shown.pairs.empty:
        return Panel("confusion", TITLE, f"{name_of(shown.arm)} makes no mistake on the test images.")
    blocks: list[Block] = [*_plots(shown)]
    blocks += [
        Heading("Classes that are confused most, and that changed most"),
        _pairs_table(shown),
        Note(_about(shown)),
    ]
    turned = flips(facts, shown.arm)
    if turned is not None:
        blocks += [Heading("Test images that turned"), *_turned(facts, shown, turned)]
    return Panel("confusion", TITLE, _answer(facts, shown, turned), blocks)


# Words


def _answer(facts: Facts, shown: Confusions, turned: Flips | None) -> str:
    d = _decimals(shown)
    top = shown.pairs.iloc[int((shown.pairs["ours"] * shown.pairs["images"]).argmax())]
    text = (
        f"{name_of(shown.arm)} most often takes {_pair(shown, top, ' for ')}: {percent(top['ours'], d)} of that class"
    )
    if shown.theirs is None:
        return f"{text}."
    text += f", {gain(top['difference'], d)} against {baseline_name(facts)}."
    found = shown.pairs[shown.pairs["p_holm"] < 1 - stats.LEVEL]
    if shown.pairs["p"].isna().all():
        text += " One shared seed cannot show which pairs of classes changed."
    elif len(found):
        clearest = found.loc[found["p"].idxmin()]
        text += f" {plural(len(found), 'pair')} of classes changed significantly, most clearly "
        text += (
            f"{_pair(shown, clearest, ' for ')} ({gain(clearest['difference'], d)}, {p_clause(clearest['p_holm'])})."
        )
    else:
        text += " No pair of classes is shown to be confused more or less often."
    if turned is not None:
        text += (
            f" It turned {plural(turned.all_gained, 'test image')} right and {turned.all_lost:,} wrong, by most seeds."
        )
    return text


def _pair(shown: Confusions, row: Any, joint: str) -> str:
    return f"{name_of(_name(shown, row['label']))}{joint}{name_of(_name(shown, row['predicted']))}"


def _name(shown: Confusions, number: Any) -> str:
    return shown.names.get(int(number), f"class {int(number)}")


def _decimals(shown: Confusions) -> int:
    """Of a share of a class: one image in a hundred is a point."""
    return 0 if shown.pairs["images"].median() <= 100 else 1


def _about(shown: Confusions) -> str:
    text = f"Shares of the images of the class in the first column, mean over {plural(shown.seeds, 'seed')}."
    if shown.theirs is not None:
        text += (
            " Listed are the most frequent confusions and those that differ most from the baseline's. Holm p: paired "
            "by seed and image, for other seeds and other images of the class, corrected over all "
            f"{shown.tested:,} pairs of classes, because the page picks these."
        )
    if len(shown.names) > MOST_CLASSES:
        text += f" With {len(shown.names):,} classes, a figure of all pairs could not be read."
    return text


# The figure


def draw_confusion(shown: Confusions, difference: bool = False) -> Figure:
    """True classes × predicted classes: shares of each class in %, or their differences from the baseline in points.
    The diagonal, what is right, has no colour in the first figure, so that mistakes can be seen."""
    at = shown.classes
    images = shown.ours.sum(axis=1)[at]

    def shares(counts: stats.Array) -> stats.Array:
        return 100 * counts[np.ix_(at, at)] / np.maximum(images, 1)[:, None]

    mine = shares(shown.ours)
    values = mine - shares(shown.theirs) if difference and shown.theirs is not None else mine
    right = np.eye(len(at), dtype=bool)
    # More of the diagonal is better, more of all else is worse.
    colours = np.where(right, values, -values) if difference else np.where(right, np.nan, mine)
    most = max(float(np.nanmax(np.abs(colours), initial=0)), 0.1)
    names = [theme.literal(shown.names[i]) for i in at]
    wide, short = (labels([shown.names[i] for i in at], most_signs) for most_signs in (20, 8))

    def show(value: float) -> str:
        return points(value / 100, 0) if difference else fixed(value, 0)

    text = [["" if round(v) == 0 else show(v) for v in row] for row in values]
    about = [[[names[i], names[j], show(v)] for j, v in enumerate(row)] for i, row in enumerate(values)]
    heat: dict[str, Any] = {"type": "heatmap", "x": list(range(len(at))), "y": list(range(len(at)))}
    heat |= {"z": [numbers(row, 2) for row in colours], "zmin": -most if difference else 0, "zmax": most}
    scale = [[0, "@worse"], [0.5, "@pale"], [1, "@better"]] if difference else [[0, "@pale"], [1, "@worse"]]
    heat |= {"colorscale": scale, "showscale": False, "xgap": 1, "ygap": 1, "customdata": about, "hoverongaps": False}
    unit = "points" if difference else "% of the class"
    heat |= {
        "hovertemplate": f"%{{customdata[0]}} taken for %{{customdata[1]}}: %{{customdata[2]}} {unit}<extra></extra>"
    }
    heat |= {"text": text, "texttemplate": "%{text}", "textfont": {"color": "@ink"}}
    look = {"showgrid": False, "tickfont": {"color": "@ink"}}
    first = short if len(at) <= SIDE_BY_SIDE else wide
    x = axis("predicted", **ticks(first.values()), tickangle=-45, **look)
    y = axis("true class", **ticks(first.values()), range=[len(at) - 0.5, -0.5], **look)
    narrow = {f"{side}.ticktext": list(short.values()) for side in ("xaxis", "yaxis")}
    return figure([heat], 150 + 24 * max(len(at), 4), narrow, xaxis=x, yaxis=y)


def _plots(shown: Confusions) -> list[Plot]:
    """The matrix of the arm and its difference from the baseline's, side by side if their numbers have the room."""
    if len(shown.names) > MOST_CLASSES:
        return []
    caption = (
        "True classes as rows, predicted classes as columns; numbers: % of the row's images, mean over "
        f"{plural(shown.seeds, 'seed')}. The diagonal is right."
    )
    change = "points more or less than the baseline; blue is better, orange is worse."
    drawn, titles = [draw_confusion(shown)], [shown.arm]
    if shown.theirs is None:
        return [Plot("confusions", caption, drawn, _matrix(shown, [False]))]
    drawn, titles = [*drawn, draw_confusion(shown, True)], [*titles, f"{shown.arm} minus baseline"]
    if len(shown.names) <= SIDE_BY_SIDE:
        return [Plot("confusions", f"{caption} Right: {change}", drawn, _matrix(shown, [False, True]), titles)]
    return [
        Plot("confusions", caption, drawn[:1], _matrix(shown, [False]), titles[:1]),
        Plot("confusion-change", f"Numbers: {change}", drawn[1:], _matrix(shown, [True]), titles[1:]),
    ]


def _matrix(shown: Confusions, figures: Sequence[bool]) -> Table:
    """The numbers of figures of the matrix: of the arm, or of its difference (True)."""
    at, images = shown.classes, np.maximum(shown.ours.sum(axis=1), 1)
    columns = [Column("arm", "True class", number=False), Column("what", "Numbers", number=False)]
    columns += [Column(f"c{j}", shown.names[j], f"taken for {shown.names[j]}") for j in at]
    rows = []
    for difference in figures:
        values = shown.ours - shown.theirs if difference and shown.theirs is not None else shown.ours
        what, show = ("minus baseline, points", points) if difference else ("% of the class", percent_number)
        for i in at:
            cells = number_cells(show, 1, *(float(values[i, j] / images[i]) for j in at))
            rows.append(Row([text_cell(shown.names[i]), text_cell(what), *cells]))
    return Table(columns, rows, label=f"Confusions of {shown.arm}")


# Tables


def _pairs_table(shown: Confusions) -> Table:
    d = _decimals(shown)
    columns = [
        Column("class", "Class", number=False),
        Column("predicted", "Taken for", number=False),
        Column("images", "Images", "of this class in the test set"),
        Column("ours", "Arm, %", "of the images of the class"),
    ]
    if shown.theirs is not None:
        columns += [
            Column("theirs", "Baseline, %", "of the images of the class"),
            Column("difference", "points", "more is worse"),
            Column("se", "SE", "for other seeds and other images of the class"),
            Column("p_holm", "Holm p", "over all pairs of classes"),
        ]
    rows = []
    ordered = shown.pairs.assign(count=shown.pairs["ours"] * shown.pairs["images"])
    for row in ordered.sort_values("count", ascending=False, kind="stable").to_dict("records"):
        cells = [text_cell(_name(shown, row["label"])), text_cell(_name(shown, row["predicted"]))]
        cells += [count_cell(int(row["images"])), *number_cells(percent_number, d, row["ours"])]
        if shown.theirs is not None:
            cells += number_cells(percent_number, d, row["theirs"]) + number_cells(points, d, row["difference"])
            cells += [*number_cells(percent_number, d + 1, row["se"]), p_cell(row["p_holm"])]
        rows.append(Row(cells))
    return Table(columns, rows, id="confused-pairs", label="Confused classes")


def _turned(facts: Facts, shown: Confusions, turned: Flips) -> list[Block]:
    """Pictures of the images that turned, where the store has them, and a table of all that are shown."""
    kept = facts.results.pictures
    blocks: list[Block] = []
    for label, some, count in (
        (
            f"Wrong in most seeds of the baseline, right in most of {name_of(shown.arm)}",
            turned.gained,
            turned.all_gained,
        ),
        (f"Right in most seeds of the baseline, wrong in most of {name_of(shown.arm)}", turned.lost, turned.all_lost),
    ):
        shown_here = [_picture(shown, flip, kept[flip.image]) for flip in some if flip.image in kept]
        if shown_here:
            more = f", the clearest of {count:,}" if count > len(shown_here) else ""
            blocks.append(Pictures(f"{label}{more}", shown_here))
    every = [(flip, "right now") for flip in turned.gained] + [(flip, "wrong now") for flip in turned.lost]
    if not every:
        return [Note("No test image is right in most seeds of one and wrong in most seeds of the other.")]
    columns = [
        Column("image", "Test image", "counted from 0, in the order of the test part"),
        Column("class", "Class", number=False),
        Column("said", "Mistaken for", "most often, by the side that is wrong", number=False),
        Column("ours", "Arm, % of seeds", "in which it is right"),
        Column("theirs", "Baseline, % of seeds", "in which it is right"),
        Column("turned", "Turned", number=False),
    ]
    rows = [
        Row(
            [
                count_cell(flip.image),
                text_cell(_name(shown, flip.label)),
                text_cell(_name(shown, flip.said)),
                *number_cells(percent_number, 0, flip.ours, flip.theirs),
                text_cell(how),
            ]
        )
        for flip, how in every
    ]
    blocks.append(Table(columns, rows, label="Test images that turned"))
    without = "" if kept else " This store holds no pictures of them."
    blocks.append(
        Note(
            f"{plural(turned.all_gained, 'image')} turned right and {turned.all_lost:,} turned wrong, over "
            f"{plural(turned.seeds, 'shared seed')}. They are the clearest cases, not a sample: some images turn by "
            f"chance alone.{without}"
        )
    )
    return blocks


def _picture(shown: Confusions, flip: Flip, picture: bytes) -> Picture:
    source = f"data:{type_of(picture)};base64,{base64.b64encode(picture).decode()}"
    label, said = _name(shown, flip.label), _name(shown, flip.said)
    shares = f"{100 * flip.theirs:.0f} → {100 * flip.ours:.0f} % of seeds right"
    return Picture(source, f"Test image {flip.image}", f"{label}, mistaken for {said}; {shares}")
