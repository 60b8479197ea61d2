"""A Ray session: what it changes in the process, and that all of it is put back."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from scl.errors import UserError
from scl.run.ray.rpc import rpc_to_driver
from scl.run.ray.session import SIGNALS, check_travels, ray_session, users_modules
from scl.run.ray.slots import has_other_hosts, living_nodes
from scl.study.config import Config
from scl.study.options import Options
from scl.study.term import Term


def state() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "handlers": [signal.getsignal(s) for s in SIGNALS],
        "levels": [logging.getLogger(name).level for name in ("ray", "ray.tune")],
        "hook": sys.excepthook,
        "faulthandler": faulthandler.is_enabled(),
    }


@pytest.mark.slow
def test_a_local_session_serves_calls_and_leaves_the_process_as_it_was() -> None:
    import ray

    def times(client: Any, n: int) -> Any:
        return client("times", n)

    before = state()
    with ray_session(Options(), ()):
        assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
        assert [signal.getsignal(s) for s in SIGNALS] == before["handlers"]
        assert [node.host for node in living_nodes()] == ["127.0.0.1"]
        assert not has_other_hosts()
        with pytest.raises(UserError, match="Ray already runs in this process"), ray_session(Options(), ()):
            pass
        with rpc_to_driver({"times": lambda n: 7 * n if n else 1 / 0}) as client:
            call = ray.remote(num_cpus=0)(times)
            assert ray.get([call.remote(client, n) for n in (1, 2, 3)]) == [7, 14, 21]
            with pytest.raises(ZeroDivisionError):
                ray.get(call.remote(client, 0))
    assert not ray.is_initialized()
    assert state() == before


@pytest.mark.slow
def test_a_start_that_a_signal_ends_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil
    from ray._private.node import Node

    below: list[Any] = []
    start = Node.start_ray_processes

    def interrupted(node: Any) -> None:
        start(node)
        deadline = time.monotonic() + 30
        while len(below) < 2 and time.monotonic() < deadline:  # what the raylet starts
            children = psutil.Process().children()
            below[:] = [process for child in children if child.name() == "raylet" for process in child.children()]
        below.extend(children)
        raise SystemExit(signal.SIGTERM)

    monkeypatch.setattr(Node, "start_ray_processes", interrupted)
    left_running = threading.Event()
    monkeypatch.setattr("scl.run.ray.session.LEFT_RUNNING", left_running)
    with pytest.raises(SystemExit), ray_session(Options(), ()):
        pass
    assert left_running.is_set()
    assert len(below) > 3
    psutil.wait_procs(below, timeout=10)  # a machine with much to do is slow to end what was killed
    assert [process for process in below if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_ray_loses_as_it_starts_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray answers SIGTERM by an exception, which Python drops in a hook of a fork and in a destructor."""
    import ray
    from ray._private.node import Node

    class Gone:
        def __del__(self) -> None:
            raised.append(signal.getsignal(signal.SIGTERM) is not own)
            signal.raise_signal(signal.SIGTERM)

    def start(node: Any) -> None:
        gone = Gone()
        del gone
        start_processes(node)

    heard: list[int] = []
    raised: list[bool] = []
    start_processes = Node.start_ray_processes
    monkeypatch.setattr(Node, "start_ray_processes", start)
    own = lambda number, frame: heard.append(number)  # noqa: E731
    before = signal.signal(signal.SIGTERM, own)
    try:
        with ray_session(Options(), ()):
            assert ray.is_initialized()  # the signal has not ended the start
            assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raised == [True]
    assert heard == [signal.SIGTERM]


def test_modules_of_users_travel_by_value() -> None:
    names = {module.__name__ for module in users_modules()}
    assert "scl.run.ray.session" not in names
    assert "ray" not in names
    assert any(name.endswith("test_session") for name in names)


def closing_over(thing: Any) -> Callable[..., Any]:
    def mine(student: Any, teacher: Any) -> Any:
        return thing

    return mine


def holding(thing: Any) -> Callable[..., Any]:
    def mine(student: Any, teacher: Any) -> Any: ...

    mine.cache = thing  # type: ignore[attr-defined]
    return mine


def network_with(thing: Any) -> Callable[..., Any]:
    def network(num_classes: int) -> Any:
        return thing

    return network


UNSENDABLE = {"a lock": threading.Lock(), "a generator": (i for i in range(2)), "a thread's values": threading.local()}


@pytest.mark.parametrize("make", [closing_over, holding, network_with])
@pytest.mark.parametrize("kind", UNSENDABLE)
def test_code_that_cannot_be_sent_is_named(make: Any, kind: str) -> None:
    def config(thing: Any) -> Config:
        made = make(thing)
        return Config(model=made) if make is network_with else Config(losses={"x": Term(1.0, loss=made, version="1")})

    check_travels([Config(losses={"kd": 1.0}), config([1, "two"])])
    whose = "network network" if make is network_with else "loss 'x'"
    with pytest.raises(UserError, match=rf"^{whose} cannot be sent to Ray's workers \(TypeError: .*--inline"):
        check_travels([Config(), config(UNSENDABLE[kind])])
