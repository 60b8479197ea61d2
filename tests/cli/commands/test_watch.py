"""`scl watch`: the state of live runs, in lines where there is no terminal."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from scl.cli.command import main
from scl.cli.commands import watch
from scl.cli.commands.watch import Watched
from scl.store.files import open_folder
from scl.store.holder import HOLDER, this_process
from scl.store.progress import GONE, LATE
from scl.store.schema import now
from tests.store.test_progress import RECORD, TRIAL
from tests.test_terminal import HOSTILE

Captured = pytest.CaptureFixture[str]
LINE = "students: 1 of 4 ended, epoch 2 of 5, best validation 50.0 % (kd · seed 0), about 60 s left"
ELSEWHERE = {"host": "elsewhere", "pid": 1, "boot": "another", "since": "yesterday"}


def tell(store: Path, seconds_ago: float = 0.0, **changes: Any) -> None:
    updated = (now() - timedelta(seconds=seconds_ago)).isoformat()
    (store / "progress.json").write_text(json.dumps({**RECORD, "updated": updated, **changes}))


@pytest.fixture
def store(small: Path, tmp_path: Path) -> Path:
    place = tmp_path / "results" / "small"
    place.mkdir(parents=True)
    shutil.copy(small / "study.json", place)
    (place / "report.html").touch()
    (place / HOLDER).write_text(json.dumps(this_process()))
    tell(place)
    return place


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens while `watch` sleeps, one after the other; then Ctrl-C. Its clock goes by a minute each time."""
    script: list[Callable[[], object]] = []
    begun = time.monotonic()
    minutes = 0.0

    def sleep(seconds: float) -> None:
        nonlocal minutes
        minutes += 1
        if not script:
            raise KeyboardInterrupt
        script.pop(0)()

    monkeypatch.setattr(watch.time, "sleep", sleep)
    monkeypatch.setattr(watch.time, "monotonic", lambda: begun + 60 * minutes)
    return script


def ends(store: Path) -> None:
    for name in (HOLDER, "progress.json"):
        (store / name).unlink(missing_ok=True)


def test_once(store: Path, capsys: Captured) -> None:
    for place in (store, store.parent):
        assert main(["watch", str(place), "--once"]) == 0
        assert capsys.readouterr().out == f"small: {LINE}\n"


