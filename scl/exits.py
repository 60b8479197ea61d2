"""How a program of this project ends: the exit codes of the contract, and no traceback for a user's mistake."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from scl.config import UserError


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A mistake in a study file, which is met before `main` is reached: a message and code 2, no traceback."""
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.__excepthook__(kind, error, trace)


if sys.excepthook is sys.__excepthook__:
    sys.excepthook = _explain


def exit_with(work: Callable[[], int]) -> None:
    """Do a script's work and exit with its code; a signal that comes early ends it like a late one."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while torch and others are still being imported
    sys.exit(guarded(work))


def guarded(work: Callable[[], int]) -> int:
    """Exit code of `work`; a user's mistake becomes one message on stderr and code 2."""
    try:
        code = work()
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Nobody reads on, as in `| head`. Python's own flush at the end must not find that out once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        return 130


def write_out(out: str, text: str) -> None:
    """Write a text to the file of a flag --out; raises UserError where that cannot be."""
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}; name a file that can be written") from None
