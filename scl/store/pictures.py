"""pictures.parquet: small pictures of a few test images, for the page. A run writes them at its end.

A run with `--no-pictures` keeps none and removes those of earlier runs; study.json then says `"pictures": false`, and
the store keeps that choice.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from scl.errors import Damaged
from scl.store.checksums import UnknownFormat, from_parquet, to_parquet
from scl.store.faults import Fault, stops, tell
from scl.store.files import Folder
from scl.store.lease import check_held

NAME = "pictures.parquet"
SCHEMA = pa.schema([pa.field("image", pa.int64()), pa.field("picture", pa.binary())])
# The first bytes of a picture → its type on the web.
TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
MOST_BYTES = 64 * 1024  # of a picture of 64 × 64 pixels, whatever wrote it

Pictures = dict[int, bytes]  # number of a test image, from 0 → its picture, PNG or JPEG


def type_of(picture: bytes) -> str:
    """The type of a picture on the web; "" for what is none."""
    return next((kind for start, kind in TYPES.items() if picture.startswith(start)), "")


def read_pictures(store: Folder) -> Pictures:
    """The pictures of a store; what is none is left out, and a damaged file is named on stderr.

    Raises RunFailed if the file cannot be opened, or if there is not enough memory.
    """
    with stops(f"{store}/{NAME}"):
        if store.is_no_file(NAME):
            tell(store, [Fault(NAME, "it is a folder or a special file, so it is not read; move it away")])
            return {}
        try:
            _, table = store.read_as(NAME, from_parquet)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (Damaged, UnknownFormat) as error:
            tell(store, [Fault(NAME, f"{error}, so the page has no pictures; a run writes it anew")])
            return {}
    if not table.schema.equals(SCHEMA, check_metadata=False):
        tell(store, [Fault(NAME, "it has other columns than scl writes, so the page has no pictures")])
        return {}
    rows = zip(table["image"].to_pylist(), table["picture"].to_pylist(), strict=True)
    return {i: p for i, p in rows if i is not None and p is not None and type_of(p) and len(p) <= MOST_BYTES}


def write_pictures(store: Folder, pictures: Mapping[int, bytes]) -> None:
    """Raises OSError, and LostLease if another run has taken the store over."""
    check_held(store)
    table = pa.table({"image": list(pictures), "picture": list(pictures.values())}, schema=SCHEMA)
    store.write(NAME, to_parquet(table), durable=True)


def remove_pictures(store: Folder) -> bool:
    """True if there were any. Raises OSError, and LostLease if another run has taken the store over."""
    there = store.exists(NAME)
    if there:
        check_held(store)
        store.remove(NAME)
    return there
