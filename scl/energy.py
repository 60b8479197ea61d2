"""Energy as this machine's own meters count it: of processors by RAPL, of GPUs by NVML.

A meter counts all that its processor or GPU does: idle power, other programs, and other cohorts on the same one. Where
no meter can be read, as in most containers, there is none: nothing is estimated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
RAPL, NVML = "RAPL", "NVML"
KEEP_UP = 20.0  # seconds between two reads: RAPL's counters start over after minutes at full load
MOST_WATTS = 1000.0  # of one counter; a counter that may have started over twice says nothing


@dataclass(frozen=True)
class Counter:
    """joules: reads a counter that rises. span: where it starts over at 0; infinite if it never does."""

    joules: Callable[[], float]
    span: float = math.inf


@dataclass
class Meter:
    """Counters of one kind, added up from when the meter was made. source: RAPL or NVML."""

    source: str
    counters: Sequence[Counter]
    clock: Callable[[], float] = time.monotonic
    total: float = 0.0  # joules; NaN from when a counter could not be read
    last: list[float] = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.at = self.clock()
        self.last = [counter.joules() for counter in self.counters]

    def read(self) -> float:
        """Joules since the meter was made; NaN if they are not known."""
        here = self.clock()
        try:
            now = [counter.joules() for counter in self.counters]
        except Exception:  # NVML has errors of its own
            self.total = math.nan
            return self.total
        for counter, before, after in zip(self.counters, self.last, now, strict=True):
            over = (here - self.at) * MOST_WATTS > counter.span
            self.total += math.nan if over else after - before + (counter.span if after < before else 0.0)
        self.last, self.at = now, here
        return self.total

    def keep_up(self) -> None:
        """Read if it is time to, so that no counter starts over twice. Cheap, for every step."""
        if self.clock() - self.at >= KEEP_UP:
            self.read()


def meter_of(device: Any) -> Meter | None:
    """The meter of a torch device; None if this machine has none that this process may read."""
    counters = list(_of_gpu(device) if device.type == "cuda" else _of_processors())
    if not counters:
        return None
    with suppress(Exception):
        return Meter(NVML if device.type == "cuda" else RAPL, counters)
    return None


def _of_processors() -> Iterator[Counter]:
    """A counter for each processor package; other zones, as of cores and memory, are parts of it or overlap it."""
    with suppress(OSError, ValueError):
        for zone in sorted(POWERCAP.glob("intel-rapl:*")):  # AMD's are named so too
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                span = float((zone / "max_energy_range_uj").read_text()) / 1e6
                float((zone / "energy_uj").read_text())  # only root may, on most systems
                yield Counter(lambda zone=zone: float((zone / "energy_uj").read_text()) / 1e6, span)  # type: ignore[misc]


def _of_gpu(device: Any) -> Iterator[Counter]:
    """The counter of a GPU, if the package nvidia-ml-py is installed."""
    try:
        import pynvml  # noqa: PLC0415
        import torch

        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        if _is_divided(pynvml, handle):
            return
    except Exception:  # the package is not there, the driver has no such counter, or the GPU is a part of one
        return
    yield Counter(lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3)


def _is_divided(pynvml: Any, handle: Any) -> bool:
    """Whether a GPU is divided by MIG: its counter is of all parts, and torch may name the whole GPU for one."""
    try:
        return bool(pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE)
    except pynvml.NVMLError:  # a GPU that cannot be divided
        return False
