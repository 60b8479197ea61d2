"""Image files in a folder per class, below folders for the parts or without them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scl.data.encoded import IMAGE_SUFFIXES, DatasetFiles, EncodedFolder, visible_entries
from scl.data.parts import NAMES, Choices, Found, FoundPart, encoded_folder, listed, part_of_folder, same_text
from scl.errors import UserError
from scl.streams import name_of

# Folders that systems leave among the user's.
SYSTEM = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")
# How image files begin: PNG, JPEG, BMP, WebP, GIF, TIFF, portable maps, JPEG 2000. HEIC and AVIF have `ftyp` behind a
# length. What the decoder does not read of these it refuses by name.
BEGINNINGS = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"P%d" % number for number in range(1, 8)),
    b"\0\0\0\x0cjP",
)


@dataclass
class _Class:
    """A class folder: its image files, how many lie in it directly, and its subfolders that hold some."""

    paths: list[Path] = field(default_factory=list)
    direct: int = 0
    inner: set[str] = field(default_factory=set)


def class_files(folder: Path, choices: Choices) -> DatasetFiles | None:
    """The data set in class folders: train/CLASS/… with other parts beside it, or CLASS/… alone; None if none.

    Images count for their class however deep they lie in its folder.

    Raises:
        UserError: it is unclear which folders are parts or classes, a class folder is empty, images have no class
            folder, or a link leads out of the folder; or a label column is given.
    """
    below = [entry for entry in _visible(folder, Counter()) if entry.is_dir()]
    if not below:
        return None
    skipped: Counter[str] = Counter()
    parts = _parts(folder, below)
    if parts:
        for entry in parts.values():
            _refuse_outside(entry, folder)
        read = {part: _classes(Path(entry.path), folder, f" of {entry.name}", skipped) for part, entry in parts.items()}
        others = [e for e in visible_entries(folder) if e.name not in {entry.name for entry in parts.values()}]
        for entry in others:
            skipped["folder beside the parts" if entry.is_dir() else "file beside the parts"] += 1
        names = {part: f"{entry.name}/" for part, entry in parts.items()}
    else:
        read, names = {"train": _classes(folder, folder, "", skipped)}, {"train": folder.name}
        if len(below) == 1 and not read["train"][below[0].name].direct:
            return None  # a folder around the data set
    if not any(found.paths for classes in read.values() for found in classes.values()):
        return None
    if not parts and len(below) == 1:
        raise UserError(
            f"--data {folder}: the number of classes is 1 ({below[0].name}/); a classifier needs at least 2, each in a "
            "folder of its own, or a list (file_name, label): then give the list itself"
        )
    if choices.label is not None:
        raise UserError(
            f"--label {choices.label!r}: {folder} holds images, and their labels are their class folders; drop --label"
        )
    for part, classes in read.items():
        _require_clear(folder / names[part] if parts else folder, classes, choices)
    paths = [path for classes in read.values() for found in classes.values() for path in found.paths]
    return DatasetFiles(paths, choices.key, lambda: _encoded(folder, read, names, choices), skipped)


def _parts(folder: Path, below: list[os.DirEntry[str]]) -> dict[str, os.DirEntry[str]]:
    """The folders of the parts; none if the folders below are classes.

    A folder named like a part is one only if it holds folders: a class may be called `train` as well.
    """
    named = [(part, entry) for entry in below if (part := part_of_folder(entry.name))]
    holding = [entry.name for _, entry in named if any(e.is_dir() for e in visible_entries(entry.path))]
    flat = [entry for _, entry in named if entry.name not in holding]
    beside = [entry for entry in below if entry.name not in {e.name for _, e in named}]
    others = [entry.name for entry in beside if any(True for _ in _images(entry.path, folder, Counter()))]
    if not holding and others:
        return {}
    if flat:
        raise UserError(
            f"--data {folder}: {flat[0].name}/ has no class folders, so its images have no labels; sort them into "
            f"{flat[0].name}/CLASS/, list them in {flat[0].name}/metadata.csv (file_name, label), or remove the folder "
            "(a data set of train alone gets a test part)"
        )
    parts: dict[str, os.DirEntry[str]] = {}
    for part, entry in named:
        if part in parts:
            raise UserError(
                f"--data {folder}: {parts[part].name}/ and {entry.name}/ could both be the {NAMES[part]} part; remove "
                "or rename one"
            )
        parts[part] = entry
    if list(parts) == ["train"] and others:
        raise UserError(
            f"--data {folder}: is {parts['train'].name}/ the training part, or a class beside {listed(others)}? Give "
            f"{parts['train'].path} if its folders are the classes; else rename it"
        )
    return {part: parts[part] for part in NAMES if part in parts}


def _classes(place: Path, root: Path, where: str, skipped: Counter[str]) -> dict[str, _Class]:
    """The class folders in a place, by name. What is not read is counted in `skipped`, by reason."""
    classes: dict[str, _Class] = {}
    for entry in _visible(place, skipped):
        if not entry.is_dir():
            skipped[f"file beside the class folders{where}"] += 1
            continue
        _refuse_outside(entry, root)
        found = classes[entry.name] = _Class()
        for path in _images(entry.path, root, skipped):
            found.paths.append(Path(path))
            below = path.removeprefix(entry.path).split(os.sep)
            if len(below) > 2:
                found.inner.add(below[1])
            else:
                found.direct += 1
    return classes


def _images(folder: str, root: Path, skipped: Counter[str]) -> Iterator[str]:
    """The image files in a folder and below it, in the order of their names."""
    for entry in _visible(folder, skipped):
        if entry.is_dir():
            if entry.is_symlink():
                skipped["link to a folder"] += 1
            else:
                yield from _images(entry.path, root, skipped)
        elif not entry.name.lower().endswith(IMAGE_SUFFIXES):
            skipped[f"{os.path.splitext(entry.name)[1].lower()} file".strip()] += 1
        else:
            _refuse_outside(entry, root)
            reason = _no_image(entry.path) if entry.is_file() else None  # a dead link or a pipe: reading names it
            if reason is None:
                yield entry.path
            else:
                skipped[reason] += 1


def _no_image(path: str) -> str | None:
    """Why a file cannot be an image, by its first bytes; None if it may be one."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        start = os.read(descriptor, 12)
    finally:
        os.close(descriptor)
    if not start:
        return "empty file"
    return None if start.startswith(BEGINNINGS) or start[4:8] == b"ftyp" else "no image by its content"


