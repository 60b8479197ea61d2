"""The page as HTML: self-contained, deterministic, safe against names."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from scl import report
from scl.report import PANELS, page, theme
from scl.report.facts import Facts
from scl.report.results import Results
from tests.support.pages import NASTY, Page, built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    make_store,
)


def resolved(value: Any, key: str = "") -> Any:
    """A figure with a colour for every token, so that Plotly can judge it."""
    if isinstance(value, dict):
        return {k: resolved(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [resolved(v, key) for v in value]
    return "#123456" if key.endswith(("color", "colorscale")) and str(value).startswith("@") else value


def test_page_is_self_contained(plain: tuple[Page, str, Results]) -> None:
    page, text, _ = plain
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": policy}) in page.tags
    addresses = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href", "srcset", "action", "data")]
    assert addresses
    assert all(str(v).startswith(("#", "data:")) for v in addresses)
    assert "@import" not in text[: text.index("</style>")]
    assert "url(" not in text[: text.index("</style>")]
    assert text.count("plotly.js v") == 1
    assert len(text.encode()) < 6e6


def test_every_panel_is_listed_and_every_figure_has_caption_and_numbers(plain: tuple[Page, str, Results]) -> None:
    page, text, _ = plain
    sections = [str(a["id"]) for tag, a in page.tags if tag == "section"]
    assert [str(a["href"])[1:] for tag, a in page.tags if tag == "a" and "class" not in a] == sections
    tags = [tag for tag, _ in page.tags]
    assert tags.count("figure") == tags.count("figcaption") == text.count('<details class="numbers">') >= 8
    figures = page.figures()
    assert {a["data-figure"] for _, a in page.tags if "data-figure" in a} == set(figures)
    for figure in figures.values():
        assert not {"scattergl", "parcoords", "splom"} & {trace["type"] for trace in figure["data"]}
        go.Figure(resolved({k: figure[k] for k in ("data", "layout")}))  # raises on a name Plotly does not know


def test_teacher_is_a_line_wherever_accuracy_is_drawn(plain: tuple[Page, str, Results]) -> None:
    figures = plain[0].figures()
    drawn = [
        name
        for name, figure in figures.items()
        if any(shape.get("x0") == shape.get("x1") == 74.0 or shape.get("y0") == shape.get("y1") == 74.0
               for shape in figure["layout"].get("shapes", []))
    ]  # fmt: skip
    assert sorted(drawn) == ["accuracy-0", "agreement-0", "by-seed-0", "learning-0", "pareto-0", "pareto-1", "pareto-2"]


def test_same_store_same_page(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS), {("kd", 1): "missing"})
    report.write(store)
    first = store.read("report.html")
    report.write(store)
    assert store.read("report.html") == first


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    page, text, _ = built(make_store(tmp_path, NASTY, range(3)))
    assert [row["data-arm"][0] for row in page.tables["main-table"]] == NASTY
    tags = [tag for tag, _ in page.tags]
    assert not {"img", "b", "i"} & set(tags)
    assert len(page.scripts) == 5  # figures, their files, arms, Plotly and the code
    assert not any("<!--" in text for a, text in page.scripts if a.get("type") == "application/json")
    assert not any(str(a.get("href", "")).startswith("http") for _, a in page.tags)
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    figures = page.figures()
    for where, string in strings(figures):
        if where[-1] in ("hovertemplate", "texttemplate"):
            assert not any(name[:12] in string for name in NASTY), where
        assert not re.search(r"<(?!/?br>|/?extra>)", string), (where, string)
    ticks = figures["accuracy-0"]["layout"]["yaxis"]["ticktext"]
    assert "&lt;img src=x onerror=alert(1)&gt;" in ticks
    assert all(len(theme.html.unescape(t)) <= theme.WIDE + 2 for t in ticks)
    assert "{{ 7*7 }}" in page.text
    assert "<!--" not in text[text.index('id="figures"') :].split("</script>")[0]


def strings(value: Any, where: tuple[str, ...] = ("",)) -> Any:
    if isinstance(value, dict):
        yield from itertools.chain.from_iterable(strings(v, (*where, k)) for k, v in value.items())
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(strings(v, where) for v in value)
    elif isinstance(value, str):
        yield where, value


def test_the_page_uses_the_terms_of_the_field(plain: tuple[Page, str, Results], searched: Facts) -> None:
    text = plain[0].text + page("a", [panel(searched) for panel in PANELS])
    assert not re.search(r"credibl|who beats|told apart|smallest effect seen|stands [+−]", text)
    assert "significant at 5 % after correction" in text


def test_headings_are_alone_and_rows_are_headed(plain: tuple[Page, str, Results], searched: Facts) -> None:
    """A screen reader says one heading, without its link, and names the row of each cell."""
    for text in (plain[1], page("a", [panel(searched) for panel in PANELS])):
        headings = re.findall(r"<h[123][ >].*?</h[123]>", text, re.S)
        assert len(headings) > 20
        assert not [heading for heading in headings if "<a" in heading or "#" in re.sub(r"<[^>]*>", "", heading)]
        rows = [
            row
            for body in re.findall(r"<tbody>(.*?)</tbody>", text, re.S)
            for row in re.findall(r"<tr[^>]*>\s*(\S+ \S+)", body)
        ]
        assert len(rows) > 50
        assert set(rows) == {'<th scope="row"'}
