"""Tables as bytes with a checksum inside: Parquet for the tables that stay, an Arrow stream for a part.

A part has one row, many columns and a short life. Arrow writes and reads it some twenty times as fast as Parquet, and
makes it smaller.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scl.errors import Damaged, first_line
from scl.store.schema import SCHEMA_VERSION

CHECKED = {b"checksum": b"sha256 before the footer"}  # in the footer: the file must have a checksum
MARK = b"scl-sha256"
# Rows that are read at a time. Arrow needs 20 bytes for each number while it reads lists; they have 10,000 and more.
ROWS, ROWS_OF_LISTS = 1 << 16, 500

# A part is one zstd frame, then a skippable zstd frame: magic, length, decompressed size in bytes, SHA-256.
SKIPPED = struct.Struct("<IIQ32s")
MAGIC = 0x184D2A50
VERSION = b"schema_version"
REMARKS = b"remarks"
EDITION = b"edition"


class UnknownFormat(Exception):
    """Bytes that are whole, but that this version of scl does not know: a newer one wrote them."""


def to_parquet(table: pa.Table, remarks: Sequence[str] = (), edition: str = "", split: Sequence[str] = ()) -> bytes:
    """A table as Parquet with the SHA-256 of all other bytes of the file.

    The checksum lies between the last column and the footer. Readers find columns by offset, so any reader of Parquet
    reads the file.

    Args:
        remarks: what a reader must know about the origin of rows; see `remarks_of`.
        edition: the name of the tables that were written together; see `edition_of`.
        split: paths of columns of random numbers, whose bytes are stored apart by significance, since those compress.
    """
    buffer = io.BytesIO()
    about = CHECKED | {VERSION: b"%d" % SCHEMA_VERSION} | ({REMARKS: json.dumps(remarks).encode()} if remarks else {})
    about |= {EDITION: edition.encode()} if edition else {}
    plain = [name for name in table.schema.names if name not in {path.partition(".")[0] for path in split}]
    how: dict[str, Any] = {"use_byte_stream_split": list(split), "use_dictionary": plain} if split else {}
    pq.write_table(table.replace_schema_metadata(about), buffer, compression="zstd", **how)
    content = buffer.getvalue()
    at = _footer(content)
    digest = hashlib.sha256(content).digest()
    return b"".join((content[:at], MARK, digest, content[at:]))


def from_parquet(content: bytes) -> pa.Table:
    """The table in bytes from `to_parquet`, or from another writer of Parquet, which adds no checksum.

    Raises:
        Damaged: the bytes differ from those that were written.
        UnknownFormat: the checksum is right, but the format is unknown.
        MemoryError: the table does not fit into memory.
    """
    try:
        at = _footer(content)
    except ValueError as error:
        raise Damaged(str(error)) from None
    start = at - len(MARK) - hashlib.sha256().digest_size
    marked = start > 0 and content[start:].startswith(MARK)
    plain = content[:start] + content[at:] if marked else content
    if marked and hashlib.sha256(plain).digest() != content[start + len(MARK) : at]:
        raise Damaged("its checksum does not match")
    try:
        # Not pq.read_table: it scans in Arrow's threads, which may free the bytes when Python has ended, and abort.
        file = pq.ParquetFile(pa.BufferReader(plain))
        nested = any(pa.types.is_nested(field.type) for field in file.schema_arrow)
        batches = file.iter_batches(ROWS_OF_LISTS if nested else ROWS)
        table = pa.Table.from_batches(batches, file.schema_arrow)
    except MemoryError:
        raise  # pyarrow's own is an ArrowException too
    except (pa.ArrowException, OSError, ValueError) as error:
        raise (UnknownFormat if marked else Damaged)(first_line(error)[:200]) from None
    if not marked and is_checked(table):
        raise Damaged("its checksum is missing")
    return _of_known_version(table)


def is_checked(table: pa.Table) -> bool:
    """True if the bytes of a table from `from_parquet` were compared with their checksum."""
    return b"checksum" in (table.schema.metadata or {})


def remarks_of(table: pa.Table) -> list[str]:
    """What the writer of a table from `from_parquet` noted about the origin of rows."""
    noted = json.loads((table.schema.metadata or {}).get(REMARKS, b"[]")) if is_checked(table) else []
    return [str(remark) for remark in noted]


def edition_of(table: pa.Table) -> str:
    """The edition that the writer of a table from `from_parquet` named; empty if it named none."""
    return (table.schema.metadata or {}).get(EDITION, b"").decode() if is_checked(table) else ""


def _of_known_version(table: pa.Table) -> pa.Table:
    version = (table.schema.metadata or {}).get(VERSION, b"0")
    if version.isdigit() and int(version) > SCHEMA_VERSION:
        raise UnknownFormat(f"its schema is {int(version)}, this version reads {SCHEMA_VERSION}")
    return table


def _footer(content: bytes) -> int:
    """The offset of the footer of a Parquet file. Raises ValueError."""
    if len(content) < 12 or content[-4:] != b"PAR1":
        raise ValueError("it is cut off")
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def to_part(table: pa.Table) -> bytes:
    """A table as a compressed Arrow stream. `zstd -d` and `pyarrow.input_stream` read it and skip the checksum."""
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({VERSION: b"%d" % SCHEMA_VERSION})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    plain = sink.getvalue()
    body = pa.Codec("zstd").compress(plain, asbytes=True)
    return body + SKIPPED.pack(MAGIC, SKIPPED.size - 8, plain.size, _digest(body, plain.size))


def from_part(content: bytes) -> pa.Table:
    """The table in bytes from `to_part`. Raises as `from_parquet` does."""
    body = content[: -SKIPPED.size]
    magic, length, size, digest = SKIPPED.unpack(content[-SKIPPED.size :]) if body else (0, 0, 0, b"")
    if (magic, length) != (MAGIC, SKIPPED.size - 8):
        raise Damaged("it is cut off")
    if digest != _digest(body, size):
        raise Damaged("its checksum does not match")
    try:
        table = pa.ipc.open_stream(pa.Codec("zstd").decompress(body, size)).read_all()
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnknownFormat(first_line(error)[:200]) from None
    return _of_known_version(table)


def _digest(body: bytes, size: int) -> bytes:
    return hashlib.sha256(b"%d " % size + body).digest()
