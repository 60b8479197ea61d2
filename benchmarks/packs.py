"""A folder of results as a few files of limited size, and back: for machines that return only such files.

The name of a file has the hash of its bundle, so that what was damaged, cut off or mixed with another piece is seen.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

LIMIT = 15_000_000  # bytes of a file
DELIVERED = "delivered.json"  # teacher → hash of what has been packed: they are large, and never change
NOT_PACKED = re.compile(r"(^|/)(epoch-[^/]*|student\.safetensors|copies|cache|report\.html|[^/]*\.new)(/|$)")
PIECE = "piece.json"  # in the results: of which run they are, and after how many pieces
FILE = re.compile(r"(?P<bundle>[\w-]+)\.(?P<digest>[0-9a-f]{12})\.tar\.(?P<part>\d+)-of-(?P<parts>\d+)")
TEACHER = re.compile(r"(?P<study>[^/]+)/teachers/(?P<id>[^/]+)/.")
RESULTS = "results"


def pack(work: Path, out: Path, most: int) -> None:
    """Write `work` into at most `most` files of LIMIT bytes: results first, then teachers that were not packed before.

    Checkpoints of unfinished trials and students' networks stay behind: the same command trains what is unfinished.

    Raises:
        ValueError: the results alone need more files.
    """
    before = _read(work / PIECE)
    _write(work / PIECE, {"run": before.get("run") or secrets.token_hex(8), "piece": before.get("piece", 0) + 1})
    bundles: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(path for path in work.rglob("*") if path.is_file()):
        name = file.relative_to(work).as_posix()
        if not NOT_PACKED.search(name) and name != DELIVERED:
            bundles[_bundle(name)].append(file)
    delivered, room = _read(work / DELIVERED), most
    for bundle in sorted(bundles, key=lambda name: (name != RESULTS, name)):
        content = _tar(work, bundles[bundle])
        chunks = [content[i : i + LIMIT] for i in range(0, len(content), LIMIT)]
        if delivered.get(bundle) == _digest(content):
            continue
        if len(chunks) > room and bundle == RESULTS:
            raise ValueError(f"the results need {len(chunks)} files of {LIMIT:,} bytes, and {most} may be written")
        if len(chunks) > room:
            print(f"{bundle}: waits for the next piece, its {len(chunks)} files have no room", flush=True)
            continue
        room -= len(chunks)
        for old in out.glob(f"{bundle}.*.tar.*"):  # of an earlier piece
            old.unlink()
        for i, chunk in enumerate(chunks):
            (out / f"{bundle}.{_digest(content)[:12]}.tar.{i:02}-of-{len(chunks):02}").write_bytes(chunk)
        if bundle != RESULTS:
            delivered[bundle] = _digest(content)
    _write(work / DELIVERED, delivered)


def unpack(folder: Path, work: Path) -> None:
    """Put the files of `pack` back; what is there and also in a file is replaced. Results that are older than those in
    `work` stay out, and a line says so: pieces may come in any order.

    Raises:
        ValueError: a file is missing, damaged, or of another piece or run, or one would write outside of `work`.
    """
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    kinds: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for file in sorted(folder.iterdir()):
        if match := FILE.fullmatch(file.name):
            found[match["bundle"]][file.name] = file
            kinds[match["bundle"]].add((match["digest"], int(match["parts"])))
    if not found:
        raise ValueError(f"{folder} has no file of a piece, as {RESULTS}.0123456789ab.tar.00-of-01")
    contents = {}
    for bundle, files in found.items():
        (digest, parts), *others = kinds[bundle]
        if others or len(files) != parts:
            names = ", ".join(files)
            raise ValueError(f"{folder}: of {bundle} there is {names}; bring all files of one piece, and no others")
        contents[bundle] = b"".join(file.read_bytes() for file in files.values())
        if _digest(contents[bundle])[:12] != digest:
            raise ValueError(f"{folder}: {', '.join(files)} do not have the hash in their names; bring them again")
    work.mkdir(parents=True, exist_ok=True)
    delivered = _read(work / DELIVERED)
    for bundle, content in contents.items():
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            if bundle == RESULTS and _is_older(tar, folder, work):
                print(f"{folder}: its results are older than those in {work}, which stay", flush=True)
                continue
            try:
                tar.extractall(work, filter="data")
            except tarfile.FilterError as error:
                raise ValueError(f"{folder}: {bundle} would write outside of {work}: {error}") from None
        if bundle != RESULTS:
            delivered[bundle] = _digest(content)
    _write(work / DELIVERED, delivered)


def _is_older(results: tarfile.TarFile, folder: Path, work: Path) -> bool:
    """Whether `work` has later results of the same run. Raises ValueError: it is of another run."""
    member = results.extractfile(PIECE) if PIECE in results.getnames() else None
    theirs, mine = json.loads(member.read()) if member else {}, _read(work / PIECE)
    if mine and theirs.get("run") != mine["run"]:
        raise ValueError(f"{folder} is of another run than {work}; name another --work")
    return bool(mine) and theirs["piece"] < mine["piece"]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _write(file: Path, content: dict[str, Any]) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    beside.replace(file)  # whole, or as before


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _bundle(name: str) -> str:
    """The bundle of a file by its name in `work`: of a teacher's folder its own, of all else the results'."""
    match = TEACHER.match(name)
    return re.sub(r"[^\w-]", "-", f"teacher-{match['study']}-{match['id'][:12]}") if match else RESULTS


def _tar(root: Path, files: list[Path]) -> bytes:
    """Files as an archive; equal files make equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            info = tarfile.TarInfo(file.relative_to(root).as_posix())
            content = file.read_bytes()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
