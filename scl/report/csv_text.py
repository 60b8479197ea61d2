"""Tables as CSV that pandas reads without options, and whose cells a spreadsheet does not compute.

UTF-8 without a mark at its start, one line of headings, commas, a point in numbers and nothing between thousands, an
empty cell for a number that is missing. Numbers are exact, in the unit of their heading. A text gets an apostrophe in
front if a program would take it for something else: a formula (`=1+1`, `-x`, `@x`), a missing value (`NA`, `None`) or,
where every text of a column looks like one, a number or a truth value.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence

from scl.report.blocks import Cell, Table
from scl.report.formatting import DASH

FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")  # first characters of formulas in spreadsheets
# Texts that pandas.read_csv takes for a missing value, quoted or not.
MISSING = frozenset({
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*|\s*[+-]?inf(inity)?\s*|true|false", re.I | re.ASCII)


def csv_cell(value: object) -> object:
    """A value that a spreadsheet does not compute: a text that would be a formula gets an apostrophe."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", "\n")  # the writer quotes a cell for its newlines alone
    # Programs may skip spaces and characters that nobody sees.
    visible = next((c for c in text if unicodedata.category(c)[0] not in "ZC"), "")
    return f"'{text}" if text.startswith(FORMULA) or visible in FORMULA else text


def csv_column(texts: Sequence[str], alone: bool = True) -> list[str]:
    """The texts of a column as they stay texts, the same in pandas and in a spreadsheet.

    alone: the column has no numbers beside them.
    """
    held = [text.translate(_UNWRITABLE) for text in texts]
    held = [f"'{text}" if text in MISSING else str(csv_cell(text)) for text in held]
    as_numbers = alone and all(NUMBER.fullmatch(text) for text in held if text)
    return [f"'{text}" if text and as_numbers else text for text in held]


_UNWRITABLE = dict.fromkeys([0, *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}")  # in UTF-8, and in C


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Rows of finished cells, the headings first. A line ends with a newline; cells are quoted where they must be."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def csv_headings(table: Table) -> list[str]:
    """A name for each column, no two alike: its heading, with that of its group in front."""
    names: list[str] = []
    before = ""
    for column in table.columns:
        label = column.label
        if label == "to" and not column.group and before.endswith(" from"):
            label = f"{before.removesuffix(' from')} to"
        before = column.label
        name = " ".join(part for part in (column.group, label) if part) or column.key
        names.append(name if name not in names else f"{name} ({column.key})")
    return csv_column(names, alone=False)


def csv_texts(table: Table) -> list[list[str]]:
    """The text of each cell in CSV, without the ends of its interval; row by row."""
    columns = []
    for i in range(len(table.columns)):
        cells = [row.cells[i] for row in table.rows]
        texts = [_text(cell) for cell in cells]
        alone = not any(_is_number(cell) and cell.exact for cell in cells)
        rest = iter(csv_column([t for t, c in zip(texts, cells, strict=True) if not _is_number(c)], alone))
        columns.append([t if _is_number(c) else next(rest) for t, c in zip(texts, cells, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)]


def table_csv(table: Table) -> str:
    """The numbers of a table. An interval in a cell becomes two columns behind its own."""
    headings, texts = csv_headings(table), csv_texts(table)
    wide = [any(row.cells[i].ends for row in table.rows) for i in range(len(headings))]
    rows: list[list[object]] = [_spread(headings, wide, [(f"{name} from", f"{name} to") for name in headings])]
    for row, told in zip(table.rows, texts, strict=True):
        ends = [[repr(end) for end in cell.ends] if cell.ends else ["", ""] for cell in row.cells]
        rows.append(_spread(told, wide, ends))
    return csv_lines(rows)


def csv_attributes(table: Table) -> tuple[list[str | None], list[list[str | None]]]:
    """What the page's script cannot read off the table: the name of each column and the text of each cell in CSV, None
    where it is the heading, or the exact number, the text that is shown or, of a dash, nothing."""
    names = [None if n == c.label else n for n, c in zip(csv_headings(table), table.columns, strict=True)]
    cells = [
        [
            None if told == (c.exact or ("" if c.shown == DASH else c.shown)) else told
            for told, c in zip(*pair, strict=True)
        ]
        for pair in zip(csv_texts(table), [row.cells for row in table.rows], strict=True)
    ]
    return names, cells


def _spread(cells: Sequence[str], wide: Sequence[bool], ends: Sequence[Sequence[str]]) -> list[object]:
    parts = zip(cells, wide, ends, strict=True)
    return [text for cell, is_wide, both in parts for text in ([cell, *both] if is_wide else [cell])]


def _is_number(cell: Cell) -> bool:
    return cell.value is not None or cell.shown == DASH


def _text(cell: Cell) -> str:
    return cell.in_unit if _is_number(cell) else cell.arm or cell.shown
