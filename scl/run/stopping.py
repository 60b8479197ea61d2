"""Why and how a run ends early: a signal, its time budget, a place that can no longer be written to."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from scl.terminal import say

Handler = Callable[[int, FrameType | None], None]
# From a request to stop to leaving training in the middle of an epoch; a checkpoint has the epoch before.
GRACE_SECONDS = 5.0
GRACE_ON_RAY = 10.0  # Tune waits up to 5 s for its workers, and should end by itself
HAS_TIMER = hasattr(signal, "setitimer")  # Windows has none: there only a second Ctrl-C leaves an epoch
SAME_SECONDS = 1.0  # a terminal and a launcher both pass a Ctrl-C on: signals this close together are one


def _signals(*names: str) -> tuple[signal.Signals, ...]:
    """Those of these signals that the platform has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


# Requests to stop: a user's; those of schedulers and service managers; a closed terminal. Schedulers send USR1, USR2 or
# XCPU before a limit.
FROM_USERS = _signals("SIGINT", "SIGTERM")
FROM_SYSTEMS = _signals("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that ask a run to stop: none that the parent ignores, as nohup does, and of the systems' none that
    the process handles in a way of its own."""
    users = [s for s in FROM_USERS if signal.getsignal(s) != signal.SIG_IGN]
    return (*users, *(s for s in FROM_SYSTEMS if signal.getsignal(s) in (signal.SIG_DFL, interrupt)))


def interrupt(number: int, frame: FrameType | None = None) -> None:
    """A signal's handler: end at once, with the signal's name in the exception."""
    raise KeyboardInterrupt(signal.Signals(number).name)


@contextmanager
def handling(handlers: Callable[[], Mapping[signal.Signals, Handler]]) -> Iterator[None]:
    """Handle signals, and put the handlers back afterwards. In a thread other than the main one, Python hears no
    signals, and nothing changes."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number, handler in (handlers() if main else {}).items()}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def interruptible() -> AbstractContextManager[None]:
    """Around what has nothing to keep yet: a signal that would ask a run to stop raises KeyboardInterrupt."""
    return handling(lambda: dict.fromkeys(stop_signals(), interrupt))


@dataclass
class Stop:
    """Whether a run should end; called between steps.

    budget: seconds that the run may take. asked_by: the signal that asked, by its name. halted: why the run cannot go
    on. held: whether the store is still locked by this run. moved: where the store has gone, '' while it is in its
    place. lost: whether what trains is gone. grace: seconds that a request to stop may go unmet while training. gentle:
    whether a signal is a request; before the first training there is nothing to keep, and a signal ends the run at
    once.
    """

    budget: float | None = None
    began: float = field(default_factory=time.monotonic)
    asked_at: float | None = None
    asked_by: str | None = None
    halted: str | None = None
    held: Callable[[], bool] = lambda: True
    moved: Callable[[], str] = lambda: ""
    lost: bool = False
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
            self.halt("another run has taken over the store")
        if self.halted is None and (reason := self.moved()):
            self.halt(reason)
        return self.signalled or self.over_budget or self.halted is not None

    def halt(self, reason: str) -> None:
        """End the run because it cannot go on; the first reason counts."""
        if self.halted is None:
            self.halted = reason
            say(f"stopping: {reason}")

    def abandon(self, reason: str) -> None:
        """End the run because what trains is gone. No reason is given if a signal has ended both."""
        if not self.signalled:
            self.halt(reason)
        self.lost = True

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

    def ask(self, by: str = "SIGTERM") -> None:
        """Request a stop, as a signal does."""
        if self.asked_at is None:
            self.asked_at, self.asked_by = time.monotonic(), by
            if threading.current_thread() is threading.main_thread() and HAS_TIMER:
                signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
            with suppress(OSError):  # the terminal may be gone
                say(f"stopping after {by}: finished trials are kept")


# Set if a library's threads may never return, so that this process must not wait for them at its end.
LEFT_RUNNING = threading.Event()


class _Overdue(BaseException):
    pass


@contextmanager
def stopping(budget: float | None) -> Iterator[Stop]:
    """Signals ask the run to stop: see `stop_signals`. A later Ctrl-C or a second SIGTERM ends it at once. In a thread
    other than the main one, Python hears no signals: only the budget stops the run there. Handlers are put back."""
    stop = Stop(budget)

    def ask(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        later = stop.asked_at is not None and time.monotonic() - stop.asked_at > SAME_SECONDS
        # Systems repeat their signals, and add a SIGTERM.
        impatient = number == signal.SIGINT or name == stop.asked_by == "SIGTERM"
        if not stop.gentle:
            # Python drops an exception that is raised in a destructor; then the run ends before it trains.
            stop.asked_at, stop.asked_by = time.monotonic(), name
        if (later and impatient) or not stop.gentle:
            interrupt(number)
        stop.ask(name)

    def overdue(number: int, frame: FrameType | None) -> None:
        if stop.asked_at is not None and time.monotonic() - stop.asked_at > stop.grace:
            stop.overdue = True
            raise _Overdue

    timer = {signal.SIGALRM: overdue} if HAS_TIMER else {}
    with handling(lambda: {**dict.fromkeys(stop_signals(), ask), **timer}):
        try:
            yield stop
        finally:
            if threading.current_thread() is threading.main_thread() and HAS_TIMER:
                signal.setitimer(signal.ITIMER_REAL, 0)
