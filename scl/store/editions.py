"""The three tables as files, each with a copy.

    trials.parquet      epochs.parquet      predictions.parquet
    copies/             the same tables again: under the same names on a disk, as NAME-EDITION.parquet elsewhere

On a disk, a lock keeps a second writer out. An object store has no lock, and a run that was suspended there may write
after another one has taken its lease over. So nothing is overwritten in `copies`: who writes tables adds an edition,
and removes only editions whose rows it has read and written again. All rows are in the editions together, whoever
wrote last. The tables of the store itself are those of an edition, for readers by name.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from scl.errors import Damaged, RunFailed
from scl.store.checksums import edition_of, from_parquet, is_checked, remarks_of, to_parquet
from scl.store.columns import REQUIRED, OtherSchema, complete, conformed
from scl.store.faults import Fault, stops
from scl.store.files import Folder
from scl.store.lease import check_held
from scl.store.schema import SCHEMAS

LOST = "its rows are missing here, and a run trains those trials again"
ORIGIN = "rows come from a file without a checksum: another program than scl wrote it, and may have changed numbers"
UNCHECKED = "it has no checksum: another program than scl wrote it, and may have changed numbers"
COPY = re.compile(r"(trials|epochs|predictions)-([0-9a-f]{16})\.parquet")
TRIES, PATIENCE = 20, 3  # to read editions that runs replace meanwhile, or that are not yet whole


@dataclass(frozen=True)
class Found:
    """One table of an edition, from the file `place`, with its bytes; both are empty if there is no usable file.

    origin: what must stay with the rows when they are written again. faults: of the table's file and of its copy.
    checked: its bytes were compared with their checksum. edition: as its writer named it; empty if it has no name.
    """

    table: pa.Table
    place: str = ""
    content: bytes = b""
    origin: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    checked: bool = False
    edition: str = ""


class _Replaced(Exception):
    """A run has replaced an edition since it was listed."""


def read_editions(store: Folder, *files: str) -> dict[str, dict[str, Found]]:
    """The tables named in `files` of each edition, by its name. On a disk there is one, which has no name.

    Raises:
        RunFailed: a file cannot be opened, there is not enough memory, or runs replace editions all the time.
        UserError: a newer version of scl wrote a file.
    """
    for attempt in range(TRIES):
        names = _names(store)
        if not names:
            return {"": {file: _first(store, file, f"{file}.parquet", f"copies/{file}.parquet") for file in files}}
        try:
            by_file = {file: _of_editions(store, file, names, attempt < PATIENCE) for file in files}
        except _Replaced:
            continue
        every = ["", *names] if any("" in found for found in by_file.values()) else names
        nothing = {file: Found(SCHEMAS[file].empty_table()) for file in files}
        return {name: {f: by_file[f].get(name, nothing[f]) for f in files} for name in every}
    raise RunFailed(f"{store}: runs replace its tables all the time; read it again later")


def _names(store: Folder) -> list[str]:
    """The editions in `copies`, sorted. The trials come last into an edition, and leave it first."""
    if store.is_local:
        return []
    with stops(f"{store}/copies"):
        found = [COPY.fullmatch(name) for name in (store / "copies").names()]
    return [match[2] for match in found if match and match[1] == "trials"]


def _of_editions(store: Folder, file: str, names: Sequence[str], patient: bool) -> dict[str, Found]:
    """One table of each of these editions, and of "" if the store's own table comes from a version of scl without
    editions. If it is of an edition that is gone, its rows are in the others."""
    main = _first(store, file, f"{file}.parquet")
    found = {}
    for name in names:
        if main.edition == name:
            found[name] = main
            continue
        copy = f"copies/{file}-{name}.parquet"
        found[name] = _first(store, file, copy)
        if not found[name].place and not found[name].faults:
            if name not in _names(store):
                raise _Replaced
            found[name] = replace(found[name], faults=(Fault(copy, f"it is missing; {LOST}"),))
    if main.edition:
        if main.edition not in names and _names(store) != list(names):
            raise _Replaced
        return found
    if main.checked:
        return {**found, "": main}
    if patient and not main.place and not main.faults:
        time.sleep(0.2)  # the first edition of a store may be there, and its tables just being written
        raise _Replaced
    # It is damaged, missing, or was written by another program.
    why = main.faults[0].reason.partition("; ")[0] if main.faults else UNCHECKED if main.place else "it is missing"
    newest = found[names[-1]]
    fault = Fault(f"{file}.parquet", f"{why}; its copy is used", set_aside=True)
    return {**found, names[-1]: replace(newest, faults=(fault, *newest.faults))}


def _first(store: Folder, file: str, *places: str) -> Found:
    """The table at the first of two places whose checksum is right, or else at the first that is readable."""
    main = places[0]
    unused: dict[str, str] = {}  # file → why it is not used
    second: tuple[Found, list[str]] | None = None
    for place in places:
        try:
            found, remarks = _read_table(store, place, file)
        except FileNotFoundError:
            continue
        except (Damaged, OtherSchema) as error:
            unused[place] = str(error)
            continue
        if found.checked:
            if second is not None:
                unused[main] = UNCHECKED
            elif place != main and main not in unused:
                unused[main] = "it is missing"
            return _with_faults(found, remarks, unused)
        second = second or (found, remarks)
    if second is not None:
        return _with_faults(*second, unused)
    return Found(
        SCHEMAS[file].empty_table(),
        faults=tuple(Fault(place, f"{why}; {LOST}", set_aside=True) for place, why in unused.items()),
    )


def _with_faults(found: Found, remarks: Sequence[str], unused: Mapping[str, str]) -> Found:
    """The table with what its readers are told: of the files that are not used, and of the table itself."""
    instead = "its copy is used" if found.place.startswith("copies/") else "it is not used"
    others = [Fault(place, f"{why}; {instead}", set_aside=True) for place, why in unused.items()]
    own = [Fault(found.place, remark) for remark in (*found.origin, *remarks)]
    return replace(found, faults=(*others, *own))


def _read_table(store: Folder, place: str, file: str) -> tuple[Found, list[str]]:
    """One file as a table, and what was left out of it.

    Raises:
        FileNotFoundError, Damaged, OtherSchema: there is no file, or none that can be used.
        RunFailed, UserError: the file says nothing about its content; see `stops`.
    """
    with stops(f"{store}/{place}"):
        if store.is_no_file(place):
            raise OtherSchema("it is a folder or a special file")
        content, raw = store.read_as(place, from_parquet)
    try:
        table, remarks = conformed(raw, file)
    except OtherSchema as error:
        raise OtherSchema(f"it is no table of {file}: {error}") from None
    checked = is_checked(raw)
    mask = complete(table, file)
    if dropped := len(table) - int(pc.sum(mask).as_py() or 0):
        table = table.filter(mask)
        remarks.append(f"{dropped} of its rows lack a valid {' or '.join(REQUIRED[file])} and are left out")
    if file == "epochs" and not checked:
        again = table.select(["trial_id", "epoch"]).to_pandas().duplicated(keep="last")
        if again.any():
            table = table.filter(pa.array(~again))
            remarks.append(f"{again.sum()} of its rows are of an epoch that has another row, and are left out")
    origin = tuple(remarks_of(raw)) if checked else (ORIGIN,)
    return Found(table, place, content, origin, checked=checked, edition=edition_of(raw)), remarks


def write_edition(
    store: Folder,
    tables: Mapping[str, pa.Table],
    origin: Mapping[str, Sequence[str]],
    replaced: Sequence[str] = (),
) -> None:
    """Write the tables, each with its copy. In an object store all three, and the editions in `replaced` go.

    Args:
        origin: by table, remarks that stay with its rows.
        replaced: editions whose rows are in these tables.

    Raises:
        LostLease: another run has taken the store over.
    """
    edition = "" if store.is_local else secrets.token_hex(8)
    files = [file for file in reversed(SCHEMAS) if file in tables]  # trials say what has ended, so they come last
    contents = {file: to_parquet(tables[file], origin[file], edition) for file in files}
    copies = {file: f"{file}-{edition}.parquet" if edition else f"{file}.parquet" for file in files}
    ways = [(file, store / "copies", copies[file]) for file in files]
    places = [(file, store, f"{file}.parquet") for file in files]
    # On a disk a table follows its copy. Elsewhere an edition is whole before the store's own tables change.
    in_turn = [way for pair in zip(ways, places, strict=True) for way in pair]
    for file, folder, name in [*ways, *places] if edition else in_turn:
        check_held(store)
        folder.write(name, contents[file], durable=True)
    if edition:
        for old in replaced:
            for file in SCHEMAS:
                check_held(store)
                (store / "copies").remove(f"{file}-{old}.parquet" if old else f"{file}.parquet")


def restore(store: Folder, file: str, found: Found) -> None:
    """Write a table that was lost again, from its copy."""
    check_held(store)
    store.write(f"{file}.parquet", found.content, durable=True)
