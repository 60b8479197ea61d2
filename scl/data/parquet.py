"""Data sets in Parquet and Arrow files: of the Hugging Face hub, of its cache, and as `save_to_disk` writes them.

No code of a data set runs: Arrow reads the tables, and JSON says which files there are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scl.data.encoded import DatasetFiles
from scl.data.parts import NAMES, Choices, encoded_folder, listed, part_of_file
from scl.data.shards import inside, require_all, shards
from scl.data.tables import read_tables
from scl.errors import UserError, first_line

KINDS = {".parquet": "Parquet", ".arrow": "Arrow"}
STATE, SPLITS = "state.json", "dataset_dict.json"  # that `save_to_disk` writes for a data set, and for several parts


def table_files(folder: Path, choices: Choices) -> DatasetFiles | None:
    """The data set in Parquet or Arrow files in the folder, or in its one subfolder that has some; None if none.

    Raises:
        UserError: several subfolders hold a data set, or a part's files are ambiguous or incomplete.
    """
    for suffix, kind in KINDS.items():
        places = [folder]
        skipped: Counter[str] = Counter()
        if not (files := shards(folder, suffix, skipped)) and not any(folder.glob("[Tt]rain")):
            places = inside(folder, suffix) or [folder]
            if len(places) > 1:
                names = ", ".join(map(str, places))
                raise UserError(f"--data {folder}: this folder holds several data sets; give one of them: {names}")
            files = shards(places[0], suffix, skipped)
        if files:
            return tables(folder, files, choices, f"A folder of {kind} files", skipped=skipped)
    return None


def one_table(path: Path, choices: Choices) -> DatasetFiles:
    """The data set in one Parquet or Arrow file. Raises UserError if it is one of several by its name."""
    require_all(path.parent, [path])
    return tables(path, {"train": [path]}, choices, f"A {KINDS[path.suffix.lower()]} file")


def tables(
    place: Path,
    files: Mapping[str, list[Path]],
    choices: Choices,
    what: str,
    more: list[Path] | None = None,
    skipped: Mapping[str, int] | None = None,
) -> DatasetFiles:
    """A data set in table files. more: files beside them that decide the content."""
    ordered = {part: files[part] for part in NAMES if part in files}

    def read() -> Any:
        return encoded_folder(place, read_tables(ordered, choices, what), choices)

    paths = [path for of_part in ordered.values() for path in of_part]
    return DatasetFiles([*paths, *(more or [])], choices.key, read, skipped or {})


def saved_files(folder: Path, choices: Choices) -> DatasetFiles | None:
    """The data set that `save_to_disk` of Hugging Face's `datasets` wrote; None if there is none.

    Raises:
        UserError: its JSON files are damaged, or name files that are not there.
    """
    skipped: Counter[str] = Counter()
    if (folder / STATE).is_file():
        files = {"train": _listed_in(folder)}
        more = [folder / STATE]
    elif (folder / SPLITS).is_file():
        names = _json(folder / SPLITS).get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) and _plain(name) for name in names):
            raise UserError(f"{folder / SPLITS}: it names no parts ('splits'); save the data set again")
        files, more = {}, [folder / SPLITS]
        for name in names:
            part = part_of_file(name)
            if part is None:
                skipped[f"part {name}"] += 1
                continue
            if part in files:
                raise UserError(f"--data {folder}: several of its parts could be the {part} part: {listed(names)}")
            files[part] = _listed_in(folder / name)
            more.append(folder / name / STATE)
    else:
        return None
    what = "A data set saved by Hugging Face's datasets"
    return tables(folder, files, choices, what, more, skipped) if files else None


def _listed_in(folder: Path) -> list[Path]:
    """The Arrow files that a state.json names."""
    state = _json(folder / STATE)
    entries = state.get("_data_files")
    listing = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    names: list[Any] = [entry.get("filename") for entry in listing]
    if not names or not all(isinstance(name, str) and _plain(name) for name in names):
        raise UserError(f"{folder / STATE}: it names no Arrow files of this folder ('_data_files'); save the set again")
    if state.get("_indices_files"):
        raise UserError(f"{folder / STATE}: it selects rows by an index; save the set again after flatten_indices()")
    if lacking := [name for name in names if not (folder / name).exists()]:
        raise UserError(
            f"--data {folder}: {len(lacking)} of its {len(names)} files are missing: {listed(lacking)}; copy the whole "
            "folder"
        )
    return [folder / name for name in names]


def _plain(name: str) -> bool:
    """True for the name of a file in the folder itself."""
    return Path(name).name == name and name not in ("", ".", "..")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({first_line(error)}); save the data set again") from error
    return content if isinstance(content, dict) else {}
