"""The words of `Config.augment`: how images change before a step, as text such as `rrc+flip+mixup:0.2`.

Words are joined by `+`, each at most once, in any order; values follow a colon. The canonical text, which ids and
columns have, names the words in the order in which they are applied, without values that are the default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from scl.errors import shown, unknown
from scl.study.numerals import real_from, whole_from

Words = Mapping[str, tuple[float, ...]]  # in the order of AUGMENTATIONS, each with all its values

SMALL = 64  # pixels of the longer side: up to here `auto` is the padded crop of small images, beyond it `rrc`


class Value(NamedTuple):
    """A value of a word: above 0 and at most `most`, or, if it is whole, from `least` to `most`."""

    means: str
    default: float
    most: float
    whole: bool = False
    least: int = 0


# In the order of their application. Defaults are those of the classes of torchvision.transforms.v2; `jitter`, whose
# class has none, takes those of MoCo v2.
AUGMENTATIONS: Mapping[str, tuple[Value, ...]] = {
    "auto": (),
    "none": (),
    "rrc": (Value("the smallest share of the image's area", 0.08, 1.0),),
    "crop": (),
    "flip": (),
    "randaugment": (
        Value("the number of operations", 2, 14, whole=True, least=1),
        Value("their magnitude", 9, 30, whole=True),
    ),
    "trivialaugment": (),
    "jitter": (Value("the strength", 0.4, 1.0),),
    "erasing": (Value("the probability", 0.5, 1.0),),
    "mixup": (Value("the alpha of the Beta distribution", 1.0, 100.0),),
    "cutmix": (Value("the alpha of the Beta distribution", 1.0, 100.0),),
}
# Words of which one at most is given, and why.
_ONE_OF = (
    (("auto", "rrc", "crop"), "each chooses the part of the image that is seen"),
    (("auto", "flip"), "auto mirrors images if the data allow it"),
    (("randaugment", "trivialaugment"), "each is a whole policy"),
)
# For messages and `--help`.
GRAMMAR = (
    "auto, none, or words joined by '+': rrc or crop, flip, randaugment or trivialaugment, jitter, erasing, mixup, "
    "cutmix; values follow a colon, as in rrc:0.35+flip+mixup:0.2"
)


def augmentation(given: object) -> str:
    """The canonical text of what was given. Raises ValueError, with the rule, if it is no augmentation."""
    return written(words_of(given))


def words_of(given: object) -> Words:
    """The words of a text and all their values, in the order of their application. Raises ValueError, with the rule."""
    parts = [part.strip() for part in given.split("+")] if isinstance(given, str) else []
    if not any(parts):
        raise ValueError(f"must be {GRAMMAR}; got {shown(given)}")
    found: dict[str, tuple[float, ...]] = {}
    for part in parts:
        word, *values = part.split(":")
        if word not in AUGMENTATIONS:
            raise ValueError(f"{unknown('word', word, AUGMENTATIONS)}; words are joined by '+', values follow a colon")
        if word in found:
            raise ValueError(f"{word} is given twice in {shown(given)}; give each word once")
        found[word] = tuple(_values(word, values))
    if "none" in found and len(found) > 1:
        raise ValueError(f"none goes with no other word, got {shown(given)}")
    for words, why in _ONE_OF:
        if len(both := [word for word in words if word in found]) > 1:
            raise ValueError(f"{' and '.join(both)} exclude each other, because {why}; got {shown(given)}")
    return {word: found[word] for word in AUGMENTATIONS if word in found}


def _values(word: str, texts: list[str]) -> Iterator[float]:
    rows = AUGMENTATIONS[word]
    if len(texts) > len(rows):
        takes = f"{len(rows)} value{'s' * (len(rows) > 1)}: {', then '.join(row.means for row in rows)}"
        raise ValueError(f"{word} takes {takes if rows else 'no value'}; got {shown(':'.join([word, *texts]))}")
    for row, text in zip(rows, [*texts, *[None] * (len(rows) - len(texts))], strict=True):
        if text is None:
            yield row.default
            continue
        try:
            value = whole_from(text) if row.whole else real_from(f"{real_from(text):.12g}")
        except ValueError:
            value = math.nan
        if not (row.least <= value <= row.most if row.whole else 0 < value <= row.most):
            rule = f"a whole number of {row.least} to {row.most}" if row.whole else f"above 0 and at most {row.most:g}"
            raise ValueError(f"{word}: {row.means} must be {rule}, got {shown(text)}")
        yield value


def written(words: Words) -> str:
    """Words as their canonical text; `none` for no word."""
    parts = []
    for word, values in words.items():
        kept = list(values)
        while kept and kept[-1] == AUGMENTATIONS[word][len(kept) - 1].default:
            kept.pop()
        parts.append(":".join([word, *(f"{value:.12g}" for value in kept)]))
    return "+".join(parts) or "none"


def without_auto(augment: str, flip: bool, side: int) -> str:
    """The canonical text with `auto` replaced by what it means for these data: a random crop of the padded image, or
    `rrc` for images whose longer side is above SMALL; mirrored if `flip`, which is True if a mirrored image keeps its
    class."""
    words = words_of(augment)
    if "auto" not in words:
        return augment
    here = ["crop" if side <= SMALL else "rrc", *(["flip"] if flip else [])]
    return augmentation("+".join([*here, *(part for part in augment.split("+") if part != "auto")]))


def mixes(augment: str) -> bool:
    """True if images are mixed, so that a target is a probability of each class and no single class."""
    return not words_of(augment).keys().isdisjoint(("mixup", "cutmix"))
