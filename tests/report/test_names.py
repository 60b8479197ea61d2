"""Names that stay apart when they are shortened."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scl.report.names import BLANK, distinct, look, shortened

LONG = [
    f"resnet8x4-on-cifar100/{loss}-weight-{w}/temperature-4"
    for loss in ("kd", "channel-correlation")
    for w in (0.1, 0.25)
]
WIDTHS = (8, 12, 16, 24, 40, 60)
SETS = {
    "whitespace": ["kd", "kd ", " kd", "k d", "k  d", "k\td", "k\u00a0d", "kd\n"],
    "no width": ["kd", "k\u200bd", "kd\ufeff", "k\u00add", "kd\ufe0f", "\u200b", "\u2060", "\u3164"],
    "control characters": ["kd", "kd\x00", "kd\x01", "kd\x1b[31m", "kd\x7f"],
    "changes of direction": ["kd", "\u202ekd", "\u2066kd\u2069", "\u200fkd", "שלום", "שלום "],
    "accents": ["é", "e\u0301", "É", "ｋｄ", "kd", "①", "1"],
    "emoji": ["🧪", "🧪🧪", "👩\u200d🔬", "👩🔬", "👍🏽", "👍", "🧪" * 200, "🧪" * 201],
    "200 characters, first": [f"{c}{'x' * 199}" for c in "abcd"],
    "200 characters, middle": [f"{'x' * 99}{c}{'y' * 100}" for c in "abcd"],
    "200 characters, last": [f"{'x' * 199}{c}" for c in "abcd"],
    "200 characters, two places": [f"{'x' * 50}{a}{'y' * 90}{b}{'z' * 50}" for a in "abc" for b in "abc"],
    "case": ["kd" * 40, "KD" * 40, "Kd" * 40, "kd", "KD"],
    "trailing space": ["x" * 100, "x" * 100 + " ", "x" * 100 + "  "],
    "already numbered": ["kd", "kd ", "kd (2)", "kd (3)", "kd  "],
    "one word less": ["a/b/c" * 20, "a/b/c" * 20 + "/d", "a/b" * 20, "a/c" * 20],
    "words in another order": ["alpha/beta/gamma" * 5, "gamma/beta/alpha" * 5, "beta/alpha/gamma" * 5],
    "like a cut": ["…", "…kd…", "x" * 30 + "kd" + "x" * 30, "x" * 30 + "ke" + "x" * 30],
    "long and alike": LONG,
    "a hundred": [f"a study of many arms, all of them called number {i} of a hundred" for i in range(100)],
}


def check(names: list[str], most: int) -> None:
    shown = shortened(tuple(names), most)
    assert list(shown) == list(dict.fromkeys(names))
    looks = [look(text) for text in shown.values()]
    assert len(set(looks)) == len(looks), shown
    assert all(looks)


@pytest.mark.parametrize("most", WIDTHS)
@pytest.mark.parametrize("kind", SETS)
def test_no_two_shortened_names_look_alike(kind: str, most: int) -> None:
    check(SETS[kind], most)
    shown = shortened(tuple(SETS[kind]), most).values()
    # A character with its accents, and joined ones, count as one letter.
    assert all(sum(unicodedata.category(c)[0] not in "MC" for c in text) <= most for text in shown)


WORDS = ["kd", "channel", "0.25", "/", "-", " ", "…", "é", "e\u0301", "\u200b", "x" * 60, "🧪"]
PARTS = st.lists(st.sampled_from(WORDS), max_size=8)
NAMES = st.lists(st.one_of(st.text(max_size=200), PARTS.map("".join)), min_size=1, max_size=12, unique=True)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(NAMES, st.sampled_from(WIDTHS))
def test_no_two_of_any_names_look_alike(names: list[str], most: int) -> None:
    check(names, most)


@pytest.mark.parametrize(
    ("names", "most", "shown"),
    [
        (["kd", "channel"], 16, ["kd", "channel"]),
        (LONG, 40, ["…kd…0.1…", "…kd…0.25…", "…channel-correlation…0.1…", "…channel-correlation…0.25…"]),
        (["baseline", *LONG[:2]], 40, ["baseline", "…0.1…", "…0.25…"]),
        (["channel, 9 layers", "channel, 3 layers", "kd, 9 layers", "none"], 16,
         ["channel, 9…", "channel, 3…", "kd, 9 layers", "none"]),
        (["a" * 50], 10, ["aaaaaa…aaa"]),
        (["a" * 50 + c + "b" * 50 for c in "xy"], 10, ["…aaaaaaax…", "…aaaaaaay…"]),
        (["kd ", "kd"], 16, ["kd (2)", "kd"]),
        (["\u200b"], 16, [BLANK]),
        # The first word stays where it tells names apart.
        ([f"{net}/with/a/long/tail/{loss}" for net in ("resnet", "vgg") for loss in ("kd", "cc")], 20,
         ["resnet…kd", "resnet…cc", "vgg…kd", "vgg…cc"]),
    ],
)  # fmt: skip
def test_what_names_share_makes_way(names: list[str], most: int, shown: list[str]) -> None:
    assert list(shortened(tuple(names), most).values()) == shown


def test_a_whole_name_is_numbered_only_if_it_looks_like_another() -> None:
    assert distinct(("kd", "kd\n", "cc")) == {"kd": "kd", "kd\n": "kd (2)", "cc": "cc"}
