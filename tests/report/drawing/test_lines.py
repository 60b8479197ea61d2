"""Lines over levels."""

from __future__ import annotations

from scl import stats
from scl.report.drawing.lines import Line, draw_lines, line_cells, line_key

LINES = [
    Line(n, (0, 2), (stats.mean_interval([1.0, 2.0]), stats.mean_interval([3.0])), c) for n, c in (("x", -1), ("y", 0))
]


def test_lines_are_shifted_so_that_intervals_stay_apart() -> None:
    drawn = draw_lines(LINES, ["1", "2", "3"], "depth", "accuracy", zero="reference")
    first, second = (trace["x"] for trace in drawn["data"])
    assert first[0] < 0 < second[0]
    assert [round(line[1] - line[0], 4) for line in (first, second)] == [2, 2]
    assert drawn["layout"]["shapes"][0]["y0"] == 0


def test_cells_hold_the_mean_and_its_interval() -> None:
    assert [cell.shown for cell in line_cells(LINES[0], 3, 1)] == ["1.5 (−4.9 to 7.9)", "–", "3.0"]


def test_the_key_has_the_colours_of_the_lines() -> None:
    assert [(m.name, m.colour) for m in line_key({"x": -1, "y": 0})] == [("x", "@ink"), ("y", "@c1")]
