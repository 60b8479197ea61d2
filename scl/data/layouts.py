"""Which layout a folder or file has. Every mistake in the user's data is a UserError that names the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scl.data.encoded import IMAGE_SUFFIXES, DatasetFiles, visible_entries
from scl.data.folders import SYSTEM, class_files
from scl.data.listing import SUFFIXES, listing_files, one_listing
from scl.data.parquet import KINDS, one_table, saved_files, table_files
from scl.data.parts import Choices
from scl.data.tars import BRACES, some_tars, tar_files, with_braces
from scl.errors import UserError

LAYOUTS = (
    "images in class folders (train/CLASS/*.png with val/ and test/ beside it, or CLASS/*.png alone), or listed in "
    "metadata.csv (file_name, label); Hugging Face Parquet (train-*.parquet) or save_to_disk; or WebDataset tars"
)
READERS = (saved_files, table_files, tar_files, listing_files, class_files)
ARCHIVES = (".zip", ".tgz", ".gz", ".xz", ".bz2", ".zst", ".7z", ".rar")


def exists(name: str) -> bool:
    """True if a path names a folder or a file, or a pattern of tars."""
    try:
        return Path(name).exists() or bool(BRACES.search(name))
    except (OSError, ValueError):
        return False


def find_dataset(place: Path, choices: Choices) -> DatasetFiles:
    """Find the data set in an existing folder, in one file, or in a pattern of tars, without decoding it.

    Raises:
        UserError: there is no data set, or it is unclear which one. `read` of the result raises for mistakes in the
            files.
        OSError: the place cannot be read.
    """
    if BRACES.search(str(place)) and not place.exists():
        tars = with_braces(str(place))
        if lacking := [path for path in tars if not path.exists()]:
            raise UserError(
                f"--data {place}: {len(lacking)} of {len(tars)} files are missing, the first is {lacking[0]}"
            )
        return some_tars(place.parent, {"train": tars}, choices)
    if place.is_file():
        return _file(place, choices)
    if not place.is_dir():
        raise UserError(f"--data {place}: it is neither a folder nor a regular file; give a folder, or a file of data")
    for reader in READERS:
        if (found := reader(place, choices)) is not None:
            return found
    below = [entry for entry in visible_entries(place) if entry.name not in SYSTEM]
    folders = [entry for entry in below if entry.is_dir()]
    # A readme or a licence may lie beside the one folder with the data; images, lists and archives would be data too.
    data = (*IMAGE_SUFFIXES, *ARCHIVES, *SUFFIXES, *KINDS, ".tar")
    others = [entry for entry in below if not entry.is_dir()]
    plain = not any(entry.name.lower().endswith(data) for entry in others)
    if len(folders) == 1 and plain and not folders[0].is_symlink():
        found = find_dataset(Path(folders[0].path), choices)
        beside = {"file beside the folder of the data": len(others)} if others else {}
        return replace(found, skipped={**found.skipped, **beside})
    raise UserError(f"--data {place}: no data set found in this folder{_hint(place)}; it must hold {LAYOUTS}")


def _file(path: Path, choices: Choices) -> DatasetFiles:
    suffix = path.suffix.lower()
    if suffix in KINDS:
        return one_table(path, choices)
    if suffix in SUFFIXES:
        return one_listing(path, choices)
    if suffix == ".tar":
        return some_tars(path.parent, {"train": [path]}, choices)
    unpack = "; unpack it and give its folder" if suffix in ARCHIVES else ""
    valid = ", ".join((*KINDS, *SUFFIXES, ".tar"))
    raise UserError(
        f"--data {path}: a file of this kind is not read as a data set{unpack}; valid: a folder, or {valid}"
    )


def _hint(folder: Path) -> str:
    """What lies in a folder that is no data set."""
    names = [entry.name.lower() for entry in visible_entries(folder)]
    if any(name.endswith(IMAGE_SUFFIXES) for name in names):
        return ": its images lie in no class folders, so they have no labels"
    if any(name.endswith(ARCHIVES) for name in names):
        return ": unpack its archives first"
    if any(name.endswith(SUFFIXES) for name in names):
        return ": to read a list of images, give the list itself"
    return ""
