"""The parts of a panel. The template turns them into HTML and escapes every text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from scl.report.formatting import fixed, plain, shorten
from scl.report.theme import Figure


@dataclass(frozen=True)
class Cell:
    """shown: the text. value: the exact number behind it (its repr becomes data-value), None for text."""

    shown: str
    value: float | int | None = None

    @property
    def exact(self) -> str:
        if self.value is None or not math.isfinite(self.value):
            return ""
        return repr(int(self.value)) if float(self.value).is_integer() else repr(float(self.value))


@dataclass(frozen=True)
class Column:
    """key: the attribute data-col. group: a heading over neighbouring columns. hint: the meaning, shown on hover."""

    key: str
    label: str
    hint: str = ""
    group: str = ""
    number: bool = True


@dataclass(frozen=True)
class Row:
    cells: Sequence[Cell]
    arm: str = ""
    kind: str = ""  # a CSS class: baseline, left-out, failed


@dataclass(frozen=True)
class Table:
    columns: Sequence[Column]
    rows: Sequence[Row]
    id: str = ""
    sortable: bool = False
    label: str = "Table"  # its name for screen readers

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group as (heading, span); empty if no column has a group."""
        out: list[tuple[str, int]] = []
        for column in self.columns:
            if out and column.group and out[-1][0] == column.group:
                out[-1] = (column.group, out[-1][1] + 1)
            else:
                out.append((column.group, 1))
        return out if any(head for head, _ in out) else []


@dataclass(frozen=True)
class Mark:
    """One entry of a key: a name, its colour (a token) and its symbol."""

    name: str
    colour: str
    symbol: str = "square"

    @property
    def token(self) -> str:
        return self.colour.lstrip("@")


@dataclass(frozen=True)
class Plot:
    """One or more figures under one caption, and their numbers.

    titles: headings of small multiples. key: the meaning of colours and symbols in all of them.
    """

    id: str
    caption: str
    figures: Sequence[Figure]
    table: Table
    titles: Sequence[str] = ()
    key: Sequence[Mark] = ()


@dataclass(frozen=True)
class Copy:
    """Texts with a button each that copies them: (label of the button, text)."""

    texts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Rest:
    """The rows of a long table that the page builds when the reader asks for them.

    table: its id. formats: (factor, decimals) of each column with numbers, None for text.
    """

    table: str
    rows: Sequence[Row]
    formats: Sequence[tuple[float, int] | None]


@dataclass(frozen=True)
class Card:
    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Pairs:
    """A definition list: (term, text)."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Note:
    text: str


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Cards:
    cards: Sequence[Card]


Block = Table | Plot | Pairs | Note | Cards | Copy | Rest | Heading


@dataclass(frozen=True)
class Panel:
    """One question of the page. id: its anchor. title: the question. answer: a sentence or two."""

    id: str
    title: str
    answer: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def text_cell(text: object) -> Cell:
    return Cell(plain(text))


def arm_cell(arm: object) -> Cell:
    """An arm's name, shortened; data-arm of the row holds the whole name."""
    return Cell(shorten(plain(arm), 60))


def frame_table(frame: pd.DataFrame, decimals: int = 2, label: str = "Numbers") -> Table:
    """The numbers of a figure from a frame: first its index, then its columns, with this many decimals."""
    columns = [Column("arm", str(frame.index.name or ""), number=False)]
    columns += [Column(f"c{i}", plain(name)) for i, name in enumerate(frame.columns)]
    rows = []
    for name, values in zip(frame.index, frame.itertuples(index=False), strict=True):
        cells = [Cell(fixed(v, decimals), float(v)) for v in values]
        rows.append(Row([arm_cell(name), *cells], arm=plain(name)))
    return Table(columns, rows, label=label)


def number_table(
    columns: Sequence[Column], rows: Sequence[tuple[str, Sequence[Cell]]], head: str = "Arm", label: str = "Numbers"
) -> Table:
    """The numbers of a figure: one row an arm (or what `head` names), its name in the first column."""
    return Table(
        (Column("arm", head, number=False), *columns),
        [Row((arm_cell(arm), *cells), arm=arm) for arm, cells in rows],
        label=label,
    )
