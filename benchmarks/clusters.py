"""What a tiny trial costs a cluster beside its training: CPU of the driver, the relay and Ray's own processes.

`benchmarks/scale.py --cluster` runs this. A head without CPUs and two nodes with addresses of their own listen on the
loopback interface, so workers reach the driver's folder through the relay, as hosts without a shared folder do. A study
of tiny trials, one a cohort, runs on some of the slots. From outside, once a second, this process reads how many trials
have ended and the CPU time, the memory and the number of the processes of each role. A trial's CPU is the difference
between two such readings, divided by the trials in between: start-up and planning are left out. Memory is what is
resident (`_mb`) and, once in a while, the same with shared pages counted once (`_pss_mb`).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks import shared_imports
from benchmarks.chaos import PATIENT, Cluster, descendants, kill
from scl.errors import Damaged, RunFailed, UserError
from scl.store.files import open_folder
from scl.store.progress import read_progress

EVERY = 1.0  # seconds between two readings
EVERY_PSS = 15  # readings between two of shared memory, each of which takes milliseconds a process
# How the title of a process begins → its role.
RAYS = {
    "ray::RpcServer": "relay",
    "ray::Mailbox": "mailbox",
    "ray::IDLE": "idle",
    "ray::DashboardAgent": "agents",
    "ray::RuntimeEnvAgent": "agents",
}
OTHERS = ("gcs_server", "raylet")


def roles(driver: int, folder: Path, importer: int | None) -> dict[int, str]:
    """The processes of a run on the cluster with this folder, by id: driver, relay, mailbox, gcs_server, raylet,
    agents, idle, workers, or imports: what workers are forks of, if there is an importer."""
    found, others = {driver: "driver"}, {}
    for process in psutil.process_iter(["pid", "ppid", "cmdline"]):
        command = process.info["cmdline"] or []
        title = " ".join(command)
        if title.startswith("ray::"):
            role = next((role for start, role in RAYS.items() if title.startswith(start)), "workers")
            others[process.info["pid"]] = (process.info["ppid"], role)
        elif importer in (process.info["pid"], process.info["ppid"]) and importer is not None:
            found[process.info["pid"]] = "imports"
        elif str(folder) in title and (name := Path(command[0]).name) in OTHERS:
            found[process.info["pid"]] = name
    parents = {pid for pid, role in found.items() if role in ("raylet", "imports")}
    return found | {pid: role for pid, (parent, role) in others.items() if parent in parents}


class Readings:
    """CPU seconds and memory by role, and the trials that had ended by then."""

    def __init__(self, driver: int, folder: Path, importer: int | None) -> None:
        self.of = (driver, folder, importer)
        self.cpu: dict[int, tuple[str, float]] = {}  # of each process, the last that was seen
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.most: dict[str, float] = {}

    def take(self, ended: int) -> None:
        count: dict[str, int] = {}
        memory: dict[str, float] = {}
        for pid, role in roles(*self.of).items():
            try:
                process = psutil.Process(pid)
                times, used = process.cpu_times(), {"mb": process.memory_info().rss / 1e6}
                if len(self.rows) % EVERY_PSS == 0:
                    used["pss_mb"] = process.memory_full_info().pss / 1e6
            except psutil.Error:
                continue
            self.cpu[pid] = (role, times.user + times.system)
            count[role] = count.get(role, 0) + 1
            for kind, value in used.items():
                memory[f"{role}_{kind}"] = memory.get(f"{role}_{kind}", 0.0) + value
        for name, value in memory.items():
            self.most[name] = max(self.most.get(name, 0.0), round(value))
        for name, number in {f"{r}_processes": float(n) for r, n in count.items()}.items():
            self.most[name] = max(self.most.get(name, 0.0), number)
        spent: dict[str, float] = {}
        for role, seconds in self.cpu.values():
            spent[role] = spent.get(role, 0.0) + seconds
        self.rows.append((ended, spent))

    def between(self, first: int, last: int) -> dict[str, float]:
        """Milliseconds of CPU a trial by role, from the reading at `first` ended trials to that at `last`."""
        known = [row for row in self.rows if first <= row[0] <= last]
        if len(known) < 2 or known[-1][0] == known[0][0]:
            return {}
        (before, spent), (after, then) = known[0], known[-1]
        each = {role: 1000 * (then[role] - spent.get(role, 0.0)) / (after - before) for role in sorted(then)}
        return {"from": before, "to": after, **{f"{role}_ms": round(value, 2) for role, value in each.items()}}


def ended_trials(out: str) -> int:
    """How many trials of the running study have ended, as its folder tells."""
    try:
        record = read_progress(open_folder(f"{out}/tiny", reading=True))
    except (Damaged, RunFailed, UserError, OSError):
        return 0
    return int(record["ended"]) if record and record["title"] == "students" else 0


@contextmanager
def importing(share: bool) -> Iterator[tuple[int | None, Mapping[str, str]]]:
    """The id of a process whose imports workers share, or None, and the environment of Ray's processes."""
    if not share:
        yield None, PATIENT
        return
    with tempfile.TemporaryDirectory(prefix="imports", dir="/tmp") as folder:  # short, as it holds sockets
        process, more = shared_imports.start(Path(folder), PATIENT)
        try:
            yield process.pid, {**PATIENT, **more}
        finally:
            for pid in [*descendants(process.pid), process.pid]:
                kill(pid)
            process.wait()


