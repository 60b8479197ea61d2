"""What others see of a run while it runs, and what that may cost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scl.run import live
from scl.run.live import FIRST_PAGE, PAGE_SECONDS, SHARE, Live
from scl.store.files import open_folder
from scl.store.holder import HOLDER, this_process

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


def of_a_second(clock: Clock, seconds: float) -> Callable[[object], str]:
    def rendered(results: object) -> str:
        clock.now += seconds
        return "a page"

    return rendered


def test_a_new_store_has_a_page_at_once_and_an_old_one_keeps_its_own(store: Path) -> None:
    Live(open_folder(str(store))).start()
    page = (store / "report.html").read_text()
    assert "This page is written again as results arrive" in page
    assert len(page) < 100_000  # without Plotly
    (store / "report.html").write_text("mine")
    Live(open_folder(str(store))).start()
    assert (store / "report.html").read_text() == "mine"


def test_the_page_says_what_runs(store: Path) -> None:
    clock = Clock()
    telling = Live(open_folder(str(store)), "ablation.py --seeds 3", clock)
    clock.now += FIRST_PAGE / SHARE
    telling.changed(lambda: RECORD)
    assert not (store / "report.html").exists()  # nothing has ended
    telling.changed(lambda: RECORD, ended=True)
    page = (store / "report.html").read_text()
    assert "1 of 4 trials ended, about 2 min left" in page
    assert "&lt;b&gt;" in page
    assert 'points="0.0,12.0 120.0,6.5"' in page
    assert json.loads((store / "progress.json").read_text())["command"] == "ablation.py --seeds 3"
    telling.end()
    assert not (store / "progress.json").exists()


@pytest.mark.parametrize("cost", [0.01, 1.5, 40.0])
def test_pages_take_at_most_their_share_of_the_time(store: Path, cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(live, "render", of_a_second(clock, cost))
    monkeypatch.setattr(live, "write_progress", lambda store, record: None)  # thousands of files would take minutes
    telling = Live(open_folder(str(store)), "", clock)
    written = []
    for _ in range(8_000):
        clock.now += 1.0
        before = telling.page_at
        telling.changed(lambda: RECORD, ended=True)
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
    telling = Live(open_folder(str(store)), "", clock)
    clock.now = 1e6
    telling.changed(lambda: RECORD, ended=True)
    assert not telling.pages
    telling.changed(lambda: RECORD, ended=True)


def test_nobody_is_told_without_a_store() -> None:
    silent = Live(None)
    silent.start()
    silent.changed(lambda: RECORD, ended=True)
    silent.tell(RECORD)
    silent.end()
