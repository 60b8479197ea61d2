"""The history of a search: the value of each trial in the order in which they ended, and the best so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from scl.report.blocks import Cell, Column, Plot
from scl.report.facts import Facts
from scl.report.search.objectives import Objective, objectives
from scl.report.searched import INFEASIBLE
from scl.report.tables import number_table
from scl.report.theme import Figure, axis, figure, markers, numbers, scatter, span

MOST_DRAWN = 2000  # trials in one figure, evenly over the search
STATES = (("pruned", "@soft", "x-thin-open"), ("completed", "@c1", "circle-open"))  # and their colours and symbols
BEYOND = (INFEASIBLE, "@soft", "square-open")
FAILED = ("failed", "@bad", "triangle-up")


@dataclass(frozen=True)
class History:
    """The trials of a search in the order in which they ended or, if the store does not hold that, of suggestion.

    frame: at (1, 2, …), number, state, value (in the unit of the objective, NaN without one) and `best` so far over
    completed trials that keep every constraint. by_end: whether the store holds when trials ended.
    """

    objective: Objective
    frame: pd.DataFrame
    by_end: bool

    @property
    def span(self) -> list[float] | None:
        """The range of the axis: the better half of all trials and nine tenths of the completed ones."""
        sign = self.objective.sign
        value = sign * self.frame["value"]
        done = value[self.frame["state"] == "completed"]
        least = min([value.median(), *([done.quantile(0.1)] if len(done) else [])])
        return span(self.frame["value"][value >= least])

    @property
    def step(self) -> int:
        """One in so many trials is drawn."""
        return math.ceil(max(len(self.frame), 1) / MOST_DRAWN)


def history(facts: Facts) -> History | None:
    """None without a search."""
    if facts.searched.empty:
        return None
    aim = objectives(facts)[0]
    rows = facts.searched
    frame = rows[["number", "state"]].assign(value=aim.unit * rows[aim.name].astype(float), ended=rows.get("ended"))
    frame = frame[frame["state"].isin(["completed", "pruned", "failed", INFEASIBLE])]
    frame.loc[frame["state"] == "failed", "value"] = math.nan
    frame = frame[frame["value"].notna() | (frame["state"] == "failed")]
    by_end = bool(len(frame)) and bool(frame["ended"].notna().all())
    frame = frame.sort_values(["ended", "number"] if by_end else "number", kind="stable").drop(columns="ended")
    frame = frame.reset_index(drop=True)
    frame.insert(0, "at", range(1, len(frame) + 1))
    done = frame["value"].where(frame["state"] == "completed")
    frame["best"] = (done.cummax() if aim.maximise else done.cummin()).ffill()
    return History(aim, frame, by_end)


def draw_history(shown: History) -> Figure:
    frame, held, data = shown.frame.iloc[:: shown.step], shown.span, []
    for state, colour, symbol in (*STATES, BEYOND, FAILED):
        rows = frame[frame["state"] == state]
        if rows.empty or held is None:
            continue
        # Marks beyond the axis, and failed trials, which have no value, stand on its edge.
        worst = held[0] if shown.objective.maximise else held[1]
        y = numbers(rows["value"].fillna(worst).clip(*held), 3)
        shares = zip(rows["number"].astype(int), rows["value"], strict=True)
        about = [[number, f"{value:.2f}" if math.isfinite(value) else "no value"] for number, value in shares]
        name = "beyond a constraint" if state == INFEASIBLE else state
        hover = f"trial %{{customdata[0]}}, {name}: %{{customdata[1]}}"
        data.append(markers(rows["at"].tolist(), y, hover, 6, symbol, colour, 1.3, name=name, customdata=about))
        data[-1]["cliponaxis"] = False
    steps = shown.frame.dropna(subset=["best"])
    steps = steps[steps["best"].ne(steps["best"].shift()) | (steps.index == steps.index[-1])] if len(steps) else steps
    x, y = steps["at"].tolist(), numbers(steps["best"], 3)
    look = {"line": {"color": "@ink", "width": 2, "shape": "hv"}, "name": "best so far"}
    data.append(scatter("lines", x, y, hovertemplate="best of the first %{x}: %{y:.2f}<extra></extra>", **look))
    y_axis = axis(shown.objective.title, range=held)
    title = "trials that have ended" if shown.by_end else "trials in the order of suggestion"
    return figure(data, 380, legend=len(data), xaxis=axis(title, showgrid=False), yaxis=y_axis)


def history_plot(facts: Facts, shown: History) -> Plot:
    aim, frame = shown.objective, shown.frame
    done = frame[frame["state"] == "completed"]
    best = done.loc[done["value"].idxmax() if aim.maximise else done["value"].idxmin()]
    marks = "Each mark is a trial" if shown.step == 1 else f"Each mark is one in {shown.step} trials"
    order = "the order in which they ended" if shown.by_end else "the order of suggestion"
    stopped = ", a pruned one with its value when it was stopped" if (frame["state"] == "pruned").any() else ""
    stopped += (
        ", a failed one at the edge of the axis, because it has no value" if (frame["state"] == "failed").any() else ""
    )
    judged = " that keeps every constraint" if (frame["state"] == INFEASIBLE).any() else ""
    caption = (
        f"Optimisation history. {marks}, in {order}{stopped}; the line is the best completed trial{judged} so far. It "
        f"ends at {value_text(facts, aim, best['value'])} (trial {best['number']:.0f}). "
        f"{optimism(aim, len(frame))}The axis "
        "holds the better half of all trials and nine tenths of the completed ones; the others stand at its edge."
    )
    steps = done[done["best"] != done["best"].shift()].to_dict("records")
    rows = [
        (f"trial {r['number']:.0f}", [Cell(str(r["at"]), r["at"]), value_cell(facts, aim, r["value"])]) for r in steps
    ]
    columns = [Column("at", "Ended as number"), Column("value", f"New best: {aim.title}")]
    return Plot(
        "best-so-far", caption, [draw_history(shown)], number_table(columns, rows, "Trial", "New bests of the search")
    )


def value_text(facts: Facts, aim: Objective, value: float) -> str:
    """A value of an objective in the unit of its axis."""
    return f"{value:.{max(facts.share_decimals, 1)}f} %" if aim.unit == 100.0 else f"{value:.4g}"


def value_cell(facts: Facts, aim: Objective, value: float) -> Cell:
    """The same under a heading that names the unit."""
    return Cell(value_text(facts, aim, value).removesuffix(" %"), float(value))


def optimism(aim: Objective, trials: int) -> str:
    """A warning about the best of many measured values. Costs are counted, so the best of them is what it is."""
    if trials < 2 or not aim.measured:
        return ""
    return (
        f"That number is optimistic, because it is the best of {trials:,} trials; only trials on seeds that the search "
        "has not used show how good the configuration is. "
    )
