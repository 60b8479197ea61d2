"""The main table."""

from __future__ import annotations

import math

from scl import stats
from scl.report import export
from scl.report.blocks import Block, Cell, Column, Copy, Heading, Note, Panel, Row, Table, arm_cell, text_cell
from scl.report.facts import Facts, summary
from scl.report.words import DASH, bare, count, name_of, p_value, points, signed

MOST_COPIED = 200  # arms of a table that the page carries as text as well


def table(facts: Facts) -> Panel:
    m = facts.metric
    columns = [
        Column("arm", "Arm", number=False),
        Column("n", "n", "seeds completed"),
        Column(f"{m}_mean", "mean", "test accuracy after the last epoch, %", "Accuracy, %"),
        Column(f"{m}_sd", "± sd", "standard deviation over seeds, not of the mean", "Accuracy, %"),
        Column(f"{m}_low", "from", "Student's t interval of the mean", "95 % interval"),
        Column(f"{m}_high", "to", "Student's t interval of the mean", "95 % interval"),
        Column("difference", "points", "model accuracy ~ arm + seed", "Difference to the baseline"),
        Column("difference_low", "from", "simultaneous 95 % interval", "Difference to the baseline"),
        Column("difference_high", "to", "simultaneous 95 % interval", "Difference to the baseline"),
        Column("p", "p", "adjusted for all comparisons (Dunnett)", "Difference to the baseline"),
        Column("p_holm", "Holm p", "check: paired t test by seed, Holm's correction", "Check by pairs"),
        Column("d_z", "d_z", "mean difference in units of its standard deviation over seeds", "Check by pairs"),
        Column("params", "Params", "trained parameters of the student"),
        Column("macs", "MACs", "multiply-adds of one image"),
        Column("latency_ms", "Latency, ms"),
    ]
    frame = summary(facts)
    rows = []
    for values in frame.to_dict("records"):
        arm = str(values["arm"])
        kind = "baseline" if arm == facts.baseline else "left-out" if arm in facts.left_out else ""
        cells = [arm_cell(arm), *[_cell(str(c.key), values[c.key], facts.decimals, values["n"]) for c in columns[1:]]]
        rows.append(Row(cells, arm, kind))
    step = 10.0**-facts.decimals
    answer = (
        f"± is the standard deviation over seeds. Accuracies are shown to {step:g} points, about the worth of one test "
        "image; sorting and copying use the exact values. A head sorts the table."
    )
    main = Table(columns, rows, id="main-table", sortable=True, label="Main table")
    blocks: list[Block] = [main]
    if len(facts.arms) <= MOST_COPIED:
        blocks.append(Copy([(f"Copy as {name}", make(facts)) for name, make in export.FORMATS.items()]))
    else:
        blocks.append(Note("reports/table.py writes this table as LaTeX, Markdown and CSV."))
    if facts.left_out:
        blocks.append(
            Note(
                "Left out of the comparison: " + "; ".join(f"{name_of(a)} {r}" for a, r in facts.left_out.items()) + "."
            )
        )
    return Panel("table", "The main table", answer, [*blocks, *_beside_published(facts)])


def _beside_published(facts: Facts) -> list[Block]:
    """Each arm, and the teacher, beside what the literature reports of it; nothing where the study names no such."""
    published = facts.study.get("published")
    if not published:
        return []
    d = max(facts.decimals, 2)
    columns = [
        Column("arm", "Arm", number=False),
        Column("n", "n", "seeds completed"),
        Column("mean", "here", "test accuracy after the last epoch, %, mean over seeds"),
        Column("sd", "± sd", "standard deviation over seeds, not of the mean"),
        Column("published", "published", "%"),
        Column("difference", "points", "here − published", "Difference"),
        Column(
            "low", "from", "Student's t interval of the mean here; the published figure is taken as it is", "Difference"
        ),
        Column("high", "to", "Student's t interval of the mean here", "Difference"),
        Column("how", "How the published figure was taken", number=False),
    ]
    rows = []
    for arm, figure in published["accuracy"].items():
        scores = list(facts.teachers.values()) if arm == "teacher" else list(facts.scores.get(arm, []))
        here = stats.mean_interval(scores)
        apart = [value - figure for value in (here.mean, here.low, here.high)]
        numbers = [Cell(bare(v, d), v) for v in (here.mean, here.sd, figure)] + [Cell(points(v, d), v) for v in apart]
        how = text_cell(published["otherwise"].get(arm, ""))
        rows.append(Row([arm_cell(arm), Cell(str(here.n), here.n), *numbers, how], arm=arm))
    table = Table(columns, rows, sortable=True, label="Beside published figures")
    return [Heading("Beside published figures"), Note(published["source"]), table]


def _cell(key: str, value: float, decimals: int, n: int) -> Cell:
    """d_z has a standard error of 1/√n or more: under ten seeds one decimal is all that it supports."""
    if not math.isfinite(value):
        return Cell(DASH)
    if key.startswith("difference"):
        shown = points(value, decimals)
    elif key in ("p", "p_holm"):
        shown = p_value(value)
    elif key == "d_z":
        shown = signed(value, 1 if n < 10 else 2)
    elif key in ("params", "macs"):
        shown = count(value)
    elif key == "latency_ms":
        shown = f"{value:.3g}"
    elif key == "n":
        shown = f"{value:.0f}"
    else:
        shown = bare(value, decimals)
    return Cell(shown, value)
