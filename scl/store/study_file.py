"""study.json: what was planned, by which command, on what data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scl.errors import Damaged, UserError
from scl.store.faults import Fault, stops, tell
from scl.store.files import Folder
from scl.store.lease import check_held
from scl.store.schema import SCHEMA_VERSION
from scl.store.shape import fitted

NAME = "study.json"


def write_study(store: Folder, study: Mapping[str, Any]) -> None:
    """Write study.json, with a checksum of its content.

    Raises:
        ValueError: the content holds NaN or infinity.
        LostLease: another run has taken the store over.
    """
    check_held(store)
    store.write(NAME, json.dumps({**study, "sha256": _digest(study)}, indent=1, allow_nan=False).encode(), durable=True)


def read_study(store: Folder) -> dict[str, Any]:
    """The content of study.json without its checksum. What is left out of it is named on stderr.

    Raises:
        UserError: the file is missing or damaged, or a newer version of scl wrote it.
        RunFailed: the file cannot be opened, or there is not enough memory.
    """
    study, faults = study_and_faults(store)
    tell(store, faults)
    return study


def study_and_faults(store: Folder) -> tuple[dict[str, Any], list[Fault]]:
    """The content of study.json, and what is wrong with it: a field of another type than scl writes is left out.

    Raises as `read_study` does.
    """
    try:
        study, checked = _read(store)
    except FileNotFoundError:
        inside = [str(store / name) for name in store.folders() if (store / name).exists(NAME)]
        instead = f"its studies are {', '.join(inside[:5])}" if inside else "run the study first"
        raise UserError(f"no results in {store}: it has no {NAME}; {instead}") from None
    except Damaged as damage:
        raise UserError(
            f"{store}/{NAME} is damaged ({damage}); run the same command again to write it anew, the trials are kept"
        ) from None
    study, problems = fitted(study)
    faults = [Fault(NAME, f"{problem}; it is left out") for problem in problems]
    if not checked:
        edited = "it has no checksum: another program than scl wrote it, and may have changed it; it is used as it is"
        faults.insert(0, Fault(NAME, edited))
    return study, faults


def faults_before_a_run(store: Folder) -> list[Fault]:
    """What is wrong with study.json, if there is one, before a run writes it anew. Raises UserError if a newer scl
    wrote it."""
    try:
        _read(store)
    except FileNotFoundError:
        return []
    except Damaged as damage:
        return [Fault(NAME, f"{damage}; a run writes it anew", set_aside=True)]
    return study_and_faults(store)[1]


def check_study(store: Folder) -> None:
    """Set a damaged study.json aside before a run writes a new one. Raises UserError if a newer scl wrote it."""
    for fault in faults_before_a_run(store):
        if fault.set_aside:
            check_held(store)
            store.set_aside(NAME, fault.reason)


def _read(store: Folder) -> tuple[dict[str, Any], bool]:
    """The content, and whether it was compared with its checksum. Raises FileNotFoundError, Damaged."""
    with stops(f"{store}/{NAME}"):
        if store.is_no_file(NAME):
            raise Damaged("it is a folder or a special file")
        return store.read_as(NAME, lambda content: _parsed(store, content))[1]


def _parsed(store: Folder, content: bytes) -> tuple[dict[str, Any], bool]:
    try:
        study = json.loads(content, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is not JSON: {error}") from None
    if not isinstance(study, dict):
        raise Damaged(f"it is no JSON object but a {type(study).__name__}")
    digest = study.pop("sha256", None)
    version = study.get("schema_version", 0)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UserError(
            f"a newer scl wrote {store} (schema {version}, this version reads {SCHEMA_VERSION}); update scl"
        )
    if digest is not None and digest != _digest(study):
        raise Damaged("its checksum does not match")
    if b"\\ud" in content.lower():  # half a character, which no file and no terminal takes
        study = json.loads(json.dumps(study, ensure_ascii=False).encode("utf-8", "replace"))
    return study, digest is not None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _digest(study: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps({k: v for k, v in study.items() if k != "sha256"}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
