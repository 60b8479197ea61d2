"""study.json: what was planned, by which command, on what data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scl.errors import Damaged, UserError
from scl.store.files import Folder
from scl.store.schema import SCHEMA_VERSION

NAME = "study.json"


def write_study(store: Folder, study: Mapping[str, Any]) -> None:
    """Write study.json, with a checksum of its content. Raises ValueError if the content holds NaN or infinity."""
    store.write(NAME, json.dumps({**study, "sha256": _digest(study)}, indent=1, allow_nan=False).encode())


def read_study(store: Folder) -> dict[str, Any]:
    """The content of study.json without its checksum.

    Raises:
        UserError: the file is missing or damaged, or a newer version of scl wrote it.
    """
    try:
        return _read(store)
    except FileNotFoundError:
        raise UserError(f"no results in {store}: it has no {NAME}; run the study first") from None
    except Damaged as damage:
        raise UserError(
            f"{store}/{NAME} is damaged ({damage}); run the same command again to write it anew, the trials are kept"
        ) from None


def check_study(store: Folder) -> None:
    """Set a damaged study.json aside before a run writes a new one. Raises UserError if a newer scl wrote it."""
    try:
        _read(store)
    except FileNotFoundError:
        return
    except Damaged as damage:
        store.set_aside(NAME, str(damage))


def _read(store: Folder) -> dict[str, Any]:
    try:
        study = dict(json.loads(store.read(NAME)))
    except (ValueError, TypeError) as error:
        raise Damaged(f"it is not JSON: {error}") from None
    digest = study.pop("sha256", None)
    if digest is not None and digest != _digest(study):
        raise Damaged("its checksum does not match")
    if study.get("schema_version", 0) > SCHEMA_VERSION:
        raise UserError(
            f"a newer scl wrote {store} (schema {study['schema_version']}, this version reads {SCHEMA_VERSION}); "
            "update scl"
        )
    return study


def _digest(study: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps({k: v for k, v in study.items() if k != "sha256"}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
