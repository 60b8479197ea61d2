"""Names that stay apart: on one line, and shortened by what they have in common."""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence

from scl.report.formatting import plain

BLANK = "(blank)"  # a name without a visible character
ELLIPSIS = "…"
_WORD = re.compile(r"\d+(?:\.\d+)*[^\W_]*|[^\W_]+")  # 0.25 and 5e-4 keep their parts together
# Letters without ink.
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def look(text: str) -> str:
    """What a reader sees of a text: no characters without width, one space for many, one form of each letter."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    seen = "".join(
        "" if _has_no_width(c) else " " if c in _FILLERS else c for c in unicodedata.normalize("NFKC", plain(text))
    )
    return " ".join(seen.split())


def _has_no_width(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f" or character == "\u034f"


@functools.lru_cache(maxsize=256)
def distinct(names: tuple[str, ...]) -> Mapping[str, str]:
    """Each name on one line, with a number if it looks like another one: `kd`, `kd (2)`.

    A name that needs no change keeps its look, wherever it stands.
    """
    every = list(dict.fromkeys(names))
    taken: set[str] = set()
    texts = {name: _free(plain(name) if look(name) else BLANK, taken) for name in sorted(every, key=_needs_change)}
    return {name: texts[name] for name in every}


def _needs_change(name: str) -> bool:
    return look(name) != name


def _free(text: str, taken: set[str], most: int | None = None) -> str:
    """The text, numbered until it looks like none in `taken`, to which it is added. most: its characters."""
    number, shown = 1, text
    while look(shown) in taken:
        number += 1
        ending = f" ({number})"
        shown = (text if most is None else _cut(_letters(text), most - len(ending))) + ending
    taken.add(look(shown))
    return shown


@functools.lru_cache(maxsize=256)
def shortened(names: tuple[str, ...], most: int) -> Mapping[str, str]:
    """Each name with at most `most` letters, and no two that look alike.

    Names that fit stay as they are. Of longer ones, the words that all of them share become an ellipsis; what is still
    too long loses its middle; what then looks alike is cut around the letters that differ.
    """
    full = distinct(names)
    long = {name: text for name, text in full.items() if len(_letters(text)) > most}
    whole = [text for name, text in full.items() if name not in long]
    cut = {name: _cut(_letters(text), most) for name, text in _without_shared_words(long, whole).items()}
    taken = {look(text) for text in whole}
    for alike in _alike(cut):
        cut |= _apart({name: _letters(full[name]) for name in alike}, most)
    return {name: _free(cut[name], taken, most) if name in long else text for name, text in full.items()}


def _letters(text: str) -> list[str]:
    """The text in what a reader sees as letters: a character with its accents and joined ones."""
    out: list[str] = []
    for c in text:
        joined = out and (unicodedata.category(c)[0] == "M" or c == "\u200d" or "\U0001f3fb" <= c <= "\U0001f3ff")
        if joined or (out and out[-1].endswith("\u200d")):
            out[-1] += c
        else:
            out.append(c)
    return out


def _cut(letters: Sequence[str], most: int) -> str:
    """At most `most` letters. The middle is cut, because names often differ at their ends."""
    if len(letters) <= most:
        return "".join(letters)
    tail = max((most - 1) // 3, 0)
    return _once("".join([*letters[: max(most - 1 - tail, 0)], ELLIPSIS, *letters[len(letters) - tail :]]))


def _once(text: str) -> str:
    """One ellipsis for neighbouring ones."""
    return re.sub(f"{ELLIPSIS}+", ELLIPSIS, text)


def _alike(texts: Mapping[str, str]) -> list[list[str]]:
    """The names whose texts look alike, in groups."""
    groups: dict[str, list[str]] = {}
    for name, text in texts.items():
        groups.setdefault(look(text), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _apart(texts: Mapping[str, Sequence[str]], most: int) -> dict[str, str]:
    """Cuts that start where these texts begin to differ; some may still look alike if `most` is small."""
    ahead = _shared(list(texts.values()))
    behind = _shared([text[ahead:][::-1] for text in texts.values()])
    cut = {}
    for name, text in texts.items():
        middle = text[ahead : len(text) - behind]
        before, after = [ELLIPSIS] if ahead else [], [ELLIPSIS] if behind else []
        room = most - len(before) - len(after) - len(middle)
        # What is left of the room shows the letters in front, then those behind.
        front = min(ahead, max(room, 0))
        back = min(behind, max(room - front, 0))
        before = [ELLIPSIS, *text[ahead - front : ahead]] if front < ahead else list(text[:ahead])
        after = [*text[len(text) - behind :][:back], ELLIPSIS] if back < behind else list(text[len(text) - behind :])
        cut[name] = _cut([*before, *middle, *after], most)
    for alike in _alike(cut):
        if len(alike) < len(texts):
            cut |= _apart({name: texts[name] for name in alike}, most)
    return cut


def _shared(texts: Sequence[Sequence[str]]) -> int:
    """The number of letters that all texts have at their start."""
    return next((i for i, at in enumerate(zip(*texts, strict=False)) if len(set(at)) > 1), min(map(len, texts)))


def _without_shared_words(texts: Mapping[str, str], whole: Sequence[str]) -> dict[str, str]:
    """The texts with an ellipsis for the words that all with the same first word share, in their order.

    The first word stays if texts differ in it. A group that would no longer differ stays whole. whole: the texts that
    fit; those that have a word of a group in common with it have to share its words too, because “channel, 9 layers”
    beside “kd, 9 layers” needs its “channel”.
    """
    groups: dict[str, dict[str, str]] = {}
    for name, text in texts.items():
        first = _WORD.search(text)
        groups.setdefault(first[0] if first else "", {})[name] = text
    out: dict[str, str] = {}
    for group in groups.values():
        shared = functools.reduce(_in_both, map(_WORD.findall, group.values()))
        for words in map(_WORD.findall, whole):
            if any(word in shared and not word[0].isdigit() for word in words):
                shared = _in_both(shared, words)
        less = {name: _without(text, shared, len(groups) > 1) for name, text in group.items()}
        out |= group if len(group) == 1 or _alike(less) else less
    return out


def _in_both(words: list[str], others: list[str]) -> list[str]:
    """Words that both have, in this order."""
    blocks = difflib.SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    return [word for block in blocks for word in words[block.a : block.a + block.size]]


def _without(text: str, shared: list[str], with_first: bool) -> str:
    """The text with an ellipsis for these words, which it has in this order, and for what is between them."""
    ahead = list(shared)
    out, end, dropped = "", 0, False
    for i, word in enumerate(_WORD.finditer(text)):
        drop = bool(ahead) and word[0] == ahead[0]
        if drop:
            ahead.pop(0)
        if drop and not (with_first and i == 0):
            dropped = True
            continue
        out += (ELLIPSIS if dropped else text[end : word.start()]) + word[0]
        end, dropped = word.end(), False
    return out + (ELLIPSIS if dropped else text[end:])
