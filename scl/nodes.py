"""What the nodes of a cluster have: asked once, in a process of its own, before anything starts there.

`python -m scl.nodes ADDRESS` prints it as JSON. A process of its own, because a connection to nowhere cannot be
interrupted, and because what workers are sent depends on the answer.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scl.errors import UserError

# What a worker imports beside scl, and how much of the version must be the driver's: numbers are a matter of torch,
# arrays travel as numpy's.
NEEDED = {"torch": 2, "torchvision": 0, "numpy": 1, "pandas": 0, "pyarrow": 0}
# Small, and on no cluster by itself: sent along where a node lacks it.
SENT = "safetensors"
PATIENCE = 90.0  # seconds, for a cluster that wakes up


@dataclass(frozen=True)
class Node:
    """host: its address; resources: CPU, GPU, …; versions: of Python and packages, None for what is not there."""

    host: str
    resources: Mapping[str, float]
    versions: Mapping[str, str | None]


def seen_from_there(names: Sequence[str]) -> dict[str, str | None]:
    """Runs on a node, by value: nothing of scl is there yet."""
    import importlib.metadata
    import platform

    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def ask(address: str) -> list[dict[str, Any]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    nodes = [n for n in ray.nodes() if n["Alive"]]
    task = ray.remote(num_cpus=0)(seen_from_there)
    names = [*NEEDED, SENT]
    told = ray.get(
        [
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(n["NodeID"], soft=False)).remote(names)
            for n in nodes
        ]
    )
    return [
        {"host": n["NodeManagerAddress"], "resources": n["Resources"], "versions": versions}
        for n, versions in zip(nodes, told, strict=True)
    ]


@lru_cache(maxsize=1)
def survey(address: str) -> tuple[Node, ...]:
    """The living nodes of a cluster.

    Raises:
        UserError: no cluster answers; its Ray or Python is another; a node lacks what workers need.
    """
    _reach(address)
    if (Path.home() / ".ray" / "auth_token").exists():
        # A head started here wants this token, and drivers with an explicit address send it only when told to.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    command = [sys.executable, "-m", "scl.nodes", address]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    except subprocess.TimeoutExpired:
        raise UserError(_no_cluster(address, f"no answer in {PATIENCE:.0f} s")) from None
    if child.returncode:
        said = [line for line in child.stderr.strip().splitlines() if line.strip()]
        telling = [line.strip() for line in said if "mismatch" in line or "AuthToken" in line]
        reason = (telling or said or ["?"])[-1][:500]
        raise UserError(_no_cluster(address, reason))
    nodes = tuple(Node(**node) for node in json.loads(child.stdout.strip().splitlines()[-1]))
    wrong = [f"{node.host}: {problem}" for node in nodes for problem in problems(node)]
    if wrong:
        raise UserError(f"--address {address!r}: workers cannot run there\n  " + "\n  ".join(wrong))
    return nodes


def _reach(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--address {address!r}; valid: auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UserError(_no_cluster(address, str(error))) from None


def _no_cluster(address: str, reason: str) -> str:
    if "Version mismatch" in reason:
        way_out = "use one Ray and one Python here and there"
    elif "oken" in reason:
        way_out = "put the cluster's token into RAY_AUTH_TOKEN, or its file's path into RAY_AUTH_TOKEN_PATH"
    else:
        way_out = "start one with `ray start --head`, or leave --address out"
    return f"--address {address!r}: no Ray cluster answers ({reason}); {way_out}"


def problems(node: Node) -> list[str]:
    """What of a node's packages keeps a worker from running there, or from the numbers it has here."""
    wrong = []
    for name, parts in NEEDED.items():
        there = node.versions[name]
        if there is None:
            wrong.append(f"{name} is not installed; install it on that node, as in pip install {name}")
            continue
        here = importlib.metadata.version(name)
        if there.split("+")[0].split(".")[:parts] != here.split("+")[0].split(".")[:parts]:
            wanted = ".".join(here.split(".")[:parts])
            wrong.append(f"{name} is {there}, here it is {here}; install {name} {wanted} there or {there} here")
    there, here = str(node.versions["python"]), platform.python_version()
    if there.split(".")[:2] != here.split(".")[:2]:
        wrong.append(f"Python is {there}, here it is {here}; start the study with Python {there}")
    return wrong


def to_send(nodes: Sequence[Node]) -> list[str]:
    """Folders of the packages that workers are sent: scl itself, and what a node lacks."""
    lacking = any(node.versions[SENT] is None for node in nodes)
    packages = ["scl", *[SENT] * lacking]
    return [str(Path(str(spec.origin)).parent) for name in packages if (spec := find_spec(name)) is not None]


def slots(nodes: Sequence[Node], cpus: int, gpus: float) -> int:
    """Cohorts that find room at once; a share of a GPU lies on one GPU."""

    def on(node: Node) -> int:
        room = int(node.resources.get("CPU", 0) // cpus)
        if gpus:
            have = node.resources.get("GPU", 0.0)
            room = min(room, int(have // gpus) if gpus >= 1 else int(have) * math.floor(1 / gpus + 1e-9))
        return room

    return sum(map(on, nodes))


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[1])))
