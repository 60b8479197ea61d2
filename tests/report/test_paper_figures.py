"""The figures for a paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from scl.errors import RunFailed, UserError
from scl.report import PANELS, paper_figures
from scl.report.blocks import Mark, Panel, Plot, Table
from scl.report.facts import Facts
from scl.report.results import Results
from scl.report.theme import axis, figure
from tests.support.pages import Page


def plot(name: str, titles: list[str], key: list[str] | None = None) -> Panel:
    drawn = [figure([{"type": "scatter", "x": [0], "y": [1]}], 300, xaxis=axis("x"), yaxis=axis("y"))] * max(
        len(titles), 1
    )
    marks = [Mark(name, "@c1") for name in key or []]
    return Panel("a", "A", "B.", [Plot(name, "C.", drawn, Table([], []), titles, marks)])


@pytest.mark.parametrize(
    ("panels", "files"),
    [
        ([plot("seeds", [])], ["my_study-seeds"]),
        ([plot("cost", ["latency, ms"])], ["my_study-cost"]),
        ([plot("c", ["P", "p", "a/../b"])], ["my_study-c-P", "my_study-c-p-2", "my_study-c-a_.._b"]),
        ([plot("a-b", []), plot("a", ["b", "c"])], ["my_study-a-b", "my_study-a-b-2", "my_study-a-c"]),
        ([plot("a", ["你", "好"])], ["my_study-a-_", "my_study-a-_-2"]),
    ],
)  # fmt: skip
def test_each_figure_has_a_name_of_its_own(panels: list[Panel], files: list[str]) -> None:
    assert [one.file for one in paper_figures.saved("my study", panels)] == files


@pytest.mark.parametrize("width", paper_figures.WIDTHS)
def test_every_figure_is_light_sized_and_known_to_plotly(plain: tuple[Page, str, Results], width: str) -> None:
    facts: Facts = plain[2].facts
    found = paper_figures.saved("ablation", [panel(facts) for panel in PANELS])
    assert len({one.file for one in found}) == len(found) >= 10
    for one in found:
        drawn = paper_figures.for_paper(one, width)
        assert '"@' not in json.dumps(drawn)
        layout = go.Figure(drawn).to_plotly_json()["layout"]
        assert (layout["width"], layout["paper_bgcolor"]) == (paper_figures.WIDTHS[width].pixels, "#ffffff")
        assert 150 < layout["height"] < 1200
        sizes = [value for path, value in walked(layout) if path[-2:] == ("font", "size")]
        assert min(sizes) * 0.75 * 88 / 25.4 * 96 / layout["width"] >= 7 if width == "column" else min(sizes) >= 10


def walked(value: Any, path: tuple[str, ...] = ()) -> Any:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, str(key)), inner
        yield from walked(inner, (*path, str(key)))


def test_the_key_of_a_plot_becomes_a_legend_that_is_escaped() -> None:
    (one,) = paper_figures.saved("s", [plot("a", [], ["kd", "<b>x</b>", "y" * 60])])
    drawn = paper_figures.for_paper(one, "column")
    assert drawn["data"][0]["showlegend"] is False
    names = [trace["name"] for trace in drawn["data"][1:]]
    assert names[:2] == ["kd", "&lt;b&gt;x&lt;/b&gt;"]
    assert len(names[2]) == 40
    assert drawn["layout"]["showlegend"]
    assert drawn["layout"]["height"] > 300
    assert one.figure["layout"]["height"] == 300  # the page's own stays


def test_several_figures_have_their_title() -> None:
    _, one = paper_figures.saved("s", [plot("a", ["first", "<i>"])])
    assert paper_figures.for_paper(one, "page")["layout"]["title"]["text"] == "&lt;i&gt;"


def test_without_kaleido_the_message_names_the_extra_and_what_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kaleido", None)
    with pytest.raises(UserError, match=r"extra `figures`.*--formats csv,tex"):
        paper_figures.drawn({"a.svg": {}})


def test_without_chrome_the_message_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises((UserError, RunFailed), match="BROWSER_PATH"):
        paper_figures.drawn({"a.svg": {"data": [], "layout": {"width": 9, "height": 9}}})


@pytest.mark.parametrize("width", paper_figures.WIDTHS)
def test_what_a_reader_would_have_to_click_is_not_in_a_file(width: str) -> None:
    """The curves of many arms start with some of them."""
    traces = [{"type": "scatter", "x": [0], "y": [1], "name": str(i)} for i in range(5)]
    for hidden in traces[3:]:
        hidden["visible"] = "legendonly"
    few, many = (figure(data, 300, legend=len(data), xaxis=axis("x"), yaxis=axis("y")) for data in (traces[:3], traces))
    shown = [Panel("a", "A", "B.", [Plot("a", "C.", [drawn], Table([], []))]) for drawn in (few, many)]
    files = [paper_figures.for_paper(one, width) for panel in shown for one in paper_figures.saved("s", [panel])]
    assert files[1]["data"] == traces[:3]
    assert files[0]["layout"]["height"] == files[1]["layout"]["height"]
    assert many["layout"]["height"] - few["layout"]["height"] == 22