def measure(trials: int, slots: int, share: bool) -> dict[str, Any]:
    """Run a study of so many tiny trials on so many slots; returns figures. share: workers share their imports."""
    with (
        importing(share) as (importer, environment),
        tempfile.TemporaryDirectory() as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as text,
    ):
        cluster = Cluster(nodes=2, cpus=slots // 2, apart=True, environment=environment)
        try:
            script = str(Path(__file__).parent / "scale.py")
            command = [sys.executable, script, "--apart", "cluster", str(trials), "5", out, cluster.address]
            began = time.perf_counter()
            driver = subprocess.Popen(command, env=PATIENT, stdout=text, stderr=text)
            readings = Readings(driver.pid, cluster.folder, importer)
            while driver.poll() is None:
                time.sleep(EVERY)
                readings.take(ended_trials(out))
                if "all_workers_s" not in readings.most and readings.most.get("workers_processes") == slots:
                    readings.most["all_workers_s"] = round(time.perf_counter() - began, 1)
            wall = time.perf_counter() - began
        finally:
            cluster.stop()
        text.seek(0)
        said = text.read().strip()
        if driver.returncode:
            raise SystemExit(f"the study ended with code {driver.returncode}:\n{said[-3000:]}")
        own = json.loads(said.splitlines()[-1])
    steps = [0, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]
    spans = [(low or 20, high) for low, high in pairwise(steps) if low < trials]
    return {
        "trials": trials,
        "slots": slots,
        "shared_imports": share,
        "wall_s": round(wall, 1),
        "students_s": round(own["students"], 1),
        "listings": own["listings"],
        "listed_mb": round(own["listed"] / 1e6, 3),
        "letters_a_trial": round(own["letters"] / trials, 2),
        "load": round(os.getloadavg()[0], 1),
        "most": dict(sorted(readings.most.items())),
        "cpu_ms_a_trial": [found for span in spans if (found := readings.between(*span))],
    }


def in_words(figures: dict[str, Any]) -> dict[str, Any]:
    """The same figures, after they were printed."""
    most, last = figures["most"], figures["cpu_ms_a_trial"][-1] if figures["cpu_ms_a_trial"] else {}
    cpu = ", ".join(f"{role} {last.get(f'{role}_ms', math.nan):.1f}" for role in ("driver", "relay", "mailbox"))
    span, workers = f"trials {last.get('from')} to {last.get('to')}", most.get("workers_processes", 0)
    print(
        f"{figures['trials']:,} trials, {figures['slots']} slots: ms of CPU a trial: {cpu} ({span}); "
        f"at most {workers:.0f} workers, driver {most['driver_mb']:,.0f} MB; "
        f"{figures['letters_a_trial']} calls a trial, {figures['listed_mb']} MB of names listed",
        flush=True,
    )
    return figures
