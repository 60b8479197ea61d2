"""The verdict: a sentence, cards, and the headline figure."""

from __future__ import annotations

import math

from scl import stats
from scl.report.blocks import Block, Card, Cards, Cell, Column, Heading, Note, Panel, Plot, Row, Table, text_cell
from scl.report.facts import Facts
from scl.report.figures import compare
from scl.report.panels.compare import beyond, rows_table
from scl.report.theme import plain
from scl.report.words import DASH, bare, goal, leading, percent, plural, points, qualifications, verdict


def lead(facts: Facts) -> Panel:
    blocks: list[Block] = [*_declared(facts), Cards(_cards(facts))]
    if facts.scores.size:
        blocks.append(_accuracy_plot(facts))
    blocks += [Note(text) for text in qualifications(facts)]
    return Panel("verdict", "What won, and is it credible?", verdict(facts), blocks)


def _declared(facts: Facts) -> list[Block]:
    """The comparison that was declared before the run: its answer, and both accuracies by seed."""
    found = facts.declared
    if found is None:
        return []
    head = Heading("Does it beat its teacher?")
    if found.by_seed.empty:
        return [head, Note(goal(facts))]
    columns = [
        Column("seed", "Seed", number=False),
        Column("student", "Student, %"),
        Column("teacher", "Its teacher, %"),
        Column("difference", "Difference, points"),
    ]
    d = max(facts.decimals, 2)

    def row(name: str, student: float, teacher: float) -> Row:
        both = [Cell(bare(value, d), value) for value in (student, teacher)]
        return Row([text_cell(name), *both, Cell(points(student - teacher, d), student - teacher)])

    seeds = found.by_seed
    rows = [row(str(seed), float(at["student"]), float(at["teacher"])) for seed, at in seeds.iterrows()]
    rows.append(row("mean", float(seeds["student"].mean()), float(seeds["teacher"].mean())))
    return [head, Note(goal(facts)), Table(columns, rows, label="The arm and its teacher, by seed")]


def _cards(facts: Facts) -> list[Card]:
    """About the arm that the verdict is about: its mean, interval, n, distance to the baseline and to the teacher."""
    done = int((facts.cells["state"] == "completed").sum())
    trials = f"{done:,} of {plural(len(facts.cells), 'trial')} completed"
    means = facts.scores.mean()
    if means.empty:
        return [Card("Seeds", "n = 0", trials)]
    d = facts.decimals
    best = leading(facts)
    mean = stats.mean_interval(facts.scores[best].to_numpy())
    cards = [Card("Test accuracy", percent(mean.mean, d), f"mean of {plain(best)}")]
    if math.isfinite(mean.low):
        span = f"{bare(mean.low, d)} to {bare(mean.high, d)}"
        cards.append(Card("95 % interval, %", span, "of that mean, Student’s t"))
    else:
        cards.append(Card("95 % interval", DASH, "takes two seeds or more"))
    cards.append(Card("Seeds", f"n = {mean.n}", trials))
    contrast = facts.contrasts.get(best)
    if contrast:
        note = "a single difference"
        if math.isfinite(contrast.low):
            note = f"{points(contrast.low, d)} to {points(contrast.high, d)}, simultaneous 95 %"
        cards.append(Card("To the baseline", f"{points(contrast.estimate, d)} points", note))
    elif best == facts.baseline:
        cards.append(Card("To the baseline", DASH, "it is the baseline"))
    if math.isfinite(facts.teacher):
        whose = f"{len(facts.teachers)} teachers, mean" if len(facts.teachers) > 1 else "teacher at"
        note = f"{whose} {percent(facts.teacher, d)}"
        cards.append(Card("To the teacher", f"{points(mean.mean - facts.teacher, d)} points", note))
    smallest = facts.detectable()
    if math.isfinite(smallest) and smallest > 0 and facts.comparison is not None:
        seen = f"{points(smallest, max(d, 1)).lstrip('+')} points"
        cards.append(Card("Smallest effect seen", seen, "with 80 % power"))
    return cards


def _accuracy_plot(facts: Facts) -> Plot:
    shown = compare.accuracies(facts)
    spread = "the bar its 95 % interval (Student's t), " if facts.seeds > 1 else ""
    caption = (
        f"Test accuracy after the last epoch. The diamond is an arm's mean over seeds, {spread}a ring one seed; "
        f"the baseline has the colour of the text, {_grey(facts)}the dashed line is the teacher. "
        + (
            "Bars of two arms may overlap and the arms still differ: their seeds are paired, see the differences."
            if facts.seeds > 1
            else ""
        )
        + beyond(shown.beyond)
    )
    return Plot("accuracy", caption, [compare.draw_accuracies(shown)], rows_table(facts, shown, bare))


def _grey(facts: Facts) -> str:
    return "arms left out of the comparison in grey, " if set(facts.left_out) & set(facts.scores.columns) else ""
