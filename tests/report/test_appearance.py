"""One name, colour and dash an arm."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from scl.report import PANELS, theme
from scl.report.appearance import COMBINATIONS, appearance
from scl.report.factors import factors_of
from scl.report.questions import depth
from scl.report.results import Results
from tests.support.pages import Page
from tests.support.synthetic import gathered, make_depth_store, make_store


def study(**levels: list[Any]) -> tuple[dict[str, Any], list[str]]:
    """A factorial over these levels, and its arms."""
    placed = {
        "/".join(f"{k}={v}" for k, v in zip(levels, run, strict=True)): dict(zip(levels, run, strict=True))
        for run in itertools.product(*levels.values())
    }
    return {"factors": {k: {"levels": v} for k, v in levels.items()}, "arm_levels": placed}, list(placed)


@pytest.mark.parametrize("arms", [2, 40, 50, COMBINATIONS + 1, 330])
def test_no_two_arms_of_a_figure_look_alike(arms: int) -> None:
    """The best 50 are drawn. They differ in their colours and symbols, and without colour in dashes and symbols."""
    names = ["baseline", *map(str, range(1, arms))]
    best = names[::-1]
    look = appearance(names, "baseline", None, best)
    for keys in (("color", "dash", "symbol"), ("color", "symbol"), ("dash", "symbol")):
        drawn = [tuple(look.style(arm)[key] for key in keys) for arm in best[:50] if arm != "baseline"]
        assert len(set(drawn)) == len(drawn), keys
    every = [tuple(style.values()) for style in look.styles.values()]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize(
    "levels",
    [
        {"depth": [3, 5, 7], "loss": ["none", "kd", "channel"]},
        {"depth": [3, 5], "loss": ["none", "kd"], "width": [1.0, 0.5, 0.25]},
        {"a": ["off", "on"], "b": ["off", "on"], "c": ["off", "on"], "d": ["off", "on"]},
    ],
)
def test_a_design_shows_its_factors(levels: dict[str, list[Any]]) -> None:
    document, arms = study(**levels)
    factors = factors_of(document, arms)
    assert factors is not None
    look = appearance(arms, arms[0], factors, arms)
    assert look.factor == factors.by
    for one, other in itertools.combinations(arms, 2):
        at, its = (document["arm_levels"][arm] for arm in (one, other))
        style, others = look.style(one), look.style(other)
        assert (style["color"] == others["color"]) == (at[factors.by] == its[factors.by])
        same = all(at[name] == its[name] for name in factors.others)
        assert ((style["dash"], style["symbol"]) == (others["dash"], others["symbol"])) == same
    assert look.style(arms[0]) == {"color": "@ink", "dash": "solid", "symbol": "circle"}
    assert look.meaning.startswith(f"Colours: {factors.by}")


@pytest.mark.parametrize("levels", [{"loss": list("abcdefgh"), "depth": [3, 5]}, {"loss": list("abc")}])
def test_a_design_with_more_levels_than_colours_or_one_factor_is_a_list(levels: dict[str, list[Any]]) -> None:
    document, arms = study(**levels)
    look = appearance(arms, arms[0], factors_of(document, arms), arms)
    assert look.factor == ""
    assert look.meaning == "The baseline has the colour of the text."
    assert len({tuple(style.values()) for style in look.styles.values()}) == len(arms)


def colours(figures: dict[str, Any]) -> dict[str, set[str]]:
    """Arm → the colours of its lines and marks, in all figures that have a colour an arm."""
    found: dict[str, set[str]] = {}
    for figure in figures.values():
        for trace, of in zip(figure["data"], figure["arms"], strict=True):
            marks = trace.get("marker", {}).get("color") or trace.get("line", {}).get("color")
            if isinstance(of, str) and marks and "stackgroup" not in trace:
                found.setdefault(of, set()).add(str(marks))
            elif isinstance(of, list) and isinstance(marks, list):
                for arm, colour in zip(of, marks, strict=True):
                    found.setdefault(arm, set()).add(colour)
    return found


def test_an_arm_has_one_colour_on_the_whole_page(plain: tuple[Page, str, Results]) -> None:
    facts = plain[2].facts
    plots = [block for panel in PANELS for block in panel(facts).blocks if hasattr(block, "figures")]
    figures = {f"{plot.id}-{i}": figure for plot in plots for i, figure in enumerate(plot.figures)}
    assert len(figures) >= 8
    assert colours(figures) == {arm: {facts.appearance.style(arm)["color"]} for arm in facts.arms}


def test_levels_are_coloured_as_their_arms(tmp_path: Any) -> None:
    facts = gathered(make_depth_store(tmp_path))
    design = depth.layout(facts)
    assert design is not None
    for line in depth.interaction(facts, design).accuracy:
        (colour,) = {
            facts.appearance.style(arm)["color"] for arm in design.levels.index[design.levels["loss"] == line.name]
        }
        assert theme.series_style(line.colour)["color"] == colour


def test_an_arm_has_one_short_name_in_all_figures(tmp_path: Any) -> None:
    arms = ["baseline", *[f"a-long-name-that-all-arms-share/and-its-number-{i}/and-an-end" for i in range(16)]]
    facts = gathered(make_store(tmp_path, arms, range(2), epochs=2))
    names = facts.appearance.labels(facts.arms)
    assert len(set(names.values())) == 17
    for panel in PANELS:
        for plot in (block for block in panel(facts).blocks if hasattr(block, "figures")):
            for figure in plot.figures:
                ticks = figure["layout"].get("yaxis", {}).get("ticktext", [])
                for arm, text in zip(figure["rows"], ticks, strict=False):
                    assert text.split(" · ")[0] == names[arm], plot.id
