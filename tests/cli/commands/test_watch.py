"""`scl watch`: the state of a live run, in lines where there is no terminal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scl.cli.command import main
from scl.cli.commands import watch
from scl.store.holder import HOLDER, this_process
from tests.store.test_progress import RECORD

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def store(small: Path, tmp_path: Path) -> Path:
    shutil.copy(small / "study.json", tmp_path)
    (tmp_path / HOLDER).write_text(json.dumps(this_process()))
    (tmp_path / "progress.json").write_text(json.dumps(RECORD))
    return tmp_path


def test_once(store: Path, capsys: Captured) -> None:
    assert main(["watch", str(store), "--once"]) == 0
    assert capsys.readouterr().out == "students: 1 of 4 ended, about 60 s left\n"


def test_until_the_run_has_ended(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    looks: list[dict[str, Any]] = [{"ended": 1}, {"ended": 2, "failed": 1}, {"ended": 4, "seconds_left": None}]

    def next_look(seconds: float) -> None:
        if looks:
            (store / "progress.json").write_text(json.dumps({**RECORD, **looks.pop(0)}))
        else:
            (store / "progress.json").unlink(missing_ok=True)

    monkeypatch.setattr(watch.time, "sleep", next_look)
    assert main(["watch", str(store)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "students: 1 of 4 ended, about 60 s left",
        "students: 2 of 4 ended, 1 failed, about 60 s left",
        "students: 4 of 4 ended",
        f"the run has ended: {store}/report.html",
    ]


def test_nothing_runs(small: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["watch", str(small)]) == 0
    assert "nothing runs here now" in capsys.readouterr().err
    assert main(["watch", str(tmp_path)]) == 2
