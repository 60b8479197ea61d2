"""Does a study survive anything? Workers, nodes and drivers are killed while it runs; its numbers must not notice.

uv run benchmarks/chaos.py                       # about 8 minutes on 4 cores
uv run benchmarks/chaos.py --kills 40 --seed 7

A study of digits runs once in peace (`--inline`), then again and again by the same command on a Ray cluster that this
script starts on the loopback interface: a head without CPUs, and two nodes. Every few seconds one of the three is
killed for good (SIGKILL): a worker that trains, a node (a raylet; another takes its place), or the driver (the same
command is started again). After so many kills the last driver is left alone, and the final tables are compared with
those of the calm run, cell by cell: every column but times, cohorts and restarts.

Prints kills by kind, cells lost, duplicated and different, how many trials were resumed, and what a killed driver
costs: the epochs that were trained twice. Exit code 1 where anything is lost, duplicated or different.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd

from scl.store.results import Results, load

ROOT = Path(__file__).parents[1]
TIMES = ("train_seconds", "images_per_second", "latency_ms", "started", "ended", "cohort_size", "restarts")
RAY = str(Path(sys.executable).parent / "ray")
KINDS = ("worker", "node", "driver")
ENVIRONMENT = {
    **os.environ,
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # nobody else on this machine may join
    # A node that is gone is told from one that is slow by this many missed answers, half a second apart.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "10",
    "RAY_health_check_initial_delay_ms": "1000",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A head without CPUs and some nodes, each `ray start --block` in a process group of its own."""

    def __init__(self, nodes: int, cpus: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chaos", dir="/tmp"))  # short: Ray's sockets lie in it
        self.cpus = cpus
        self.port = free_port()
        common = ["--include-dashboard=false", f"--temp-dir={self.folder}", f"--ray-client-server-port={free_port()}"]
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.head, log = self._start(["--head", f"--port={self.port}", "--num-cpus=0", *common])
        try:
            joined(log, self.head)
            for _ in range(nodes):  # one by one: two that start at a time may time out
                node, log = self._node()
                self.nodes.append(node)
                joined(log, node)
        except TimeoutError:
            self.stop()
            raise
        self.since = [time.monotonic()] * nodes

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _start(self, arguments: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
        """A node, and what it says."""
        command = [RAY, "start", "--block", "--node-ip-address=127.0.0.1", *arguments]
        path = self.folder / f"{time.time():.3f}.log"
        with open(path, "wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
            )
        return process, path

    def _node(self) -> tuple[subprocess.Popen[bytes], Path]:
        return self._start([f"--address={self.address}", f"--num-cpus={self.cpus}"])

    def workers(self) -> list[int]:
        """Processes that hold a cohort."""
        found = []
        for node in self.nodes:
            for pid in descendants(node.pid):
                name = read(f"/proc/{pid}/cmdline")
                if name.startswith("ray::") and "IDLE" not in name:
                    found.append(pid)
        return found

    def kill_node(self, which: int) -> None:
        """The raylet first, as a machine that loses its power; then what it leaves; and another node comes."""
        node = self.nodes[which]
        below = descendants(node.pid)
        for pid in sorted(below, key=lambda p: not is_raylet(p)):
            kill(pid)
        kill(node.pid)
        node.wait()
        self.nodes[which], _ = self._node()
        self.since[which] = time.monotonic()

    def replace_lost(self) -> int:
        """Another node for each that Ray has given up by itself, as it does on a machine that is too busy."""
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
        return Path(path).read_text()
    except OSError:
        return ""


def joined(log: Path, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Wait until a node that `ray start --block` runs says so. Raises TimeoutError where it does not."""
    deadline = time.monotonic() + seconds
    while "Ray runtime started" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"a node did not start: {log.read_text()[-2000:]}")
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


def ended(store: Path) -> int:
    """Trials that have a row, by the number of files: nothing is opened beside the run."""
    return len(list(store.glob("parts/*.arrows.zst")))


def disturbed(out: Path, given: argparse.Namespace) -> tuple[Counter[str], list[float]]:
    """Run under fire. Kills by kind, and the seconds from a killed driver to the next one's first epoch."""
    dice, kills, waits = random.Random(given.seed), Counter[str](), []
    cluster = Cluster(given.nodes, given.cpus)
    epochs = out / "ablation" / "checkpoints"
    try:
        driver = None
        began = time.monotonic()
        while True:
            peace = sum(kills.values()) >= given.kills or time.monotonic() - began > given.bound
            if driver is None:
                with open(out / "driver.log", "ab") as log:
                    driver = subprocess.Popen(
                        command(out, given, "--address", cluster.address), env=ENVIRONMENT, stdout=log, stderr=log
                    )
                started = time.monotonic()
                first = None
            time.sleep(0.1 if first is None else dice.uniform(*given.every))
            if lost := cluster.replace_lost():
                print(f"{time.monotonic() - began:6.1f} s  {lost} nodes given up by Ray itself", flush=True)
            if first is None:
                if cluster.workers() and changed_since(epochs, started):
                    first = time.monotonic() - started
                    waits.append(first)
                elif driver.poll() is None:
                    continue
            if driver.poll() is not None:
                if driver.returncode == 0:
                    if not peace:
                        print(f"the study ended after {sum(kills.values())} kills; give more epochs", file=sys.stderr)
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
            done = ended(out / "ablation")
            print(f"{time.monotonic() - began:6.1f} s  kill {sum(kills.values())}: {kind}, {done} parts", flush=True)
    finally:
        if driver is not None:
            kill(driver.pid)
            driver.wait()
        cluster.stop()


def changed_since(folder: Path, when: float) -> bool:
    since = time.time() - (time.monotonic() - when)
    return any(p.stat().st_mtime > since for p in folder.glob("*/epoch-*") if p.exists())


def compare(calm: Results, after: Results) -> Counter[str]:
    """Cells lost, duplicated, different: of trials and of epochs."""
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
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp(prefix="chaos-results"))
    for name in ("calm", "chaos"):
        (out / name).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    subprocess.run(
        command(out / "calm", given, "--inline"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    print(f"calm run: {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    kills, waits = disturbed(out / "chaos", given)
    print(f"run under fire: {time.monotonic() - began:.0f} s")
    calm, after = (load(str(out / name / "ablation")) for name in ("calm", "chaos"))
    found = compare(calm, after)
    states = dict(Counter(after.plan_states()["state"]))
    print(f"kills: {sum(kills.values())} ({', '.join(f'{n} × {kind}' for kind, n in sorted(kills.items()))})")
    print(f"trials: {states}; resumed {int(after.trials['restarts'].sum())} times")
    later = pd.Series(waits[1:], dtype=float)
    if len(later):
        print(
            f"from a new driver's start to its first epoch: median {later.median():.1f} s, "
            f"longest {later.max():.1f} s, n = {len(later)}"
        )
    print(
        f"cells: {found['compared']} compared, {found['lost']} lost, {found['duplicated']} duplicated, "
        f"{found['different']} different, {found['more']} too many"
    )
    if given.out is None:
        shutil.rmtree(out, ignore_errors=True)
    good = not (found["lost"] or found["duplicated"] or found["different"] or found["more"])
    return 0 if good and set(states) == {"completed"} else 1


if __name__ == "__main__":
    sys.exit(main())
