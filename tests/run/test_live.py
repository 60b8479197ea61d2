"""What others see of a run while it runs, and what that may cost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from scl.run import live
from scl.run.live import EACH_TRIAL, FIRST_PAGE, LINE_SECONDS, PAGE_SECONDS, QUIET_PAGE_SECONDS, SHARE, Live, Stage
from scl.store.files import open_folder
from scl.store.holder import HOLDER, this_process
from scl.store.progress import HEARTBEAT

RECORD: dict[str, Any] = {
    "title": "students", "expected": 4, "ended": 1, "failed": 0, "seconds_left": 90.0,
    "running": [{"label": "<b>", "epoch": 2, "epochs": 5, "val_acc": [0.5, 0.75]}],
}  # fmt: skip


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(small: Path, tmp_path: Path) -> Path:
    (tmp_path / HOLDER).write_text(json.dumps(this_process()))
    for name in ("study.json", "trials.parquet", "epochs.parquet", "predictions.parquet"):
        shutil.copy(small / name, tmp_path)
    return tmp_path


@dataclass
class Shown:
    """What goes on, for tests. asked: how often a record was made."""

    asked: int = 0

    def record(self) -> dict[str, Any]:
        self.asked += 1
        return RECORD

    def line(self) -> str:
        return "it goes on"


def of_a_second(clock: Clock, seconds: float) -> Callable[[object], str]:
    def rendered(results: object) -> str:
        clock.now += seconds
        return "a page"

    return rendered


def test_a_new_store_has_a_page_at_once_and_an_old_one_keeps_its_own(store: Path) -> None:
    Live(open_folder(str(store))).first_page(4)
    page = (store / "report.html").read_text()
    assert "This page is written again as results arrive" in page
    assert len(page) < 100_000  # without Plotly
    (store / "report.html").write_text("mine")
    Live(open_folder(str(store))).first_page(4)
    assert (store / "report.html").read_text() == "mine"


def test_the_page_says_what_runs(store: Path) -> None:
    clock = Clock()
    telling = Live(open_folder(str(store)), "ablation.py --seeds 3", clock, shown=Shown())
    clock.now += FIRST_PAGE / SHARE + 1
    telling.changed()
    assert not (store / "report.html").exists()  # nothing has ended
    telling.changed(ended=True)
    page = (store / "report.html").read_text()
    assert "1 of 4 trials ended, about 2 min left" in page
    assert "&lt;b&gt;" in page
    assert 'points="0.0,12.0 30.0,6.5"' in page
    assert json.loads((store / "progress.json").read_text())["command"] == "ablation.py --seeds 3"
    telling.end()
    assert not (store / "progress.json").exists()


@pytest.mark.parametrize("cost", [0.01, 1.5, 40.0])
def test_pages_take_at_most_their_share_of_the_time(store: Path, cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(live, "render", of_a_second(clock, cost))
    monkeypatch.setattr(live, "write_progress", lambda store, record: None)
    monkeypatch.setattr(live, "read", lambda store: SimpleNamespace(trials=[1], study={}))
    telling = Live(open_folder(str(store)), "", clock, shown=Shown())
    written = []
    for _ in range(2000):
        clock.now += 20.0
        before = telling.page_at
        telling.changed(ended=True)
        if telling.page_at != before:
            written.append(clock.now)
        # The first page may cost more than was expected of it.
        assert telling.spent <= max(SHARE * clock.now, cost)
    assert written
    assert all(later - earlier >= PAGE_SECONDS for earlier, later in pairwise(written))


@pytest.mark.parametrize("error", [OSError("full"), ModuleNotFoundError("plotly")])
def test_a_page_that_fails_ends_no_run(store: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(results: object) -> str:
        raise error

    monkeypatch.setattr(live, "render", broken)
    clock = Clock()
    telling = Live(open_folder(str(store)), "", clock, shown=Shown())
    clock.now = 1e6
    telling.changed(ended=True)
    assert not telling.pages
    telling.changed(ended=True)


def test_nobody_is_told_without_a_store() -> None:
    silent = Live(None)
    silent.first_page(4)
    silent.begin()
    silent.show(Shown())
    silent.changed(ended=True)
    silent.end()


def test_a_large_study_waits_longer_for_its_first_page(store: Path) -> None:
    telling = Live(open_folder(str(store)), "", Clock())
    soon = 2 * FIRST_PAGE / SHARE
    assert telling.page_is_due(soon, ended=True)
    telling.first_page(10_000)
    assert not telling.page_is_due(soon, ended=True)
    assert telling.page_is_due((FIRST_PAGE + EACH_TRIAL * 10_000) / SHARE + 1, ended=True)


def test_a_page_is_written_while_nothing_has_ended_yet_too(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(live, "render", of_a_second(clock, 0.1))
    telling = Live(open_folder(str(store)), "", clock, shown=Shown())
    for _ in range(1000):
        clock.now += 1.0
        telling.changed()
    assert 6 <= round(telling.spent / 0.1) <= 1000 / QUIET_PAGE_SECONDS


@pytest.mark.parametrize("cost", [0.0, 0.1, 1.0])
def test_records_take_at_most_their_share_of_the_time(cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand trials at once, and a store that is slow to write to."""
    clock, written = Clock(), []

    def write(store: object, record: object) -> None:
        clock.now += cost
        written.append(clock.now)

    monkeypatch.setattr(live, "write_progress", write)
    telling = Live(open_folder("mock://bucket/study"), "", clock, shown=Shown())
    telling.pages = False
    for _ in range(100_000):
        clock.now += 0.01
        telling.changed(ended=True)
    assert cost * len(written) <= 0.02 * clock.now
    assert all(later - earlier >= 15 for earlier, later in pairwise(written))
    assert written[-1] > clock.now - 400


def test_a_log_and_the_record_hear_of_a_run_that_has_no_news(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock, shown = Clock(), Shown()
    telling = Live(open_folder(str(store)), "", clock)
    telling.look()
    telling.stage("reading the data: digits")
    assert json.loads((store / "progress.json").read_text())["title"] == "reading the data: digits"
    telling.show(shown)
    for now in (LINE_SECONDS - 1, LINE_SECONDS, HEARTBEAT + LINE_SECONDS, 2 * LINE_SECONDS):
        asked, clock.now = shown.asked, now
        telling.look()
        assert (shown.asked > asked) == (now not in (LINE_SECONDS, 2 * LINE_SECONDS))
    telling.end()
    telling.tell()
    assert not (store / "progress.json").exists()
    assert capsys.readouterr().err.splitlines() == ["reading the data: digits", "it goes on", "it goes on"]


def test_a_thread_looks_from_time_to_time(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.01)
    telling, looked = Live(open_folder(str(store))), Event()
    monkeypatch.setattr(telling, "look", looked.set)
    telling.begin()
    assert looked.wait(60)
    telling.end()


def test_a_stage_says_how_long_it_takes() -> None:
    assert Stage("starting Ray", began=monotonic() - 75).line() == "starting Ray, for 1 min 15 s now"
