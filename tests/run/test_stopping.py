"""Why and how a run ends early."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from scl.run import stopping as module
from scl.run.stopping import Stop, stopping

ASKING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = (*(getattr(signal, name) for name in ASKING), signal.SIGALRM)


def state() -> tuple[object, ...]:
    return tuple(signal.getsignal(s) for s in SIGNALS), signal.getitimer(signal.ITIMER_REAL)


@pytest.fixture(autouse=True)
def _handlers_as_they_were() -> Iterator[None]:
    """Every test leaves the process as it was, whatever happens in it."""
    before = state()
    yield
    assert state() == before


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From now on the clock is so many seconds ahead."""
    shown = time.monotonic
    monkeypatch.setattr(module.time, "monotonic", lambda: shown() + seconds)


def test_handlers_are_put_back_also_after_an_error() -> None:
    before = state()
    with stopping(None) as stop:
        stop.gentle = True
        assert all(one != other for one, other in zip(state()[0], before[0], strict=True))  # type: ignore[call-overload]
        signal.raise_signal(signal.SIGTERM)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0  # checks whether the request is met
    assert state() == before
    with pytest.raises(ZeroDivisionError), stopping(None):
        raise ZeroDivisionError
    assert state() == before


def test_runs_may_nest() -> None:
    with stopping(None) as outer:
        outer.gentle = True
        inside = state()
        with stopping(None) as inner:
            inner.gentle = True
            signal.raise_signal(signal.SIGINT)
        assert state() == inside
    assert (outer.signalled, inner.signalled) == (False, True)


