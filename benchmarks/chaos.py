"""Kills workers, nodes and drivers while a study runs, and checks that its numbers do not change.

    uv run benchmarks/chaos.py                       # about 8 minutes on 4 cores
    uv run benchmarks/chaos.py --kills 40 --seed 7 --json chaos.json

A study of digits runs once undisturbed (`--inline`). Then the same command runs on a Ray cluster that this script
starts on the loopback interface: a head without CPUs, and two nodes. Every few seconds SIGKILL ends one of three
things: a worker that trains, a node (a new one replaces it), or the driver (the same command starts again). After a
number of kills the last driver finishes undisturbed. The script then compares the final tables with those of the first
run, value by value, in every column but times, cohorts and restarts.

It prints the kills by kind, the values lost, duplicated and different, how many trials were resumed, and how long a new
driver takes to its first epoch. The exit code is 1 if a value is lost, duplicated or different.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping

import pandas as pd

from benchmarks.record import parsed, record
from scl.store.results import Results, load

ROOT = Path(__file__).parents[1]
TIMES = ("train_seconds", "images_per_second", "latency_ms", "started", "ended", "cohort_size", "restarts", "run")
RAY = str(Path(sys.executable).parent / "ray")
KINDS = ("worker", "node", "driver")
PATIENT = {
    **os.environ,
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # no other user of this machine may join
    "RAY_raylet_start_wait_time_s": "100",  # on a busy machine
}
ENVIRONMENT = {
    **PATIENT,
    # Ray gives a node up after this many missed answers, half a second apart.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "10",
    "RAY_health_check_initial_delay_ms": "1000",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A head without CPUs and some nodes, each `ray start --block` in a separate process group.

    apart: each node has an address of its own, so that it counts as another host. environment: of Ray's processes.
    """

    def __init__(
        self, nodes: int, cpus: int, apart: bool = False, environment: Mapping[str, str] = ENVIRONMENT
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chaos", dir="/tmp"))  # short, because Ray puts sockets in it
        self.cpus, self.apart, self.environment, self.started = cpus, apart, environment, 0
        self.port = free_port()
        common = ["--include-dashboard=false", f"--temp-dir={self.folder}", f"--ray-client-server-port={free_port()}"]
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.head, log = self._start(["--head", f"--port={self.port}", "--num-cpus=0", *common])
        try:
            wait_for_start(log, self.head)
            for _ in range(nodes):  # one by one: two that start together may time out
                node, log = self._node()
                self.nodes.append(node)
                wait_for_start(log, node)
        except TimeoutError:
            self.stop()
            raise
        self.since = [time.monotonic()] * nodes

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _start(self, arguments: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
        """The process of a node, and its log."""
        host = f"127.0.0.{1 + self.started * self.apart}"
        self.started += 1
        command = [RAY, "start", "--block", f"--node-ip-address={host}", *arguments]
        path = self.folder / f"{time.time():.3f}.log"
        with open(path, "wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        return process, path

    def _node(self) -> tuple[subprocess.Popen[bytes], Path]:
        return self._start([f"--address={self.address}", f"--num-cpus={self.cpus}"])

    def workers(self) -> list[int]:
        """Ids of the processes that hold a cohort."""
        found = []
        for node in self.nodes:
            for pid in descendants(node.pid):
                name = read(f"/proc/{pid}/cmdline")
                if name.startswith("ray::") and "IDLE" not in name:
                    found.append(pid)
        return found

    def kill_node(self, which: int) -> None:
        """Kill the raylet first, as a power cut does, then what it leaves; start another node."""
        node = self.nodes[which]
        below = descendants(node.pid)
        for pid in sorted(below, key=lambda p: not is_raylet(p)):
            kill(pid)
        kill(node.pid)
        node.wait()
        self.nodes[which], _ = self._node()
        self.since[which] = time.monotonic()

    def replace_lost(self) -> int:
        """Replace each node that Ray has given up, as it does on a busy machine; returns how many."""
        lost = [i for i, node in enumerate(self.nodes) if time.monotonic() - self.since[i] > 20 and not raylets(node)]
        for i in lost:
            self.kill_node(i)
        return len(lost)

    def stop(self) -> None:
        for process in [*self.nodes, self.head]:
            for pid in [*descendants(process.pid), process.pid]:
                kill(pid)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")  # the kernel cuts names anywhere
    except OSError:
        return ""


def wait_for_start(log: Path, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Wait until the log of a `ray start --block` says that it has started. Raises TimeoutError if it does not."""
    deadline = time.monotonic() + seconds
    while "Ray runtime started" not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"a node did not start: {log.read_text(encoding='utf-8')[-2000:]}")
        time.sleep(0.2)


def is_raylet(pid: int) -> bool:
    return read(f"/proc/{pid}/cmdline").partition("\0")[0].endswith("/raylet")


def raylets(node: subprocess.Popen[bytes]) -> list[int]:
    return [pid for pid in descendants(node.pid) if is_raylet(pid)]


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def descendants(pid: int) -> list[int]:
    """Processes that this one started, and those that they started."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := read(f"/proc/{entry.name}/stat")):
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def command(out: Path, given: argparse.Namespace, *where: str) -> list[str]:
    return [
        sys.executable, str(ROOT / "studies" / "ablation.py"), "--out", str(out), "--arms", given.arms,
        "--seeds", str(given.seeds), "--epochs", str(given.epochs), "--teacher-epochs", "10", *where,
    ]  # fmt: skip


def stored(store: Path) -> int:
    """How many trials have a row, by the number of files, so that the run is not disturbed."""
    return len(list(store.glob("parts/*.arrows.zst")))


def disturbed(out: Path, given: argparse.Namespace) -> tuple[Counter[str], list[float]]:
    """Run and kill. Returns the kills by kind, and for each driver the seconds from its start to its first epoch."""
    dice, kills, waits = random.Random(given.seed), Counter[str](), []
    cluster = Cluster(given.nodes, given.cpus)
    epochs = out / "ablation" / "checkpoints"
    try:
        driver = None
        began = time.monotonic()
        while True:
            peace = kills.total() >= given.kills or time.monotonic() - began > given.bound
            if driver is None:
                with open(out / "driver.log", "ab") as log:
                    driver = subprocess.Popen(
                        command(out, given, "--address", cluster.address), env=ENVIRONMENT, stdout=log, stderr=log
                    )
                started = time.monotonic()
                first = None
            time.sleep(0.1 if first is None else dice.uniform(*given.every))
            if lost := cluster.replace_lost():
                print(f"{time.monotonic() - began:6.1f} s  {lost} nodes given up by Ray", flush=True)
            if first is None:
                if cluster.workers() and changed_since(epochs, started):
                    first = time.monotonic() - started
                    waits.append(first)
                elif driver.poll() is None:
                    continue
            if driver.poll() is not None:
                if driver.returncode == 0:
                    if not peace:
                        print(f"the study ended after {kills.total()} kills; give more --epochs", file=sys.stderr)
                    return kills, waits
                print(f"a driver ended with code {driver.returncode}; see {out}/driver.log", file=sys.stderr)
                if peace:
                    raise SystemExit(1)
                driver = None
                continue
            if peace:
                time.sleep(1)
                continue
            kind = dice.choice(KINDS)
            if kind == "worker":
                busy = cluster.workers()
                if not busy:
                    continue
                kill(dice.choice(busy))
            elif kind == "node":
                cluster.kill_node(dice.randrange(given.nodes))
            else:
                kill(driver.pid)
                driver.wait()
                driver = None
            kills[kind] += 1
            done = stored(out / "ablation")
            print(f"{time.monotonic() - began:6.1f} s  kill {kills.total()}: {kind}, {done} parts", flush=True)
    finally:
        if driver is not None:
            kill(driver.pid)
            driver.wait()
        cluster.stop()


def changed_since(folder: Path, when: float) -> bool:
    since = time.time() - (time.monotonic() - when)
    return any(p.stat().st_mtime > since for p in folder.glob("*/epoch-*") if p.exists())


def compare(calm: Results, after: Results) -> Counter[str]:
    """How many values are lost, duplicated and different, in the tables of trials and of epochs."""
    found: Counter[str] = Counter(lost=0, duplicated=0, different=0)
    pairs = (
        (calm.trials, after.trials, ["trial_id"]),
        (calm.epochs, after.epochs, ["trial_id", "epoch"]),
    )
    for one, two, key in pairs:
        found["duplicated"] += int(two.duplicated(key).sum())
        two = two.drop_duplicates(key)
        both = one.merge(two, on=key, how="left", suffixes=("", "_after"), indicator=True)
        found["lost"] += int((both["_merge"] != "both").sum())
        found["more"] += len(two) - int((both["_merge"] == "both").sum())
        both = both[both["_merge"] == "both"]
        for name in (c for c in one.columns if c not in (*key, *TIMES)):
            a, b = both[name], both[f"{name}_after"]
            found["different"] += int((~((a == b) | (a.isna() & b.isna()))).sum())
            found["compared"] += len(both)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--every", type=float, nargs=2, default=(2.0, 9.0), metavar="S", help="seconds between kills")
    parser.add_argument("--bound", type=float, default=1500, metavar="S", help="seconds after which killing ends")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", default="kd,hint,at,channel,spatial,scl")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="of each node")
    parser.add_argument("--out", type=Path, help="keep the results here (default: a folder that is removed)")
    given = parsed(parser)
    if given.out and given.out.exists():
        parser.error(f"--out {given.out}: it exists; name a new folder")
    out = given.out or Path(tempfile.mkdtemp(prefix="chaos-results"))
    for name in ("calm", "chaos"):
        (out / name).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    subprocess.run(
        command(out / "calm", given, "--inline"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    seconds = {"undisturbed": time.monotonic() - began}
    print(f"undisturbed run: {seconds['undisturbed']:.0f} s", flush=True)
    began = time.monotonic()
    kills, waits = disturbed(out / "chaos", given)
    seconds["with_kills"] = time.monotonic() - began
    print(f"run with kills: {seconds['with_kills']:.0f} s")
    calm, after = (load(str(out / name / "ablation")) for name in ("calm", "chaos"))
    found = compare(calm, after)
    states = dict(Counter(after.plan_states()["state"]))
    print(f"kills: {kills.total()} ({', '.join(f'{n} × {kind}' for kind, n in sorted(kills.items()))})")
    resumed = int(after.trials["restarts"].sum())
    print(f"trials: {states}; resumed {resumed} times")
    later = pd.Series(waits[1:], dtype=float)
    if len(later):
        print(
            f"from a new driver's start to its first epoch: median {later.median():.1f} s, "
            f"longest {later.max():.1f} s, n = {len(later)}"
        )
    print(
        f"values: {found['compared']} compared, {found['lost']} lost, {found['duplicated']} duplicated, "
        f"{found['different']} different, {found['more']} too many"
    )
    figures = {
        "seconds": seconds, "kills": kills, "states": states, "resumed": resumed, "values": found,
        "seconds_to_first_epoch": waits,
    }  # fmt: skip
    record("chaos", figures, given.json, n=1)
    if given.out is None:
        shutil.rmtree(out, ignore_errors=True)
    good = not (found["lost"] or found["duplicated"] or found["different"] or found["more"])
    return 0 if good and set(states) == {"completed"} else 1


if __name__ == "__main__":
    sys.exit(main())
