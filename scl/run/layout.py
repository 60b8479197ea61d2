"""The main table and sentences for a terminal of any width: names of arms wrap, intervals and other numbers never."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from scl.streams import displayed
from scl.terminal import cell

NARROWEST_ARM = 12  # columns for the names of arms, below which each arm gets lines of its own
BORDER = 3  # columns that a column of the table takes beside its text
GLUE = "\ue000"  # stands for a space at which no line ends
TOGETHER = re.compile(
    r"\[[^\[\]]{1,40}\]"  # [−0.4, +1.2]
    r"|[+−-]?\d[\d.,]* to [+−-]?\d[\d.,]*"  # 70.1 to 71.9
    r"|[+−-]?\d[\d.,]* (?:%|points?\b|nats?\b)"
    r"|\bp [=<>] \d[\d.]*"
)


def main_table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Any:
    """What Rich prints as the table of these rows: arm, then numbers. As lines for each arm if the numbers leave no
    room for a table in `width` columns."""
    whole = [max(displayed(text) for text in column) for column in zip(headings, *rows, strict=True)]
    numbers = [
        max(*(displayed(row[i]) for row in rows), *map(displayed, headings[i].split())) if rows else whole[i]
        for i in range(1, len(headings))
    ]
    numbers = [min(least, most) for least, most in zip(numbers, whole[1:], strict=True)]
    room = width - BORDER * len(headings) - 1
    if sum(whole) <= room:
        return _table(headings, rows, whole)
    if room - sum(numbers) >= min(whole[0], NARROWEST_ARM):
        return _table(headings, rows, [min(whole[0], room - sum(numbers)), *numbers])
    return cell("\n".join(_stacked(headings, rows, width)))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Any:
    from rich.table import Table  # noqa: PLC0415

    table = Table()
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(cell(heading), width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def _stacked(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The heading of each number, then each arm with its numbers below its name."""
    yield from _lines("; ".join(headings), width)
    for arm, *numbers in rows:
        yield ""
        yield from _lines(arm, width)
        line = ""
        for number in numbers:
            added = f"{line}; {number}" if line else f"  {number}"
            if displayed(added) > width:
                yield line
                added = f"  {number}"
            line = added
        yield line
    yield ""


def wrapped(text: str, width: int) -> str:
    """A text in lines of `width` columns, which end at a space, but never within an interval or before a unit."""
    return "\n".join(line for paragraph in text.split("\n") for line in _lines(paragraph, width))


def _lines(paragraph: str, width: int) -> Iterator[str]:
    glued = TOGETHER.sub(
        lambda found: found[0].replace(" ", GLUE) if displayed(found[0]) <= width else found[0], paragraph
    )
    line = ""
    for word in glued.split(" "):
        longer = f"{line} {word}" if line else word
        if displayed(longer) <= width:
            line = longer
            continue
        if line:
            yield line.replace(GLUE, " ")
        line = word
        while displayed(line) > width and len(line) > 1:  # as many characters as fit
            most = next(i for i in range(len(line) - 1, 0, -1) if displayed(line[:i]) <= width or i == 1)
            yield line[:most].replace(GLUE, " ")
            line = line[most:]
    yield line.replace(GLUE, " ")
