"""Measured latencies of a store: written, replaced, and read with what is damaged left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scl.store.files import open_folder
from scl.store.latencies import FIELDS, architecture_of, problem_of, read_latencies, write_latency

ONE: dict[str, Any] = {
    "architecture": "abc", "student": "plain5", "arm": "kd", "trial_id": "0", "latency_ms": 2.0, "low_ms": 1.0,
    "high_ms": None, "device": "phone", "runtime": "r 1", "threads": 1, "batch": 1, "bytes": 9, "when": "now",
}  # fmt: skip


def test_a_later_measurement_of_the_same_replaces_the_earlier(tmp_path: Path) -> None:
    store = open_folder(str(tmp_path))
    assert read_latencies(store) == []
    write_latency(store, ONE)
    write_latency(store, {**ONE, "device": "laptop", "other": 1})
    write_latency(store, {**ONE, "latency_ms": 3.0})
    assert read_latencies(store) == [{**ONE, "device": "laptop"}, {**ONE, "latency_ms": 3.0}]


WRONG = [
    *(None, [], {}),
    *({k: v for k, v in ONE.items() if k != name} for name in FIELDS),
    *({**ONE, name: True} for name in FIELDS),
    *({**ONE, "latency_ms": value} for value in (0.0, -1.0, float("inf"), "2")),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_measurement_is_named_and_left_out(
    wrong: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problem_of(wrong)
    (tmp_path / "latencies.json").write_text(json.dumps([wrong, ONE]))
    assert read_latencies(open_folder(str(tmp_path))) == [ONE]
    assert "latencies.json" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{}", "[", "null", "[" * 100_000])
def test_a_damaged_file_is_named(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latencies.json").write_text(content)
    assert read_latencies(open_folder(str(tmp_path))) == []
    assert "measure again" in capsys.readouterr().err


def test_an_architecture_is_what_determines_the_network() -> None:
    base = architecture_of({"student": "plain5", "width": 0.5, "lr": 0.1}, [3, 8, 8], 10)
    assert base == architecture_of({"width": 0.5, "student": "plain5", "losses": {}}, (3, 8, 8), 10)
    others = [({"student": "plain5"}, [3, 8, 8], 10), ({"student": "plain5", "width": 0.5}, [1, 8, 8], 10)]
    assert base not in [architecture_of(*other) for other in others]
