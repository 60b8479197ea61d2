"""How a program ends: the exit codes of the contract, and no traceback for a user's mistake."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from scl.errors import RunFailed, UserError
from scl.streams import standard_streams

BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended


def exit_with(work: Callable[[], int]) -> None:
    """Do a script's work and exit with its code; an early SIGTERM ends it as a later one does."""
    if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses to set handlers
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # while torch and others are being imported
    sys.exit(exit_code(work))


def exit_code(work: Callable[[], int]) -> int:
    """The exit code of `work`: 2 with one message for a user's mistake, 1 for a run that failed."""
    with standard_streams():
        try:
            return _flushed(work)
        except (UserError, RunFailed) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2 if isinstance(error, UserError) else 1
        except BrokenPipeError:
            # The reader has ended, as in `| head`. Python's flush at the end must not meet the broken pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except KeyboardInterrupt:
            print("interrupted; finished trials are kept", file=sys.stderr)
            return 130


def _flushed(work: Callable[[], int]) -> int:
    """The code of `work`, after all that it has printed has reached its reader."""
    try:
        code = work()
    except SystemExit:  # of --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def write_text(out: str, text: str) -> None:
    """Write a text to the file of a flag `--out`; raises UserError if it cannot be written."""
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}; name a file that can be written") from None