@pytest.mark.parametrize("which", SIGNALS[:-1], ids=ASKING)
def test_a_signal_asks_and_is_said_once(which: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    with stopping(None) as stop:
        stop.gentle = True
        assert not stop()
        signal.raise_signal(which)
        signal.raise_signal(which)  # a terminal and a launcher both pass it on
        assert stop()
        assert (stop.signalled, stop.over_budget, stop.halted) == (True, False, None)
        assert stop.asked_by == which.name
    assert capsys.readouterr().err == f"stopping after {which.name}: finished trials are kept\n"


@pytest.mark.parametrize(
    ("first", "second", "at_once"),
    [
        ("SIGINT", "SIGINT", True),
        ("SIGTERM", "SIGTERM", True),
        ("SIGTERM", "SIGINT", True),
        ("SIGUSR1", "SIGINT", True),
        # Systems repeat their signals, and add a SIGTERM.
        ("SIGINT", "SIGTERM", False),
        ("SIGUSR1", "SIGTERM", False),
        ("SIGXCPU", "SIGXCPU", False),
        ("SIGHUP", "SIGHUP", False),
    ],
)
def test_a_user_who_repeats_ends_the_run_at_once(
    first: str, second: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopping(None) as stop:
        stop.gentle = True
        signal.raise_signal(getattr(signal, first))
        assert stop()
        later(monkeypatch, 1.5)
        with pytest.raises(KeyboardInterrupt, match=second) if at_once else nullcontext():
            signal.raise_signal(getattr(signal, second))
        assert stop.asked_by == first


def test_a_signal_before_the_first_training_ends_the_run_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stopping(None):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_python_drops_ends_the_run_before_it_trains() -> None:
    class Gone:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with stopping(None) as stop:
        gone = Gone()
        del gone
        stop.gentle = True
        assert stop()
        assert stop.asked_by == "SIGTERM"


@pytest.mark.parametrize("name", ASKING)
def test_a_signal_that_the_parent_ignores_stays_ignored(name: str) -> None:
    """As nohup does with SIGHUP, and a shell with SIGINT of what it runs in the background."""
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stopping(None) as stop:
            stop.gentle = True
            signal.raise_signal(number)
            assert not stop()
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_handler_of_the_process_keeps_the_systems_signals() -> None:
    """A launcher such as submitit requeues a job at SIGUSR1."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with stopping(None) as stop:
            signal.raise_signal(signal.SIGUSR1)
            assert not stop()
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_signals_that_a_platform_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._signals("SIGINT", "SIGNONE") == (signal.SIGINT,)
    monkeypatch.setattr(module, "FROM_SYSTEMS", ())
    monkeypatch.setattr(module, "HAS_TIMER", False)
    with stopping(None) as stop:
        stop.gentle = True
        signal.raise_signal(signal.SIGTERM)
        assert stop()


def test_in_a_thread_the_budget_alone_stops(capsys: pytest.CaptureFixture[str]) -> None:
    before, seen = state(), []

    def work() -> None:
        with stopping(-1.0) as stop:
            seen.append((state() == before, stop(), stop.over_budget))
        with stopping(None) as stop:
            seen.append((state() == before, stop(), stop.over_budget))
            stop.ask()  # sets no timer, which Python allows the main thread alone
            seen.append((state() == before, stop(), stop.signalled))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(True, True, True), (True, False, False), (True, True, True)]


@pytest.mark.parametrize(
    ("budget", "passed", "over"), [(None, 1e9, False), (10.0, 9.0, False), (10.0, 11.0, True), (0.5, 0.0, False)]
)
def test_a_budget_is_over_when_its_seconds_have_passed(
    budget: float | None, passed: float, over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Stop(budget)
    later(monkeypatch, passed)
    assert (stop(), stop.over_budget, stop.signalled) == (over, over, False)


def test_the_first_reason_to_halt_counts(capsys: pytest.CaptureFixture[str]) -> None:
    stop = Stop()
    stop.halt("the disk is full")
    stop.halt("it is read-only")
    assert stop()
    assert stop.halted == "the disk is full"
    assert capsys.readouterr().err == "stopping: the disk is full\n"


def test_a_run_that_lost_its_store_halts(capsys: pytest.CaptureFixture[str]) -> None:
    held = [True, False, True]
    stop = Stop(held=lambda: held.pop(0))
    assert not stop()
    assert stop()
    assert "another run has taken over the store" in (stop.halted or "")
    assert stop()  # and stays so
    assert len(held) == 1


# --- a request that training does not meet --------------------------------------------------------------------------


def alarm_after(stop: Stop, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to stop, and the timer's alarm so many seconds later."""
    stop.ask()
    later(monkeypatch, seconds)
    signal.raise_signal(signal.SIGALRM)


def test_training_is_left_when_a_request_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    left = []
    with stopping(None) as stop:
        with stop.overdue_raises(grace=5.0):
            alarm_after(stop, 6.0, monkeypatch)
            left.append("not reached")
        assert stop.overdue
        signal.raise_signal(signal.SIGALRM)  # outside of training nothing is left
    assert left == []


def test_training_goes_on_within_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    with stopping(None) as stop, stop.overdue_raises(grace=5.0):
        alarm_after(stop, 4.0, monkeypatch)
        assert not stop.overdue


def test_an_exception_that_compiled_code_made_of_it_is_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with stopping(None) as stop, stop.overdue_raises(grace=5.0):
        try:
            alarm_after(stop, 6.0, monkeypatch)
        except BaseException as error:
            raise RuntimeError("in compiled code") from error
    assert stop.overdue


def test_other_errors_pass_and_a_second_ctrl_c_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    with pytest.raises(ZeroDivisionError), stop.overdue_raises():
        raise ZeroDivisionError
    stop.overdue = True
    with pytest.raises(KeyboardInterrupt), stop.overdue_raises():
        raise KeyboardInterrupt
    assert stop.grace == float("inf")


def test_what_trains_is_gone_unless_a_signal_has_ended_both(capsys: pytest.CaptureFixture[str]) -> None:
    stop = Stop()
    stop.abandon("Ray's head is gone")
    assert (stop.lost, stop.halted, stop()) == (True, "Ray's head is gone", True)
    stop = Stop()
    stop.asked_at = time.monotonic()
    stop.abandon("Ray's head is gone")
    assert (stop.lost, stop.halted) == (True, None)
    assert capsys.readouterr().err == "stopping: Ray's head is gone\n"
