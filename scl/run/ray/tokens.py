"""Ray's tokens: whoever has a session's token runs code in it, so no other user may read one."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from scl.errors import UserError
from scl.terminal import say

GIVEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # variables that Ray takes a token from before it looks for its file
# Of this process's local sessions. Their processes get it as a variable, which only this user can read; Ray would write
# one token for all sessions into a file that everybody can read.
OWN = secrets.token_hex(32)


def of_local_session() -> dict[str, str]:
    """Ray's variables for a local session: it asks for a token, also where the user's variables ask for none."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or OWN}


def of_cluster() -> dict[str, str]:
    """Ray's variables for a driver on a machine with Ray's token file: a head that was started here asks for the token,
    and a driver with an explicit address sends it only in this mode. The file is closed to other users.

    Raises:
        UserError: the file would be used, and belongs to another user.
    """
    file = Path.home() / ".ray" / "auth_token"
    if not file.exists():
        return {}
    if sys.platform != "win32" and not any(os.environ.get(name) for name in GIVEN):
        _close(file)
    return {"RAY_AUTH_MODE": "token"}


def _close(file: Path) -> None:
    found = file.stat()
    if found.st_uid != os.geteuid():
        raise UserError(
            f"Ray's token in {file} belongs to another user, who could run code in what is started with it; remove the "
            "file, or put a token into RAY_AUTH_TOKEN"
        )
    if found.st_mode & 0o077:
        file.chmod(0o600)
        say(
            f"note: other users could read Ray's token in {file}; now they cannot. If one may have read it, remove the "
            "file and restart the clusters that use it"
        )


def read_anew() -> None:
    """Let Ray look at its variables again: it reads a token once in a process, perhaps for an earlier session."""
    from ray._raylet import AuthenticationTokenLoader, Config  # noqa: PLC0415

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
