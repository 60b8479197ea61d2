"""What a panel is made of. The template turns these into HTML and escapes every text on its way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from scl.report.theme import Figure, plain, shorten


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
    """key: stands in data-col. group: a head over neighbouring columns that share it. hint: what it means."""

    key: str
    label: str
    hint: str = ""
    group: str = ""
    number: bool = True


@dataclass(frozen=True)
class Row:
    cells: Sequence[Cell]
    arm: str = ""
    kind: str = ""  # a class: baseline, left-out, failed


@dataclass(frozen=True)
class Table:
    columns: Sequence[Column]
    rows: Sequence[Row]
    id: str = ""
    sortable: bool = False
    label: str = "Table"  # what those hear who cannot see which heading it stands under

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group as (head, span); empty where no column has a group."""
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

    titles: heads of small multiples. key: what colours and symbols mean in all of them. wide: as wide as the page.
    """

    id: str
    caption: str
    figures: Sequence[Figure]
    table: Table
    titles: Sequence[str] = ()
    key: Sequence[Mark] = ()
    wide: bool = False


@dataclass(frozen=True)
class Copy:
    """Texts that a button each copies: (what, text)."""

    texts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Rest:
    """Rows of a table that are built when asked for: too many to stand in the page as HTML.

    table: its id. formats: of each column with numbers, what a value is multiplied by, and its decimals.
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
    """Terms and what is said about them: a definition list."""

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
    """One question of the page and its answer. id: its anchor. lead: the answer in a sentence."""

    id: str
    title: str
    lead: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def text_cell(text: object) -> Cell:
    return Cell(plain(text))


def arm_cell(arm: object) -> Cell:
    """An arm's name, shortened; the row's data-arm holds all of it."""
    return Cell(shorten(plain(arm), 60))


def frame_table(frame: pd.DataFrame, decimals: int = 2, label: str = "Numbers") -> Table:
    """The numbers of a figure from a frame: its index first, then its columns; numbers to so many decimals."""
    columns = [Column("arm", str(frame.index.name or ""), number=False)]
    columns += [Column(f"c{i}", plain(name)) for i, name in enumerate(frame.columns)]
    rows = []
    for name, values in zip(frame.index, frame.itertuples(index=False), strict=True):
        cells = [Cell(f"{v:.{decimals}f}" if math.isfinite(v) else "–", float(v)) for v in values]
        rows.append(Row([arm_cell(name), *cells], arm=plain(name)))
    return Table(columns, rows, label=label)


def number_table(
    columns: Sequence[Column], rows: Sequence[tuple[str, Sequence[Cell]]], head: str = "Arm", label: str = "Numbers"
) -> Table:
    """The numbers of a figure: a row an arm (or what `head` says), its name in the first column."""
    return Table(
        (Column("arm", head, number=False), *columns),
        [Row((arm_cell(arm), *cells), arm=arm) for arm, cells in rows],
        label=label,
    )
