"""A folder of results as a few files of limited size, and back: for machines that return only such files."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import defaultdict
from pathlib import Path

LIMIT = 15_000_000  # bytes of a file
DELIVERED = "delivered.json"  # teacher → hash of what has been packed: they are large, and never change
NOT_PACKED = re.compile(r"(^|/)(epoch-[^/]*|student\.safetensors|copies|cache|report\.html|[^/]*\.new)(/|$)")
FILE = re.compile(r"(?P<bundle>[\w-]+)\.tar\.(?P<part>\d+)-of-(?P<parts>\d+)")
TEACHER = re.compile(r"(?P<study>[^/]+)/teachers/(?P<id>[^/]+)/.")
RESULTS = "results"


def pack(work: Path, out: Path, most: int) -> None:
    """Write `work` into at most `most` files of LIMIT bytes: results first, then teachers that were not packed before.

    Checkpoints of unfinished trials and students' networks stay behind: the same command trains what is unfinished.

    Raises:
        ValueError: the results alone need more files.
    """
    bundles: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(path for path in work.rglob("*") if path.is_file()):
        name = file.relative_to(work).as_posix()
        if not NOT_PACKED.search(name) and name != DELIVERED:
            bundles[_bundle(name)].append(file)
    delivered, room = _delivered(work), most
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
        for i, chunk in enumerate(chunks):
            (out / f"{bundle}.tar.{i:02}-of-{len(chunks):02}").write_bytes(chunk)
        if bundle != RESULTS:
            delivered[bundle] = _digest(content)
    (work / DELIVERED).write_text(json.dumps(delivered, indent=1))


def unpack(folder: Path, work: Path) -> None:
    """Put the files of `pack` back; what is there and also in a file is replaced.

    Raises:
        ValueError: a file is missing, or one would write outside of `work`.
    """
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    counts: dict[str, set[int]] = defaultdict(set)
    for file in sorted(folder.iterdir()):
        if match := FILE.fullmatch(file.name):
            found[match["bundle"]][int(match["part"])] = file
            counts[match["bundle"]].add(int(match["parts"]))
    if not found:
        raise ValueError(f"{folder} has no file of a piece, as {RESULTS}.tar.00-of-01")
    for bundle, files in found.items():
        if set(files) != set(range(max(counts[bundle]))) or len(counts[bundle]) > 1:
            names = ", ".join(file.name for file in files.values())
            raise ValueError(f"{folder}: of {bundle} there is {names}; bring all files of one piece, and no others")
    work.mkdir(parents=True, exist_ok=True)
    delivered = _delivered(work)
    for bundle, files in found.items():
        content = b"".join(files[i].read_bytes() for i in sorted(files))
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            try:
                tar.extractall(work, filter="data")
            except tarfile.FilterError as error:
                raise ValueError(f"{folder}: {bundle} would write outside of {work}: {error}") from None
        if bundle != RESULTS:
            delivered[bundle] = _digest(content)
    (work / DELIVERED).write_text(json.dumps(delivered, indent=1))


def _delivered(work: Path) -> dict[str, str]:
    file = work / DELIVERED
    return json.loads(file.read_text()) if file.exists() else {}


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
