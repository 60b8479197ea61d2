"""Finding studies in a folder of results, and a trial in them by arm and seed or by its id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scl.errors import RunFailed, UserError, shown
from scl.store.files import Folder, open_folder
from scl.store.results import read_results
from scl.study import checks


def stores(place: str) -> dict[str, Folder]:
    """The stores in a folder, by name; the folder may itself be a store. Raises UserError if there is none."""
    folder = open_folder(place, reading=True)
    if _has_study(folder):
        return {folder.path.rpartition("/")[2]: folder}
    found = {name: folder / name for name in folder.folders() if _has_study(folder / name)}
    if not found:
        raise UserError(f"no results in {folder}; run a study first, or give the folder that was its --out")
    return found


def _has_study(folder: Folder) -> bool:
    """True if there is a study.json, even one that cannot be read."""
    return folder.exists("study.json") or folder.is_no_file("study.json")


def find_trial(place: str, trial: str) -> tuple[str, Folder, Mapping[str, Any]]:
    """Find a trial. Returns the name of its study, its store and its row.

    Args:
        place: a folder of results, or the folder of one study.
        trial: STUDY/ARM/SEED, ARM/SEED, or the beginning of an id.

    Raises:
        UserError: no trial matches, or several do.
    """
    try:
        trial = checks.text(trial)
    except ValueError as error:
        raise UserError(f"a trial {error}; give STUDY/ARM/SEED, ARM/SEED or the beginning of an id") from None
    try:
        return _found(place, trial)
    except UserError:
        if trial and Path(trial).is_dir():  # `scl show results/ablation`: RESULTS was left to its default
            raise UserError(
                f"{shown(trial)} is a folder, and no trial; give a trial after it, as ARM/SEED or an id's beginning"
            ) from None
        raise


def _found(place: str, trial: str) -> tuple[str, Folder, Mapping[str, Any]]:
    every = stores(place)
    named, _, rest = trial.partition("/")
    asked = {named: every[named]} if named in every and rest else every
    found, reasons, unreadable = [], [], []
    for name, store in asked.items():
        try:
            read = read_results(store)
        except (UserError, RunFailed) as error:
            if len(asked) == 1:
                raise
            unreadable.append(f"; not searched: {error}")
            continue
        # An arm's name may contain a slash, and may begin with the study's name.
        for text in dict.fromkeys((rest, trial) if name == named and rest else (trial,)):
            try:
                found.append((name, store, read.find(text)))
                break
            except UserError as error:
                reasons.append(str(error))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{name}/{row['arm']}/{row['seed']}" for name, _, row in found)
        raise UserError(f"trial {shown(trial)} is in several studies; give one of: {names}")
    if len(asked) == 1:
        raise UserError(reasons[0])
    raise UserError(
        f"unknown trial {shown(trial)}; give STUDY/ARM/SEED or the beginning of an id; studies: {', '.join(asked)}"
        + "".join(unreadable)
    )
