"""`scl merge`: several stores of one study as one new store, with their networks and teachers.

A study can be split over jobs or machines, by seeds (`--seed-list`) or by arms (`--arms`), each with its own --out. The
merged store is the one that a single run over all of it would have left, but for times and the machine.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import torch
from pyarrow import fs
from torch import Tensor

from scl.errors import Damaged, UserError
from scl.masking import masked
from scl.run.sequential import differences
from scl.run.summary import report
from scl.store.declaration import read_declaration, write_declaration
from scl.store.editions import write_edition
from scl.store.files import Folder, check_writable, explain, open_folder
from scl.store.locks import locked
from scl.store.logits import LOGITS, logits_fault
from scl.store.lookup import stores
from scl.store.merging import Conflict, merged_record, merged_tables
from scl.store.networks import STUDENT
from scl.store.pictures import Pictures, read_pictures, write_pictures
from scl.store.schema import now
from scl.store.study_file import NAME, read_study, write_study
from scl.store.tables import compact
from scl.terminal import say
from scl.train import checkpoint

MARK = ".merging"  # in a merged store until it is whole


def merge(places: Sequence[str], out: str) -> int:
    """Merge stores of one study into a new one, OUT/STUDY, and build its page. Returns the exit code of the page.

    The new store's study.json is written last, so a merge that was killed leaves no store; the same call starts over.

    Args:
        places: what was given to --out, or one study's folder in it; paths or URIs.
        out: the folder for the results.

    Raises:
        UserError: a place holds no study or several; the stores are not parts of one study; a trial or a teacher has
            different numbers in two of them; the new store exists; nothing was written.
    """
    parts = _parts(places)
    for name, part in parts.items():
        found = read_declaration(part, read_study(part))
        for fault in found.faults if found else ():
            say(f"note: {name}: {fault}")
    command = masked(shlex.join(["scl", "merge", *places, "--out", out]))
    record = merged_record({name: read_study(store) for name, store in parts.items()}, command)
    tables, chosen, origin = merged_tables(parts)
    into = open_folder(out)
    store = into / str(record["study"])
    _check_new(store)
    wanted = {*record["teacher"]["ids"].values(), *filter(None, tables["trials"]["teacher_id"].to_pylist())}
    wanted |= {member for entry in record["teacher"].get("of_arms", ()) for member in entry["members"]}
    teachers = _teachers(wanted, {**parts, "--out": store})
    try:
        check_writable(into)
    except OSError as error:
        raise UserError(f"--out {into} cannot be written: {explain(error)}, or name another folder") from error
    with locked(store, command=command):
        _check_new(store)
        try:
            store.write(MARK, b"")
            for folder, name, source in teachers:
                files = into / "teachers" / folder
                if _intact(files, name) is None:
                    files.write(name, (_out(source) / "teachers" / folder).read(name), durable=True)
            _copy_networks(record, tables["trials"], chosen, parts, store)
            write_edition(store, tables, origin)
            compact(store, record)
            record["looks"].append({"when": now().isoformat(), "seeds": record["seeds"]})
            record["looks"][-1]["differences"] = differences(store, record)
            if record.get("pictures") is not False and (pictures := _pictures(parts)):
                write_pictures(store, pictures)
            if "declaration" in record:
                write_declaration(store, record["declaration"])
            write_study(store, record)
            store.remove(MARK)
        except OSError as error:
            raise UserError(f"{error.filename or store}: {explain(error)}; then merge again") from error
        done = sum(state in ("completed", "pruned") for state in tables["trials"]["state"].to_pylist())
        planned = len(record["plan"])
        say(f"{store}: {len(parts)} stores, {done} trials done, {planned} planned")
        return report(store)


def _parts(places: Sequence[str]) -> dict[str, Folder]:
    """The stores at these places, by the places as they were given."""
    parts: dict[str, Folder] = {}
    for place in places:
        found = stores(place)
        if len(found) > 1:
            raise UserError(
                f"{masked(place)} holds several studies; name one of them, as in {masked(place).rstrip('/')}/"
                f"{next(iter(found))}; studies: {', '.join(found)}"
            )
        (store,) = found.values()
        same = [name for name, other in parts.items() if str(other) == str(store)]
        if same:
            raise UserError(f"{masked(place)} is the same store as {same[0]}; name each store once")
        parts[masked(place)] = store
    return parts


def _check_new(store: Folder) -> None:
    """Raises UserError if the folder holds anything but the rest of a merge that was killed."""
    selector = fs.FileSelector(store.path, allow_not_found=True)
    visible = [i for i in store.filesystem.get_file_info(selector) if not i.base_name.startswith(".")]
    if store.exists(NAME) or (visible and not store.exists(MARK)):
        raise UserError(
            f"{store} exists already, and a merge makes a new store; name another --out, or remove that one"
        )


def _out(store: Folder) -> Folder:
    """The folder of results that a store lies in."""
    return replace(store, path=store.path.rpartition("/")[0])


def _teachers(wanted: set[str], parts: Mapping[str, Folder]) -> list[tuple[str, str, Folder]]:
    """The intact files of these teachers: folder, file, and a store beside which it is.

    Raises:
        Conflict: two stores have different weights of one teacher.
    """
    found = []
    for identity in sorted(wanted):
        held: dict[str, tuple[str, dict[str, Tensor]]] = {}  # file → part, tensors
        for name, store in parts.items():
            files = _out(store) / "teachers" / identity
            for file in files.names():
                tensors = _intact(files, file)
                if tensors is None:
                    continue
                other, before = held.setdefault(file, (name, tensors))
                if other == name:
                    found.append((identity, file, store))
                elif not _equal(before, tensors):
                    raise Conflict(
                        f"teacher {identity[:12]} was trained twice, with different weights in {other} and {name}, so "
                        "their students do not compare. Let the parts share one teacher: link or copy the folder "
                        "`teachers` of one --out into the others before they run, or run with --teacher-per-seed"
                    )
    return found


def _intact(files: Folder, name: str) -> dict[str, Tensor] | None:
    """The tensors of a file; None if it is missing, damaged or no network."""
    try:
        return checkpoint.unpack(files.read(name))[0]
    except (FileNotFoundError, Damaged):
        return None


def _equal(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _copy_networks(
    record: Mapping[str, object], trials: pa.Table, chosen: Mapping[str, str], parts: Mapping[str, Folder], into: Folder
) -> None:
    """Copy the students and logits of completed trials, and the checkpoints of trials that have not ended."""
    lost = []
    ids = trials["trial_id"].to_pylist()
    states, sizes = (dict(zip(ids, trials[of].to_pylist(), strict=True)) for of in ("state", "logits_bytes"))
    for identity in [i for i, state in states.items() if state == "completed"]:
        order = [parts[chosen[identity]], *parts.values()]
        places = [store / "checkpoints" / identity for store in order]
        source = next((files for files in places if _intact(files, STUDENT) is not None), None)
        if source is None:
            lost.append(identity)
        else:
            (into / "checkpoints" / identity).write(STUDENT, source.read(STUDENT), durable=True)
        kept = next((store for store in order if not logits_fault(store, identity)), None) if sizes[identity] else None
        if kept is not None:
            logits = (kept / "checkpoints" / identity).read(LOGITS)
            (into / "checkpoints" / identity).write(LOGITS, logits, durable=True)
    if lost:
        more = ", …" if len(lost) > 3 else ""
        say(
            f"{len(lost)} networks are missing or damaged in these stores, and cannot be exported: "
            f"{', '.join(i[:12] for i in lost[:3])}{more}; --remake-students trains what is lost again",
        )
    for identity in _unfinished(record, states):
        furthest = max((store / "checkpoints" / identity for store in parts.values()), key=lambda files: files.names())
        for name in furthest.names():
            (into / "checkpoints" / identity).write(name, furthest.read(name))


def _pictures(parts: Mapping[str, Folder]) -> Pictures:
    """The pictures of all parts: they share their test images."""
    return {image: picture for store in parts.values() for image, picture in read_pictures(store).items()}


def _unfinished(record: Mapping[str, object], states: Mapping[str, str]) -> Iterator[str]:
    plan = record["plan"]
    assert isinstance(plan, list)
    for trial in plan:
        if trial["trial_id"] not in states:
            yield trial["trial_id"]
