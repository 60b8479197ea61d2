"""Which arm won, and how sure is that? A sentence, the numbers behind it, and every arm with its seeds."""

from __future__ import annotations

import math

from scl import stats
from scl.report.blocks import Block, Card, Cards, Cell, Column, Heading, Note, Panel, Plot, Row, Table, text_cell
from scl.report.drawing.arms import beyond, highest
from scl.report.drawing.rows import ArmRows, draw_rows, mean_row, rows_table
from scl.report.facts import Facts
from scl.report.findings import goal, leading, qualifications, verdict
from scl.report.formatting import DASH, interval, percent, percent_number, plain, plural, points, size
from scl.report.theme import Figure, axis, teacher_line


def panel(facts: Facts) -> Panel:
    blocks: list[Block] = [*_declared(facts), Cards(_cards(facts))]
    if facts.scores.size:
        blocks.append(_plot(facts))
    blocks += [Note(text) for text in qualifications(facts)]
    return Panel("verdict", "Which arm won, and how sure is that?", verdict(facts), blocks)


def accuracies(facts: Facts) -> ArmRows:
    """The accuracy of each arm in %: mean, Student's 95 % interval, seeds."""
    rows = [
        mean_row(arm, 100 * facts.scores[arm].dropna(), arm in facts.left_out, arm not in facts.drawn)
        for arm in highest(facts, list(facts.scores.columns))
    ]
    lower = facts.scores.shape[1] - len(rows)
    return ArmRows(tuple(rows), facts.baseline, facts.decimals, lower, line=100 * facts.teacher)


def draw_accuracies(shown: ArmRows) -> Figure:
    marks = teacher_line(shown.line, vertical=True)
    return draw_rows(shown, axis("test accuracy, %"), marks, f"%{{x:.{shown.decimals}f}} %", [shown.line], share=True)


def _plot(facts: Facts) -> Plot:
    shown = accuracies(facts)
    grey = "; grey: arms left out of the comparison" if set(facts.left_out) & set(facts.scores.columns) else ""
    caption = (
        "Test accuracy after the last epoch. Diamond: mean over seeds; "
        + ("bar: its 95 % interval (Student's t); " if facts.seeds > 1 else "")
        + f"ring: one seed; dashed line: the teacher. The baseline has the colour of the text{grey}."
        + (
            " The bars of two arms may overlap although the arms differ, because seeds are paired: see the differences."
            if facts.seeds > 1
            else ""
        )
        + beyond(shown.beyond)
    )
    return Plot("accuracy", caption, [draw_accuracies(shown)], rows_table(shown, percent_number))


def _declared(facts: Facts) -> list[Block]:
    """The comparison declared before the run: its answer, and both accuracies by seed."""
    declared = facts.declared
    if declared is None:
        return []
    blocks: list[Block] = [Heading("Does it beat its teacher?"), Note(goal(facts))]
    seeds = declared.by_seed
    if seeds.empty:
        return blocks
    columns = [
        Column("seed", "Seed", number=False),
        Column("student", "Student, %"),
        Column("teacher", "Its teacher, %"),
        Column("difference", "Difference, points"),
    ]
    d = max(facts.decimals, 2)

    def row(name: str, student: float, teacher: float) -> Row:
        both = [Cell(percent_number(value, d), value) for value in (student, teacher)]
        return Row([text_cell(name), *both, Cell(points(student - teacher, d), student - teacher)])

    rows = [row(str(seed), float(at["student"]), float(at["teacher"])) for seed, at in seeds.iterrows()]
    rows.append(row("mean", float(seeds["student"].mean()), float(seeds["teacher"].mean())))
    return [*blocks, Table(columns, rows, label="The arm and its teacher, by seed")]


def _cards(facts: Facts) -> list[Card]:
    """The arm of the verdict: its mean, interval and n, and its differences from the baseline and the teacher."""
    done = int((facts.plan["state"] == "completed").sum())
    trials = f"{done:,} of {plural(len(facts.plan), 'trial')} completed"
    if facts.scores.mean().empty:
        return [Card("Seeds", "n = 0", trials)]
    d = facts.decimals
    best = leading(facts)
    mean = stats.mean_interval(facts.scores[best].to_numpy())
    cards = [Card("Test accuracy", percent(mean.mean, d), f"mean of {plain(best)}")]
    if math.isfinite(mean.low):
        cards.append(Card("95 % interval, %", interval(mean.low, mean.high, d), "of that mean, Student’s t"))
    else:
        cards.append(Card("95 % interval", DASH, "needs two seeds"))
    cards.append(Card("Seeds", f"n = {mean.n}", trials))
    contrast = facts.contrasts.get(best)
    if contrast:
        note = "without an interval"
        if math.isfinite(contrast.low):
            note = f"{interval(contrast.low, contrast.high, d, signs=True)}, simultaneous 95 %"
        cards.append(Card("Minus the baseline", f"{points(contrast.estimate, d)} points", note))
    elif best == facts.baseline:
        cards.append(Card("Minus the baseline", DASH, "this arm is the baseline"))
    if math.isfinite(facts.teacher):
        whose = f"mean of {len(facts.teachers)} teachers" if len(facts.teachers) > 1 else "teacher"
        note = f"{whose}: {percent(facts.teacher, d)}"
        cards.append(Card("Minus the teacher", f"{points(mean.mean - facts.teacher, d)} points", note))
    smallest = facts.detectable()
    if math.isfinite(smallest) and smallest > 0:
        cards.append(Card("Smallest detectable effect", size(smallest, max(d, 1)), "with 80 % power"))
    return cards
