"""Where a local Ray puts its sockets and logs: a folder that no other user can enter, because Ray lets everybody write
to its own folders. The path of a socket may have about a hundred bytes only."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import suppress

from scl.errors import UserError
from scl.terminal import say

# A socket is PLACE/ray/session_DATE_TIME_MICROSECONDS_PID/sockets/plasma_store; a process has up to 7 digits.
BELOW = len("/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store.1")
# Bytes of a socket's path that the system takes; Windows has no such sockets.
LONGEST = {"darwin": 103, "win32": 10_000}.get(sys.platform, 107)


def ray_folder() -> str:
    """The folder for a local Ray: in RAY_TMPDIR or TMPDIR, as Ray does it, or in the system's own temporary folder if
    they cannot be used. A line on standard error says so. Others than this user cannot enter it or a folder above it.

    Raises:
        UserError: no folder is writable, safe, and has a path that is short enough.
    """
    asked = [(name, os.environ[name]) for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)]
    if sys.platform == "darwin":  # where the system sets TMPDIR, to a long path, and Ray does not look at it
        asked = [(name, place) for name, place in asked if name != "TMPDIR"]
    own = ["/tmp", "/var/tmp"] if sys.platform != "win32" else []
    with suppress(FileNotFoundError):
        own.append(tempfile.gettempdir())
    reasons: list[str] = []
    for name, place in [*asked, *(("", place) for place in own)]:
        private = _private(place)
        reason = _unusable(place, private)
        if reason is None:
            if reasons:
                say(f"Ray's files are in {private}/ray: {reasons[0]}")
            return f"{private}/ray"
        reasons.append(f"{name}={place} {reason}".removeprefix("="))
    raise UserError(
        f"Ray has no place for its sockets: {'; '.join(reasons)}; set TMPDIR to a folder that can be written to and "
        f"whose path has at most {LONGEST - BELOW} bytes, or run with --inline"
    )


def _private(place: str) -> str:
    """The folder itself if only this user can enter it; else a folder in it for this user."""
    path = os.path.abspath(place)
    return path if sys.platform == "win32" or _closed(path) else f"{path}/scl-{os.geteuid()}"


def _closed(path: str) -> bool:
    """True for a folder of this user, and no link to one, that others can neither read nor enter."""
    with suppress(OSError):
        found = os.lstat(path)
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return False


def _unusable(place: str, private: str) -> str | None:
    """Why a folder cannot hold Ray's in `private`, which is made; None if it can."""
    if not os.path.isdir(place):
        return "is no folder"
    if len(os.fsencode(private)) + BELOW > LONGEST:
        return "is too long for the path of a socket"
    if sys.platform != "win32" and not _closed(private) and (reason := _not_made(place, private)):
        return reason
    inside = f"{private}/ray"
    writable = os.access(inside if os.path.exists(inside) else private, os.W_OK | os.X_OK)
    return None if writable else "cannot be written to"


def _not_made(place: str, private: str) -> str | None:
    """Why a folder for this user alone cannot be made in `place`, or be mended there; None if it is there now."""
    if (mode := os.stat(place).st_mode) & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return "lets everybody rename what is in it"
    try:
        os.mkdir(private, 0o700)
    except FileExistsError:
        made = os.lstat(private)
        if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.geteuid():
            return f"holds {os.path.basename(private)}, which is no folder of this user"
        os.chmod(private, 0o700)
    except OSError:
        return "cannot be written to"
    return None
