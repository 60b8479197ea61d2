"""Meters of energy: counters that start over, that fail, and that are not there."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scl import energy
from scl.energy import KEEP_UP, Counter, Meter, meter_of

CPU = torch.device("cpu")


def counting(values: Sequence[float | Exception]) -> Iterator[float]:
    for value in values:
        if isinstance(value, Exception):
            raise value
        yield value


def meter(values: Sequence[float | Exception], span: float = math.inf, seconds: float = 1.0) -> Meter:
    """A meter whose counter has these values, read every so many seconds."""
    counted, clock = counting(values), iter(i * seconds for i in range(100))
    return Meter("RAPL", [Counter(lambda: next(counted), span)], lambda: next(clock))


@pytest.mark.parametrize(
    ("values", "span", "seconds", "read"),
    [
        ([10.0, 15.0, 15.5], math.inf, 1.0, [5.0, 5.5]),
        ([9000.0, 100.0, 300.0], 10_000.0, 1.0, [1100.0, 1300.0]),  # it started over once
        ([0.0, 500.0, 600.0], 10_000.0, 60.0, [math.nan, math.nan]),  # it may have started over any number of times
        ([10.0, OSError(), 11.0], math.inf, 1.0, [math.nan]),
        ([10.0, 12.0, RuntimeError()], math.inf, 1.0, [2.0, math.nan]),
    ],
)
def test_what_a_counter_adds_up_to(values: list[Any], span: float, seconds: float, read: list[float]) -> None:
    found = meter(values, span, seconds)
    assert [found.read() for _ in read] == pytest.approx(read, nan_ok=True)


def test_a_meter_keeps_up_without_a_read_at_every_step() -> None:
    now = [0.0]
    found = Meter("RAPL", [Counter(lambda: 5 * now[0], 1e9)], lambda: now[0])
    for now[0] in (1.0, KEEP_UP - 1):
        found.keep_up()
        assert found.at == 0
    now[0] = KEEP_UP
    found.keep_up()
    assert (found.at, found.total) == (KEEP_UP, 5 * KEEP_UP)


def zone(folder: Path, name: str, kind: str, microjoules: str = "1000000") -> None:
    (folder / name).mkdir(parents=True)
    for file, text in (("name", f"{kind}\n"), ("energy_uj", microjoules), ("max_energy_range_uj", "262143328850\n")):
        (folder / name / file).write_text(text)


@pytest.mark.parametrize(
    ("zones", "packages"),
    [
        ({}, 0),
        ({"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "package-1"}, 2),
        ({"intel-rapl:0": "psys", "intel-rapl:1": "dram"}, 0),
        ({"intel-rapl-mmio:0": "package-0"}, 0),  # the same package by another way
    ],
)
def test_processors_are_counted_once_each(
    zones: dict[str, str], packages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    for name, kind in zones.items():
        zone(tmp_path, name, kind)
    found = meter_of(CPU)
    assert (len(found.counters) if found else 0) == packages
    if found:
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("3500000")
        assert found.source == "RAPL"
        assert found.read() == pytest.approx(2.5)


def test_a_counter_that_may_not_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", "no number")
    assert meter_of(CPU) is None


@pytest.mark.parametrize("fault", ["", "cannot be divided", "no package", "no driver", "no counter", "divided"])
def test_a_gpu_is_counted_by_its_own_identity(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("NVML's own error")

    joules = iter((1000, 1000, 4000))
    pynvml = SimpleNamespace(
        nvmlInit=fail if fault == "no driver" else lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetMigMode=fail if fault == "cannot be divided" else lambda uuid: [int(fault == "divided"), 0],
        NVML_DEVICE_MIG_ENABLE=1,
        NVMLError=RuntimeError,
        nvmlDeviceGetTotalEnergyConsumption=fail if fault == "no counter" else lambda uuid: next(joules),
    )
    monkeypatch.setitem(sys.modules, "pynvml", None if fault == "no package" else pynvml)  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="abc"))
    found = meter_of(torch.device("cuda", 0))
    assert (found is None) == (fault not in ("", "cannot be divided"))
    if found:
        assert (found.source, found.read()) == ("NVML", 3.0)
