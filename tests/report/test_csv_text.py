"""Tables as CSV."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scl.report.blocks import Cell, Column, Plot, Row, Table
from scl.report.csv_text import table_csv
from scl.report.facts import Facts
from scl.report.questions import PANELS
from scl.report.tables import arm_cell, interval_cell, number_cells
from scl.store.files import Folder
from tests.support.pages import NASTY
from tests.support.synthetic import (
    gathered,
    make_depth_store,
    make_image_store,
    make_search_store,
    make_self_taught_store,
    make_store,
)


def table(names: list[str], values: list[Any] | None = None, label: str = "Value") -> Table:
    columns = [Column("arm", "Arm", number=False), Column("value", label)]
    values = values or [0.5] * len(names)
    rows = [Row([arm_cell(name), Cell("shown", value)]) for name, value in zip(names, values, strict=True)]
    return Table(columns, rows)


def frame(shown: Table) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(table_csv(shown).encode()))


@pytest.mark.parametrize(
    "name",
    [
        *NASTY, "a,b", 'say "kd"', '"', "two\nlines", " led by a space", "tab\tinside", "#1", "'quoted'", "1,000", "ü",
        "你好", "\ufeffmark", "x" * 300, "a;b", "2026-01-01", "0x10", "none",
    ],
)  # fmt: skip
def test_a_name_is_read_as_it_is(name: str) -> None:
    assert list(frame(table(["baseline", name]))["Arm"]) == ["baseline", "'" + name if name[0] == "@" else name]


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "-0.5", "＝x", " =x", "\ufeff=x", "\n=x", "\t=x", "-NaN"])
@pytest.mark.parametrize("missing", ["NA", "None", "null", "nan", "N/A", "NULL", "<NA>", "#N/A"])
def test_formulas_and_words_for_missing_values_get_an_apostrophe(name: str, missing: str) -> None:
    assert list(frame(table(["a", name, missing]))["Arm"]) == ["a", f"'{name}", f"'{missing}"]


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["0", "4", "08"], ["'0", "'4", "'08"]),
        (["1e5", "inf"], ["'1e5", "'inf"]),
        (["True", "False"], ["'True", "'False"]),
        (["4", "-4"], ["4", "'-4"]),
        (["baseline", "4", "True"], ["baseline", "4", "True"]),
    ],
)
def test_names_that_look_like_numbers_stay_text(names: list[str], read: list[str]) -> None:
    assert list(frame(table(names))["Arm"]) == read


def test_numbers_are_exact_and_missing_ones_empty() -> None:
    values = [0.1 + 0.2, math.nan, 1e-300, 12345678901.5]
    assert frame(table(list("abcd"), values))["Value"].tolist()[::2] == values[::2]
    assert frame(table(list("abcd"), values))["Value"].dtype == float
    assert frame(table(list("ab"), [3, 10**15]))["Value"].dtype == int
    assert "1000000000000000\n" in table_csv(table(["a"], [10**15]))


def test_headings_are_unique_and_name_their_group() -> None:
    columns = [Column("arm", "", number=False), Column("low", "from", group="95 %"), Column("high", "to", group="95 %")]
    columns += [Column("a", "95 % from"), Column("b", "to"), Column("c", "same"), Column("d", "same")]
    columns.append(Column("e", "=danger"))
    shown = Table(columns, [Row([Cell("x"), *[Cell("1", 1)] * 7])])
    names = ["arm", "95 % from", "95 % to", "95 % from (a)", "95 % to (b)", "same", "same (d)", "'=danger"]
    assert list(frame(shown).columns) == names


def test_an_interval_in_a_cell_becomes_two_columns() -> None:
    columns = [Column("arm", "Arm", number=False), Column("at", "epoch 3")]
    cells = {"a": interval_cell(70.0, 69.25, 70.75, 1), "b": interval_cell(60.0, math.nan, math.nan, 1)}
    rows = [Row([arm_cell(arm), cell]) for arm, cell in cells.items()]
    read = frame(Table(columns, rows)).set_index("Arm")
    assert list(read.columns) == ["epoch 3", "epoch 3 from", "epoch 3 to"]
    assert read.loc["a"].tolist() == [70.0, 69.25, 70.75]
    assert read.loc["b"].isna().tolist() == [False, True, True]


def images(folder: Path) -> Folder:
    """Predictions of 90 images, three in four of them right."""
    rng, labels = np.random.default_rng(0), np.arange(90) % 3
    predicted = {
        (arm, seed): np.where(rng.random(90) < 0.75, labels, (labels + 1) % 3)
        for arm in ("baseline", "kd")
        for seed in range(3)
    }
    data = {"name": "made up", "test": 90, "classes": 3}
    return make_image_store(folder, predicted, labels, (labels + (labels == 2)) % 3, data=data, class_names=list("abc"))


STORES: dict[str, Callable[[Path], Folder]] = {
    "plain": lambda f: make_store(f, ["baseline", "kd", "at"], range(4)),
    "search": lambda f: make_search_store(f, 15, multi=True, seeds=range(3)),
    "depth": lambda f: make_depth_store(f, (3, 5), ("none", "kd"), range(3)),
    "taught": lambda f: make_self_taught_store(f, (0, 4), range(3)),
    "images": images,
    "log loss": lambda f: make_store(f, ["baseline", "kd"], range(4), metric="test_loss"),
}


@pytest.mark.parametrize("name", STORES)
def test_numbers_of_every_figure_are_in_the_unit_that_is_shown(name: str, tmp_path: Path) -> None:
    """The exact number, rounded as the page rounds it, is what the page shows: no fraction under a heading in %."""
    store: Folder = STORES[name](tmp_path)
    facts: Facts = gathered(store)
    checked = 0
    for plot in [block for panel in PANELS for block in panel(facts).blocks if isinstance(block, Plot)]:
        read = frame(plot.table)
        assert not [c for c in read.columns if str(c).startswith("Unnamed")], plot.id
        assert len(read) == len(plot.table.rows), plot.id
        for cell in [cell for row in plot.table.rows for cell in row.cells if cell.in_unit]:
            found = re.fullmatch(r"([+−-]?\d+)(?:\.(\d+))?(?: .*)?", cell.shown)
            if found and not re.search(r"\d [kMG]$", cell.shown):
                text = found[1] + (f".{found[2]}" if found[2] else "")
                assert float(text.replace("−", "-")) == pytest.approx(
                    float(cell.in_unit), abs=0.51 * 10.0 ** -len(found[2] or ""), rel=5e-3
                ), (plot.id, cell)
                checked += 1
    assert checked > 20


def test_a_fraction_under_a_heading_in_percent_is_saved_in_percent() -> None:
    from scl.report.formatting import PERCENT

    (cell,) = number_cells(PERCENT.number, 1, 0.7)
    assert (cell.shown, cell.exact, cell.in_unit) == ("70.0", "0.7", "70")


def test_rows_that_the_page_builds_later_are_in_the_csv() -> None:
    columns = [Column("a", "A", number=False), Column("v", "V")]
    first, later = (Row([Cell(name, arm=name), Cell("1", 1.0)]) for name in ("x", "=y"))
    assert table_csv(Table(columns, [first], rest=[later])) == "A,V\nx,1\n'=y,1\n"
