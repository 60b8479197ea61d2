"""The parts of a data set: their names, the classes that they must share, and a test part where the data have none.

Readers of the layouts list images with the labels that the files give them, as `Found`. Here the labels become class
numbers, alike in every part.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

import numpy as np

from scl.data.encoded import EncodedFolder, EncodedPart, Source
from scl.data.split import stratified
from scl.errors import UserError, unknown
from scl.streams import name_of

# The words of Hugging Face's `datasets` (its splits.md and data_files.py), in any case.
KEYWORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
NAMES = {"train": "training", "val": "validation", "test": "test"}
PART_COLUMNS = (
    "split", "part", "subset", "set", "partition", "phase", "usage", "fold", "data_split", "dataset_split",
)  # fmt: skip  # columns that may name a row's part, in any case
TEST_SHARE = 0.2  # of the images, if the data have no part to test on
SHOWN = 10  # names in a message
_FOLDER = re.compile(rf"({'|'.join(KEYWORDS)})[-_ ]?(set|split|data|images|imgs)?")


@dataclass(frozen=True)
class Choices:
    """What the user chose of a data set: the label column, classes to leave out, and the share of a made test part."""

    label: str | None = None
    drop: tuple[str, ...] = ()
    test: float | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What tells the data sets apart that these choices make of the same files."""
        return self.label, self.drop, self.test


@dataclass(frozen=True)
class FoundPart:
    """The images of one part.

    labels: int64 (N,), positions in `Found.classes`. sources: as in `EncodedPart`. name: of its folder or first file.
    """

    labels: np.ndarray
    sources: Iterable[Source]
    name: str


@dataclass(frozen=True)
class Found:
    """What a reader found: train alone, or with val, test or both.

    classes: names by number; some may have no image. what: the description before the sizes. remarks: what the page
    says of the reading, in sentences. skipped: what was not read, by reason.
    """

    parts: Mapping[str, FoundPart]
    classes: Sequence[str]
    what: str
    remarks: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kept:
    """Those sources whose place in `keep`, bool (N,), is True; each iteration reads them anew."""

    sources: Iterable[Source]
    keep: np.ndarray

    def __iter__(self) -> Iterator[Source]:
        return compress(self.sources, self.keep.tolist())


def part_of_folder(name: str) -> str | None:
    """The part that a folder's name means (`Train`, `valid`, `test_images`), or None: it may be a class."""
    match = _FOLDER.fullmatch(name.casefold())
    return KEYWORDS[match[1]] if match else None


def part_of_file(name: str) -> str | None:
    """The part that a data file's name means (`train-00000-of-00002.parquet`, `cifar10-test.arrow`), or None.

    A name that starts with a word for a part means that part; else it must hold words for one part only.
    """
    parts = [part_of_folder(word) for word in re.findall("[a-z]+", name.casefold())]
    found = {part for part in parts if part is not None}
    if parts and parts[0]:
        return parts[0]
    return found.pop() if len(found) == 1 else None


def same_text(name: str) -> str:
    """A name as classes are compared: file systems write é as one character or as two; spaces around do not count."""
    return unicodedata.normalize("NFC", name).strip()


def parts_in_column(name: str, values: Sequence[object], row: Callable[[int], str]) -> list[str] | None:
    """The part of each row by a column `split`; None if the column names no parts at all.

    Raises:
        UserError: some of its values name a part and others do not.
    """
    words = [KEYWORDS.get(same_text(str(value)).casefold()) for value in values]
    if not any(words):
        return None
    if None in words:
        at = words.index(None)
        raise UserError(
            f"{row(at)}: the column {name} is {values[at]!r}, which names no part; valid: {', '.join(KEYWORDS)}"
        )
    return [str(word) for word in words]


def encoded_folder(place: Path, found: Found, choices: Choices) -> EncodedFolder:
    """The parts of a data set with class numbers 0 … K−1, the same in each part.

    A validation part serves as the test part if there is no other; without either, a share of the images is set aside.

    Raises:
        UserError: a part has no images; a class lacks images in a part; there are fewer than two classes; or the
            user's choices do not fit the data.
    """
    classes = found.classes
    parts, left_out = _without(dict(found.parts), classes, choices.drop)
    for part, images in parts.items():
        if not len(images.labels):
            raise UserError(f"--data {place}: the {part} part ({images.name}) has no images")
    if "train" not in parts:
        there = " and ".join(f"{part} ({images.name})" for part, images in parts.items())
        raise UserError(f"--data {place}: it has a part {there} but no train; a data set needs a training part")
    used = np.unique(np.concatenate([images.labels for images in parts.values()]))
    _require_same_classes(place, parts, classes, used)
    if len(used) < 2:
        raise UserError(f"--data {place}: the number of classes is {len(used)}; a classifier needs at least 2")
    parts = {
        part: replace(images, labels=np.searchsorted(used, images.labels).astype(np.int64))
        for part, images in parts.items()
    }
    names = [classes[number] for number in used.tolist()]
    parts, about_test, made = _with_test(place, parts, names, choices, found.what)
    twins = [name for name, times in Counter(name.casefold() for name in names).items() if times > 1 and len(name) > 1]
    case = [f"Classes that differ in case alone: {listed(sorted(n for n in names if n.casefold() in twins))}."]
    return EncodedFolder(
        {part: EncodedPart(parts[part].labels, parts[part].sources) for part in NAMES if part in parts},
        [name_of(name) for name in names],
        found.what,
        about_test,
        found.skipped,
        (*made, *found.remarks, *left_out, *(case if twins else [])),
    )


