"""Everything: each trial with its state and reason, and the words and symbols of the page."""

from __future__ import annotations

import pandas as pd

from scl.report.blocks import Block, Cell, Column, Heading, Pairs, Panel, Rest, Row, Table, arm_cell
from scl.report.facts import Facts
from scl.report.panels.glossary import GLOSSARY
from scl.report.theme import plain, shorten
from scl.report.words import DASH, bare, plural

MOST_OF_A_TRACE = 2000  # characters
MOST_ROWS = 200  # that stand in the page as HTML; the others are built when asked for


def everything(facts: Facts) -> Panel:
    """Every trial, the failed first, and what the words mean."""
    rows = _rows(facts)
    columns: tuple[Column, ...] = _COLUMNS
    if facts.trials["error"].isna().all():
        at = [column.key for column in columns].index("error")
        columns = columns[:at] + columns[at + 1 :]
        rows = [Row([*row.cells[:at], *row.cells[at + 1 :]], row.arm, row.kind) for row in rows]
    failed = int((facts.cells["state"] == "failed").sum())
    answer = f"{plural(failed, 'trial')} failed; the reasons are in the table." if failed else "No trial failed."
    answer += " Exact values, epochs and predictions are in the Parquet files of this study."
    blocks: list[Block] = [
        Heading("All trials"),
        Table(columns, rows[:MOST_ROWS], id="all-trials", sortable=True, label="All trials"),
    ]
    if len(rows) > MOST_ROWS:
        formats = [_FORMATS.get(column.key, _format(column.key, facts.decimals)) for column in columns]
        blocks.append(Rest("all-trials", rows[MOST_ROWS:], formats))
    blocks += [Heading("Words and symbols"), Pairs(GLOSSARY)]
    return Panel("everything", "Everything", answer, blocks)


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


_FORMATS = {"seed": (1.0, 0), "epochs": (1.0, 0), "train_seconds": (1.0, 1)}
_FRACTIONS = ("test_acc", "val_acc", "test_acc_at_best_val", "test_acc_best", "agreement")


def _format(key: str, decimals: int) -> tuple[float, int] | None:
    return (100.0, decimals) if key in _FRACTIONS else None


def _rows(facts: Facts) -> list[Row]:
    order = {"failed": 0, "missing": 1, "pruned": 2, "completed": 3}
    cells = facts.cells.merge(facts.trials.drop(columns=["arm", "seed", "state"]), on="trial_id", how="left")
    cells = cells.iloc[cells["state"].map(order).fillna(4).argsort(kind="stable")]
    rows = []
    for r in cells.to_dict("records"):
        reason = "" if pd.isna(r["error"]) else shorten(plain(r["error"]), MOST_OF_A_TRACE)
        arm = arm_cell(r["arm"] if pd.isna(r.get("number")) else f"{r['arm']} {r['number']:.0f}")
        numbers = [
            Cell(DASH) if pd.isna(r["epochs"]) else Cell(f"{r['epochs']:.0f}", int(r["epochs"])),
            Cell(DASH) if pd.isna(r["train_seconds"]) else Cell(f"{r['train_seconds']:.1f}", r["train_seconds"]),
        ]
        accuracies = [_fraction(r[c], facts.decimals) for c in _FRACTIONS]
        cells_of = [arm, Cell(str(r["seed"]), int(r["seed"])), Cell(r["state"]), Cell(reason), *accuracies, *numbers]
        rows.append(Row([*cells_of, Cell(str(r["trial_id"])[:10])], str(r["arm"]), str(r["state"])))
    return rows


def _fraction(value: float, decimals: int) -> Cell:
    return Cell(DASH) if pd.isna(value) else Cell(bare(value, decimals), float(value))
