"""Ray's workers on one machine that share the memory of their imports: forked from a process that has imported.

A worker with PyTorch and Ray Tune has about 0.4 GB of its own before it trains, which bounds the slots that one machine
can stand for. Here Python starts as Ray asks, finds that it is a worker (`sitecustomize`), hands its command,
environment and files to this process, and ends. This process forks, so the pages of its imports are shared until a
worker changes them. Ray knows a worker by the id under which it registers, so nothing of Ray is changed.

Ray's core reads the environment when it is imported, and job and node are in it. So this process imports PyTorch and
what else is not Ray's. For each job of a node it forks a process that imports Ray Tune, of which that job's workers are
forks. Nothing imports scl before the workers do: they get it as Ray sends it.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

FIRST = ("torch", "pandas", "pyarrow.parquet", "pyarrow.fs", "safetensors.torch", "pydantic", "requests", "rich")
JOB_AND_NODE = ("RAY_JOB_ID", "RAY_RAYLET_PID")
# No thread may run where a process forks.
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
WORKER = "/ray/_private/workers/default_worker.py"
# Runs in each Python that Ray starts, before anything else. It needs no module but Python's own.
HAND_OVER = f"""
import sys
place = next((i for i, a in enumerate(sys.orig_argv) if i and not a.startswith("-")), 0)
if sys.orig_argv[place].endswith({WORKER!r}):
    import json, os, socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
        there.connect(os.path.dirname(__file__) + "/socket")
        text = json.dumps([sys.orig_argv[place:], dict(os.environ), os.getcwd()]).encode()
        socket.send_fds(there, [len(text).to_bytes(4, "big")], [0, 1, 2])
        there.sendall(text)
        there.recv(1)
    os._exit(0)
"""


class Command(NamedTuple):
    """How Ray wanted to start a worker. files: standard input, output and error."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    files: list[int]


def start(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start the process whose imports workers share.

    Args:
        folder: for sockets and `sitecustomize.py`; its path is short.
        environment: of Ray's processes.

    Returns:
        The process, and what to add to the environment of Ray's processes.
    """
    (folder / "sitecustomize.py").write_text(HAND_OVER)
    command = [sys.executable, "-P", __file__, str(folder)]
    process = subprocess.Popen(command, env={**environment, **ALONE}, start_new_session=True)
    while not (folder / "socket").exists():
        if process.poll() is not None:
            raise SystemExit(f"the process whose imports workers share ended with code {process.returncode}")
        time.sleep(0.1)
    return process, {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH")]))}


def serve(place: str, act: Callable[[Command], None]) -> None:
    """Take commands at a socket of this path, for ever."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise SystemExit(f"{threads} threads run after the imports; a fork would lose them")
    gc.collect()
    gc.freeze()  # a collection in a worker would write to each object, and unshare its page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing here waits for workers: Ray does
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(f"{place}.new")
    listening.listen(256)
    os.rename(f"{place}.new", place)
    while True:
        connection, _ = listening.accept()
        with connection:
            command = received(connection)
            act(command)
            connection.sendall(b".")  # forks hold the connection too, so its end would not be heard
        for file in command.files:
            os.close(file)


def received(connection: socket.socket) -> Command:
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    text = b""
    while len(text) < int.from_bytes(head, "big"):
        text += connection.recv(1 << 20)
    arguments, environment, folder = json.loads(text)
    return Command(arguments, environment, folder, files)


def send(place: str, command: Command) -> None:
    text = json.dumps(command[:3]).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
        there.connect(place)
        socket.send_fds(there, [len(text).to_bytes(4, "big")], command.files)
        there.sendall(text)
        there.recv(1)


def pass_on(folder: str, command: Command) -> None:
    """Let the process of this job and node fork; start it if it is the first command of them."""
    place = f"{folder}/{'-'.join(command.environment.get(name, '') for name in JOB_AND_NODE)}"
    if not os.path.exists(place) and not os.fork():
        os.environ.update(command.environment | ALONE)
        import_ray()
        serve(place, fork_worker)
    while not os.path.exists(place):
        time.sleep(0.05)
    send(place, command)


def import_ray() -> None:
    """Import Ray Tune, without a random id of Ray's core: the first one seeds its source of ids, and workers with one
    seed would call actors with equal ids of tasks, at which Ray ends the actor.
    """
    actor: Any = import_module("ray.actor")
    core = import_module("ray._raylet")
    before = actor.ActorClassID
    actor.ActorClassID = SimpleNamespace(from_random=lambda: before(os.urandom(before.size())))
    import_module("ray.tune")
    actor.ActorClassID = before
    if len({of_a_fork(lambda: core.ObjectRef.from_random().binary()) for _ in range(2)}) < 2:
        raise SystemExit("forks of a process that has imported Ray Tune give equal ids")


def of_a_fork(function: Callable[[], bytes]) -> bytes:
    """What a function returns in a fork of this process; few bytes."""
    there, here = os.pipe()
    if not os.fork():
        os.write(here, function())
        os._exit(0)
    os.close(here)
    with open(there, "rb") as result:
        return result.read()


def fork_worker(command: Command) -> None:
    if os.fork():
        return
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for place, file in enumerate(command.files):
        os.dup2(file, place)
    os.environ.clear()
    os.environ.update(command.environment)
    os.chdir(command.folder)
    sys.argv = command.arguments
    sys.path[:0] = [os.path.dirname(sys.argv[0]), *os.environ["PYTHONPATH"].split(os.pathsep)]
    runpy.run_path(sys.argv[0], run_name="__main__")
    os._exit(0)


def main(folder: str) -> None:
    for name in FIRST:
        import_module(name)
    serve(f"{folder}/socket", lambda command: pass_on(folder, command))


if __name__ == "__main__":
    main(sys.argv[1])
