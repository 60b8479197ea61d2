"""What killed runs have left. The next run removes what is its own and finished.

Never removed: files of a live run, files that scl did not write, and the checkpoints of trials that have not finished.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from scl.errors import Damaged, UserError
from scl.plan.teachers import TEACHER_FILE
from scl.store.editions import COPY
from scl.store.files import PARTIAL, WRITE_TEST, Folder, open_folder
from scl.store.holder import HOLDER
from scl.store.lease import CLOCK, LEASE_SECONDS
from scl.store.locks import locked
from scl.store.tables import read_trials
from scl.train import checkpoint

HEX = "[0-9a-f]+"
TEST = re.compile(rf"{WRITE_TEST}{HEX}|\.{WRITE_TEST}{HEX}\.\d+-{HEX}\{PARTIAL}")
WRITING = re.compile(rf"\..+\.\d+-{HEX}\{PARTIAL}|optuna\.mended")  # of atomic writes, and of a journal's repair
PROBE = re.compile(rf"\{CLOCK}{HEX}")
PLACES = re.compile("|copies|parts|checkpoints/[^/]+")  # folders of a store that have files of these names
EPOCH = re.compile(r"checkpoints/([^/]+)/(epoch-\d+\.safetensors)")
# In folders that have no lock, a file that nobody has written to for so long has no writer.
QUIET_SECONDS = 3600.0


def sweep(out: Folder, store: Folder, cache: Path) -> None:
    """Remove leftovers of a store, whose lock this run holds, and of what it shares with other studies: the folder of
    results, the teachers, and the cache of data sets."""
    sweep_partials(store)
    _sweep_finished(store)
    _sweep_teachers(out / "teachers")
    quiet = _now(store.files_below(deep=False)) - QUIET_SECONDS
    for folder in (out, open_folder(cache)):
        for name, written in folder.files_below(deep=False).items():
            if TEST.fullmatch(name) or (WRITING.fullmatch(name) and written < quiet):
                with suppress(OSError):
                    folder.remove(name)


def sweep_partials(folder: Folder) -> None:
    """Remove the partial files of a store, or of a teacher's folder. Only for the holder of its lock."""
    files = folder.files_below()
    now = _now(files)
    copies = [match for path in files if (match := COPY.fullmatch(path.removeprefix("copies/")))]
    whole = {match[2] for match in copies if match[1] == "trials"}
    for match in copies:
        path = f"copies/{match[0]}"
        if match[2] not in whole and files.get(path, now) < now - QUIET_SECONDS:  # of an edition that was never whole
            with suppress(OSError):
                folder.remove(path)
    for path, written in files.items():
        place, _, name = path.rpartition("/")
        # Another run may be reading the clock just now, to see whether the lease is old.
        old_probe = PROBE.fullmatch(name) and written < now - LEASE_SECONDS
        if PLACES.fullmatch(place) and (TEST.fullmatch(name) or WRITING.fullmatch(name) or old_probe):
            with suppress(OSError):
                folder.remove(path)


def _now(files: Mapping[str, float]) -> float:
    """The time by the clock that dates these files of a folder that this run holds: it has just written `.holder`."""
    return files.get(HOLDER, 0.0)


def _sweep_finished(store: Folder) -> None:
    """Remove the checkpoints of trials that have ended: a run may be killed after it has stored a trial's row."""
    found = [match for path in store.files_below() if (match := EPOCH.fullmatch(path))]
    if not found:
        return
    rows = read_trials(store)
    finished = set(rows.loc[rows["state"].isin(["completed", "pruned"]), "trial_id"])
    for match in found:
        if match[1] in finished:
            store.remove(match[0])


def _sweep_teachers(teachers: Folder) -> None:
    """Remove partial files, locks' records and checkpoints of finished teachers, where no live run holds the lock."""
    by_teacher = defaultdict(list)
    for path in teachers.files_below():
        teacher, _, name = path.rpartition("/")
        by_teacher[teacher].append(name)
    for teacher, names in by_teacher.items():
        partial = any(n == HOLDER or PROBE.fullmatch(n) or WRITING.fullmatch(n) for n in names)
        trained = TEACHER_FILE in names and any(n.startswith("epoch-") for n in names)
        if teacher and "/" not in teacher and (partial or trained):
            files = teachers / teacher
            with suppress(UserError, OSError), locked(files):  # else a live run has it, or it is another user's
                sweep_partials(files)
                if trained and _intact(files):
                    checkpoint.drop_epochs(files)


def _intact(files: Folder) -> bool:
    try:
        checkpoint.unpack(files.read(TEACHER_FILE))
    except (Damaged, FileNotFoundError):
        return False
    return True
