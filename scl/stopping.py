"""Why and how a run ends early: a signal, its time budget, a place that cannot be written to any more."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

# From the wish to stop to where training is left in the midst; a checkpoint has the epoch before.
GRACE_SECONDS = 5.0
GRACE_ON_RAY = 10.0  # Tune itself waits no longer than 5 s for its workers, and Ray's code is better not left
SAME_SECONDS = 1.0  # a terminal and a launcher both pass a Ctrl-C on: signals so near each other are one


@dataclass
class Stop:
    """Whether a run should end, asked between steps."""

    budget: float | None = None
    began: float = field(default_factory=time.monotonic)
    asked_at: float | None = None
    halted: str | None = None
    held: Callable[[], bool] = lambda: True  # whether the store is still this run's own
    grace: float = math.inf  # while training: how long the wish to stop may go unmet
    overdue: bool = False
    gentle: bool = False  # from the first training to the end: a signal is a wish. Before, there is nothing to keep.

    @property
    def signalled(self) -> bool:
        return self.asked_at is not None

    @property
    def over_budget(self) -> bool:
        return self.budget is not None and time.monotonic() - self.began > self.budget

    def __call__(self) -> bool:
        if self.halted is None and not self.held():
            self.halt("another run has taken the store over, for this one had not been heard of")
        return self.signalled or self.over_budget or self.halted is not None

    def halt(self, reason: str) -> None:
        """End the run because it cannot go on; the first reason counts."""
        if self.halted is None:
            self.halted = reason
            print(f"stopping: {reason}", file=sys.stderr)

    @contextmanager
    def overdue_raises(self, grace: float = GRACE_SECONDS) -> Iterator[None]:
        """Around training: where a wish to stop is not met within `grace` seconds, training is left in the midst."""
        self.grace = grace
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException:
            if not self.overdue:  # compiled code turns what is raised in it into errors of its own
                raise
        finally:
            self.grace = math.inf

    def ask(self) -> None:
        """Wish to stop, as a signal does."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
            with suppress(OSError):  # the terminal may be gone
                print("stopping: finished trials are kept", file=sys.stderr)


class _Overdue(BaseException):
    pass


@contextmanager
def stopping(budget: float | None) -> Iterator[Stop]:
    """Ctrl-C, SIGTERM and a terminal that goes away ask the run to stop; a second Ctrl-C ends it at once."""
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

    handlers = {signal.SIGINT: ask, signal.SIGTERM: ask, signal.SIGALRM: overdue}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it is
        handlers[signal.SIGHUP] = ask
    before = {s: signal.signal(s, handler) for s, handler in handlers.items()}
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for s, earlier in before.items():
            signal.signal(s, earlier)
