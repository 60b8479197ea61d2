"""What accuracy costs."""

from __future__ import annotations

from scl.report.blocks import Cell, Column, Panel, Plot, number_table
from scl.report.facts import Facts
from scl.report.figures import cost as figures
from scl.report.panels.compare import beyond, not_drawn
from scl.report.panels.distilling import arm_key
from scl.report.words import bare, count, listing


def cost(facts: Facts) -> Panel:
    title = "What does accuracy cost?"
    shown = figures.costs(facts)
    if not shown:
        return Panel("cost", title, "This needs at least two arms with results whose costs differ.")
    first = shown[0]
    shown_arms = {arm for cloud in shown for arm in cloud.arms}
    front = [arm for arm, on in zip(first.arms, first.front, strict=True) if on]
    answer = ""
    if first.x_title not in figures.PREDICTION.values():
        answer = "All arms are equally large and fast when they predict, so they differ in their training time alone. "
    answer += f"In {first.x_title.split(',')[0]}, no arm is both cheaper and better than {listing(front)}."
    caption = (
        "A mark an arm: mean accuracy over seeds against a cost. The stairs are the Pareto front of the means: left of "
        "it and above it is nothing. It does not know about uncertainty: neighbours on it may be equal. Costs are the "
        "student's; latency and training time were measured on this study's hardware."
        + not_drawn(facts)
        + beyond(len(facts.drawn) - len(shown_arms))
    )
    columns, cells = [], {arm: [] for arm in facts.drawn if arm in shown_arms}  # type: ignore[var-annotated]
    for i, cloud in enumerate(shown):
        columns += [Column(f"cost_{i}", cloud.x_title), Column(f"front_{i}", "On the front", number=False)]
        where = {arm: (float(x), bool(on)) for arm, x, on in zip(cloud.arms, cloud.x, cloud.front, strict=True)}
        for arm, mine in cells.items():
            x, on = where.get(arm, (float("nan"), False))
            mine += [Cell(count(x) if not x < 1000 else f"{x:.3g}", x), Cell("yes" if on else "no")]
    means = facts.scores.mean()
    columns.append(Column("accuracy", "Test accuracy, %, mean"))
    rows = [(arm, [*mine, Cell(bare(means[arm], facts.decimals), float(means[arm]))]) for arm, mine in cells.items()]
    drawn = [figures.draw_cloud(cloud, 320 if len(shown) > 1 else 400) for cloud in shown]
    titles = [cloud.x_title for cloud in shown] if len(shown) > 1 else []
    table = number_table(columns, rows, label="Cost and accuracy by arm")
    return Panel("cost", title, answer, [Plot("pareto", caption, drawn, table, titles, arm_key(first), wide=True)])
