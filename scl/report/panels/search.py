"""Panels of a search: whether it helped, and which parameters mattered."""

from __future__ import annotations

import math

import pandas as pd

from scl.report.blocks import Block, Cell, Column, Mark, Note, Panel, Plot, Row, Table, number_table
from scl.report.facts import Facts
from scl.report.figures import importance as slices
from scl.report.figures import search as figures
from scl.report.figures.rows import ArmRows
from scl.report.words import DASH, bare, listing, name_of, percent, plural, points

MOST_SLICES = 16


def search(facts: Facts) -> Panel:
    title = "Did the search help?"
    course = figures.course(facts)
    if course is None:
        return Panel("search", title, "This study searched nothing: its arms were all fixed beforehand.")
    done = course.frame[course.frame["state"] == "completed"]
    pruned = int((course.frame["state"] == "pruned").sum())
    told = f"{plural(len(facts.searched), 'trial')}: {len(done):,} completed, {pruned:,} pruned early"
    told += f", {course.failed:,} failed" if course.failed else ""
    if done.empty:
        return Panel("search", title, f"{told}. None completed, so there is nothing to draw.")
    aim = course.objective
    best = done.loc[done["value"].idxmax() if aim.maximise else done["value"].idxmin()]
    answer = f"{told}. {_confirmed(facts)}"
    caption = (
        "Each mark is a trial of the search, in the order of suggestion; the line is the best completed one so far. "
        f"It ends at {_value(aim, best['value'], facts)} (trial {best['number']:.0f}). That number is optimistic, as "
        f"it was picked as the best of {len(done):,}: the result of the search is what its winners do on fresh seeds. "
        "The axis holds the better half of all trials, and nine tenths of the completed."
    )
    step = done[done["best"] != done["best"].shift()]
    rows = [
        (f"trial {r['number']:.0f}", [Cell(_value(aim, r["value"], facts), float(r["value"]))])
        for _, r in step.iterrows()
    ]
    table = number_table([Column("value", f"New best: {aim.title}")], rows, "Trial", "New bests of the search")
    blocks: list[Block] = [Plot("best-so-far", caption, [figures.draw_course(course)], table)]
    front = figures.front(facts)
    if front is not None and len(front.frame) > 1:
        blocks.append(_front_plot(front))
    shown = figures.winners(facts)
    if figures.winner_arms(facts) and len(shown.rows) > 1:
        blocks.append(_winners_plot(facts, shown))
    elif figures.winner_arms(facts):
        blocks.append(Note("No validation accuracy of the winners is on record to set beside what the search saw."))
    else:
        blocks.append(Note("No winner has been re-run on fresh seeds yet, so the search has no result so far."))
    return Panel("search", title, answer, blocks)


def _value(aim: figures.Objective, value: float, facts: Facts) -> str:
    if aim.unit == 100.0:
        return f"{value:.{max(facts.decimals, 1)}f} %"
    return f"{value:.4g}"


def _confirmed(facts: Facts) -> str:
    arms = figures.winner_arms(facts)
    if not arms:
        return "No winner has been re-run on fresh seeds yet, so nothing is confirmed."
    found = [facts.contrasts[arm] for arm in arms if arm in facts.contrasts]
    if not found:
        return f"{plural(len(arms), 'winner')} re-run, but none can be compared with the baseline."
    better = [c.arm for c in found if c.low > 0]
    if better:
        lead = max(found, key=lambda c: c.estimate)
        return (
            f"It helped: on fresh seeds {listing(better)} {'beats' if len(better) == 1 else 'beat'} the baseline, "
            f"by up to {points(lead.estimate, facts.decimals)} points."
        )
    if not any(math.isfinite(c.low) for c in found):
        return "The winners were re-run on too few seeds for an interval."
    return "Not credibly: on fresh seeds no winner is clear of the baseline."


def _winners_plot(facts: Facts, shown: ArmRows) -> Plot:
    found = figures.found_by_search(facts)
    caption = (
        "Validation accuracy of the configurations that validation picked, run again on seeds that the search never "
        "saw. Diamond: their mean on fresh seeds, bar: its 95 % interval (Student's t), ring: one fresh seed"
    )
    again = {row.arm: row.value for row in shown.rows}
    lost = [found[arm] - again[arm] for arm in found if arm in again]
    key = [Mark("on fresh seeds", "@c1", "diamond"), Mark("baseline on the same seeds", "@ink", "diamond")]
    if lost:
        mean = sum(lost) / len(lost) / 100
        side = "above" if mean >= 0 else "below"
        size = points(abs(mean), max(facts.decimals, 1)).lstrip("+")
        caption += f"; triangle: what the search saw of the same configuration, {size} points {side} on average"
        caption += ", which is what picking the best of many adds" if mean > 0 else ""
        key.append(Mark("in the search", "@c2", "triangle-down"))
    d = facts.decimals
    columns = [Column("search", "In the search, %"), Column("fresh", "On fresh seeds, %")]
    columns += [Column("low", "95 % from"), Column("high", "to"), Column("n", "n")]
    rows = []
    for row in shown.rows:
        own = found.get(row.arm, math.nan)
        values = [own, row.value, row.low, row.high]
        rows.append(
            (row.arm, [*[Cell(bare(v / 100, d), v) for v in values], Cell(str(len(row.seeds)), len(row.seeds))])
        )
    table = number_table(columns, rows, label="Winners on fresh seeds")
    return Plot("winners", caption + ".", [figures.draw_winners(shown, found)], table, key=key)