def _visible(folder: Path | str, skipped: Counter[str]) -> list[os.DirEntry[str]]:
    """The entries of a folder, by name, without hidden ones, which are counted."""
    with os.scandir(folder) as entries:
        every = sorted(entries, key=lambda entry: entry.name)
    shown = []
    for entry in every:
        if entry.name.startswith(".") or entry.name in SYSTEM:
            skipped["hidden folder" if entry.is_dir() else "hidden file"] += 1
        else:
            shown.append(entry)
    return shown


def _refuse_outside(entry: os.DirEntry[str], root: Path) -> None:
    if not entry.is_symlink():
        return
    within = os.path.realpath(root)
    if os.path.commonpath([within, os.path.realpath(entry.path)]) != within:
        raise UserError(f"{entry.path}: this link leads out of {root}; replace it by the file itself")


def _require_clear(place: Path, classes: Mapping[str, _Class], choices: Choices) -> None:
    """Raises UserError if classes are empty, cannot be told apart, or could be the folders one level deeper."""
    dropped = {same_text(name) for name in choices.drop}
    for name, found in classes.items():
        if not found.paths and same_text(name_of(name)) not in dropped:
            raise UserError(
                f"{place / name}: no image in this class folder ({', '.join(IMAGE_SUFFIXES)}); fill or remove it, or "
                f"leave the class out with --drop-class {name_of(name)}"
            )
    twins = [name for name, times in Counter(map(same_text, classes)).items() if times > 1]
    if twins:
        raise UserError(
            f"--data {place}: two class folders have the name {twins[0]}, in other Unicode forms or with "
            "spaces around it; put them together"
        )
    filled = {name: found for name, found in classes.items() if found.paths}
    if any(found.direct for found in filled.values()) or all(len(found.inner) == 1 for found in filled.values()):
        return
    name, found = max(filled.items(), key=lambda item: len(item[1].inner))
    inner = sorted(found.inner)
    if any(part_of_folder(each) for each in inner):
        raise UserError(
            f"--data {place}: the parts ({listed(inner)}) lie inside the class folders; put the classes inside the "
            f"parts, as in {inner[0]}/{name}"
        )
    raise UserError(
        f"--data {place}: images lie two folders deep, as in {name}/{inner[0]}; is {name} the class, or {inner[0]}? "
        "Move the images up into the folders of their classes, or list them in metadata.csv (file_name, label)"
    )


def _encoded(
    folder: Path, read: Mapping[str, Mapping[str, _Class]], names: Mapping[str, str], choices: Choices
) -> EncodedFolder:
    classes: dict[str, str] = {}  # the first part's, by name, then what only others have
    for found in read.values():
        for name in sorted(found):
            classes.setdefault(same_text(name), name)
    position = {name: number for number, name in enumerate(classes)}
    parts = {}
    for part, found in read.items():
        by_number = sorted(found, key=lambda name: position[same_text(name)])
        numbered = [(position[same_text(name)], path) for name in by_number for path in found[name].paths]
        labels = np.array([number for number, _ in numbered], dtype=np.int64)
        parts[part] = FoundPart(labels, [(str(path), path) for _, path in numbered], names[part])
    nested = sum(len(c.paths) - c.direct for found in read.values() for c in found.values())
    remarks = (f"Images in folders inside their class folder, which count for it: {nested:,}.",) if nested else ()
    return encoded_folder(folder, Found(parts, list(classes.values()), "A folder of images", remarks), choices)
