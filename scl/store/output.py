"""Files that commands write where a user says: an existing one is never replaced without a word."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from scl.errors import UserError


def output_file(out: str | os.PathLike[str], force: bool, flag: str = "--force") -> Path:
    """The path of a file that a command may write: a new one or, with `force`, a regular one. Links are followed.

    Args:
        flag: how `force` is given, for the message.

    Raises:
        UserError: the file exists and is not to be replaced, or is a folder, a pipe or a device.
    """
    path = Path(out).expanduser()
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path.resolve()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{out}: {reason}; name a file that can be written") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise UserError(f"{out}: it is {kind}; name a file that can be written")
    if not force:
        raise UserError(f"{out}: the file exists; {flag} replaces it, or name another file")
    return path.resolve()
