"""Where a local Ray puts its sockets and logs: the path of a socket may have about a hundred bytes only."""

from __future__ import annotations

import os
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
    they cannot be used. A line on standard error says so.

    Raises:
        UserError: no folder is writable and has a path that is short enough.
    """
    asked = [(name, os.environ[name]) for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)]
    if sys.platform == "darwin":  # where the system sets TMPDIR, to a long path, and Ray does not look at it
        asked = [(name, place) for name, place in asked if name != "TMPDIR"]
    own = ["/tmp", "/var/tmp"] if sys.platform != "win32" else []
    with suppress(FileNotFoundError):
        own.append(tempfile.gettempdir())
    reasons: list[str] = []
    for name, place in [*asked, *(("", place) for place in own)]:
        reason = _unusable(place)
        if reason is None:
            if reasons:
                say(f"Ray's files are in {place}/ray: {reasons[0]}")
            return f"{os.path.abspath(place)}/ray"
        reasons.append(f"{name}={place} {reason}".removeprefix("="))
    raise UserError(
        f"Ray has no place for its sockets: {'; '.join(reasons)}; set TMPDIR to a folder that can be written to and "
        f"whose path has at most {LONGEST - BELOW} bytes, or run with --inline"
    )


def _unusable(place: str) -> str | None:
    """Why a folder cannot hold Ray's; None if it can."""
    if not os.path.isdir(place):
        return "is no folder"
    inside = os.path.join(place, "ray")
    if not os.access(inside if os.path.exists(inside) else place, os.W_OK | os.X_OK):
        return "cannot be written to"
    if len(os.fsencode(os.path.abspath(place))) + BELOW > LONGEST:
        return "is too long for the path of a socket"
    return None
