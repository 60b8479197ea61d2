"""The main table: a row for each arm, with its mean, interval, comparison and costs."""

from __future__ import annotations

import math

from scl import stats
from scl.report import paper_table
from scl.report.blocks import Block, Cell, Column, Copy, Heading, Note, Panel, Row, Table
from scl.report.facts import Facts, summary
from scl.report.findings import level_name
from scl.report.formatting import DASH, bound, count, d_z, p_value, percent_number, points
from scl.report.limits import left_out, on_fewer_seeds
from scl.report.tables import arm_cell, count_cell, number_cells, text_cell

MOST_COPIED = 200  # arms of a table that the page also holds as text to copy


def panel(facts: Facts) -> Panel:
    answer = (
        f"± is the standard deviation over seeds. Accuracies are rounded to {_step(facts)}; sorting and copying use "
        "the exact values. Click a column heading to sort."
    )
    blocks: list[Block] = [main_table(facts)]
    if len(facts.arms) <= MOST_COPIED:
        blocks.append(Copy([(f"Copy as {name}", make(facts)) for name, make in paper_table.FORMATS.items()]))
    else:
        blocks.append(Note("reports/table.py writes this table as LaTeX, Markdown and CSV."))
    blocks += [Note(text) for text in (left_out(facts), on_fewer_seeds(facts)) if text]
    return Panel("table", "Main table", answer, [*blocks, *_beside_published(facts)])


def _step(facts: Facts) -> str:
    """The last digit of an accuracy, and why it is the last."""
    step = 10.0**-facts.decimals
    images = (facts.study.get("data") or {}).get("test")
    unit = f"{step:g} point{'s' * (step != 1)}"
    if images and step / 3 <= 100 / images <= 3 * step:
        return f"{unit}, about the worth of one test image"
    return f"{unit}, because the intervals support no further digit"


def main_table(facts: Facts) -> Table:
    m = facts.metric
    accuracy, mean, difference, check = "Accuracy, %", "95 % interval", "Minus the baseline", "Other tests"
    simultaneous = f"simultaneous {level_name(facts)} interval"
    columns = [
        Column("arm", "Arm", number=False),
        Column("n", "n", "completed seeds"),
        Column(f"{m}_mean", "mean", "test accuracy after the last epoch, %", accuracy),
        Column(f"{m}_sd", "± sd", "standard deviation over seeds, not of the mean", accuracy),
        Column(f"{m}_low", "from", "Student's t interval of the mean, cut at 0 and 100 %", mean),
        Column(f"{m}_high", "to", "Student's t interval of the mean, cut at 0 and 100 %", mean),
        Column("difference", "points", "mean difference over the seeds that both have", difference),
        Column("difference_low", "from", simultaneous, difference),
        Column("difference_high", "to", simultaneous, difference),
        Column("p", "p", "corrected for all comparisons, by the rule that decides", difference),
        Column("p_model", "model p", "Dunnett's in accuracy ~ arm + seed, which takes arms to scatter alike", check),
        Column("p_holm", "Holm p", "paired t test by seed, Holm's correction: each arm's own variance alone", check),
        Column("d_z", "d_z", "mean difference divided by its standard deviation over seeds", check),
        Column("params", "Params", "trained parameters of the student"),
        Column("macs", "MACs", "multiply-adds for one image"),
        Column("latency_ms", "ms", "one forward pass for one image, measured once for each architecture", "Latency"),
    ]
    rows = []
    for values in summary(facts).to_dict("records"):
        arm = str(values["arm"])
        kind = "baseline" if arm == facts.baseline else "left-out" if arm in facts.left_out else ""
        cells = [_cell(str(c.key), values[c.key], facts.decimals, values["n"]) for c in columns[1:]]
        rows.append(Row([arm_cell(arm), *cells], arm, kind))
    return Table(columns, rows, id="main-table", sortable=True, label="Main table")


def _cell(key: str, value: float, decimals: int, n: int) -> Cell:
    if not math.isfinite(value):
        return Cell(DASH)
    other = {"p": p_value, "p_model": p_value, "p_holm": p_value, "params": count, "macs": count, "n": "{:.0f}".format}
    other |= {"d_z": lambda value: d_z(value, n), "latency_ms": "{:.3g}".format}
    if key in other:
        return Cell(other[key](value), value)
    show = points if key == "difference" else bound if key.startswith("difference") else percent_number
    return Cell(show(value, decimals), value)


def _beside_published(facts: Facts) -> list[Block]:
    """Each arm, and the teacher, beside its published accuracy; empty if the study names none."""
    published = facts.study.get("published")
    if not published:
        return []
    d = max(facts.decimals, 2)
    columns = [
        Column("arm", "Arm", number=False),
        Column("n", "n", "completed seeds"),
        Column("mean", "here", "test accuracy after the last epoch, %, mean over seeds"),
        Column("sd", "± sd", "standard deviation over seeds, not of the mean"),
        Column("published", "published", "%"),
        Column("difference", "points", "here − published", "Difference"),
        Column("low", "from", "Student's t interval of the mean here, the published figure as exact", "Difference"),
        Column("high", "to", "Student's t interval of the mean here", "Difference"),
        Column("how", "How the published figure was measured", number=False),
    ]
    rows = []
    for arm, figure in published["accuracy"].items():
        here = stats.mean_interval(list(facts.teachers.values() if arm == "teacher" else facts.scores.get(arm, [])))
        cells = [arm_cell(arm), count_cell(here.n), *number_cells(percent_number, d, here.mean, here.sd, figure)]
        cells += number_cells(points, d, here.mean - figure, here.low - figure, here.high - figure)
        rows.append(Row([*cells, text_cell(published["otherwise"].get(arm, ""))], arm=arm))
    table = Table(columns, rows, sortable=True, label="Beside published figures")
    return [Heading("Beside published figures"), Note(published["source"]), table]
