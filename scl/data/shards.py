"""Finding the files of each part among many: `train-00000-of-00002.parquet`, `test/0000.tar`, `cifar10-test.arrow`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scl.data.encoded import visible_entries
from scl.data.parts import NAMES, listed, part_of_file, part_of_folder
from scl.errors import UserError

NUMBER = re.compile(r"(\d+)(?:-of-(\d+)(?:-[0-9a-f]+)?)?$")  # of a shard and of how many, at the end of its stem


def shards(folder: Path, suffix: str, skipped: Counter[str]) -> dict[str, list[Path]]:
    """The files of each part that a folder holds, sorted by name; empty if it holds none.

    A file belongs to the part that its name means, or the part folder in which it lies. If no name means a part, and
    there is no folder beside them, all of them are the training part. Files of no part are counted in `skipped`.

    Raises:
        UserError: a part has files of two kinds of name, some of its files are missing, or several kinds of name mean
            no part.
    """
    found: dict[str, dict[str, list[Path]]] = {part: {} for part in NAMES}
    others: list[Path] = []
    entries = visible_entries(folder)
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir():
            part = part_of_folder(path.name.removesuffix(suffix))
            inside = [Path(e.path) for e in visible_entries(path) if e.name.lower().endswith(suffix)] if part else []
            if part and inside:
                found[part][f"{path.name}/"] = inside
        elif entry.name.lower().endswith(suffix):
            if part := part_of_file(entry.name):
                found[part].setdefault(NUMBER.sub("", path.stem), []).append(path)
            else:
                others.append(path)
    if others and not any(found.values()) and not any(entry.is_dir() for entry in entries):
        if len({re.sub("[0-9]+", "", path.stem) for path in others}) > 1:
            raise UserError(
                f"--data {folder}: which part are these files: {listed([path.name for path in others])}? Name them "
                f"train, val and test, as in train-00000{suffix}, or give one of them"
            )
        found["train"][""] = others
    elif others and any(found.values()):
        skipped[f"{suffix} file of no part"] += len(others)
    if any(found.values()):
        unused = [e for e in entries if e.is_dir() and not any(f"{e.name}/" in groups for groups in found.values())]
        skipped.update({f"folder beside the {suffix} files": len(unused)} if unused else {})
    for groups in found.values():
        if len(groups) > 1:
            one, other = (files[0].relative_to(folder) for files in list(groups.values())[:2])
            raise UserError(f"--data {folder}: it has both {one} and {other}; remove one of them")
        for files in groups.values():
            require_all(folder, files)
    return {part: files for part, groups in found.items() for files in groups.values()}


def inside(folder: Path, suffix: str) -> list[Path]:
    """The subfolders that hold a training part: data sets of the hub lie in `data/`, or in one for a configuration."""
    folders = [Path(entry.path) for entry in visible_entries(folder) if entry.is_dir() and not entry.is_symlink()]
    return [place for place in folders if "train" in shards(place, suffix, Counter())]


def require_all(folder: Path, files: Sequence[Path]) -> None:
    """Raises UserError if names announce files that are not there (…-of-00003), or numbers from 0 or 1 leave a gap."""
    numbered = [match for path in files if (match := NUMBER.search(path.stem))]
    if len(numbered) < len(files):
        return
    there = [int(match[1]) for match in numbered]
    totals = {match[2] for match in numbered}
    if len(totals) > 1 or len(set(there)) < len(there):
        names = listed([path.name for path in files])
        raise UserError(f"--data {folder}: files of several versions lie side by side ({names}); keep those of one")
    (total,) = totals
    first = 0 if total else min(there) if min(there) <= 1 else max(there)
    expected = range(first, int(total) if total else max(there) + 1)
    lacking = [number for number in expected if number not in there]
    if lacking or (total and len(there) != len(expected)):
        stem, width = files[0].stem[: numbered[0].start()], len(numbered[0][1])
        raise UserError(
            f"--data {folder}: only {len(there)} of the {len(expected)} {stem}* files are present; missing: "
            f"{listed([f'{stem}{number:0{width}}' for number in lacking])}; add them, or rename the files if the part "
            "is meant to be incomplete"
        )
