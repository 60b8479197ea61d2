"""How a page names and draws the arms of a study: alike in every panel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scl.report.factors import Factors
from scl.report.formatting import enumerated, plain
from scl.report.names import distinct, shortened
from scl.report.theme import COLOURS, DASHES, SYMBOLS, WIDE, labels, literal, series_style

Style = dict[str, str]  # color, dash, symbol
HOVER = 60  # characters of a line on hover
COMBINATIONS = len(DASHES) * len(SYMBOLS)  # of a dash and a symbol, and the most series that differ without colour


@dataclass(frozen=True)
class Appearance:
    """arms: all of the page, in the order of the study. styles: arm → its colour, dash and symbol.

    factor: whose levels the colours show, '' without one. level_colours: its levels → colours as indices, −1 for the
    colour of the text. others: the factors whose combinations dashes and symbols show.
    """

    arms: tuple[str, ...] = ()
    styles: Mapping[str, Style] = field(default_factory=dict)
    factor: str = ""
    level_colours: Mapping[str, int] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    def style(self, arm: str) -> Style:
        return self.styles.get(arm) or series_style(0)

    def labels(self, arms: Iterable[str], most: int = WIDE) -> dict[str, str]:
        """These arms as a figure shows them: one short name on the whole page."""
        arms = list(arms)
        known = shortened(self.arms, most)
        return {arm: literal(known[arm]) for arm in arms} if set(arms) <= set(known) else labels(arms, most)

    def hovers(self, arms: Iterable[str]) -> dict[str, str]:
        """These arms on hover: the whole name, in lines."""
        full = distinct(self.arms)
        return {arm: hover_name(full.get(arm, plain(arm))) for arm in arms}

    @property
    def meaning(self) -> str:
        """For a caption: what colours, dashes and symbols show."""
        if not self.factor:
            return "The baseline has the colour of the text."
        others = f"; dashes and symbols: {enumerated([plain(name) for name in self.others])}" if self.others else ""
        reference = next((level for level, colour in self.level_colours.items() if colour < 0), "")
        return f"Colours: {plain(self.factor)} (“{plain(reference)}” in the colour of the text){others}."


NO_ARMS = Appearance()  # every name is its own, and every colour the first


def hover_name(name: str) -> str:
    """A whole name as Plotly shows it, in lines of HOVER characters."""
    return "<br>".join(literal(name[i : i + HOVER]) for i in range(0, max(len(name), 1), HOVER))


def appearance(arms: Sequence[str], baseline: str, factors: Factors | None, best_first: Sequence[str]) -> Appearance:
    """The styles of the arms: by their factors if there are some and the styles suffice, else one after the other.

    best_first: the arms with results; if the study has more arms than dashes and symbols tell apart, these come first,
    so that those of one figure still differ.
    """
    names = tuple(arms)
    by_factor = _by_factors(names, baseline, factors) if factors else None
    if by_factor:
        return by_factor
    others = [arm for arm in arms if arm != baseline]
    if len(others) > COMBINATIONS:
        others = list(dict.fromkeys([*(arm for arm in best_first if arm != baseline), *others]))
    return Appearance(names, {baseline: series_style(-1)} | {arm: series_style(i) for i, arm in enumerate(others)})


def _by_factors(arms: tuple[str, ...], baseline: str, factors: Factors) -> Appearance | None:
    """Colour by one factor, dash and symbol by the others; None if that leaves two arms alike."""
    levels = factors.levels
    if set(arms) - set(levels) or not arms:
        return None
    own = {arm: tuple(levels[arm][name] for name in factors.others) for arm in arms}
    first = baseline if baseline in levels else arms[0]
    reference = levels[first][factors.by]
    colours = {reference: -1} | {
        level: i for i, level in enumerate(level for level in factors.order[factors.by] if level != reference)
    }
    marks = {combination: i for i, combination in enumerate(dict.fromkeys([own[first], *own.values()]))}
    if len(colours) > len(COLOURS) + 1 or len(marks) > COMBINATIONS:
        return None
    styles = {}
    for arm in arms:
        colour, mark = colours[levels[arm][factors.by]], marks[own[arm]]
        ink = series_style(-1)["color"]
        look = {"dash": DASHES[mark % len(DASHES)], "symbol": SYMBOLS[mark % len(SYMBOLS)]}
        styles[arm] = {"color": ink if colour < 0 else COLOURS[colour], **look}
    if len({tuple(style.values()) for style in styles.values()}) < len(arms):
        return None
    return Appearance(arms, styles, factors.by, colours, tuple(factors.others))
