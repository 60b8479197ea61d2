"""What accuracy costs in a search: its first measured objective against other objectives, constraints and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from scl import stats
from scl.report import theme
from scl.report.blocks import Cell, Column, Plot, Row, Table
from scl.report.facts import Facts
from scl.report.formatting import enumerated, plural
from scl.report.search.history import BEYOND, MOST_DRAWN
from scl.report.search.objectives import Objective, limits, objective_of, objectives
from scl.report.searched import INFEASIBLE
from scl.report.tables import text_cell
from scl.report.theme import Figure, axis, figure, markers, numbers, span
from scl.study.limits import in_words
from scl.study.metrics import COSTS


@dataclass(frozen=True)
class Front:
    """Completed trials on two axes.

    frame: number, x, y, feasible (whether it keeps every constraint) and `on`: it is feasible, and no feasible trial is
    as good in all that count and better in one. What counts is all objectives of the search if it has several, else x
    and y. most, least: the constraint on x and on y, NaN without one. stairs: the front is that of these
    two axes.
    """

    x: Objective
    y: Objective
    frame: pd.DataFrame
    most: float = math.nan
    least: float = math.nan
    stairs: bool = True


def fronts(facts: Facts) -> list[Front]:
    """A front for each other objective and each constraint; if there is neither, for each cost that differs."""
    aims, held = objectives(facts), limits(facts)
    y = next((aim for aim in aims if aim.measured), aims[0])
    rows = facts.searched[facts.searched["state"].isin(["completed", INFEASIBLE])]
    names = [aim.name for aim in aims if aim is not y] + [n for n in held if n not in {aim.name for aim in aims}]
    for_costs = not names
    by_name = {aim.name: aim for aim in aims}
    others = [by_name.get(name) or objective_of(name) for name in names or COSTS]
    out = []
    for x in others:
        if x.name not in rows.columns or x.name == y.name:
            continue
        counted = aims if len(aims) > 1 else [x, y]
        known = rows.dropna(subset=list(dict.fromkeys([x.name, y.name, *[aim.name for aim in counted]])))
        if len(known) < 2 or (for_costs and known[x.name].nunique() < 2):
            continue
        feasible = known["state"] != INFEASIBLE
        on = pd.Series(False, index=known.index)
        kept = known[feasible]
        if len(kept):
            on[feasible] = stats.pareto(*[aim.sign * kept[aim.name].to_numpy(float) for aim in counted])
        frame = pd.DataFrame({"number": known["number"].astype(int), "feasible": feasible, "on": on})
        frame = frame.assign(x=x.unit * known[x.name].astype(float), y=y.unit * known[y.name].astype(float))
        most, least = (aim.unit * held.get(aim.name, math.nan) for aim in (x, y))
        out.append(Front(x, y, frame.reset_index(drop=True), most, least, stairs=len(counted) == 2))
    return out


def draw_front(shown: Front, height: int = 380) -> Figure:
    frame, data = shown.frame, []
    groups = (
        (~frame["feasible"], "breaks a constraint", BEYOND[1], BEYOND[2], "markers"),
        (frame["feasible"] & ~frame["on"], "beaten", "@c1", "circle-open", "markers"),
        (frame["on"], "Pareto front", "@c2", "diamond", "lines+markers" if shown.stairs else "markers"),
    )
    for mask, name, colour, symbol, mode in groups:
        rows = frame[mask].sort_values(["x", "y"], kind="stable")
        rows = rows.iloc[:: math.ceil(max(len(rows), 1) / MOST_DRAWN)]
        if rows.empty:
            continue
        look = {"mode": mode, "line": {"color": colour, "width": 1.5, "shape": "hv" if not shown.x.maximise else "vh"}}
        more = {**look, "name": name, "customdata": rows["number"].tolist()}
        x, y, hover = (
            numbers(rows["x"]),
            numbers(rows["y"], 3),
            f"trial %{{customdata}}, {name}<br>%{{x:.4s}}, %{{y:.2f}}",
        )
        data.append(markers(x, y, hover, 9 if name == "Pareto front" else 6, symbol, colour, edge=1.2, **more))
    marks: theme.Marks = ([], [])
    if math.isfinite(shown.most):
        marks = theme.both(marks, theme.bound_line(shown.most))
    if math.isfinite(shown.least):
        marks = theme.both(marks, theme.bound_line(shown.least, vertical=False))
    x_axis = axis(shown.x.title, nticks=6, range=span([*frame["x"], shown.most]))
    y_axis = axis(shown.y.title, range=span([*frame["y"], shown.least]))
    return figure(data, height, legend=len(data), marks=marks, xaxis=x_axis, yaxis=y_axis)


def front_plot(facts: Facts, shown: list[Front]) -> Plot:
    aims, held = objectives(facts), limits(facts)
    first = shown[0]
    against = enumerated([front.x.title.split(",")[0] for front in shown])
    caption = f"Completed trials by {first.y.title.split(',')[0]} and by {against}. On the Pareto front, no other "
    caption += f"trial{' that keeps every constraint' if held else ''} is at least as good "
    if len(aims) > 1:
        caption += f"in all {len(aims)} objectives of the search and better in one"
        caption += ", so a trial on it may look beaten in a figure of two of them. " if len(aims) > 2 else ". "
    else:
        caption += "on both axes and better on one. "
    if held:
        lines = any(math.isfinite(end) for front in shown for end in (front.most, front.least))
        caption += f"Constraint{', the dotted line' if lines else ''}: {in_words(held)}. "
        broken = plural(int((~first.frame["feasible"]).sum()), "completed trial")
        caption += f"Squares: {broken} beyond it. " if not first.frame["feasible"].all() else ""
    caption += "Its accuracies are optimistic, because they were picked." if first.y.measured else ""
    columns = [Column("trial", "Trial", number=False)]
    if len(shown) > 1:
        columns.append(Column("cost", "Against", number=False))
    columns += [Column("x", first.x.title if len(shown) == 1 else "Its value"), Column("y", first.y.title)]
    rows = []
    for front in shown:
        for r in front.frame[front.frame["on"]].sort_values(["x", "y"], kind="stable").to_dict("records"):
            cells = [Cell(f"trial {r['number']}"), *([text_cell(front.x.title)] if len(shown) > 1 else [])]
            rows.append(Row([*cells, Cell(f"{r['x']:.4g}", float(r["x"])), Cell(f"{r['y']:.4g}", float(r["y"]))]))
    table = Table(columns, rows, label="Pareto front of the search")
    drawn = [draw_front(front, 320 if len(shown) > 1 else 380) for front in shown]
    titles = [front.x.title for front in shown] if len(shown) > 1 else []
    return Plot("search-front", caption.strip(), drawn, table, titles)
