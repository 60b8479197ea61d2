"""Whether an arm distils: agreement with the teacher, share of the gap closed, calibration."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd

from scl import stats
from scl.report.facts import Facts
from scl.report.figures.cloud import Cloud, draw_cloud
from scl.report.figures.compare import highest
from scl.report.figures.rows import ArmRow, ArmRows, draw_rows, zero_line
from scl.report.theme import Figure, axis

__all__ = ["agreement", "calibration", "draw_calibration", "draw_cloud", "draw_gap", "gap_closed"]

MOST_POINTS = 30  # of an arm in a cloud


def agreement(facts: Facts) -> Cloud:
    """A point a completed trial: agreement with the teacher against accuracy, both in %; arms that learnt."""
    rows = facts.completed[facts.completed["arm"].isin(highest(facts, facts.drawn))].dropna(subset=["agreement"])
    rows = rows.groupby("arm", sort=False).head(MOST_POINTS)
    return Cloud(
        "agreement with the teacher, %",
        tuple(rows["arm"]),
        100 * rows["agreement"].to_numpy(),
        100 * rows[facts.metric].to_numpy(),
        tuple(int(s) for s in rows["seed"]),
        100 * facts.teacher,
        facts.arms,
        facts.baseline,
        np.zeros(len(rows), dtype=bool),
    )


def gap_closed(facts: Facts) -> ArmRows:
    """Share of the gap between baseline and teacher that an arm closes, in %: mean, Student's interval, seeds.

    By seed: (arm − baseline) / (teacher − baseline), as stored; no value where the gap is not positive. Stores of
    before that column get it from the accuracies.
    """
    if "gap_closed" not in facts.completed or facts.completed["gap_closed"].isna().all():
        facts = dataclasses.replace(facts, completed=facts.completed.assign(gap_closed=_gap(facts)))
    return _rows(facts, "gap_closed", 100.0, decimals=0, best_first=True)


def _gap(facts: Facts) -> pd.Series:
    rows = facts.completed
    if facts.baseline not in facts.scores:
        return pd.Series(math.nan, index=rows.index)
    base = rows["seed"].map(facts.scores[facts.baseline])
    gap = (rows["teacher_test_acc"] - base).where(lambda g: g > 0)
    return ((rows[facts.metric] - base) / gap).where(rows["arm"] != facts.baseline).astype(float)


def calibration(facts: Facts) -> ArmRows:
    """Expected calibration error on the test set, in %, by arm: mean, Student's interval, seeds."""
    return _rows(facts, "ece", 100.0, decimals=1, best_first=False)


def divergence(facts: Facts) -> ArmRows:
    """Mean KL(teacher ‖ student) on the test set, in nats, by arm."""
    return _rows(facts, "teacher_kl", 1.0, decimals=3, best_first=False)


def _rows(facts: Facts, column: str, unit: float, decimals: int, best_first: bool) -> ArmRows:
    if column not in facts.completed:
        return ArmRows((), facts.baseline, decimals, 0)
    known = facts.completed.dropna(subset=[column])
    shown = highest(facts, facts.drawn)
    rows = []
    for arm, mine in known[known["arm"].isin(shown)].groupby("arm", sort=False):
        values = unit * pd.Series(mine[column].to_numpy(dtype=float), index=mine["seed"].to_numpy())
        mean = stats.mean_interval(values.to_numpy())
        seeds = {int(seed): float(value) for seed, value in values.items()}
        rows.append(ArmRow(str(arm), mean.mean, mean.low, mean.high, seeds))
    rows.sort(key=lambda r: -r.value if best_first else r.value)
    return ArmRows(tuple(rows), facts.baseline, decimals, len(facts.drawn) - len(shown))


def draw_gap(shown: ArmRows) -> Figure:
    shapes, notes = zero_line("baseline")
    one = {"type": "line", "x0": 100, "x1": 100, "y0": 0, "y1": 1, "yref": "paper"}
    shapes.append({**one, "line": {"color": "@teacher", "width": 1.5, "dash": "dash"}})
    place = {"x": 100, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
    notes.append({**place, "text": "teacher", "font": {"color": "@teacher", "size": 12}})
    return draw_rows(shown, axis("gap to the teacher closed, %"), shapes, notes, "%{x:.0f} %", [0.0, 100.0])


def draw_calibration(shown: ArmRows) -> Figure:
    x = axis("calibration error, %", rangemode="tozero")
    return draw_rows(shown, x, [], [], f"%{{x:.{shown.decimals}f}} %", [0.0])


def draw_divergence(shown: ArmRows) -> Figure:
    x = axis("divergence from the teacher, nats", rangemode="tozero")
    return draw_rows(shown, x, [], [], f"%{{x:.{shown.decimals}f}} nats", [0.0])


def ranks_together(facts: Facts) -> float:
    """Spearman's correlation over arms between mean agreement and mean accuracy; NaN under 4 arms."""
    means = facts.completed[facts.completed["arm"].isin(facts.drawn)].groupby("arm")[["agreement", facts.metric]].mean()
    means = means.dropna()
    if len(means) < 4 or means.nunique().min() < 2:
        return math.nan
    return float(means["agreement"].rank().corr(means[facts.metric].rank()))
