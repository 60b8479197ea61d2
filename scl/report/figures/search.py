"""A search: its course, its winners on fresh seeds, and the front of two objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report.facts import Facts
from scl.report.figures.rows import ArmRow, ArmRows, draw_rows
from scl.report.theme import Figure, axis, figure, literal, numbers, shorten, span

MOST_DRAWN = 2000  # trials in one figure, evenly over the search


@dataclass(frozen=True)
class Objective:
    """A column of trials.parquet and its direction. unit: what a value is multiplied by when shown."""

    name: str
    maximise: bool

    @property
    def unit(self) -> float:
        return 100.0 if "acc" in self.name else 1.0

    @property
    def title(self) -> str:
        words = {"val_acc": "validation accuracy, %", "test_acc": "test accuracy, %", "macs": "multiply-adds"}
        return words.get(self.name, self.name)


def objectives(facts: Facts) -> list[Objective]:
    """What the search aimed at, as far as trials.parquet holds it; else validation accuracy.

    study.json names them in a dict, name → direction, or in a list of {name, direction}.
    """
    told = facts.study.get("objectives") or {}
    pairs = told.items() if isinstance(told, Mapping) else [(o.get("name"), o.get("direction", "max")) for o in told]
    found = [Objective(str(name), not str(direction).startswith("min")) for name, direction in pairs]
    return [o for o in found if o.name in facts.searched.columns] or [Objective("val_acc", True)]


@dataclass(frozen=True)
class Course:
    """The trials of a search in the order of suggestion. frame: number, state, value (in the objective's unit) and
    `best` so far over completed trials. failed: how many have no value."""

    objective: Objective
    frame: pd.DataFrame
    failed: int

    @property
    def span(self) -> list[float] | None:
        """Of the axis: the better half of all trials, and nine tenths of the completed; bad ones would squeeze them."""
        sign = 1.0 if self.objective.maximise else -1.0
        value = sign * self.frame["value"]
        done = value[self.frame["state"] == "completed"]
        least = min([value.median(), *([done.quantile(0.1)] if len(done) else [])])
        return span(self.frame["value"][value >= least])


def course(facts: Facts) -> Course | None:
    if facts.searched.empty:
        return None
    aim = objectives(facts)[0]
    frame = facts.searched[["number", "state"]].copy()
    frame["value"] = aim.unit * facts.searched[aim.name].astype(float)
    frame = frame.sort_values("number", kind="stable").reset_index(drop=True)
    failed = int((frame["state"] == "failed").sum())
    frame = frame[frame["state"].isin(["completed", "pruned"]) & frame["value"].notna()]
    done = frame["value"].where(frame["state"] == "completed")
    frame["best"] = (done.cummax() if aim.maximise else done.cummin()).ffill()
    return Course(aim, frame, failed)


def draw_course(shown: Course) -> Figure:
    frame = shown.frame.iloc[:: math.ceil(max(len(shown.frame), 1) / MOST_DRAWN)]
    data: list[dict[str, Any]] = []
    looks = {"pruned": ("pruned", "@soft", "x-thin-open"), "completed": ("completed", "@c1", "circle-open")}
    for state, (name, colour, symbol) in looks.items():
        rows = frame[frame["state"] == state]
        if rows.empty:
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": rows["number"].astype(int).tolist(),
                "y": numbers(rows["value"], 3),
                "hovertemplate": f"trial %{{x}}, {name}: %{{y:.2f}}<extra></extra>",
                "marker": {"size": 6, "symbol": symbol, "color": colour, "line": {"width": 1.3, "color": colour}},
            }
        )
    steps = shown.frame.dropna(subset=["best"])
    steps = steps[steps["best"].ne(steps["best"].shift()) | (steps.index == steps.index[-1])] if len(steps) else steps
    data.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": steps["number"].astype(int).tolist(),
            "y": numbers(steps["best"], 3),
            "hovertemplate": "best after trial %{x}: %{y:.2f}<extra></extra>",
            "line": {"color": "@ink", "width": 2, "shape": "hv"},
        }
    )
    y = axis(shown.objective.title, range=shown.span)
    return figure(data, 380, legend=len(data), xaxis=axis("trial", showgrid=False), yaxis=y)


def winners(facts: Facts) -> ArmRows:
    """The re-run configurations on fresh seeds in validation accuracy, %: mean, interval, seeds; `line` unused.

    `found`, in `found_by_search`, is what the search itself saw of each.
    """
    rows = []
    for arm in [facts.baseline, *winner_arms(facts)]:
        mine = facts.completed[facts.completed["arm"] == arm].dropna(subset=["val_acc"])
        if mine.empty:
            continue
        values = 100 * pd.Series(mine["val_acc"].to_numpy(dtype=float), index=mine["seed"].to_numpy())
        mean = stats.mean_interval(values.to_numpy())
        seeds = {int(seed): float(value) for seed, value in values.items()}
        rows.append(ArmRow(arm, mean.mean, mean.low, mean.high, seeds))
    return ArmRows(tuple(rows), facts.baseline, facts.decimals, 0)


def winner_arms(facts: Facts) -> list[str]:
    return [arm for arm in facts.arms if arm.startswith("winner-") and arm in facts.scores.columns]


def found_by_search(facts: Facts) -> dict[str, float]:
    """Winner → validation accuracy in % of the search's own trial of that configuration."""
    done = facts.searched[facts.searched["state"] == "completed"]
    by_config = 100 * done.dropna(subset=["val_acc"]).groupby("config_id")["val_acc"].max().astype(float)
    configs = facts.completed.drop_duplicates("arm").set_index("arm")["config_id"]
    return {arm: float(by_config[configs[arm]]) for arm in winner_arms(facts) if configs[arm] in by_config.index}


def draw_winners(shown: ArmRows, found: Mapping[str, float]) -> Figure:
    drawn = draw_rows(
        shown, axis("validation accuracy, %"), [], [], f"%{{x:.{shown.decimals}f}} %", list(found.values()), share=True
    )
    at = {row.arm: i for i, row in enumerate(shown.rows)}
    there = [arm for arm in found if arm in at]
    drawn["data"].append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": numbers(found[arm] for arm in there),
            "y": [at[arm] - 0.24 for arm in there],
            "customdata": [literal(shorten(arm)) for arm in there],
            "hovertemplate": "%{customdata}<br>in the search: %{x:.2f} %<extra></extra>",
            "marker": {"size": 10, "symbol": "triangle-down", "color": "@c2"},
        }
    )
    return drawn


