"""Studies in a folder of results, and a trial among them by the names that people use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyarrow import fs

from scl import results
from scl.errors import UserError, unknown
from scl.storage import Folder, open_folder


def stores(place: str) -> dict[str, Folder]:
    """The stores in a folder of results by name; the folder may be one store itself. Raises UserError for none."""
    folder = open_folder(place)
    if folder.exists("study.json"):
        return {folder.path.rpartition("/")[2]: folder}
    infos = folder.filesystem.get_file_info(fs.FileSelector(folder.path, allow_not_found=True))
    names = sorted(i.base_name for i in infos if i.type == fs.FileType.Directory)
    found = {name: folder / name for name in names if (folder / name).exists("study.json")}
    if not found:
        raise UserError(f"no results in {folder}; run a study first, or name the folder that was its --out")
    return found


def find(place: str, trial: str) -> tuple[str, Folder, Mapping[str, Any]]:
    """A trial: the name of its study, its store and its row.

    Args:
        place: a folder of results, or one study's.
        trial: STUDY/ARM/SEED, ARM/SEED, or the beginning of an id.

    Raises:
        UserError: none, or several.
    """
    every = stores(place)
    named, _, rest = trial.partition("/")
    asked = {named: every[named]} if named in every and rest else every
    found, reasons = [], []
    for name, store in asked.items():
        read = results.read(store)
        # An arm's name may have a slash in it, and begin as the study is named.
        for text in dict.fromkeys((rest, trial) if name == named and rest else (trial,)):
            try:
                found.append((name, store, in_study(read, text)))
                break
            except UserError as error:
                reasons.append(str(error))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{name}/{row['arm']}/{row['seed']}" for name, _, row in found)
        raise UserError(f"trial {trial!r} is in several studies; say which: {names}")
    if len(asked) == 1:
        raise UserError(reasons[0])
    raise UserError(
        f"unknown trial {trial!r}; give STUDY/ARM/SEED or the beginning of an id; studies: {', '.join(asked)}"
    )


def in_study(read: results.Results, trial: str) -> Mapping[str, Any]:
    """The row of a trial by ARM/SEED of the present plan, by its id, or by the beginning of its id.

    Raises:
        UserError: none, or several.
    """
    planned = read.planned()
    arm, _, seed = trial.rpartition("/")
    if arm and seed.isdigit():
        rows = planned[(planned["arm"] == arm) & (planned["seed"] == int(seed))]
        if len(rows):
            return dict(rows.iloc[-1])
    rows = read.trials[read.trials["trial_id"].str.startswith(trial)] if trial else read.trials[:0]
    if len(rows) == 1:
        return dict(rows.iloc[0])
    if len(rows) > 1:
        raise UserError(f"trial {trial!r}: {len(rows)} ids begin so; give more of it, or ARM/SEED")
    if not len(read.trials):
        raise UserError(f"trial {trial!r}: no trial of this study has ended yet; run it first")
    names = [f"{arm}/{seed}" for arm, seed in zip(planned["arm"], planned["seed"], strict=True)]
    raise UserError(f"{unknown('trial', trial, names)}; or the beginning of a trial's id")
