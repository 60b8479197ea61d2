"""Ray clusters of several nodes on the loopback interface, and studies that run on them as a user starts them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from benchmarks.chaos import wait_for_start
from scl.store.results import load

ROOT = Path(__file__).parents[2]
SHORT = ["--seeds", "2", "--epochs", "2", "--teacher-epochs", "1", "--limit", "200", "--arms", "kd,channel"]
# Columns that describe the machine and the run, not the trial.
OF_THE_MACHINE = [
    "train_seconds", "images_per_second", "latency_ms", "started", "ended", "cohort_size", "restarts", "device",
]  # fmt: skip


def study(script: str, *flags: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "studies" / script), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, **more)  # type: ignore[call-overload]


def equal(one: Path, two: Path) -> None:
    """The same numbers, value by value."""
    a, b = (load(str(p)) for p in (one, two))
    trials = [r.trials.sort_values("trial_id", ignore_index=True).drop(columns=OF_THE_MACHINE) for r in (a, b)]
    pd.testing.assert_frame_equal(*trials, check_exact=True)
    epochs = [r.epochs.sort_values(["trial_id", "epoch"], ignore_index=True) for r in (a, b)]
    pd.testing.assert_frame_equal(*epochs, check_exact=True)


def can_hide() -> bool:
    """True if this user may give a process a separate view of the file system."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@dataclass
class Cluster:
    """A head and workers. `address` is for --address, `client` for the same as ray://."""

    address: str
    client: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kill(self, which: int) -> None:
        """Kill a node, as a power cut does; 0 is the head."""
        with suppress(ProcessLookupError):
            os.killpg(self.processes[which].pid, signal.SIGKILL)
        self.processes[which].wait()


@contextmanager
def cluster(
    *options: str,
    workers: int = 0,
    hidden: Path | None = None,
    python: Sequence[str] = (sys.executable,),
    environment: dict[str, str] | None = None,
) -> Iterator[Cluster]:
    """A cluster for the length of a test.

    Args:
        options: of the head's `ray start`, such as `--num-cpus=2`.
        workers: further nodes of one CPU, each with a different address, like other hosts.
        hidden: a folder that these workers see as empty.
        python: the interpreter of all nodes.
        environment: variables that they have beside this process's.
    """
    folder = Path(tempfile.mkdtemp(prefix="scl", dir="/tmp"))  # short, for Ray's sockets
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        port, client_port = one.getsockname()[1], two.getsockname()[1]
    has_token = (Path.home() / ".ray" / "auth_token").exists()  # a local Ray left it; a head here asks for it
    env = {
        **os.environ,
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        **({"RAY_AUTH_MODE": "token"} if has_token else {}),
        **(environment or {}),
    }
    common = ["-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]

    def start(command: Sequence[str], name: str) -> subprocess.Popen[bytes]:
        with open(folder / f"{name}.log", "wb") as log:
            return subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)

    head = [
        *python, *common, "--head", f"--port={port}", f"--ray-client-server-port={client_port}",
        "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}/ray", *options,
    ]  # fmt: skip
    made = Cluster(f"127.0.0.1:{port}", f"ray://127.0.0.1:{client_port}")
    try:
        made.processes.append(start(head, "head"))
        wait_for_start(folder / "head.log", made.processes[0])
        for number in range(workers):
            join = [*python, *common, f"--address={made.address}", f"--node-ip-address=127.0.0.{number + 2}"]
            command = [*join, "--num-cpus=1"]
            if hidden is not None:
                hide = 'mount -t tmpfs none "$0" && exec "$@"'
                command = ["unshare", "-m", "sh", "-c", hide, str(hidden), *command]
            made.processes.append(start(command, f"worker-{number}"))
            wait_for_start(folder / f"worker-{number}.log", made.processes[-1])
        yield made
    finally:
        for process in reversed(made.processes):
            process.terminate()  # it ends what it started
        for process in made.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def without_the_project(folder: Path) -> tuple[list[str], dict[str, str]]:
    """An interpreter with this environment's packages but without this project, and the environment for it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = sysconfig.get_paths()["purelib"]
    python = [str(folder / "bin" / "python")]
    # By path, and not as a site folder, so that Python does not follow the pointer to an editable install.
    environment = {"PYTHONPATH": packages}
    seen = subprocess.run(
        [*python, "-c", "import importlib.util as u, ray, torch; print(u.find_spec('scl'))"],
        env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert seen.stdout.strip() == "None", "the project is there"
    return python, environment