@dataclass(frozen=True)
class Front:
    """Two objectives of a search's completed trials; on: those that no other beats in both."""

    x: Objective
    y: Objective
    frame: pd.DataFrame


def front(facts: Facts) -> Front | None:
    aims = objectives(facts)
    if len(aims) < 2:
        return None
    y, x = aims[:2]
    done = facts.searched[facts.searched["state"] == "completed"].dropna(subset=[x.name, y.name])
    frame = pd.DataFrame({"number": done["number"], "x": x.unit * done[x.name], "y": y.unit * done[y.name]})
    signs = (-1.0 if x.maximise else 1.0, 1.0 if y.maximise else -1.0)
    frame["on"] = stats.pareto(signs[0] * frame["x"].to_numpy(float), signs[1] * frame["y"].to_numpy(float))
    return Front(x, y, frame.reset_index(drop=True))


def draw_front(shown: Front) -> Figure:
    data = []
    for on, name, colour, symbol in ((False, "beaten", "@soft", "circle-open"), (True, "front", "@c1", "diamond")):
        rows = shown.frame[shown.frame["on"] == on]
        rows = rows.iloc[:: math.ceil(max(len(rows), 1) / MOST_DRAWN)].sort_values("x")
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if on else "markers",
                "name": name,
                "x": numbers(rows["x"]),
                "y": numbers(rows["y"], 3),
                "customdata": rows["number"].astype(int).tolist(),
                "hovertemplate": "trial %{customdata}<br>%{x:.4s}, %{y:.2f}<extra></extra>",
                "marker": {"size": 8 if on else 6, "symbol": symbol, "color": colour},
                "line": {"color": colour, "width": 1.5, "shape": "hv"},
            }
        )
    return figure(data, 380, legend=2, xaxis=axis(shown.x.title, nticks=6), yaxis=axis(shown.y.title))