def _without(
    parts: dict[str, FoundPart], classes: Sequence[str], drop: Sequence[str]
) -> tuple[dict[str, FoundPart], list[str]]:
    """The parts without the images of the classes to drop, and a sentence about them."""
    if not drop:
        return parts, []
    position = {same_text(name_of(name)): number for number, name in enumerate(classes)}
    for name in drop:
        if same_text(name) not in position:
            raise UserError(f"--drop-class: {unknown('class', name, [name_of(c) for c in classes])}")
    dropped = sorted({position[same_text(name)] for name in drop})
    kept, counts = {}, []
    for part, images in parts.items():
        keep = ~np.isin(images.labels, dropped)
        counts.append(f"{(~keep).sum():,} {NAMES[part]}")
        kept[part] = subset(images, keep)
    names = ", ".join(name_of(classes[number]) for number in dropped)
    return kept, [f"Classes left out by --drop-class: {names} ({', '.join(counts)} images)."]


def subset(images: FoundPart, keep: np.ndarray) -> FoundPart:
    """A part's images where `keep`, bool (N,), is True. Files that are listed stay a list."""
    sources = images.sources
    chosen = list(compress(sources, keep.tolist())) if isinstance(sources, list) else _Kept(sources, keep)
    return replace(images, labels=images.labels[keep], sources=chosen)


def _require_same_classes(
    place: Path, parts: Mapping[str, FoundPart], classes: Sequence[str], used: np.ndarray
) -> None:
    """Raises UserError if a class has images in one part and none in another, or none in any."""
    present = {part: set(np.unique(images.labels).tolist()) for part, images in parts.items()}
    shared = set.intersection(*present.values())
    for part in reversed(NAMES):  # train last: what it has is the rule
        lacking = sorted(set(used.tolist()) - present[part]) if part in parts else []
        if not lacking:
            continue
        other = next(o for o in NAMES if o in parts and lacking[0] in present[o])
        lacking = [number for number in lacking if number in present[other]]
        names = [name_of(classes[number]) for number in lacking]
        near = _differ_in_case(names, [name_of(classes[number]) for number in present[part] - present[other]])
        raise UserError(
            f"--data {place}: {part} lacks labels that {other} has: {listed(names)}; "
            f"every part needs the same classes{near}{_offer(names, len(shared))} ({part} is {parts[part].name})"
        )


def _differ_in_case(names: Sequence[str], others: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in others}
    twins = [f"{name} and {folded[name.casefold()]}" for name in names if name.casefold() in folded]
    return f"; these differ in case alone, so rename one of each: {listed(twins)}" if twins else ""


def _offer(names: Sequence[str], shared: int) -> str:
    """The way out of classes without images, if classes remain."""
    if shared < 2:
        return ""
    which = f" {','.join(names)}" if len(names) <= SHOWN and not any("," in name for name in names) else ""
    return f"; add images of them, or leave them out with --drop-class{which}"


def listed(names: Sequence[str]) -> str:
    """Names in a message, ten at most."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _with_test(
    place: Path, parts: dict[str, FoundPart], names: Sequence[str], choices: Choices, what: str
) -> tuple[dict[str, FoundPart], str, list[str]]:
    """The parts with a test part, the sentence that says where it comes from, and how it was made if it was."""
    if "test" in parts:
        if choices.test is not None:
            raise UserError(
                f"--test {choices.test:g}: {place} has its own test part ({parts['test'].name}); drop --test"
            )
        own = "validation and test parts" if "val" in parts else "test part"
        return parts, f"It comes with its own {own}.", []
    if "val" in parts and choices.test is None:
        name = parts["val"].name
        serves = f"It has no test part: its validation part ({name}) serves as the test part, and for nothing else."
        return {"train": parts["train"], "test": parts["val"]}, serves, []
    share = TEST_SHARE if choices.test is None else choices.test
    images, keep = parts["train"], _set_aside(place, parts["train"].labels, names, share, what)
    made = {"train": subset(images, ~keep), "test": replace(subset(images, keep), name=f"a share of {images.name}")}
    own = "It comes with its own validation part; its" if "val" in parts else "Its"
    how = (
        f"The data have no test part: {keep.sum():,} of {len(keep):,} images were set aside for it, the same in every "
        f"study, stratified by class (--test {share:g})."
    )
    return {**parts, **made}, f"{own} test part was set aside from the training images.", [how]


def _set_aside(place: Path, labels: np.ndarray, names: Sequence[str], share: float, what: str) -> np.ndarray:
    """Which images become the test part: bool (N,). No seed of a study moves them."""
    counts = np.bincount(labels, minlength=len(names))
    if alone := [names[number] for number in np.flatnonzero(counts < 2).tolist()]:
        raise UserError(
            f"--data {place}: it has no test part, and a class of one image cannot be split: {listed(alone)}"
            f" ({what}){_offer(alone, len(names) - len(alone))}"
        )
    test = stratified(labels, max(len(names), round(share * len(labels))), seed="test", least=1)
    keep = np.zeros(len(labels), dtype=bool)
    keep[test] = True
    if len(empty := np.setdiff1d(np.arange(len(names)), labels[~keep])):
        raise UserError(f"--test {share:g}: class {names[int(empty[0])]} would have no training image left; give less")
    return keep
