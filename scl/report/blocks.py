"""The parts of a panel. The template turns them into HTML and escapes every text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

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
        runs = [(head, len(list(run))) for head, run in itertools.groupby(column.group for column in self.columns)]
        out = [part for head, span in runs for part in ([(head, span)] if head else [("", 1)] * span)]
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
class Code:
    """A text that a reader sees and copies as it is, such as a command. label: its name."""

    label: str
    text: str


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


@dataclass(frozen=True)
class Box:
    """A definition list in a frame: a heading, and (term, text)."""

    title: str
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """source: a data: URI. name: what it shows, for screen readers. text: below it."""

    source: str
    name: str
    text: str


@dataclass(frozen=True)
class Pictures:
    """Small pictures side by side, with what they are in front."""

    label: str
    pictures: Sequence[Picture]


Block = Table | Plot | Pairs | Note | Cards | Copy | Code | Rest | Heading | Box | Pictures


@dataclass(frozen=True)
class Panel:
    """One question of the page. id: its anchor. title: the question. answer: a sentence or two."""

    id: str
    title: str
    answer: str
    blocks: Sequence[Block] = field(default_factory=tuple)
