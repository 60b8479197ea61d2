"""declared.json: what a study declared before anything of it trained, signed by the SHA-256 of its content.

study.json has a copy under `declaration`. A hash shows that a file was changed by somebody who did not compute it anew.
It proves neither who wrote the file nor when: for that, the hash must stand somewhere else before the results are
there, such as in a commit, a preregistration or a letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scl.store.faults import stops
from scl.store.files import Folder
from scl.store.lease import check_held
from scl.store.shape import declaration_fitted
from scl.study.identity import sha256

NAME = "declared.json"
SIGNATURE = "sha256"


@dataclass(frozen=True)
class Declaration:
    """What a store declared.

    whole: as it was read, with its hash. parts: the content of each declaration, as far as it can be used: one, or
    several in a merged store. faults: what shows that it was changed after it was written, a sentence each.
    """

    whole: dict[str, Any]
    parts: tuple[dict[str, Any], ...]
    faults: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether its hash fits, and that of each part."""
        return bool(self.parts) and all(map(hash_fits, [self.whole, *parts_of(self.whole)]))

    @property
    def when(self) -> str:
        """When it was written; of several, the last time."""
        return max((str(part["when"]) for part in self.parts), default="")

    @property
    def signature(self) -> str:
        return str(self.whole.get(SIGNATURE) or "")


def signed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the SHA-256 of its canonical JSON: sorted keys, no spaces, ASCII."""
    return {**content, SIGNATURE: sha256(json.loads(json.dumps(content)))}


def hash_fits(declared: Mapping[str, Any]) -> bool:
    return sha256({name: value for name, value in declared.items() if name != SIGNATURE}) == declared.get(SIGNATURE)


def joined(declared: Iterable[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """The declarations of several stores as one: the same one once, several under `parts`; None if there is none."""
    found = {part[SIGNATURE]: part for each in declared if each for part in parts_of(each)}
    return (
        None if not found else next(iter(found.values())) if len(found) == 1 else signed({"parts": [*found.values()]})
    )


def parts_of(declared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The declarations that one holds: those of merged stores, or itself."""
    parts = declared.get("parts")
    if isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts):
        return list(parts)
    return [dict(declared)]


def write_declaration(store: Folder, declared: Mapping[str, Any]) -> None:
    """Write declared.json. Raises LostLease: another run has taken the store over."""
    check_held(store)
    store.write(NAME, (json.dumps(declared, indent=1, allow_nan=False) + "\n").encode(), durable=True)


def read_declaration(store: Folder | None, study: Mapping[str, Any]) -> Declaration | None:
    """What a store declared, from declared.json and the copy in study.json; None if it declared nothing.

    Args:
        study: the content of study.json. Its copy counts if the two differ: study.json has a checksum of its own.

    Raises:
        RunFailed: the file cannot be opened.
    """
    copy = study.get("declaration")
    faults: list[str] = []
    found = _file(store, faults)
    if found is None and not copy:
        return Declaration({}, (), tuple(faults)) if faults else None
    if copy and not all(map(hash_fits, [copy, *parts_of(copy)])):
        faults.append("the hash of the declaration in study.json does not fit its content: it was changed later")
    if found is not None and not all(map(hash_fits, [found, *parts_of(found)])):
        faults.append(f"the hash in {NAME} does not fit its content: the file was changed after it was written")
    elif copy and found is not None and found[SIGNATURE] != copy.get(SIGNATURE):
        faults.append(
            f"{NAME} is another declaration ({found[SIGNATURE][:12]}) than the one that study.json has "
            f"({str(copy.get(SIGNATURE))[:12]})"
        )
    elif copy and found is None and store is not None and not faults:
        faults.append(f"{NAME} is missing; study.json has its content")
    elif found is not None and not copy:
        faults.append(f"study.json does not have the declaration in {NAME}: one of the two was made anew or exchanged")
    whole = copy or found or {}
    parts = _readable(whole, faults)
    return Declaration(whole, parts, tuple(faults))


def _file(store: Folder | None, faults: list[str]) -> dict[str, Any] | None:
    """The content of declared.json; None if it is missing or unreadable, which `faults` then says."""
    if store is None:
        return None
    try:
        with stops(f"{store}/{NAME}"):
            content = store.read(NAME)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(content)
        sha256(found)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        faults.append(f"{NAME} cannot be read: it is not as scl wrote it")
        return None
    return found


def _readable(declared: Mapping[str, Any], faults: list[str]) -> tuple[dict[str, Any], ...]:
    """The parts that have what a declaration needs; what is left out of them is a fault."""
    parts = []
    for part in parts_of(declared):
        fitted, problems = declaration_fitted(part)
        faults += [f"{NAME}: {problem}; it is left out" for problem in problems]
        parts += [fitted] if fitted else []
    return tuple(parts)
