"""What a worker reports to Tune, without Ray: events in batches, and none left behind."""

import errno
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from scl.run.ray import tune
from scl.train.types import EpochDone, Event, TrialEnded

EVENTS: list[Event] = [
    EpochDone("a", {"epoch": 1, "val_acc": 0.5}),
    EpochDone("a", {"epoch": 2, "val_acc": 0.6}),
    TrialEnded("a", {"state": "completed", "error": None}, []),
]


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.tune.report", told.append)
    return told


def train(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    def execute(*_: Any) -> Iterator[Event]:
        yield from EVENTS
        if error:
            raise error

    monkeypatch.setattr(tune, "execute", execute)
    context: Any = SimpleNamespace(jobs={"a": SimpleNamespace(columns={"arm": "kd"})})
    tune.train({"cohort": ["a"]}, context)


def states(reports: list[dict[str, Any]]) -> list[Any]:
    return [event.get("state", event.get("epoch")) for report in reports for event in report.get("events", ())]


def test_events_are_reported_in_batches(monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]) -> None:
    monkeypatch.setattr(tune, "SECONDS", 1000.0)
    train(monkeypatch)
    assert states(reports) == [1, 2, "completed"]
    assert len(reports) == 2  # the first at once, the others at the end
    assert reports[1]["events"][1]["seen"] == ({"arm": "kd"}, {"state": "completed", "error": None})


def test_what_has_happened_is_told_before_an_error_is(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(tune, "SECONDS", 1000.0)
    with pytest.raises(RuntimeError, match="lost"):
        train(monkeypatch, RuntimeError("lost"))
    assert states(reports) == [1, 2, "completed"]


def test_a_store_that_cannot_be_written_to_halts_the_run(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(tune, "SECONDS", 1000.0)
    train(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    assert states(reports) == [1, 2, "completed"]
    assert "disk is full" in reports[-1]["halt"]


def test_other_errors_of_the_system_are_no_reason_to_halt(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    with pytest.raises(ConnectionResetError):
        train(monkeypatch, ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    assert states(reports) == [1, 2, "completed"]
    assert not any("halt" in report for report in reports)
