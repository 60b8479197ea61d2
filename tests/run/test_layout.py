"""Tables and sentences in a terminal of any width."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from scl.run.layout import main_table, wrapped

HEADINGS = ["arm", "n", "test acc ± sd, %", "minus full [simultaneous 95 % interval]", "p"]
ROW = ["5", "71.00 ± 0.42", "+0.83 [−0.12, +1.78]", "< 0.001"]


def printed(rows: list[list[str]], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(main_table(HEADINGS, rows, width))
    return console.export_text().splitlines()


@pytest.mark.parametrize(
    ("width", "table"), [(24, False), (40, False), (60, False), (80, True), (100, True), (200, True)]
)
def test_names_wrap_and_numbers_never(width: int, table: bool) -> None:
    name = "a name of many words that no terminal has room for"
    lines = printed([[name, *ROW], ["kd", *ROW]], width)
    assert all(cell_len(line) <= width for line in lines)
    for number in ROW:
        assert sum(number in line for line in lines) >= 2
    assert ("│" in "".join(lines)) == table
    if table:
        assert (name in "\n".join(lines)) == (width == 200)


def test_a_table_without_rows_has_its_headings() -> None:
    assert "test acc" in "\n".join(printed([], 80))


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 8, ["one two", "three"]),
        ("an interval of +0.4 to +1.2 points", 18, ["an interval of", "+0.4 to +1.2", "points"]),
        ("difference [−0.4, +1.2] here", 16, ["difference", "[−0.4, +1.2]", "here"]),
        ("p = 0.04 and 71.0 %", 8, ["p = 0.04", "and", "71.0 %"]),
        ("教師の知識", 5, ["教師", "の知", "識"]),
        ("x" * 9, 4, ["xxxx", "xxxx", "x"]),
        ("two\nparagraphs", 20, ["two", "paragraphs"]),
        ("", 20, [""]),
        ("🦊🦊", 1, ["🦊", "🦊"]),
    ],
)
def test_lines_end_between_words(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width).split("\n") == lines


@settings(max_examples=60, deadline=None)
@given(st.text(), st.integers(2, 60))
def test_nothing_is_lost(text: str, width: int) -> None:
    assert "".join(wrapped(text, width).split()) == "".join(text.split())
