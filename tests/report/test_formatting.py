"""Numbers, times and names as text."""

from __future__ import annotations

import math

import pytest

from scl.report import formatting as f


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (f.percent(0.7104, 1), "71.0 %"),
        (f.percent(math.nan, 1), "–"),
        (f.percent_number(0.7104, 2), "71.04"),
        (f.percent_number(-0.19, 0), "−19"),
        (f.points(-0.0123, 1), "−1.2"),
        (f.points(0.0004, 1), "0.0"),
        (f.points(-0.0004, 1), "0.0"),
        (f.size(-0.008, 1), "0.8 points"),
        (f.size(-0.012, 0), "1 point"),
        (f.gain(0.008, 1), "+0.8 points"),
        (f.gain(-0.01, 0), "−1 point"),
        (f.PERCENT.as_given(0.01), "1 point"),
        (f.PERCENT.as_given(0.0025), "0.25 points"),
        (f.p_clause(0.9999), "p > 0.999"),
        (f.distance(0.008, 1), "0.8 points above"),
        (f.distance(-0.008, 1), "0.8 points below"),
        (f.distance(0.0001, 1), "level with"),
        (f.interval(0.701, 0.719, 1), "70.1 to 71.9"),
        (f.interval(-0.004, 0.014, 1, signs=True), "−0.4 to +1.4"),
        (f.p_value(0.0004), "< 0.001"),
        (f.p_value(0.9999), "> 0.999"),
        (f.p_value(math.nan), "–"),
        (f.p_clause(0.04), "p = 0.040"),
        (f.d_z(1.234, 9), "+1.2"),
        (f.d_z(1.234, 10), "+1.23"),
        (f.count(912), "912"),
        (f.count(70_100), "70.1 k"),
        (f.count(2.05e6), "2.05 M"),
        (f.duration(42), "42 s"),
        (f.duration(90), "1 min 30 s"),
        (f.duration(5400), "1 h 30 min"),
        (f.moment("2026-01-02T10:30:15+01:00"), "2026-01-02 09:30 UTC"),
        (f.moment("yesterday"), "yesterday"),
        (f.moment(None), ""),
        (f.plural(1, "seed"), "1 seed"),
        (f.plural(1200, "study", "studies"), "1,200 studies"),
        (f.listing(["a"]), "“a”"),
        (f.listing(["a", "b", "c"]), "“a”, “b” and “c”"),
        (f.listing(list("abcdefgh")), "“a”, “b”, “c”, “d”, “e”, “f” and 2 more"),
        (f.shorten("a" * 20 + "b" * 20, 10), "aaaaaa…bbb"),
        (f.plain("one\ntwo\x00three"), "one two\N{REPLACEMENT CHARACTER}three"),
        (f.isolated("שלום"), "\u2068שלום\u2069"),
    ],
)
def test_text(shown: str, text: str) -> None:
    assert shown == text


def test_seeds_are_spelled_short() -> None:
    assert f.format_seeds([0, 1, 2]) == "0–2"
    assert f.format_seeds([5, 0, 1]) == "0–1, 5"
