"""Latencies that were measured on devices, on the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scl.report.devices import device_table
from scl.report.facts import gather
from scl.report.questions import cost
from scl.report.results import load
from scl.store.files import open_folder
from scl.store.latencies import write_latency
from scl.students.latency import about
from scl.students.student import load_student
from tests.store.test_latencies import ONE


@pytest.fixture
def store(small: Path, tmp_path: Path) -> Path:
    shutil.copytree(small, tmp_path / "small")
    return tmp_path / "small"


def test_nothing_was_measured(store: Path) -> None:
    assert device_table(gather(load(str(store)))) is None


def test_each_arm_has_the_figures_of_its_network(store: Path) -> None:
    for arm, latency in (("scl", 2.0), ("baseline", 1.5)):
        record = load_student(str(store), f"{arm}/0").record
        write_latency(open_folder(str(store)), {**ONE, **about(record), "latency_ms": latency, "device": "phone <1>"})
    facts = gather(load(str(store)))
    table = device_table(facts)
    assert table is not None
    assert [column.label for column in table.columns] == ["Arm", "phone <1>, r 1, 1 thread, ms"]
    assert {row.arm: [cell.shown for cell in row.cells[1:]] for row in table.rows} == {
        "baseline": ["1.5"],
        "scl": ["2"],
    }
    assert cost.panel(facts).blocks[-1] == table
