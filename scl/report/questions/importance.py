"""Which searched parameters matter? fANOVA beside PED-ANOVA, and the objective by each parameter.

Optuna computes the importances, and only if it is installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scl.report.blocks import Block, Cell, Column, Mark, Note, Panel, Plot, Row, Table
from scl.report.facts import Facts
from scl.report.formatting import DASH, listing, name_of, percent, percent_number, plural
from scl.report.search.history import MOST_DRAWN, STATES, history
from scl.report.search.objectives import Objective, objectives
from scl.report.search.parameters import Parameter, parameters
from scl.report.tables import count_cell, number_cells, number_table
from scl.report.theme import NARROW, Figure, axis, error_bars, figure, labels, markers, numbers, ticks

TITLE = "Which searched parameters matter?"
MOST_SLICES = 16
MOST_POINTS = MOST_DRAWN // 4  # of a slice
MOST_FITTED = 300  # trials behind importances, evenly over the search: the time of fANOVA grows as their square
FORESTS, TREES, SPLITS = 3, 16, 8
LEAST = 20  # with fewer trials there are no importances: the best tenth is one trial, and forests fit chance
FEW = 100  # with fewer trials, the page warns about importances


def panel(facts: Facts) -> Panel:
    found = parameters(facts)
    if facts.searched.empty:
        return Panel("importance", TITLE, "This study ran no search, so no parameters were searched.")
    if not found:
        why = "The store holds no search space, so searched parameters cannot be separated from fixed ones."
        return Panel("importance", TITLE, why)
    blocks: list[Block] = []
    answer = "The objective by each searched parameter."
    try:
        table, n, left_out = importances(facts)
    except ImportError as error:
        blocks.append(Note(f"No importances: {error.name} is not installed where this page was built."))
    else:
        blocks.append(Note(_too_few(n)) if table.empty else _importance_plot(facts, table, n, left_out))
        answer = answer if table.empty else _answer(table, n)
    blocks.append(_slices_plot(facts, found[:MOST_SLICES], len(found)))
    return Panel("importance", TITLE, answer, blocks)


def _too_few(n: int) -> str:
    if n < LEAST:
        return f"No importances: they need at least {LEAST} completed trials, and this search has {n}."
    return "No importances: no parameter that all completed trials have took two values, or the objective did not vary."


def _answer(table: pd.DataFrame, n: int) -> str:
    first, share = str(table.index[0]), table["fanova"].iloc[0]
    if not share > 0:
        return "No parameter alone explains a share of the variance."
    answer = f"{name_of(first)} alone explains the largest share of the variance ({percent(share, 0)})"
    if table["ped"].max() > 0:
        top = str(table["ped"].idxmax())
        answer += ", and " if top == first else f"; {name_of(top)} "
        answer += "separates the best tenth of trials most (PED-ANOVA)"
    answer += "."
    if n < FEW:
        answer += f" With {n} completed trials, fewer than {FEW}, this is only a hint."
    return answer


# Importances


def importances(facts: Facts) -> tuple[pd.DataFrame, int, list[str]]:
    """Importance by parameter, the number of trials behind it, and the parameters without one.

    Columns: `fanova` (the share of the variance of the first objective that a parameter explains alone, Hutter et al.
    2014, mean of FORESTS forests), `fanova_low`, `fanova_high` (their least and most), `ped` (PED-ANOVA, Watanabe et
    al. 2023: what separates the best tenth). Parameters on a logarithmic axis enter as logarithms. A parameter that
    some completed trials lack is conditional and has no share of the variance of all trials. With fewer than LEAST
    completed trials there are no importances.

    Raises:
        ImportError: Optuna is not installed.
    """
    found = parameters(facts)
    aim = objectives(facts)[0]
    done = facts.searched[facts.searched["state"] == "completed"].sort_values("number")
    done = done.iloc[np.unique(np.linspace(0, len(done) - 1, min(len(done), MOST_FITTED)).round().astype(int))]
    complete = [p for p in found if p.frame["number"].isin(done["number"]).sum() == len(done) > 1]
    usable = {p.name: p for p in complete if p.frame["x"].nunique() > 1}
    left_out = [p.name for p in found if p.name not in usable]
    if len(done) < LEAST or not usable or done[aim.name].nunique() < 2:
        return pd.DataFrame(columns=["fanova", "fanova_low", "fanova_high", "ped"]), len(done), left_out
    fitted = _fit(usable, done, aim)
    return fitted.sort_values("fanova", ascending=False, kind="stable"), len(done), left_out


def _fit(usable: Mapping[str, Parameter], done: pd.DataFrame, aim: Objective) -> pd.DataFrame:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    distributions: dict[str, BaseDistribution] = {}
    values: dict[str, list[Any]] = {}
    for i, p in enumerate(usable.values()):
        x = p.frame.set_index("number")["x"].reindex(done["number"])
        if p.choices:
            distributions[f"p{i}"], values[f"p{i}"] = CategoricalDistribution(p.choices), x.tolist()
            continue
        number = x.astype(float).to_numpy()
        number = np.log10(number) if p.log and (number > 0).all() else number
        distributions[f"p{i}"] = FloatDistribution(float(number.min()), float(number.max()))
        values[f"p{i}"] = [float(v) for v in number]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize" if aim.maximise else "minimize")
        trials = []
        for row, value in enumerate(done[aim.name]):
            params = {name: column[row] for name, column in values.items()}
            trials.append(optuna.trial.create_trial(params=params, distributions=distributions, value=float(value)))
        study.add_trials(trials)
        evaluators = [FanovaImportanceEvaluator(n_trees=TREES, max_depth=SPLITS, seed=seed) for seed in range(FORESTS)]
        forests = pd.DataFrame([evaluator.evaluate(study) for evaluator in evaluators])
        ped = pd.Series(PedAnovaImportanceEvaluator().evaluate(study), dtype=float)
    finally:
        optuna.logging.set_verbosity(verbosity)
    shares = {"fanova": forests.mean(), "fanova_low": forests.min(), "fanova_high": forests.max()}
    shares["ped"] = ped / ped.sum() if ped.sum() > 0 else ped
    return pd.DataFrame(shares).loc[list(distributions)].set_axis(list(usable))


def draw_importances(shown: pd.DataFrame) -> Figure:
    names = labels([str(name) for name in shown.index])
    data: list[dict[str, Any]] = []
    for column, name, colour, symbol, shift in (
        ("fanova", "fANOVA: share of the variance", "@c1", "circle", -0.12),
        ("ped", "PED-ANOVA: what separates the best tenth", "@c2", "diamond", 0.12),
    ):
        x, y = numbers(100 * shown[column], 2), [i + shift for i in range(len(shown))]
        bar: dict[str, Any] = {"type": "bar", "orientation": "h", "x": x, "y": y, "width": 0.05}
        data.append({**bar, "marker": {"color": colour}, "hoverinfo": "skip", "showlegend": False})
        hover = f"%{{customdata}}<br>{name} %{{x:.0f}} %"
        data.append(markers(x, y, hover, 10, symbol, colour, name=name, customdata=list(names.values())))
        if column == "fanova":
            ends = shown["fanova_high"] - shown["fanova"], shown["fanova"] - shown["fanova_low"]
            data[-1]["error_x"] = error_bars(100 * ends[0], 100 * ends[1], colour, digits=2)
    y_axis = axis("", range=[len(shown) - 0.4, -0.6], showgrid=False, **ticks(names.values()))
    narrow = {"yaxis.ticktext": list(labels([str(name) for name in shown.index], NARROW).values())}
    x_axis = axis("importance, %", rangemode="tozero")
    return figure(data, 100 + 40 * max(len(shown), 2), narrow, legend=2, xaxis=x_axis, yaxis=y_axis)


def _importance_plot(facts: Facts, table: pd.DataFrame, n: int, left_out: list[str]) -> Plot:
    total = int((facts.searched["state"] == "completed").sum())
    spread = f", spread evenly over all {total:,}" if n < total else ""
    caption = (
        f"Importance over {plural(n, 'completed trial')}{spread}; parameters searched on a logarithmic axis enter as "
        "logarithms. fANOVA: the share of the objective's variance over the space that a parameter explains alone; "
        f"bar: least to most of {FORESTS} forests, which is no interval for other trials; interactions and noise make "
        "up the rest to 100 %. PED-ANOVA: how far the best tenth of trials differs from all, in shares of the total. "
        "The two answer different questions and may disagree: a parameter that ruins one end of its range has variance "
        "but may not matter among the best."
    )
    if left_out:
        caption += f" Without an importance, because some trials lack them or they never varied: {listing(left_out)}."
    columns = [Column("fanova", "fANOVA, %"), Column("low", "least", group="forests")]
    columns += [Column("high", "most", group="forests"), Column("ped", "PED-ANOVA, %")]
    # The columns of `table` have the order of these.
    rows = [(str(name), number_cells(percent_number, 0, *map(float, values))) for name, *values in table.itertuples()]
    numbers_of = number_table(columns, rows, "Parameter", "Importance by parameter")
    return Plot("importance", caption, [draw_importances(table)], numbers_of)


# Slices


def draw_slice(shown: Parameter, title: str, held: list[float] | None) -> Figure:
    """held: the range of the y axis, shared by all slices."""
    frame = shown.frame.iloc[:: math.ceil(max(len(shown.frame), 1) / MOST_POINTS)]
    where = {c: i for i, c in enumerate(shown.choices)}
    data = []
    for state, colour, symbol in STATES:
        rows = frame[frame["state"] == state]
        x = [where[v] for v in rows["x"]] if shown.choices else [float(f"{v:.5g}") for v in rows["x"].astype(float)]
        y, hover = numbers(rows["value"], 3), f"trial %{{customdata}}, {state}<br>%{{x:.4g}}: %{{y:.2f}}"
        data.append(markers(x, y, hover, 5, symbol, colour, edge=1.2, customdata=rows["number"].astype(int).tolist()))
    if shown.choices:
        names = labels(shown.choices, 12)
        x_axis = axis("", **ticks(names.values()), range=[-0.6, len(names) - 0.4])
    else:
        x_axis = axis("", type="log", dtick=1, exponentformat="power") if shown.log else axis("", nticks=5)
    return figure(data, 230, top=28, xaxis=x_axis, yaxis=axis(title, range=held))


def _slices_plot(facts: Facts, shown: Sequence[Parameter], total: int) -> Plot:
    aim = objectives(facts)[0]
    whole = history(facts)
    held = whole.span if whole else None
    caption = (
        "The objective by each searched parameter, completed and pruned trials. A level cloud: the objective hardly "
        "depends on the parameter in this range. A cloud that rises to an edge: a wider range may be better. Other "
        "parameters vary too, and the sampler tries more values where it found good ones. The axis holds the better "
        "half of all trials and nine tenths of the completed ones."
    )
    if any(len(p.frame) > MOST_POINTS for p in shown):
        caption += f" Of many trials, at most {MOST_POINTS} are drawn, evenly over the search."
    if total > len(shown):
        caption += f" The first {len(shown)} of {total} parameters are drawn."
    columns = [
        Column("parameter", "Parameter", number=False),
        Column("trials", "Trials"),
        Column("best", "Best at", number=False),
        Column("middle", "Best tenth: median", number=False),
    ]
    table = Table(columns, [Row(_range_cells(p, aim)) for p in shown], label="Searched parameters")
    key = [Mark("completed", "@c1", "circle-open"), Mark("pruned", "@soft", "x-thin")]
    drawn = [draw_slice(p, aim.title, held) for p in shown]
    return Plot("slices", caption, drawn, table, [p.name for p in shown], key)


def _range_cells(p: Parameter, aim: Objective) -> list[Cell]:
    done = p.frame[p.frame["state"] == "completed"]
    if done.empty:
        return [Cell(p.name), count_cell(0), Cell(DASH), Cell(DASH)]
    ordered = done.sort_values("value", ascending=not aim.maximise, kind="stable")
    top = ordered.head(len(ordered) // 10)["x"]
    ends = [ordered["x"].iloc[0]]
    if len(top):
        ends.append(top.mode().iloc[0] if p.choices else top.median())
    shown = [Cell(str(x) if p.choices else f"{float(x):.3g}") for x in ends]
    return [Cell(p.name), count_cell(len(p.frame)), *shown, *[Cell(DASH)] * (2 - len(shown))]
