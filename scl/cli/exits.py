"""How a program ends: the exit codes of the contract, and no traceback for a user's mistake."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from scl.errors import RunFailed, UserError
from scl.run.output import lasting_output, silence
from scl.run.stopping import LEFT_RUNNING, interruptible, stop_signals


def exit_with(work: Callable[[], int]) -> NoReturn:
    """Do a script's work and exit with its code, which a signal that comes last does not change."""
    code = exit_code(work)
    atexit.register(_keep_code, code)
    if LEFT_RUNNING.is_set():
        with lasting_output():
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _keep_code(code: int) -> None:
    """Python takes a second to end, in which a signal would end it with a code of its own."""
    for number in stop_signals():
        signal.signal(number, lambda *_: os._exit(code))


def exit_code(work: Callable[[], int]) -> int:
    """The exit code of `work`: 2 with one message for a user's mistake, 1 for a run that failed, 130 after a signal."""
    try:
        with interruptible():  # while torch and others are being imported
            code = work()
        sys.stdout.flush()
        return code
    except (UserError, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except BrokenPipeError:
        silence(sys.stdout)  # the reader has ended, as in `| head`
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as interruption:
        with lasting_output():
            print(f"interrupted{_by(interruption)}; finished trials are kept", file=sys.stderr)
        return 130


def _by(interruption: KeyboardInterrupt) -> str:
    """The signal that interrupted, if it is known."""
    return f" by {interruption}" if str(interruption) else ""


def write_text(out: str, text: str) -> None:
    """Write a text to the file of a flag `--out`; raises UserError if it cannot be written."""
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}; name a file that can be written") from None
