"""The parts of a panel. The template turns them into HTML and escapes every text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from scl.report.theme import Figure


@dataclass(frozen=True)
class Cell:
    """shown: the text. value: the exact number behind it (its repr becomes data-value), None for text.

    ends: of an interval that the text gives beside the number. arm: the one that the cell names; the page gives it the
    same name everywhere, whole on hover. factor: the value times this is in the unit of the heading: 100 for a fraction
    under a heading in %.
    """

    shown: str
    value: float | int | None = None
    ends: tuple[float, float] | None = None
    arm: str = ""
    factor: float = 1.0

    @property
    def exact(self) -> str:
        return _exact(self.value)

    @property
    def in_unit(self) -> str:
        """The exact number in the unit of its column's heading."""
        return _exact(None if self.value is None else self.value * self.factor if self.factor != 1 else self.value)


def _exact(value: float | int | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return repr(int(value)) if float(value).is_integer() else repr(float(value))


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
class Format:
    """How the page writes the numbers of a column of `Table.rest`: value · factor, with these decimals.

    kind: `plain`; `signed`, with + or −; `p`, as `formatting.p_value` does.
    """

    factor: float = 1.0
    decimals: int = 0
    kind: str = "plain"


@dataclass(frozen=True)
class Table:
    """id: the attribute of the element. label: its name for screen readers. rest: more rows, which the page builds when
    the reader asks for them; formats: of each column of these with numbers, None for text."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    id: str = ""
    label: str = "Table"
    rest: Sequence[Row] = ()
    formats: Sequence[Format | None] = ()

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
    """Texts with a button each that copies them: (label of the button, text). files: under these names, further buttons
    save them; empty for a text that is only copied."""

    texts: Sequence[tuple[str, str]]
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Code:
    """A text that a reader sees and copies as it is, such as a command. label: its name."""

    label: str
    text: str


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


Block = Table | Plot | Pairs | Note | Cards | Copy | Code | Heading | Box | Pictures


@dataclass(frozen=True)
class Panel:
    """One question of the page. id: its anchor. title: the question. answer: a sentence or two."""

    id: str
    title: str
    answer: str
    blocks: Sequence[Block] = field(default_factory=tuple)
