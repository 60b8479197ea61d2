"""Labels, colours and Plotly figures."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from scl import report
from scl.report import assemble, theme
from scl.report.questions import against_baseline
from scl.report.results import Results
from tests.support.pages import Page


def test_labels_stay_apart_and_lose_control_characters() -> None:
    names = ["a" * 50 + str(i) + "b" * 50 for i in range(3)] + ["one\ntwo\x00three"]
    shown = theme.labels(names)
    assert len(set(shown.values())) == 4
    assert shown[names[3]] == "one two\N{REPLACEMENT CHARACTER}three"
    assert theme.literal("שלום").startswith("\N{FIRST STRONG ISOLATE}")


def test_colours_stay_readable_in_light_and_dark() -> None:
    """Contrast of text on the page (WCAG 2: 4.5), of curves (3), and ink on the cells of the matrix (4.5)."""
    css = (assemble.HERE / "page.css").read_text()
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root[^{]*\{([^}]*)\}", css)]
    assert len(themes) == 2
    for colours in themes:
        for name in ("ink", "soft", "link", "teacher", "bad"):
            assert contrast(colours[name], colours["page"]) >= 4.5, name
            assert contrast(colours[name], colours["raised"]) >= 4.5, name
        for name in ("c1", "c2", "c3", "c4", "c5", "c6"):
            assert contrast(colours[name], colours["page"]) >= 3, name
        for cell in ("better", "worse", "pale"):
            assert contrast(colours["ink"], colours[cell]) >= 4.5, cell


def contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_two_blues_differ_in_their_dashes() -> None:
    """Sky blue is near blue: where both are drawn, something else tells them apart."""
    styles = [theme.series_style(i) for i in range(12)]
    dashes = {colour: {s["dash"] for s in styles if s["color"] == colour} for colour in ("@c1", "@c4")}
    assert not dashes["@c1"] & dashes["@c4"]


@pytest.mark.parametrize(
    ("values", "ends", "expected"),
    [
        ([1.0, 2.0], theme.ANY, [0.95, 2.05]),
        ([-30.0, 50.0, 130.0], (0.0, 100.0), [-5.0, 105.0]),
        ([math.nan], (0.0, 100.0), None),
        ([7.0], theme.ANY, [6.5, 7.5]),
    ],
)
def test_an_axis_holds_what_is_possible(
    values: list[float], ends: tuple[float, float], expected: list[float] | None
) -> None:
    assert theme.span(values, ends) == expected


def test_a_figure_of_the_library_becomes_a_plotly_figure(plain: tuple[Page, str, Results]) -> None:
    drawn = against_baseline.draw_differences(against_baseline.differences(plain[2].facts))
    for name in ("light", "dark"):
        figure = report.plotly_figure(drawn, name)
        assert "@" not in figure.to_json()
        assert figure.layout.paper_bgcolor.startswith("#")
