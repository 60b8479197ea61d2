"""Which images and classes make the difference? The test set's part in it, the teacher's mistakes, the classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scl import stats
from scl.report import theme
from scl.report.blocks import Block, Column, Mark, Note, Panel, Plot, Row, Table
from scl.report.drawing.arms import beyond, not_drawn
from scl.report.drawing.rows import ArmRows, draw_rows, mean_row
from scl.report.facts import Facts
from scl.report.formatting import (
    distance,
    fixed,
    gain,
    name_of,
    p_clause,
    percent_number,
    plural,
    points,
    size,
)
from scl.report.per_image import PerImage, per_image
from scl.report.tables import arm_cell, count_cell, number_cells, number_table, p_cell, text_cell
from scl.report.theme import Figure, axis, figure, labels, numbers, ticks
from scl.study.metrics import DEFAULT

TITLE = "Which images and classes make the difference?"
MOST_CLASSES = 40  # rows of the figure, those with the smallest p
MOST_ROWS = 100  # of the table of classes
FEW_MISTAKES = 30  # with fewer, shares of the teacher's mistakes say little


def panel(facts: Facts) -> Panel:
    shown = per_image(facts)
    if shown is None:
        return Panel("images", TITLE, _nothing(facts))
    blocks: list[Block] = []
    answers = []
    if len(shown.errors):
        answers.append(_errors_answer(facts, shown))
        blocks.append(_errors_plot(facts, shown))
    if len(shown.mistakes):
        answers.append(_mistakes_answer(facts, shown))
        blocks.append(_mistakes_plot(facts, shown))
    if len(shown.classes):
        answers.append(_classes_answer(facts, shown))
        blocks.append(_classes_plot(facts, shown))
    if answers and facts.metric != DEFAULT:
        answers.insert(0, f"About accuracy, whatever the metric: single images have no {facts.measure.words}.")
    blocks += [Note(text) for text in shown.remarks]
    answer = " ".join(answers) or "The stored predictions allow no comparison: it needs two arms with a common seed."
    return Panel("images", TITLE, answer, blocks)


def _nothing(facts: Facts) -> str:
    if not any(facts.completed["trial_id"].isin(list(facts.results.predictions))):
        return "The store holds no predictions of single test images."
    return "The store holds predictions, but not the true classes of the test images."


# The error of the test set


SOURCES = (
    ("of_seeds", "other seeds, these images", "@c1", "circle"),
    ("of_images", "these networks, another test set", "@c2", "square"),
    ("of_both", "other seeds and another test set", "@ink", "diamond"),
)


def _errors_answer(facts: Facts, shown: PerImage) -> str:
    d = max(facts.share_decimals, 1)
    lead = str(shown.errors["estimate"].idxmax())
    row = shown.errors.loc[lead]
    text = (
        f"Another test set of {plural(shown.images, 'image')} would shift the difference of {name_of(lead)} from the "
        f"baseline ({gain(row['estimate'], d)}) by about {percent_number(row['of_images'], d)} points "
        "(standard error)"
    )
    if not math.isfinite(row["of_seeds"]):
        return f"{text}; one seed does not show how much other seeds would shift it."
    known = shown.errors.dropna(subset=["of_seeds", "of_images"])
    more = int((known["of_images"] > known["of_seeds"]).sum())
    which = "the test set weighs more than the seeds in" if more else "the seeds weigh more than the test set in each"
    which += f" {more:,}" if more else ""
    return (
        f"{text}, and other seeds by {percent_number(row['of_seeds'], d)}; {which} of "
        f"{plural(len(known), 'difference')}."
    )


def draw_errors(shown: PerImage) -> Figure:
    """The standard errors of each difference by source, in points."""
    arms = [str(arm) for arm in shown.errors.index]
    look = shown.appearance
    names = look.hovers(arms)
    y, narrow = theme.arm_axis(look.labels(arms).values(), look.labels(arms, theme.NARROW).values())
    data = []
    for i, (source, name, colour, symbol) in enumerate(SOURCES):
        x, rows = numbers(100 * shown.errors[source], 4), [row + 0.18 * (i - 1) for row in range(len(arms))]
        hover = f"%{{customdata}}<br>{name}: %{{x:.2f}} points"
        about: dict[str, Any] = {"customdata": [names[arm] for arm in arms], "arm": arms}
        data.append(theme.markers(x, rows, hover, 9, symbol, colour, **about))
    x_axis = axis("standard error of the difference, points", rangemode="tozero")
    return figure(data, theme.rows_height(len(arms)), narrow, rows=arms, xaxis=x_axis, yaxis=y)


def _errors_plot(facts: Facts, shown: PerImage) -> Plot:
    d = facts.share_decimals + 1
    columns = [
        Column("n", "n", "seeds that the arm and the baseline share"),
        Column("difference", "Difference, points", "mean over shared seeds and images"),
        Column("of_seeds", "Other seeds", "on these images", "Standard error, points"),
        Column("of_images", "Another test set", "of this size, with these networks", "Standard error, points"),
        Column("in_class", "… same classes", "as many images of each class as here", "Standard error, points"),
        Column("of_both", "Both", "other seeds and another test set", "Standard error, points"),
    ]
    rows = []
    for arm, row in shown.errors.iterrows():
        errors = [row[name] for name in ("of_seeds", "of_images", "of_images_in_class", "of_both")]
        cells = [count_cell(int(row["seeds"])), *number_cells(points, facts.share_decimals, row["estimate"])]
        rows.append((str(arm), [*cells, *number_cells(percent_number, d, *errors)]))
    caption = (
        f"How far each difference from the baseline would shift (standard error), by source, over {shown.images:,} "
        "test images, paired by seed and by image. More seeds shrink the first; only more test images shrink the "
        "second. Intervals over seeds elsewhere on this page contain the first alone: they are about these test "
        "images. The squares of the first two add up to more than that of both, because each contains the chance of "
        "single predictions." + not_drawn(facts) + beyond(shown.beyond)
    )
    key = [Mark(name, colour, symbol) for _, name, colour, symbol in SOURCES]
    return Plot("image-error", caption, [draw_errors(shown)], number_table(columns, rows), key=key)


# The teacher's mistakes


def followed(facts: Facts, shown: PerImage, column: str) -> ArmRows:
    """`same` or `right` on the teacher's mistakes in %: mean over seeds, Student's interval within 0 and 100, seeds."""
    by_arm = shown.mistakes.groupby("arm", observed=True)
    order = by_arm["same"].mean().sort_values(ascending=False, kind="stable").index
    own = {arm: by_arm.get_group(arm).set_index("seed")[column] for arm in order}
    rows = tuple(mean_row(str(arm), 100 * shares, ends=(0, 100)) for arm, shares in own.items())
    return ArmRows(rows, facts.baseline, 1, shown.beyond, ends=(0.0, 100.0), appearance=facts.appearance)


def _mistakes_answer(facts: Facts, shown: PerImage) -> str:
    n = shown.mistakes["images"]
    count = plural(int(n.iloc[0]), "test image") if n.nunique() == 1 else f"{n.min():,} to {n.max():,} test images"
    few = ", which is few" if n.min() < FEW_MISTAKES else ""
    pairs = [pair for pair in _paired_same(facts, shown).values() if math.isfinite(pair.p_holm)]
    if not pairs:
        return f"The teacher gets {count} wrong{few}."
    found = [pair for pair in pairs if pair.p_holm < 1 - stats.LEVEL and pair.differences.mean > 0]
    what = f"the teacher's mistakes ({count}{few}) significantly more often than the baseline (Holm)"
    if not found:
        return f"No arm is shown to repeat {what.replace('significantly ', '')}."
    most = max(found, key=lambda pair: pair.differences.mean)
    return (
        f"{len(found):,} of {plural(len(pairs), 'arm')} {'repeats' if len(found) == 1 else 'repeat'} {what}, "
        f"{name_of(most.arm)} by {size(most.differences.mean, 0)}."
    )


def _mistakes_plot(facts: Facts, shown: PerImage) -> Plot:
    same, right = followed(facts, shown, "same"), followed(facts, shown, "right")
    by_arm = shown.mistakes.groupby("arm", observed=True)
    paired = _paired_same(facts, shown)
    columns = [
        Column("n", "n", "seeds"),
        Column("images", "Images", "that the teacher gets wrong, mean over seeds"),
        Column("same", "The same mistake, %"),
        Column("right", "Right, %"),
        Column("otherwise", "Another mistake, %"),
        Column("among", "Same among own mistakes, %", "of its wrong predictions on these images"),
        Column("more", "Same mistake − baseline, points", "paired by seed"),
        Column("p_holm", "Holm p", "paired t by seed, over all arms of this table"),
    ]
    rows = []
    for row in same.rows:
        own = by_arm.get_group(row.arm)
        m = own[["images", "same", "right"]].mean()
        wrong = 1 - m["right"]
        shares = (m["same"], m["right"], wrong - m["same"], m["same"] / wrong if wrong > 0 else math.nan)
        pair = paired.get(row.arm)
        cells = [count_cell(len(own)), *number_cells(fixed, 0, m["images"]), *number_cells(percent_number, 0, *shares)]
        cells += number_cells(points, 0, pair.differences.mean if pair else math.nan)
        rows.append((row.arm, [*cells, p_cell(pair.p_holm if pair else math.nan)]))
    bars = (
        "; bar: its 95 % interval (Student's t, cut at 0 and 100 %)" if any(r.low < r.high for r in same.rows) else ""
    )
    caption = (
        "Only the images that the teacher gets wrong. On these, no student can follow both its teacher and the labels; "
        "on all other images the two agree. Left: it predicts the same wrong class. Right: it is right. Diamond: mean "
        f"over seeds{bars}; ring: one seed. A network makes some of the same mistakes without a teacher, because some "
        "images mislead every network: compare with an arm that was trained without it."
        + not_drawn(facts)
        + beyond(shown.beyond)
    )
    hover = "%{x:.1f} %"
    drawn = [draw_rows(r, axis("of these images, %"), ([], []), hover, [0.0]) for r in (same, right)]
    titles = ["The teacher's mistake", "Right where the teacher is wrong"]
    return Plot("teacher-mistakes", caption, drawn, number_table(columns, rows), titles)


def _paired_same(facts: Facts, shown: PerImage) -> dict[str, stats.Paired]:
    table = shown.mistakes.astype({"arm": str}).pivot(index="seed", columns="arm", values="same")
    return {p.arm: p for p in stats.paired(table, facts.baseline)} if facts.baseline in table else {}


# Classes


def _classes_answer(facts: Facts, shown: PerImage) -> str:
    tested = shown.classes.dropna(subset=["p_holm"])
    if tested.empty:
        return "Differences by class need two seeds and two images of a class to be tested."
    found = int((tested["p_holm"] < 1 - stats.LEVEL).sum())
    clearest = tested.loc[tested["p"].idxmin()]
    name, held = shown.names[int(clearest["label"])], plural(int(clearest["images"]), "image")
    moved = distance(clearest["difference"], _decimals(shown))
    many = f"{found:,} of {plural(len(tested), 'difference')} by class {'is' if found == 1 else 'are'}"
    return (
        f"{many if found else 'No difference by class is'} significant (Holm). The clearest: "
        f"{name_of(clearest['arm'])} is {moved} the baseline in {name_of(name)} ({held}, "
        f"{p_clause(clearest['p_holm'])})."
    )


def _decimals(shown: PerImage) -> int:
    """Of a difference by class: one image in a hundred is a point."""
    return 0 if shown.classes["images"].median() <= 100 else 1


def draw_classes(shown: PerImage) -> Figure:
    """Classes × arms: the shrunken difference as a colour; significant ones show their number."""
    arms = list(dict.fromkeys(shown.classes["arm"]))
    order = shown.classes.groupby("label")["p"].min().sort_values(kind="stable").index[:MOST_CLASSES]
    tables = {
        name: shown.classes.pivot(index="label", columns="arm", values=name).loc[order, arms]
        for name in ("shrunk", "difference", "p_holm", "images")
    }
    z = 100 * tables["shrunk"].to_numpy()
    most = max(float(np.nanmax(np.abs(z), initial=0)), 0.1)
    look = shown.appearance
    whole, wide, columns = look.hovers(arms), look.labels(arms, 12), look.labels(arms, 8)
    names = [theme.literal(shown.names[int(i)]) for i in order]
    d = _decimals(shown)
    about, text = [], []
    for i in range(len(order)):
        cells = [(arm, *(float(tables[name].iloc[i, j]) for name in tables)) for j, arm in enumerate(arms)]
        about.append([
            [names[i], whole[arm], points(change, d), points(shrunk, d), _p(p), f"{n:.0f}"]
            for arm, shrunk, change, p, n in cells
        ])  # fmt: skip
        text.append([points(change, d) if p < 1 - stats.LEVEL else "" for _, _, change, p, _ in cells])
    heat: dict[str, Any] = {"type": "heatmap", "x": list(range(len(arms))), "y": list(range(len(order)))}
    heat |= {"z": [numbers(row, 2) for row in z], "zmin": -most, "zmax": most, "xgap": 2, "ygap": 2}
    heat |= {"colorscale": [[0, "@worse"], [0.5, "@pale"], [1, "@better"]], "showscale": False, "customdata": about}
    hover = "%{customdata[0]}, %{customdata[5]} images<br>%{customdata[1]}: %{customdata[2]} points"
    hover += ", after shrinkage %{customdata[3]}; Holm p %{customdata[4]}"
    heat |= {"hovertemplate": f"{hover}<extra></extra>", "hoverongaps": False}
    heat |= {"text": text, "texttemplate": "%{text}", "textfont": {"color": "@ink"}}
    plainly = {"showgrid": False, "tickfont": {"color": "@ink"}}
    x = axis("", **ticks(wide.values()), tickangle=-45, **plainly)
    short = labels([shown.names[int(i)] for i in order], theme.NARROW)
    y = axis("", **ticks(short.values()), range=[len(order) - 0.5, -0.5], **plainly)
    change = {"xaxis.ticktext": list(columns.values())}
    return figure([heat], 130 + 24 * max(len(order), 3), change, columns=arms, xaxis=x, yaxis=y)


def _p(p: float) -> str:
    """A p in the text of a picture, which reads < as the start of a tag."""
    return "–" if not math.isfinite(p) else "below 0.001" if p < 0.001 else f"{p:.3f}"


def _classes_plot(facts: Facts, shown: PerImage) -> Plot:
    d = _decimals(shown)
    columns = [
        Column("arm", "Arm", number=False),
        Column("class", "Class", number=False),
        Column("images", "Images", "of this class in the test set"),
        Column("theirs", "Baseline, %", "on shared seeds"),
        Column("ours", "Arm, %", "on shared seeds"),
        Column("difference", "points"),
        Column("se", "SE", "for other seeds and other images of the class"),
        Column("shrunk", "shrunken", "shrunken towards the mean of all classes by the share of chance"),
        Column("p_holm", "Holm p", "over all arms and classes of this table"),
    ]
    ordered = shown.classes.sort_values("p", kind="stable", na_position="last")
    arms = list(dict.fromkeys(shown.classes["arm"]))
    rows = []
    for row in ordered.head(MOST_ROWS).to_dict("records"):
        cells = [arm_cell(row["arm"]), text_cell(shown.names[int(row["label"])]), count_cell(int(row["images"]))]
        cells += number_cells(percent_number, d, row["theirs"], row["ours"])
        cells += number_cells(points, d, row["difference"]) + number_cells(percent_number, d + 1, row["se"])
        rows.append(Row([*cells, *number_cells(points, d, row["shrunk"]), p_cell(row["p_holm"])], row["arm"]))
    sizes = shown.classes["images"]
    each = f"{sizes.min():,}" if sizes.nunique() == 1 else f"{sizes.min():,} to {sizes.max():,}"
    tested = int(shown.classes["p_holm"].notna().sum())
    caption = (
        f"Difference from the baseline by class; a class has {each} test images. Colour: the difference, shrunken "
        "towards the mean of all classes; those of few images and seeds shrink most, because chance moves them most."
    )
    if tested:
        caption += (
            f" Numbers: significant at 5 % after Holm's correction over {tested:,} differences (arms × classes), "
            "because the page names single classes. The tests cover other seeds and other images."
        )
    spreads = shown.classes.groupby("arm", sort=False)["spread"].first().dropna()
    if len(spreads) and spreads.max() > 0:
        widest, most = name_of(str(spreads.idxmax())), percent_number(spreads.max(), max(d, 1))
        caption += f" Beyond chance, differences vary most between classes for {widest} (sd {most} points)."
    classes = shown.classes["label"].nunique()
    if len(arms) < len(shown.errors):
        caption += f" Only the {len(arms)} highest arms are compared by class."
    if classes > MOST_CLASSES:
        caption += f" The figure holds the {MOST_CLASSES} of {classes:,} classes with the smallest p."
    if len(ordered) > MOST_ROWS:
        caption += f" The table holds the {MOST_ROWS} rows of {len(ordered):,} with the smallest p."
    table = Table(columns, rows, label="Differences by class")
    return Plot("classes", caption, [draw_classes(shown)], table)
