"""Which searched parameters matter: slices through the space, fANOVA beside PED-ANOVA.

Optuna is asked for importances alone, and only where it is installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scl.report.facts import Facts
from scl.report.figures.search import MOST_DRAWN, Objective, objectives
from scl.report.theme import Figure, axis, figure, labels, numbers

MOST_FITTED = 300  # trials behind importances, evenly over the search: fANOVA takes time as their square
FORESTS, TREES, SPLITS = 3, 16, 8
FEW = 100  # trials below which importances are warned about


@dataclass(frozen=True)
class Parameter:
    """One searched parameter. frame: its values beside `value` (the objective) and `state`, a row a trial.

    log: on a logarithmic axis. choices: the values of a categorical one, as text.
    """

    name: str
    log: bool
    choices: tuple[str, ...]
    frame: pd.DataFrame


def space(facts: Facts) -> list[Parameter]:
    """The search space as study.json tells it, with the values of trials that have one."""
    aims = objectives(facts)
    out = []
    for key, about in (facts.study.get("search_space") or {}).items():
        name = str(key).removeprefix("param.")
        column = f"param.{name}"
        if column not in facts.searched.columns:
            continue
        rows = facts.searched[["number", "state", column, aims[0].name]].rename(columns={column: "x"})
        rows["value"] = aims[0].unit * rows[aims[0].name].astype(float)
        rows = rows[rows["x"].notna() & rows["value"].notna() & rows["state"].isin(["completed", "pruned"])]
        choices = tuple(str(c) for c in about.get("choices") or ())
        if choices:
            rows["x"] = rows["x"].map(_choice(about["choices"]))
        out.append(Parameter(name, bool(about.get("log")), choices, rows[["number", "state", "x", "value"]]))
    return out


def _choice(choices: list[Any]) -> dict[Any, str]:
    """A stored value → the choice it is: 8.0 in a column of floats is the choice 8."""
    return {value: str(value) for value in choices} | {str(value): str(value) for value in choices}


def draw_slice(shown: Parameter, title: str, held: list[float] | None) -> Figure:
    """held: range of the y axis, shared by all slices."""
    frame = shown.frame.iloc[:: math.ceil(max(len(shown.frame), 1) / (MOST_DRAWN // 4))]
    where = {c: i for i, c in enumerate(shown.choices)}
    data = []
    for state, colour, symbol in (("pruned", "@soft", "x-thin-open"), ("completed", "@c1", "circle-open")):
        rows = frame[frame["state"] == state]
        x = [where[v] for v in rows["x"]] if shown.choices else [float(f"{v:.5g}") for v in rows["x"].astype(float)]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": x,
                "y": numbers(rows["value"], 3),
                "customdata": rows["number"].astype(int).tolist(),
                "hovertemplate": f"trial %{{customdata}}, {state}<br>%{{x:.4g}}: %{{y:.2f}}<extra></extra>",
                "marker": {"size": 5, "symbol": symbol, "color": colour, "line": {"width": 1.2, "color": colour}},
            }
        )
    if shown.choices:
        names = labels(shown.choices, 12)
        ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": list(names.values())}
        x_axis = axis("", **ticks, range=[-0.6, len(names) - 0.4])
    else:
        x_axis = axis("", type="log", dtick=1, exponentformat="power") if shown.log else axis("", nticks=5)
    return figure(data, 230, top=28, xaxis=x_axis, yaxis=axis(title, range=held))


def importances(facts: Facts) -> tuple[pd.DataFrame, int, list[str]]:
    """Shares of importance by parameter, how many trials they rest on, and parameters that have none.

    Columns: `fanova` (share of the variance of the first objective that a parameter explains by itself, Hutter et
    al. 2014: mean of FORESTS forests), `fanova_low`, `fanova_high` (least and most of them), `ped` (PED-ANOVA,
    Watanabe et al. 2023: what sets the best tenth apart). Parameters on a logarithmic axis enter as logarithms.
    Only parameters that every completed trial has: a conditional one has no share of all trials' variance.

    Raises:
        ImportError: Optuna is not installed.
    """
    parameters = space(facts)
    done = facts.searched[facts.searched["state"] == "completed"]
    done = done.sort_values("number")
    done = done.iloc[np.unique(np.linspace(0, len(done) - 1, min(len(done), MOST_FITTED)).round().astype(int))]
    usable = {p.name: p for p in parameters if p.frame["number"].isin(done["number"]).sum() == len(done) > 1}
    single = [name for name, p in usable.items() if p.frame["x"].nunique() < 2]
    usable = {name: p for name, p in usable.items() if name not in single}
    left_out = [p.name for p in parameters if p.name not in usable]
    columns = ["fanova", "fanova_low", "fanova_high", "ped"]
    aims = objectives(facts)
    if not usable or done[aims[0].name].nunique() < 2:
        return pd.DataFrame(columns=columns), len(done), left_out
    fitted = _optuna(usable, done, aims[0])
    return fitted.sort_values("fanova", ascending=False, kind="stable"), len(done), left_out


def _optuna(usable: Mapping[str, Parameter], done: pd.DataFrame, aim: Objective) -> pd.DataFrame:
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
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: column[row] for name, column in values.items()},
                    distributions=distributions,
                    value=float(value),
                )
                for row, value in enumerate(done[aim.name])
            ]
        )
        forests = pd.DataFrame(
            [
                FanovaImportanceEvaluator(n_trees=TREES, max_depth=SPLITS, seed=seed).evaluate(study)
                for seed in range(FORESTS)
            ]
        )
        ped = pd.Series(PedAnovaImportanceEvaluator().evaluate(study), dtype=float)
    finally:
        optuna.logging.set_verbosity(verbosity)
    keys = list(distributions)
    return pd.DataFrame(
        {
            "fanova": forests[keys].mean().to_numpy(),
            "fanova_low": forests[keys].min().to_numpy(),
            "fanova_high": forests[keys].max().to_numpy(),
            "ped": (ped[keys] / ped.sum() if ped.sum() > 0 else ped[keys]).to_numpy(),
        },
        index=list(usable),
    )


def draw_importances(shown: pd.DataFrame) -> Figure:
    names = labels([str(name) for name in shown.index])
    ticks = {"tickmode": "array", "tickvals": list(range(len(shown))), "ticktext": list(names.values())}
    data = []
    for column, name, colour, symbol, shift in (
        ("fanova", "fANOVA: share of the variance", "@c1", "circle", -0.12),
        ("ped", "PED-ANOVA: what sets the best tenth apart", "@c2", "diamond", 0.12),
    ):
        y = [i + shift for i in range(len(shown))]
        value = 100 * shown[column]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "x": numbers(value, 2),
                "y": y,
                "width": 0.05,
                "marker": {"color": colour},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
        mark: dict[str, Any] = {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": numbers(value, 2),
            "y": y,
            "customdata": list(names.values()),
            "hovertemplate": f"%{{customdata}}<br>{name} %{{x:.0f}} %<extra></extra>",
            "marker": {"size": 10, "symbol": symbol, "color": colour},
        }
        if column == "fanova":
            error = {"type": "data", "symmetric": False, "thickness": 1.3, "width": 3, "color": colour}
            error["array"] = numbers(100 * (shown["fanova_high"] - shown["fanova"]), 2)
            error["arrayminus"] = numbers(100 * (shown["fanova"] - shown["fanova_low"]), 2)
            mark["error_x"] = error
        data.append(mark)
    y_axis = axis("", range=[len(shown) - 0.4, -0.6], showgrid=False, **ticks)
    narrow = {"yaxis.ticktext": list(labels([str(name) for name in shown.index], 16).values())}
    x = axis("importance, %", rangemode="tozero")
    return figure(data, 100 + 40 * max(len(shown), 2), narrow, legend=2, xaxis=x, yaxis=y_axis)
