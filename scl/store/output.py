"""Files that commands write where a user says: an existing one is never replaced without a word."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from scl.errors import UserError

SIGNATURE = "<!-- scl {} {} -->\n"  # the last line of a page: the store that it was built from, and a hash of the rest
LONGEST_PAGE = 10**9  # bytes; a longer file is not read to look for a signature


def output_file(out: str | os.PathLike[str], force: bool, own: Callable[[bytes], bool] = lambda content: False) -> Path:
    """The path of a file that a command may write: a new one or, with `force`, a regular one. Links are followed.

    Args:
        own: whether a file with this content may be replaced without `force`.

    Raises:
        UserError: the file exists and is not to be replaced, or is a folder, a pipe or a device.
    """
    path = Path(os.path.expanduser(out))
    try:
        if os.fspath(out).endswith(("/", os.sep)):
            raise UserError(f"{out}: it is a folder; name a file that can be written")
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
            raise UserError(f"{out}: it is {kind}; name a file that can be written")
        if not force and (found.st_size > LONGEST_PAGE or not own(path.read_bytes())):
            raise UserError(already_there(out))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{out}: {reason}; name a file that can be written") from None
    return path.resolve()


def already_there(out: object) -> str:
    return f"{out}: the file exists; --force replaces it, or name another file"


def file_name(text: str, most: int = 100) -> str:
    """The text as a part of a file's name on any disk, of at most `most` characters. Different texts may get the same
    one, so add what tells them apart."""
    return re.sub(r"[^A-Za-z0-9._+=-]+", "_", text).lstrip("-.")[:most] or "_"


def signed(page: str, study: Mapping[str, Any]) -> bytes:
    """A page with a last line, an HTML comment, by which `is_page_of` knows it again.

    Args:
        study: study.json of the store that the page is built from.
    """
    return (page + SIGNATURE.format(_store(study), _hash(page.encode()))).encode()


def is_page_of(study: Mapping[str, Any], content: bytes) -> bool:
    """True if scl built this page from this store, and nobody has changed it since."""
    page, line = content[:-_LENGTH], content[-_LENGTH:]
    return line == SIGNATURE.format(_store(study), _hash(page)).encode()


def _store(study: Mapping[str, Any]) -> str:
    """A name of a store that stays when the store grows or moves: its study, and when its first run began."""
    first: Mapping[str, Any] = next(iter(study.get("looks") or []), {})
    return _hash(json.dumps([study.get("study"), first.get("when"), bool(study.get("merged"))]).encode())


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()[:32]


_LENGTH = len(SIGNATURE.format(_hash(b""), _hash(b"")))
