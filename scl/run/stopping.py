"""Why and how a run ends early: a signal, its time budget, a place that can no longer be written to."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from scl.terminal import say

# From a request to stop to leaving training in the middle of an epoch; a checkpoint has the epoch before.
GRACE_SECONDS = 5.0
GRACE_ON_RAY = 10.0  # Tune waits up to 5 s for its workers, and should end by itself
HAS_TIMER = hasattr(signal, "setitimer")  # Windows has none: there only a second Ctrl-C leaves an epoch
SAME_SECONDS = 1.0  # a terminal and a launcher both pass a Ctrl-C on: signals this close together are one


@dataclass
class Stop:
    """Whether a run should end; called between steps.

    budget: seconds that the run may take. halted: why the run cannot go on. held: whether the store is still locked
    by this run. grace: seconds that a request to stop may go unmet while training. gentle: whether a signal is a
    request; before the first training there is nothing to keep, and a signal ends the run at once.
    """

    budget: float | None = None
    began: float = field(default_factory=time.monotonic)
    asked_at: float | None = None
    halted: str | None = None
    held: Callable[[], bool] = lambda: True
    grace: float = math.inf
    overdue: bool = False
    gentle: bool = False

    @property
    def signalled(self) -> bool:
        return self.asked_at is not None

    @property
    def over_budget(self) -> bool:
        return self.budget is not None and time.monotonic() - self.began > self.budget

    def __call__(self) -> bool:
        if self.halted is None and not self.held():
            self.halt("another run has taken over the store, because this one had not renewed its lease")
        return self.signalled or self.over_budget or self.halted is not None

    def halt(self, reason: str) -> None:
        """End the run because it cannot go on; the first reason counts."""
        if self.halted is None:
            self.halted = reason
            say(f"stopping: {reason}")

    @contextmanager
    def overdue_raises(self, grace: float = GRACE_SECONDS) -> Iterator[None]:
        """Around training: if a request to stop is not met within `grace` seconds, training is left unfinished."""
        self.grace = grace
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException:
            if not self.overdue:  # compiled code turns exceptions that are raised in it into its own
                raise
        finally:
            self.grace = math.inf

    def ask(self) -> None:
        """Request a stop, as a signal does."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            if HAS_TIMER and threading.current_thread() is threading.main_thread():
                signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
            with suppress(OSError):  # the terminal may be gone
                say("stopping: finished trials are kept")


class _Overdue(BaseException):
    pass


@contextmanager
def stopping(budget: float | None) -> Iterator[Stop]:
    """Ctrl-C, SIGTERM and a closed terminal ask the run to stop; a second Ctrl-C ends it at once. In a thread other
    than the main one, Python hears no signals: only the budget stops the run there. Handlers are put back."""
    stop = Stop(budget)

    def ask(number: int, frame: FrameType | None) -> None:
        again = stop.asked_at is not None and time.monotonic() - stop.asked_at > SAME_SECONDS
        if again or not stop.gentle:
            raise KeyboardInterrupt
        stop.ask()

    def overdue(number: int, frame: FrameType | None) -> None:
        if stop.asked_at is not None and time.monotonic() - stop.asked_at > stop.grace:
            stop.overdue = True
            raise _Overdue

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {signal.SIGINT: ask, signal.SIGTERM: ask}
    if HAS_TIMER:
        handlers[signal.SIGALRM] = overdue
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
        handlers[signal.SIGHUP] = ask
    before = {s: signal.signal(s, handler) for s, handler in handlers.items()}
    try:
        yield stop
    finally:
        if HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for s, earlier in before.items():
            signal.signal(s, earlier)
