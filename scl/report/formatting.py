"""Numbers, times and names as text. Pure functions: nothing here knows a study."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scl.study.spelled import in_ranges
from scl.terminal import ISOLATES, TURNS

DASH = "–"

# Names


def plain(text: object) -> str:
    """The text on one line, without control characters and changes of direction: safe in HTML once it is escaped."""
    spaced = " ".join(str(text).split())
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs") or c in TURNS + ISOLATES else c
        for c in spaced
    )


def shorten(text: str, most: int) -> str:
    """At most `most` characters. The middle is cut, because names often differ at their ends."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 3
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def isolated(text: str) -> str:
    """The text in a direction isolate if it is right-to-left, so that it does not turn the sentence around it."""
    turns = any(unicodedata.bidirectional(c) in ("R", "AL", "AN", "RLE", "RLO", "RLI") for c in text)
    return f"\u2068{text}\u2069" if turns else text


def name_of(arm: str) -> str:
    """A name in quotation marks, for a sentence: never shortened, so that it names one arm."""
    return f"“{isolated(plain(arm))}”"


def listing(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence: “a”, “b” and “c”; those beyond `most` are counted."""
    shown = [name_of(n) for n in names[:most]]
    rest = len(names) - len(shown)
    if rest:
        shown.append(f"{rest} more")
    return enumerated(shown)


def enumerated(texts: Sequence[str]) -> str:
    """Texts in a sentence: a, b and c."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def plural(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


# Numbers


HUGE = 1e9  # from here on a number's digits say nothing, as of a log loss that exploded


def fixed(value: float, decimals: int) -> str:
    """A number with a true minus."""
    if not math.isfinite(value):
        return DASH
    return (f"{value:.3g}" if abs(value) >= HUGE else f"{value:.{decimals}f}").replace("-", "−")


def signed(value: float, decimals: int) -> str:
    """A number with its sign, as a true minus; zero has none."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:+.3g}" if abs(value) >= HUGE else f"{value:+.{decimals}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


@dataclass(frozen=True)
class Unit:
    """How stored values of a metric, and their differences, are written.

    factor: a stored value times this is shown. name: after a value, and in headings. one, many: of a difference. most:
    the largest possible value, as it is stored. decimals: the most that are shown.
    """

    factor: float
    name: str
    one: str
    many: str
    most: float
    decimals: int

    def value(self, value: float, decimals: int) -> str:
        """`71.0 %`"""
        return f"{self.number(value, decimals)} {self.name}" if math.isfinite(value) else DASH

    def number(self, value: float, decimals: int) -> str:
        """A value without the unit, for columns whose heading names it."""
        return fixed(self.factor * value, decimals)

    def difference(self, value: float, decimals: int) -> str:
        """A difference, signed with a true minus, without the unit."""
        return signed(self.factor * value, decimals)

    def gain(self, value: float, decimals: int) -> str:
        """A signed difference with its unit: `+0.8 points`, `−1 point`."""
        return self._with_unit(self.difference(value, decimals))

    def digits(self, value: float, decimals: int) -> int:
        """So many decimals for a difference, or as many as show that it is not 0."""
        number = abs(self.factor * value)
        hidden = 1e-8 < number < 1 and round(number, decimals) == 0  # less is a rounding error
        return -math.floor(math.log10(number)) if hidden else decimals

    def size(self, value: float, decimals: int) -> str:
        """The absolute value of a difference: `0.8 points`, `1 point`. It shows 0 only if there is none."""
        return self._with_unit(self.difference(abs(value), self.digits(value, decimals)).lstrip("+"))

    def bound(self, value: float, decimals: int) -> str:
        """The end of an interval of a difference: its sign shows whether the interval excludes 0."""
        return self.difference(value, self.digits(value, decimals))

    def as_given(self, value: float) -> str:
        """A difference that a user gave, with its own digits: `0.25 points`, `1 point`."""
        return self._with_unit(f"{self.factor * value:.6g}")

    def distance(self, value: float, decimals: int) -> str:
        """A difference as words before a name: `0.8 points above`, `0.8 points below` or `level with`."""
        if round(self.factor * abs(value), decimals) == 0:
            return "level with"
        return f"{self.size(value, decimals)} {'above' if value > 0 else 'below'}"

    def interval(self, low: float, high: float, decimals: int, signs: bool = False) -> str:
        """Two values: `70.1 to 71.9`; signs: two differences, `−0.4 to +1.4`."""
        show = self.bound if signs else self.number
        return f"{show(low, decimals)} to {show(high, decimals)}"

    def _with_unit(self, text: str) -> str:
        return f"{text} {self.one if text.strip('+−') == '1' else self.many}"


PERCENT = Unit(100.0, "%", "point", "points", 1.0, 2)
NATS = Unit(1.0, "nats", "nat", "nats", math.inf, 4)
UNITS = {unit.name: unit for unit in (PERCENT, NATS)}

# Of shares, whatever the metric of the study.
percent, percent_number, points, gain = PERCENT.value, PERCENT.number, PERCENT.difference, PERCENT.gain
digits, size, bound, distance, interval = (
    PERCENT.digits, PERCENT.size, PERCENT.bound, PERCENT.distance, PERCENT.interval,
)  # fmt: skip


def p_value(p: float) -> str:
    """The p of a table's cell."""
    if not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else "> 0.999" if p > 0.9995 else f"{p:.3f}"


def p_clause(p: float) -> str:
    """The p of a sentence."""
    text = p_value(p)
    return f"p {text}" if text[0] in "<>" else f"p = {text}"


def d_z(value: float, n: int) -> str:
    """An effect size. Its standard error is 1/√n or more, so fewer than ten seeds support only one decimal."""
    return signed(value, 1 if n < 10 else 2)


def count(value: float) -> str:
    """A whole number in short: 912, 70.1 k, 2.05 M."""
    if not math.isfinite(value):
        return DASH
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f}"


# Times


def duration(seconds: float) -> str:
    """Seconds as 4 s, 1 min 15 s or 2 h 01 min."""
    if not math.isfinite(seconds):
        return DASH
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def about(seconds: float) -> str:
    """Seconds as an estimate shows them: 40 s, 12 min, 3.5 h."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def moment(iso: object) -> str:
    """An ISO time to the minute: 2026-01-02 10:30 UTC. Other text stays as it is."""
    try:
        return datetime.fromisoformat(str(iso)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):  # the first year has no day before it
        return "" if iso is None else str(iso)


def format_seeds(seeds: Sequence[int]) -> str:
    """Seeds as ranges: 0–4, or 0–2, 7."""
    return in_ranges(seeds).replace("-", "–").replace(",", ", ")


def seeds_named(seeds: Sequence[int]) -> str:
    """`seed 2`, or `seeds 1–3`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {format_seeds(seeds)}"
