"""Which arm won, and how sure is that? A sentence, the numbers behind it, and every arm with its seeds."""

from __future__ import annotations

import math

from scl import stats
from scl.report import registered
from scl.report.blocks import Block, Box, Card, Cards, Column, Heading, Note, Pairs, Panel, Plot, Row, Table
from scl.report.decision_box import box
from scl.report.drawing.arms import beyond, highest
from scl.report.drawing.rows import ArmRows, draw_rows, mean_row, rows_table
from scl.report.facts import Facts
from scl.report.findings import answers, goal, lead, leading, level_name, verdict
from scl.report.formatting import DASH, capital, plain, plural
from scl.report.limits import limits
from scl.report.tables import number_cells, text_cell
from scl.report.theme import Figure, axis, teacher_line


def panel(facts: Facts) -> Panel:
    blocks: list[Block] = [*_declared(facts), Cards(_cards(facts))]
    if decided := box(facts):
        blocks.append(Box("For a decision", decided))
    if facts.scores.size:
        blocks.append(_plot(facts))
    if known := limits(facts):
        blocks += [Heading("What to keep in mind"), Pairs(known)]
    answer = " ".join(filter(None, (registered.in_short(facts), verdict(facts))))
    return Panel("verdict", "Which arm won, and how sure is that?", answer, blocks)


def accuracies(facts: Facts) -> ArmRows:
    """The metric of each arm: mean, Student's 95 % interval, seeds."""
    arms = highest(facts, list(facts.scores.columns))
    scores = facts.unit.factor * facts.scores
    rows = [mean_row(arm, scores[arm].dropna(), arm in facts.left_out, arm not in facts.drawn) for arm in arms]
    lower = facts.scores.shape[1] - len(rows)
    return ArmRows(
        tuple(rows),
        facts.baseline,
        facts.decimals,
        lower,
        line=facts.unit.factor * facts.teacher,
        unit=facts.unit,
        ends=facts.possible,
        appearance=facts.appearance,
    )


def draw_accuracies(shown: ArmRows, title: str = "test accuracy, %") -> Figure:
    marks, hover = teacher_line(shown.line, vertical=True), f"%{{x:.{shown.decimals}f}} {shown.unit.name}"
    return draw_rows(shown, axis(title), marks, hover, [shown.line])


def _plot(facts: Facts) -> Plot:
    shown = accuracies(facts)
    grey = "; grey: arms left out of the comparison" if set(facts.left_out) & set(facts.scores.columns) else ""
    bar = overlap = ""
    if facts.seeds > 1:
        bar = "bar: its 95 % interval (Student's t); "
        overlap = " The bars of two arms may overlap although the arms differ, because seeds are paired: see the "
        overlap += "differences."
    caption = (
        f"{capital(facts.measure.title)} after the last epoch. Diamond: mean over seeds; {bar}ring: one seed; dashed "
        "line: the teacher. "
        f"{facts.appearance.meaning.rstrip('.')}{grey}.{overlap}{shown.cut}{beyond(shown.beyond)}"
    )
    return Plot("accuracy", caption, [draw_accuracies(shown, facts.axis)], rows_table(shown, facts.unit.number))


def _declared(facts: Facts) -> list[Block]:
    """What was declared before the run: the answers, and the accuracies of an arm and its teacher by seed."""
    found = registered.registered(facts)
    if found is not None:  # its panel has the answers at the declared rule
        title = f"What did the study declare on {found.signed}?"
        return [Heading(title), Pairs(registered.answers(found))]
    blocks: list[Block] = []
    if facts.declared:
        blocks += [Heading("What did the study ask before it ran?"), Pairs(answers(facts))]
    against = facts.against_teacher
    if against is None:
        return blocks
    blocks += [Heading("Does it beat its teacher?"), Note(goal(facts))]
    seeds = against.by_seed
    if seeds.empty:
        return blocks
    columns = [Column("seed", "Seed", number=False), Column("student", f"Student, {facts.unit.name}")]
    columns += [Column("teacher", f"Its teacher, {facts.unit.name}")]
    columns += [Column("difference", f"Difference, {facts.unit.many}")]
    d = max(facts.decimals, 2)

    both = [*seeds.itertuples(), ("mean", seeds["student"].mean(), seeds["teacher"].mean())]
    rows = [
        Row(
            [text_cell(name), *number_cells(facts.unit.number, d, s, t), *number_cells(facts.unit.difference, d, s - t)]
        )
        for name, s, t in both
    ]
    return [*blocks, Table(columns, rows, label="The arm and its teacher, by seed")]


def _cards(facts: Facts) -> list[Card]:
    """The arm of the verdict: its mean, interval and n, and its differences from the baseline and the teacher."""
    done = int((facts.plan["state"] == "completed").sum())
    trials = f"{done:,} of {plural(len(facts.plan), 'trial')} completed"
    if facts.scores.mean().empty:
        return [Card("Seeds", "n = 0", trials)]
    d = facts.decimals
    best, found = leading(facts), lead(facts)
    scores = (found.seeds if found else facts.scores)[best].dropna()
    mean = stats.mean_interval(scores.to_numpy()).within(0, facts.unit.most)
    shared = " over the seeds that are compared" if mean.n < facts.scores[best].count() else ""
    cards = [Card(capital(facts.measure.title), facts.unit.value(mean.mean, d), f"mean of {plain(best)}{shared}")]
    picked = "; optimistic for a picked arm" if facts.scores.shape[1] > 1 and best != facts.baseline else ""
    of_mean = Card(
        f"95 % interval, {facts.unit.name}", facts.unit.interval(mean.low, mean.high, d), f"Student’s t{picked}"
    )
    lacking = "needs two seeds" if mean.n < 2 else "all seeds are equal"
    cards.append(of_mean if math.isfinite(mean.low) else Card("95 % interval", DASH, lacking))
    cards.append(Card("Seeds", f"n = {mean.n}", trials))
    contrast = facts.contrasts.get(best)
    if contrast:
        span = f"{facts.unit.interval(contrast.low, contrast.high, d, signs=True)}, simultaneous {level_name(facts)}"
        note = span if math.isfinite(contrast.low) else "without an interval"
        cards.append(Card("Minus the baseline", facts.unit.gain(contrast.estimate, d), note))
    elif best == facts.baseline:
        cards.append(Card("Minus the baseline", DASH, "this arm is the baseline"))
    from_teacher, teacher = facts.from_teacher(best, list(scores.index))
    if math.isfinite(from_teacher):
        whose = "by seed; mean of its teachers" if len(facts.teachers) > 1 else "teacher"
        note = f"{whose}: {facts.unit.value(teacher, d)}"
        cards.append(Card("Minus the teacher", facts.unit.gain(from_teacher, d), note))
    smallest = facts.detectable()
    if math.isfinite(smallest) and smallest > 0:
        low, high = facts.detectable_range()
        about = f"with 80 % power; {facts.unit.interval(low, high, facts.unit.digits(low, max(d, 1)))}"
        cards.append(Card("Smallest detectable effect", f"about {facts.unit.size(smallest, max(d, 1))}", about))
    return cards
