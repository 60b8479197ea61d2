"""Every trial is a run of the tool, and a tool that fails stops no training."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scl.cli.main import run_flags
from scl.run.trackers.tool import Logged, TrackedTrial
from scl.run.trackers.tracker import ENVIRONMENT, TOOLS, Tracker, tracking
from scl.store.files import open_folder
from scl.store.results import load
from scl.study.options import TRACKERS
from tests.support.studies import SMALL, run_study
from tests.support.trackers import TWO_TRIALS


class Recorder:
    """A tool that records its calls, and of `log` each row; `fail_at` names the call that fails, `hold` delays all."""

    def __init__(self, fail_at: str = "") -> None:
        self.fail_at = fail_at
        self.calls: list[tuple[str, Any, Any]] = []
        self.logs: list[int] = []  # rows of each call
        self.hold = threading.Event()
        self.hold.set()

    def start(self, trial: TrackedTrial) -> str:
        self._record("start", trial.trial_id, trial)
        return trial.trial_id

    def log(self, run: str, rows: Sequence[Logged]) -> None:
        self.logs.append(len(rows))
        for row in rows:
            self._record("log", run, (row.step, dict(row.values)))

    def attach(self, run: str, name: str, content: bytes) -> None:
        self._record("attach", run, (name, content))

    def attach_page(self, content: bytes) -> None:
        self._record("page", "", content)

    def end(self, run: str, state: str, error: str | None, values: Any) -> None:
        self._record("end", run, (state, error))

    def _record(self, what: str, run: str, value: Any) -> None:
        assert self.hold.wait(20)
        if what == self.fail_at:
            raise ConnectionError("the server is gone")
        self.calls.append((what, run, value))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setitem(TOOLS, "mlflow", lambda store: made)
    return made


def check_calls(recorder: Recorder, store: Path) -> None:
    read = load(str(store))
    for row in read.planned().to_dict("records"):
        mine = [(what, value) for what, run, value in recorder.calls if run == row["trial_id"]]
        assert [what for what, _ in mine] == ["start", "log", "log", "log", "attach", "end"]
        about = mine[0][1]
        assert (about.study, about.arm, about.seed) == ("small", row["arm"], row["seed"])
        assert about.params["lr"] == row["param.lr"]
        assert [value[0] for what, value in mine if what == "log"] == [1, 2, 2]
        epochs = read.epochs[read.epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
        assert [mine[1][1][1]["test_acc"], mine[2][1][1]["test_acc"]] == pytest.approx(epochs["test_acc"].tolist())
        assert mine[3][1][1]["agreement"] == pytest.approx(row["agreement"])
        network = store / "checkpoints" / row["trial_id"] / "student.safetensors"
        assert mine[4][1] == ("student.safetensors", network.read_bytes())
        assert mine[5][1] == ("completed", None)
    assert {run for _, run, _ in recorder.calls[:-1]} == set(read.planned()["trial_id"])  # and no teacher
    assert recorder.calls[-1] == ("page", "", (store / "report.html").read_bytes())


def test_every_trial_is_a_run(recorder: Recorder, tmp_path: Path) -> None:
    assert run_study(SMALL, "--out", str(tmp_path), "--track", "mlflow", *TWO_TRIALS) == 0
    check_calls(recorder, tmp_path / "small")


@pytest.mark.slow
def test_every_trial_is_a_run_on_ray_too(recorder: Recorder, tmp_path: Path) -> None:
    assert run_flags(SMALL, "study.py", ["--out", str(tmp_path), "--track", "mlflow", *TWO_TRIALS]) == 0
    check_calls(recorder, tmp_path / "small")


@pytest.mark.parametrize("fail_at", ["start", "log", "attach", "end", "page"])
def test_a_tool_that_fails_stops_no_training(
    recorder: Recorder, tmp_path: Path, capfd: pytest.CaptureFixture[str], fail_at: str
) -> None:
    recorder.fail_at = fail_at
    assert run_study(SMALL, "--out", str(tmp_path), "--track", "mlflow", *TWO_TRIALS) == 0
    assert set(load(str(tmp_path / "small")).trials["state"]) == {"completed"}
    assert capfd.readouterr().err.count("the server is gone); training goes on") == 1


def of_trial(name: str) -> dict[str, Any]:
    """The columns of a trial that are known before it trains."""
    columns: dict[str, Any] = dict.fromkeys(("study", "arm", "config_id", "teacher_id"), "x")
    return columns | {"trial_id": name, "seed": 0, "teacher_test_acc": 0.5, "params": 1, "macs": 1}


def test_training_does_not_wait_for_a_slow_tool_and_what_waits_is_sent_together() -> None:
    recorder = Recorder()
    recorder.hold.clear()
    tracker = Tracker("mlflow", recorder)
    began = time.monotonic()
    for epoch in range(1, 1001):
        for name in ("a", "b"):
            tracker.epoch(of_trial(name), {"epoch": epoch, "val_acc": 0.5})
    tracker.ended(of_trial("a"), {"state": "completed", "error": None, "agreement": 0.5})
    tracker.ended(of_trial("a"), {"state": "failed", "error": "told twice"})
    assert time.monotonic() - began < 2
    recorder.hold.set()
    tracker.close()
    assert sum(recorder.logs) == 2001
    assert len(recorder.logs) <= 12  # of a second each
    for name in ("a", "b"):
        steps = [value[0] for what, run, value in recorder.calls if (what, run) == ("log", name)]
        assert steps[:1000] == list(range(1, 1001))
    assert [call for call in recorder.calls if call[0] == "end"] == [
        ("end", "a", ("completed", None)),
        ("end", "b", ("stopped", None)),
    ]


def test_the_run_waits_if_too_much_waits_and_nothing_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scl.run.trackers.tracker.MOST_WAITING", 10)
    monkeypatch.setattr("scl.run.trackers.tracker.LINGER", 0.01)
    recorder = Recorder()
    recorder.hold.clear()
    tracker = Tracker("mlflow", recorder)
    threading.Timer(0.3, recorder.hold.set).start()
    for epoch in range(1, 101):
        tracker.epoch(of_trial("a"), {"epoch": epoch, "val_acc": 0.5})
    tracker.close()
    assert [value[0] for what, _, value in recorder.calls if what == "log"] == list(range(1, 101))
    assert capsys.readouterr().err.count("is slower than the training, which waits for it") == 1


def test_a_run_that_is_cut_off_at_its_end_says_that_events_were_not_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scl.run.trackers.tracker.LINGER", 0.0)
    recorder = Recorder()
    recorder.hold.clear()
    tracker = Tracker("mlflow", recorder)
    for epoch in range(1, 301):
        tracker.epoch(of_trial("a"), {"epoch": epoch, "val_acc": 0.5})
    assert tracker.thread is not None

    def interrupted(timeout: float) -> None:
        raise KeyboardInterrupt

    join, tracker.thread.join = tracker.thread.join, interrupted  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        tracker.close()
    said = capsys.readouterr().err
    assert re.search("sending the last [0-9]+ events to mlflow", said)
    assert re.search("warning: --track mlflow: [0-9]+ events or more were not sent", said)
    recorder.hold.set()
    join()


def test_a_tool_that_ends_its_thread_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    class Exits(Recorder):
        def start(self, trial: TrackedTrial) -> str:
            raise SystemExit(3)

    tracker = Tracker("mlflow", Exits())
    for epoch in (1, 2):
        tracker.epoch(of_trial("a"), {"epoch": epoch, "val_acc": 0.5})
    tracker.close()
    assert capsys.readouterr().err.count("--track mlflow stopped (SystemExit: 3); training goes on") == 1


def test_a_stop_ends_the_runs_of_unfinished_trials() -> None:
    recorder = Recorder()
    tracker = Tracker("mlflow", recorder)
    tracker.epoch(of_trial("x"), {"trial_id": "x", "epoch": 1, "val_acc": 0.5, "term.kd": float("nan")})
    tracker.close()
    assert recorder.calls[1] == ("log", "x", (1, {"val_acc": 0.5}))
    assert recorder.calls[2] == ("end", "x", ("stopped", None))


def test_trackers_are_those_of_the_flag(tmp_path: Path) -> None:
    assert tuple(TOOLS) == TRACKERS
    with tracking(None, open_folder(str(tmp_path))) as tracker:
        tracker.ended({"trial_id": "x"}, {"state": "completed"})


def test_variables_of_a_tool_are_put_back(recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = ENVIRONMENT["mlflow"]
    monkeypatch.setenv(one, "7")
    monkeypatch.delenv(two, raising=False)
    with tracking("mlflow", open_folder(str(tmp_path))):
        assert (os.environ[one], os.environ[two]) == ("7", ENVIRONMENT["mlflow"][two])
    assert os.environ[one] == "7"
    assert two not in os.environ


def test_what_the_store_lacks_or_is_too_large_is_not_attached(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scl.run.trackers.tracker.MOST_BYTES", 2)
    for name, content in {"small": b"12", "large": b"123", "larger": b"1234"}.items():
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "student.safetensors").write_bytes(content)
    with tracking("mlflow", open_folder(str(tmp_path))) as tracker:
        for name in ("small", "large", "larger", "lost"):
            tracker.ended(of_trial(name), {"state": "completed", "error": None})
        tracker.page()  # there is none
    assert [call for call in recorder.calls if call[0] == "attach"] == [
        ("attach", "small", ("student.safetensors", b"12"))
    ]
    assert capsys.readouterr().err.count("gets no networks of more than") == 1