def _front_plot(front: figures.Front) -> Plot:
    on = front.frame[front.frame["on"]].sort_values("x")
    caption = (
        f"Completed trials in two objectives, {front.y.title} against {front.x.title}. The {len(on)} on the front are "
        "those that no other beats in both; as picked points they are optimistic too."
    )
    rows = [
        (f"trial {r['number']:.0f}", [Cell(f"{r['x']:.4g}", float(r["x"])), Cell(f"{r['y']:.4g}", float(r["y"]))])
        for _, r in on.iterrows()
    ]
    columns = [Column("x", front.x.title), Column("y", front.y.title)]
    table = number_table(columns, rows, "Trial", "Front of the search")
    return Plot("search-front", caption, [figures.draw_front(front)], table)


def weights(facts: Facts) -> Panel:
    title = "Which weights matter?"
    parameters = slices.space(facts)
    if facts.searched.empty or not parameters:
        why = "There was no search, so there is no space of weights to look through."
        if len(facts.searched):
            why = "The search space is not on record, so its parameters cannot be told from fixed ones."
        return Panel("weights", title, why)
    blocks: list[Block] = []
    answer = ""
    try:
        table, n, left_out = slices.importances(facts)
    except ImportError as error:
        blocks.append(Note(f"No importances: {error.name} is not installed where this page was built."))
    else:
        if table.empty:
            blocks.append(Note("No importances: they need two completed trials or more whose values differ."))
        else:
            blocks.append(_importance_plot(facts, table, n, left_out))
            first = str(table.index[0])
            answer = f"{name_of(first)} explains most of the variance by itself ({percent(table['fanova'].iloc[0], 0)})"
            top = str(table["ped"].idxmax())
            answer += ", and " if top == first else f"; {name_of(top)} "
            answer += "sets the best tenth of trials apart most (PED-ANOVA)."
            if n < slices.FEW:
                answer += f" With {n} completed trials, under {slices.FEW}, read this as a hint."
    blocks.append(_slices_plot(facts, parameters[:MOST_SLICES], len(parameters)))
    return Panel("weights", title, answer or "Values of the objective by each searched parameter.", blocks)


def _of_all(facts: Facts, n: int) -> str:
    done = int((facts.searched["state"] == "completed").sum())
    return f", spread evenly over all {done:,}" if n < done else ""


def _importance_plot(facts: Facts, table: pd.DataFrame, n: int, left_out: list[str]) -> Plot:
    caption = (
        f"Importance over {plural(n, 'completed trial')}{_of_all(facts, n)}; what was searched on a logarithmic axis "
        "enters as logarithms. fANOVA: share of the objective's variance over the space that a parameter explains by "
        "itself, "
        f"the bar from least to most of {slices.FORESTS} forests; what is missing to 100 % are interactions and noise. "
        "PED-ANOVA: where the best tenth of the trials lies against all, in shares of the total. They answer different "
        "questions and may disagree: what ruins one end of a range has variance, but may not matter among the best."
    )
    if left_out:
        caption += f" Without an importance, as not every trial has them or they never varied: {listing(left_out)}."
    columns = [
        Column("fanova", "fANOVA, %"),
        Column("low", "least", group="forests"),
        Column("high", "most", group="forests"),
        Column("ped", "PED-ANOVA, %"),
    ]
    rows = []
    for name, r in table.iterrows():
        values = [r["fanova"], r["fanova_low"], r["fanova_high"], r["ped"]]
        rows.append((str(name), [Cell(f"{100 * v:.0f}" if math.isfinite(v) else DASH, float(v)) for v in values]))
    return Plot(
        "importance",
        caption,
        [slices.draw_importances(table)],
        number_table(columns, rows, "Parameter", "Importance by parameter"),
    )


def _slices_plot(facts: Facts, parameters: list[slices.Parameter], total: int) -> Plot:
    aim = figures.objectives(facts)[0]
    course = figures.course(facts)
    assert course is not None
    drawn = [slices.draw_slice(p, aim.title, course.span) for p in parameters]
    caption = (
        "The objective by each searched parameter, all trials. A cloud that is level does not depend on the parameter "
        "in this range; one that leans on an edge says that the range should be wider. Other parameters vary too, and "
        "the sampler looks more often where it found good values. The axis holds the better half of all trials, and "
        "nine tenths of the completed."
    )
    if total > len(parameters):
        caption += f" The first {len(parameters)} of {total} parameters are drawn."
    rows = [Row(_range_cells(p, aim)) for p in parameters]
    columns = [
        Column("parameter", "Parameter", number=False),
        Column("trials", "Trials"),
        Column("best", "Best at", number=False),
        Column("middle", "Best tenth: median", number=False),
    ]
    key = [Mark("completed", "@c1", "circle-open"), Mark("pruned", "@soft", "x-thin")]
    return Plot(
        "slices",
        caption,
        drawn,
        Table(columns, rows, label="Searched parameters"),
        [p.name for p in parameters],
        key,
        wide=True,
    )


def _range_cells(p: slices.Parameter, aim: figures.Objective) -> list[Cell]:
    done = p.frame[p.frame["state"] == "completed"]
    if done.empty:
        return [Cell(p.name), Cell("0", 0), Cell(DASH), Cell(DASH)]
    ordered = done.sort_values("value", ascending=not aim.maximise, kind="stable")
    top = ordered.head(max(len(ordered) // 10, 1))["x"]
    middle = str(top.mode().iloc[0]) if p.choices else f"{float(top.median()):.3g}"
    best = str(ordered["x"].iloc[0]) if p.choices else f"{float(ordered['x'].iloc[0]):.3g}"
    return [Cell(p.name), Cell(str(len(p.frame)), len(p.frame)), Cell(best), Cell(middle)]
