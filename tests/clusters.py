"""Ray clusters of several nodes on the loopback interface, started as on real machines and stopped by the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos import joined

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def can_hide() -> bool:
    """Whether this user may give a process a view of the file system of its own."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@dataclass
class Cluster:
    """A head and workers. `address` is for --address, `client` for the same as ray://."""

    address: str
    client: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kill(self, which: int) -> None:
        """A node that loses its power; 0 is the head."""
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
        workers: further nodes of one CPU, each with an address of its own, as other hosts have.
        hidden: a folder in whose place these workers see an empty one.
        python: the interpreter of all nodes. environment: what they have beside this process's.
    """
    folder = Path(tempfile.mkdtemp(prefix="scl", dir="/tmp"))  # short, for Ray's sockets
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        port, client_port = one.getsockname()[1], two.getsockname()[1]
    has_token = (Path.home() / ".ray" / "auth_token").exists()  # which a local Ray has left; a head here asks for it
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
        joined(folder / "head.log", made.processes[0])
        for number in range(workers):
            join = [*python, *common, f"--address={made.address}", f"--node-ip-address=127.0.0.{number + 2}"]
            command = [*join, "--num-cpus=1"]
            if hidden is not None:
                hide = 'mount -t tmpfs none "$0" && exec "$@"'
                command = ["unshare", "-m", "sh", "-c", hide, str(hidden), *command]
            made.processes.append(start(command, f"worker-{number}"))
            joined(folder / f"worker-{number}.log", made.processes[-1])
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
