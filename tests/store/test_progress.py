"""progress.json: read while its run lives, and never trusted."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scl.store.files import open_folder
from scl.store.holder import HOLDER, this_process
from scl.store.progress import FIELDS, GONE, LATE, in_a_line, read_progress, remove_progress, write_progress
from scl.store.schema import now

TRIAL: dict[str, Any] = {"label": "kd · seed 0", "epoch": 2, "epochs": 5, "val_acc": [0.5, None]}
RECORD: dict[str, Any] = {
    "title": "students", "since": "then", "updated": "now", "host": "here", "command": "x", "expected": 4, "ended": 1,
    "failed": 0, "seconds_left": 60.0, "running": [TRIAL],
}  # fmt: skip


@pytest.fixture
def held(tmp_path: Path) -> Path:
    (tmp_path / HOLDER).write_text(json.dumps(this_process()))
    return tmp_path


def test_it_is_read_while_the_run_lives(held: Path) -> None:
    store = open_folder(str(held))
    assert read_progress(store) is None
    write_progress(store, RECORD)
    found = read_progress(store)
    assert found is not None
    assert math.isnan(found["running"][0]["val_acc"].pop())
    assert found["running"][0].pop("val_acc") == [0.5]
    assert in_a_line(found) == "running on here since then: 1 of 4 students ended"
    assert in_a_line({**found, "expected": 0, "title": "starting Ray"}) == "running on here since then: starting Ray"
    remove_progress(store)
    remove_progress(store)
    assert read_progress(store) is None


def test_a_run_that_was_killed_does_not_run(held: Path) -> None:
    store = open_folder(str(held))
    write_progress(store, RECORD)
    (held / HOLDER).write_text(json.dumps({**this_process(), "process_started": 1}))
    assert read_progress(store) is None
    (held / HOLDER).unlink()
    assert read_progress(store) is None


WITHOUT = [{k: v for k, v in RECORD.items() if k != name} for name in FIELDS if name != "seconds_left"]
OTHERS = [
    {**RECORD, **change} for change in ({"expected": -1}, {"seconds_left": "x"}, {"ended": True}, {"running": [1]})
]
TRIALS = [{**RECORD, "running": [{**TRIAL, name: []}]} for name in ("label", "epoch", "epochs")]


@pytest.mark.parametrize("content", ["", "[", "null", "[]", "[" * 10**5, *map(json.dumps, WITHOUT + OTHERS + TRIALS)])
def test_what_is_no_record_says_nothing(held: Path, content: str) -> None:
    (held / "progress.json").write_text(content)
    assert read_progress(open_folder(str(held))) is None


def test_values_that_are_no_accuracy_are_unknown(held: Path) -> None:
    store = open_folder(str(held))
    write_progress(store, {**RECORD, "running": [{**TRIAL, "val_acc": [7.0, -1, "x", {}, 0.25]}]})
    found = read_progress(store)
    assert found is not None
    assert [v for v in found["running"][0]["val_acc"] if not math.isnan(v)] == [0.25]


@pytest.mark.parametrize(
    ("seconds", "runs", "late"),
    [(0, True, False), (-1e4, True, False), (LATE + 5, True, True), (GONE + 5, False, True)],
)
def test_a_run_elsewhere_that_tells_nothing_does_not_run_for_ever(
    tmp_path: Path, seconds: float, runs: bool, late: bool
) -> None:
    """Of a process on another machine, nothing but its last record tells."""
    (tmp_path / HOLDER).write_text(json.dumps({"host": "elsewhere", "pid": 1, "boot": "another"}))
    store = open_folder(str(tmp_path))
    record = {**RECORD, "updated": (now() - timedelta(seconds=seconds)).isoformat()}
    write_progress(store, record)
    assert (read_progress(store) is not None) == runs
    assert read_progress(store, gone=math.inf) is not None
    assert ("not updated since" in in_a_line(record)) == late
