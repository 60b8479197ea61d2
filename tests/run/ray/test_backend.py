"""What the Ray backend trains where, and when Ray starts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from scl.plan.capacity import Node
from scl.run.backend import Work
from scl.run.live import Live
from scl.run.ray import backend
from scl.run.ray.backend import RayBackend
from scl.run.ray.session import RaySession
from scl.run.stopping import Stop
from scl.run.trackers.tracker import Tracker
from scl.study.options import Options

TEACHER = Work("teacher", [["t"]], {"t": "teacher"})
STUDENTS = Work("students", [["a"]], {"a": "a"}, {"a": SimpleNamespace()})  # type: ignore[dict-item]
NODES = (Node("a", {"CPU": 1.0}, {}),)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is called, in order."""
    made: list[Any] = []

    @contextmanager
    def session(options: Options, nodes: Any) -> Iterator[None]:
        made.append("start")
        yield RaySession()
        made.append("end")

    class Runs:
        def __init__(self, stop: Stop, tracker: Tracker, live: Live, nodes: Any, folding: Any) -> None:
            made.append(nodes)

        def train(self, plan: Any, work: Work) -> None:
            made.append(work.title)

        def search(self, plan: Any, searcher: Any) -> None:
            made.append("search")

    def survey(address: str) -> tuple[Node, ...]:
        made.append("survey")
        return NODES

    monkeypatch.setattr(backend, "ray_session", session)
    monkeypatch.setattr(backend, "survey", survey)
    monkeypatch.setattr(backend, "watching", lambda lost: nullcontext())
    monkeypatch.setattr(backend, "import_module", lambda name: SimpleNamespace(Runs=Runs))
    return made


def made(log: list[Any], stop: Stop | None = None, **options: Any) -> RayBackend:
    inline: Any = SimpleNamespace(train=lambda plan, work: log.append(f"inline {work.title}"))
    return RayBackend(Options(**options), stop or Stop(), Tracker(), Live(None), inline)


def plan_on(device: str) -> Any:
    return SimpleNamespace(context=SimpleNamespace(device=device))


def test_ray_starts_with_the_first_students_and_ends_at_the_exit(log: list[Any]) -> None:
    with made(log) as on_ray:
        assert on_ray.nodes() == ()
        on_ray.train(plan_on("cpu"), TEACHER)
        on_ray.train(plan_on("cpu"), STUDENTS)
        on_ray.search(plan_on("cpu"), None)  # type: ignore[arg-type]
    assert log == ["inline teacher", "start", (), "students", (), "search", "end"]


def test_nothing_to_train_starts_nothing(log: list[Any]) -> None:
    with made(log):
        pass
    assert log == []


@pytest.mark.parametrize(("address", "device", "teachers"), [("auto", "cpu", 1), (None, "cuda", 1), (None, "cpu", 2)])
def test_other_teachers_train_in_workers(address: str | None, device: str, teachers: int, log: list[Any]) -> None:
    cohorts = [[str(i)] for i in range(teachers)]
    with made(log, address=address) as on_ray:
        on_ray.train(plan_on(device), Work("teacher", cohorts, {}))
    assert "inline teacher" not in log
    assert "teacher" in log


def test_a_cluster_is_surveyed_once(log: list[Any]) -> None:
    with made(log, address="auto") as on_ray:
        assert on_ray.nodes() == NODES
        on_ray.train(plan_on("cpu"), STUDENTS)
    assert log == ["survey", "start", NODES, "students", "end"]


def test_a_stop_before_training_trains_nothing(log: list[Any]) -> None:
    stop = Stop()
    stop.halt("the disk is full")
    with made(log, stop) as on_ray:
        on_ray.train(plan_on("cpu"), STUDENTS)
    assert log == ["start", "end"]


def test_a_signal_while_ray_starts_is_a_request_to_stop(log: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()

    @contextmanager
    def session(options: Options, nodes: Any) -> Iterator[None]:
        stop.ask()  # the run's handler, and then Ray's
        raise SystemExit(15)
        yield

    monkeypatch.setattr(backend, "ray_session", session)
    monkeypatch.setattr("signal.setitimer", lambda *_: None)
    with made(log, stop) as on_ray:
        on_ray.train(plan_on("cpu"), STUDENTS)
    assert stop.overdue  # so that the run ends in its order
    assert log == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/tmp/ray"), "PermissionError: [Errno 13] Permission denied"),
        (RuntimeError("Failed to start GCS.\nmore"), "RuntimeError: Failed to start GCS."),
        (ModuleNotFoundError("No module named 'ray'"), "No module named 'ray'"),
        (OSError("AF_UNIX path length cannot exceed 107 bytes"), "AF_UNIX path length"),
    ],
)
def test_a_ray_that_cannot_start_halts_the_run_and_names_the_way_out(
    error: Exception, told: str, log: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def session(options: Options, nodes: Any) -> Iterator[RaySession]:
        raise error
        yield

    monkeypatch.setattr(backend, "ray_session", session)
    stop = Stop()
    with made(log, stop) as on_ray:
        on_ray.train(plan_on("cpu"), STUDENTS)
    assert told in (stop.halted or "")
    assert "--inline" in (stop.halted or "")
    assert "more" not in (stop.halted or "")
    assert log == []
    assert "stopping: Ray cannot start" in capsys.readouterr().err


def test_a_ray_that_is_gone_ends_the_run_though_a_call_of_it_never_returns(
    log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forever = threading.Event()

    @contextmanager
    def watching(lost: Any) -> Iterator[None]:
        threading.Timer(0.2, lost, ["Ray's head is gone"]).start()
        yield

    class Runs:
        def __init__(self, *_: Any) -> None:
            self.train = lambda plan, work: forever.wait(60)

    monkeypatch.setattr(backend, "watching", watching)
    monkeypatch.setattr(backend, "import_module", lambda name: SimpleNamespace(Runs=Runs))
    stop = Stop()
    with made(log, stop) as on_ray:
        on_ray.train(plan_on("cpu"), STUDENTS)
        assert on_ray._ray.abandoned
        assert log == ["start", "end"]  # at once, before the page is written
    assert stop.halted == "Ray's head is gone"
    forever.set()


@pytest.mark.parametrize("error", [ray.exceptions.RaySystemError("gone"), ConnectionResetError("gone")])
def test_an_error_of_ray_itself_ends_the_run_orderly(
    error: Exception, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(plan: Any, work: Work) -> None:
        raise error

    runs = SimpleNamespace(Runs=lambda *_: SimpleNamespace(train=train))
    monkeypatch.setattr(backend, "import_module", lambda name: runs)
    stop = Stop()
    with made(log, stop) as on_ray:
        on_ray.train(plan_on("cpu"), STUDENTS)
    assert "Ray has ended" in (stop.halted or "")
    assert "gone" in (stop.halted or "")
    assert log == ["start", "end"]


def test_an_error_of_a_run_is_raised(log: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    runs = SimpleNamespace(Runs=lambda *_: SimpleNamespace(train=lambda plan, work: 1 / 0))
    monkeypatch.setattr(backend, "import_module", lambda name: runs)
    with pytest.raises(ZeroDivisionError), made(log) as on_ray:
        on_ray.train(plan_on("cpu"), STUDENTS)
    assert log == ["start", "end"]
