"""All trials with their state and reason, and the words and symbols of the page."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from scl.report.blocks import Block, Cell, Column, Format, Heading, Pairs, Panel, Row, Table
from scl.report.facts import Facts
from scl.report.formatting import capital, fixed, percent_number, plain, plural, shorten
from scl.report.glossary import GLOSSARY
from scl.report.tables import arm_cell, count_cell, number_cells

MOST_OF_A_TRACE = 2000  # characters
MOST_ROWS = 200  # that the page holds as HTML; it builds the others on request

_COLUMNS = (
    Column("arm", "Arm", number=False),
    Column("seed", "Seed"),
    Column("state", "State", number=False),
    Column("error", "Reason", number=False),
    Column("test_acc", "Test, %", "test accuracy after the last epoch"),
    Column("val_acc", "Validation, %", "after the last epoch"),
    Column("test_acc_at_best_val", "At best val., %", "test accuracy at the best validation epoch"),
    Column("test_acc_best", "Best test epoch, optimistic, %", "picked on the test set itself: optimistic"),
    Column("agreement", "Agreement, %", "with the teacher"),
    Column("epochs", "Epochs"),
    Column("train_seconds", "Seconds"),
    Column("trial_id", "Id", number=False),
)
_FIRST = _COLUMNS[4]
_FRACTIONS = ("test_acc", "val_acc", "test_acc_at_best_val", "test_acc_best", "agreement")


def panel(facts: Facts) -> Panel:
    """Every trial, failed ones first, and the glossary."""
    with_reason = not facts.trials["error"].isna().all()
    rows = _rows(facts, with_reason)
    columns = [c for c in _COLUMNS if with_reason or c.key != "error"]
    other = facts.metric not in _FRACTIONS  # the metric has a column of its own, in front of the accuracies
    if other:
        columns.insert(columns.index(_FIRST), Column(facts.metric, capital(facts.axis), "after the last epoch"))
    failed = int((facts.plan["state"] == "failed").sum())
    answer = f"{plural(failed, 'trial')} failed; the table gives the reasons." if failed else "No trial failed."
    answer += " The Parquet files of this study hold exact values, epochs and predictions."
    formats = dict.fromkeys(_FRACTIONS, Format(100.0, facts.share_decimals))
    formats |= {facts.metric: Format(facts.unit.factor, facts.decimals)} if other else {}
    formats |= {"seed": Format(), "epochs": Format(), "train_seconds": Format(decimals=1)}
    of_columns = [formats.get(column.key) for column in columns]
    table = Table(columns, rows[:MOST_ROWS], "all-trials", "All trials", rows[MOST_ROWS:], of_columns)
    blocks: list[Block] = [Heading("All trials"), table]
    blocks += [Heading("Words and symbols"), Pairs(GLOSSARY)]
    return Panel("everything", "All trials, words and symbols", answer, blocks)


def _rows(facts: Facts, with_reason: bool) -> list[Row]:
    order = {"failed": 0, "missing": 1, "pruned": 2, "completed": 3}
    trials = facts.plan.merge(facts.trials.drop(columns=["arm", "seed", "state"]), on="trial_id", how="left")
    trials = trials.iloc[trials["state"].map(order).fillna(4).argsort(kind="stable")]
    rows = []
    for r in trials.to_dict("records"):
        reason = "" if pd.isna(r["error"]) else shorten(plain(r["error"]), MOST_OF_A_TRACE)
        arm = str(r["arm"])
        name = arm_cell(arm) if pd.isna(r.get("number")) else Cell(f"{arm} {r['number']:.0f}")
        cells = [name, count_cell(r["seed"]), Cell(r["state"]), *([Cell(reason)] if with_reason else [])]
        if facts.metric not in _FRACTIONS:
            cells += number_cells(facts.unit.number, facts.decimals, _number(r[facts.metric]))
        cells += number_cells(percent_number, facts.share_decimals, *[_number(r[c]) for c in _FRACTIONS])
        cells += number_cells(fixed, 0, _number(r["epochs"])) + number_cells(fixed, 1, _number(r["train_seconds"]))
        rows.append(Row([*cells, Cell(str(r["trial_id"])[:10])], arm, str(r["state"])))
    return rows


def _number(value: Any) -> float:
    return math.nan if pd.isna(value) else float(value)