def test_a_study_that_begins_later_is_followed_as_well(
    store: Path, looks: list[Callable[[], object]], capsys: Captured
) -> None:
    other = store.parent / "later"

    def begins() -> None:
        shutil.copytree(store, other)
        tell(other, ended=3)

    def one_ends() -> None:
        ends(store)
        tell(other, ended=3)

    looks += [begins, one_ends, lambda: ends(other)]
    assert main(["watch", str(store.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("later: students: 3 of 4 ended") for line in lines)
    assert lines[-2:] == [f"{name}: the run has ended; its page: {name_of}/report.html" for name, name_of in
                          (("small", store), ("later", other))]  # fmt: skip


def test_until_the_run_has_ended(store: Path, looks: list[Callable[[], object]], capsys: Captured) -> None:
    looks += [
        lambda: tell(store, ended=2, failed=1, running=[]),
        lambda: tell(store, ended=4, seconds_left=None, running=[]),
        (store / "progress.json").unlink,
        lambda: ends(store),
    ]
    assert main(["watch", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"small: {LINE}",
        "small: students: 2 of 4 ended, 1 failed, about 60 s left",
        "small: students: 4 of 4 ended",
    ]
    assert lines[3].startswith(f"small: process {this_process()['pid']} on ")
    assert lines[3].endswith("starts or ends, and tells nothing")
    assert lines[4:] == [f"small: the run has ended; its page: {store}/report.html"]


def test_stages_before_the_first_trial_are_shown(store: Path, capsys: Captured) -> None:
    tell(store, title="starting Ray on this machine", expected=0, ended=0, running=[])
    assert main(["watch", str(store), "--once"]) == 0
    assert capsys.readouterr().out == "small: starting Ray on this machine\n"


def test_nothing_runs(small: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["watch", str(small)]) == 0
    assert "small: nothing runs here now; its page: " in capsys.readouterr().err
    for place in (tmp_path, tmp_path / "later"):
        assert main(["watch", str(place)]) == 2
        assert "--wait` waits for one" in capsys.readouterr().err


def test_a_run_that_was_killed_here_has_ended(store: Path, capsys: Captured) -> None:
    (store / HOLDER).write_text(json.dumps({**this_process(), "process_started": 1}))
    assert main(["watch", str(store), "--once"]) == 0
    printed = capsys.readouterr()
    assert not printed.out
    assert "small: nothing runs here now" in printed.err


def test_a_run_that_was_killed_elsewhere_is_not_watched_for_ever(
    store: Path, looks: list[Callable[[], object]], capsys: Captured
) -> None:
    (store / HOLDER).write_text(json.dumps(ELSEWHERE))
    looks += [lambda: None] * 20
    assert main(["watch", str(store)]) == 1
    *lines, end = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "not updated since" in line] == lines[3:]
    assert "no news since" in end
    assert "process 1 on elsewhere since yesterday: it was killed, suspended or cut off" in end
    assert len(looks) == 20 - GONE / 60


@pytest.mark.parametrize(
    ("seconds", "said"), [(LATE - 30, LINE), (LATE + 30, "not updated since"), (GONE + 30, "no news since")]
)
def test_the_first_look_tells_that_a_record_is_old(store: Path, seconds: float, said: str, capsys: Captured) -> None:
    tell(store, seconds, seconds_left=60.0 + seconds)
    assert main(["watch", str(store), "--once"]) == 0
    assert said in "".join(capsys.readouterr())


def test_several_studies_are_watched_until_the_last_has_ended(
    store: Path, looks: list[Callable[[], object]], capsys: Captured
) -> None:
    other = store.with_name("other")
    shutil.copytree(store, other)
    shutil.copytree(store, store.with_name("done"))
    ends(store.with_name("done"))
    looks += [lambda: ends(store), lambda: ends(other)]
    assert main(["watch", str(store.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"other: {LINE}", f"small: {LINE}"]
    assert [line.partition(";")[0] for line in lines[-2:]] == ["other: the run has ended", "small: the run has ended"]


def test_wait_waits_for_a_folder_a_store_and_a_run(
    small: Path, tmp_path: Path, looks: list[Callable[[], object]], capsys: Captured
) -> None:
    place = tmp_path / "later"

    def starts() -> None:
        (place / HOLDER).write_text(json.dumps(this_process()))
        tell(place)

    looks += [place.mkdir, lambda: shutil.copy(small / "study.json", place), starts, lambda: ends(place)]
    assert main(["watch", str(place), "--wait"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"waiting for a run in {place}\n"
    assert printed.out.startswith(f"later: {LINE}\n")


def test_a_signal_stops_the_watcher_alone(store: Path, looks: list[Callable[[], object]], capsys: Captured) -> None:
    assert main(["watch", str(store)]) == 130
    assert capsys.readouterr().err == "Stopped watching; the run goes on\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_process(store: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "scl.cli.command", "watch", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "1 of 4 ended" in process.stdout.readline()
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (130, "Stopped watching; the run goes on\n")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_display_fits_the_terminal(store: Path, width: int) -> None:
    names = [*HOSTILE, "教師の知識蒸留" * 8, "🦊" * 40, "kd"]
    tell(store, running=[{**TRIAL, "label": name} for name in names * 9])
    one = Watched("small", open_folder(str(store)))
    one.look()
    console = Console(width=width, height=24, file=io.StringIO(), record=True)
    console.print(watch._drawn([one], console))
    lines = console.export_text().splitlines()
    assert all(cell_len(line) <= width for line in lines)
