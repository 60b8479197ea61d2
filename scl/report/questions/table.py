"""The main table: a row for each arm, with its mean, interval, comparison and costs."""

from __future__ import annotations

import math

from scl import stats
from scl.report import paper_table
from scl.report.blocks import Block, Cell, Column, Copy, Heading, Note, Panel, Row, Table
from scl.report.facts import Facts
from scl.report.findings import level_name
from scl.report.formatting import DASH, capital, count, d_z, p_value
from scl.report.limits import left_out, on_fewer_seeds
from scl.report.main_table import metric_heading, summary
from scl.report.tables import arm_cell, count_cell, number_cells, text_cell
from scl.study.metrics import DEFAULT

MOST_COPIED = 200  # arms of a table that the page also holds as text to copy


def panel(facts: Facts) -> Panel:
    answer = (
        f"± is the standard deviation over seeds. {_what(facts)} rounded to {_step(facts)}; sorting and copying use "
        "the exact values."
    )
    blocks: list[Block] = [main_table(facts)]
    if len(facts.arms) <= MOST_COPIED:
        written = {name: make(facts) for name, make in paper_table.FORMATS.items()}
        files = [f"{paper_table.file(facts)}{paper_table.SUFFIXES[name]}" for name in written]
        blocks.append(Copy([(f"Copy as {name}", text) for name, text in written.items()], files))
    else:
        blocks.append(Note("This table as LaTeX and CSV: scl report RESULTS --figures DIR --formats csv,tex"))
    blocks += [Note(text) for text in (left_out(facts), on_fewer_seeds(facts)) if text]
    return Panel("table", "Main table", answer, [*blocks, *_beside_published(facts)])


def _what(facts: Facts) -> str:
    return "Accuracies are" if facts.metric == DEFAULT else f"{capital(facts.measure.title)} is"


def _step(facts: Facts) -> str:
    """The last digit of an accuracy, and why it is the last."""
    step, unit = 10.0**-facts.decimals, facts.unit
    images = (facts.study.get("data") or {}).get("test")
    unit_of_step = f"{step:g} {unit.one if step == 1 else unit.many}"
    if facts.is_share and images and step / 3 <= 100 / images <= 3 * step:
        return f"{unit_of_step}, about the worth of one test image"
    return f"{unit_of_step}, because the intervals support no further digit"


def main_table(facts: Facts) -> Table:
    m = facts.metric
    measure, unit = facts.measure, facts.unit
    accuracy, mean, difference, check = metric_heading(facts), "95 % interval", "Minus the baseline", "Other tests"
    cut = "Student's t interval of the mean, cut at 0 and 100 %" if facts.is_share else "Student's t, cut at 0"
    simultaneous = f"simultaneous {level_name(facts)} interval"
    columns = [
        Column("arm", "Arm", number=False),
        Column("n", "n", "completed seeds"),
        Column(f"{m}_mean", "mean", f"{measure.title} after the last epoch, {unit.name}", accuracy),
        Column(f"{m}_sd", "± sd", "standard deviation over seeds, not of the mean", accuracy),
        Column(f"{m}_low", "from", cut, mean),
        Column(f"{m}_high", "to", cut, mean),
        Column("difference", unit.many, "mean difference over the seeds that both have", difference),
        Column("difference_low", "from", simultaneous, difference),
        Column("difference_high", "to", simultaneous, difference),
        Column("p", "p", "corrected for all comparisons, by the rule that decides", difference),
        Column(
            "p_model", "model p", f"Dunnett's in {measure.words} ~ arm + seed, which takes arms to scatter alike", check
        ),
        Column("p_holm", "Holm p", "paired t test by seed, Holm's correction: each arm's own variance alone", check),
        Column("d_z", "d_z", "mean difference divided by its standard deviation over seeds", check),
        Column("params", "Params", "trained parameters of the student"),
        Column("macs", "MACs", "multiply-adds for one image"),
        Column("latency_ms", "ms", "one forward pass for one image, measured once for each architecture", "Latency"),
    ]
    if "file_bytes" in facts.bounds:
        columns.append(Column("file_bytes", "Bytes", "size of its weights as a file holds them"))
    rows = []
    for values in summary(facts).to_dict("records"):
        arm = str(values["arm"])
        kind = "baseline" if arm == facts.baseline else "left-out" if arm in facts.left_out else ""
        cells = [_cell(str(c.key), values[c.key], facts, values["n"]) for c in columns[1:]]
        rows.append(Row([arm_cell(arm), *cells], arm, kind))
    return Table(columns, rows, id="main-table", label="Main table")


def _cell(key: str, value: float, facts: Facts, n: int) -> Cell:
    if not math.isfinite(value):
        return Cell(DASH)
    other = {"p": p_value, "p_model": p_value, "p_holm": p_value, "params": count, "macs": count, "n": "{:.0f}".format}
    other |= {"d_z": lambda value: d_z(value, n), "latency_ms": "{:.3g}".format, "file_bytes": count}
    if key in other:
        return Cell(other[key](value), value)
    unit = facts.unit
    show = unit.difference if key == "difference" else unit.bound if key.startswith("difference") else unit.number
    return Cell(show(value, facts.decimals), value)


def _beside_published(facts: Facts) -> list[Block]:
    """Each arm, and the teacher, beside its published accuracy; empty if the study names none."""
    published = facts.study.get("published")
    if not published or facts.metric != DEFAULT:  # published figures are accuracies
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
        cells = [arm_cell(arm), count_cell(here.n), *number_cells(facts.unit.number, d, here.mean, here.sd, figure)]
        cells += number_cells(facts.unit.difference, d, here.mean - figure, here.low - figure, here.high - figure)
        rows.append(Row([*cells, text_cell(published["otherwise"].get(arm, ""))], arm=arm))
    table = Table(columns, rows, label="Beside published figures")
    return [Heading("Beside published figures"), Note(published["source"]), table]
