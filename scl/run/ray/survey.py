"""What the nodes of a cluster have: their resources, and the versions of what workers import.

`python -m scl.run.ray.survey ADDRESS` prints it as JSON. `survey` runs that in a child process, because an attempt to
connect to nothing cannot be interrupted, and because what is sent to workers depends on the answer.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scl.errors import UserError
from scl.plan.capacity import Node
from scl.run.ray.tokens import of_cluster
from scl.study.checks import RAY_CLIENT

# Packages that a worker imports beside scl → how many parts of the version must be the driver's. Numbers depend on
# torch; arrays travel as numpy's.
NEEDED = {"torch": 2, "torchvision": 0, "numpy": 1, "pandas": 0, "pyarrow": 0}
SENT = "safetensors"  # small and rarely installed on clusters: sent along if a node lacks it
# What a Linux system has for a GPU that can be used: NVIDIA's driver, AMD's, and that of Windows below it.
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
ATTEMPTS = 3
UTF8: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}  # of the child that asks, whatever the locale is
PATIENCE = 180.0  # seconds that a cluster may take to wake up
GREETING_SECONDS = 20.0  # that a busy head may take to answer as gRPC does
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # with empty settings
HTTP2_SETTINGS = 4  # the type of the first frame of every answer


def installed_versions(names: Sequence[str]) -> dict[str, str | None]:
    """Versions of Python and of packages. Runs on a node, pickled by value, since nodes may lack scl."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def gpu_driver() -> bool:
    """Whether this node has a GPU's driver; True on systems other than Linux, where it is not checked."""
    return not sys.platform.startswith("linux") or any(map(os.path.exists, GPU_DEVICES))


def about_node(names: Sequence[str]) -> dict[str, Any]:
    """What a `Node` says of a node beside its resources. Runs there, as `installed_versions` does."""
    return {"versions": installed_versions(names), "driver": gpu_driver()}


def connect(address: str, **how: Any) -> None:
    """Call `ray.init`, again if a busy head did not start the client's server in time."""
    import ray  # noqa: PLC0415

    for attempt in range(ATTEMPTS):
        try:
            ray.init(address=address, **how)
            return
        except (ConnectionError, RuntimeError) as error:
            late = address.startswith(RAY_CLIENT) and "client server failed" in str(error)
            if not late or attempt + 1 == ATTEMPTS:
                raise


def query_nodes(address: str) -> list[dict[str, Any]]:
    """The fields of a `Node` for each living node of a cluster."""
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    connect(address, log_to_driver=False, logging_level="ERROR")
    nodes = [n for n in ray.nodes() if n["Alive"]]
    task = ray.remote(num_cpus=0)(about_node)
    places = [NodeAffinitySchedulingStrategy(n["NodeID"], soft=False) for n in nodes]
    about = ray.get([task.options(scheduling_strategy=place).remote([*NEEDED, SENT]) for place in places])
    return [
        {"host": n["NodeManagerAddress"], "resources": n["Resources"], **found}
        for n, found in zip(nodes, about, strict=True)
    ]


def survey(address: str) -> tuple[Node, ...]:
    """The living nodes of a cluster.

    Raises:
        UserError: no cluster answers, its Ray or Python has another version, or a node lacks what workers need.
    """
    _check_reachable(address)
    # -P: not from the current folder, where another scl may be
    command = [sys.executable, "-P", "-m", "scl.run.ray.survey", address]
    environment = {
        **of_cluster(),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    try:
        child = subprocess.run(command, capture_output=True, timeout=PATIENCE, env=environment, **UTF8)
    except subprocess.TimeoutExpired:
        raise UserError(_no_cluster(address, f"no answer in {PATIENCE:.0f} s")) from None
    if child.returncode:
        lines = [line.strip() for line in child.stderr.splitlines() if line.strip()]
        telling = [line for line in lines if "mismatch" in line or "AuthToken" in line]
        raise UserError(_no_cluster(address, (telling or lines or ["?"])[-1][:500]))
    nodes = tuple(Node(**node) for node in json.loads(child.stdout.strip().splitlines()[-1]))
    wrong = [f"{node.host}: {problem}" for node in nodes for problem in node_problems(node)]
    if wrong:
        raise UserError(f"--address {address!r}: workers cannot run there\n  " + "\n  ".join(wrong))
    return nodes


def _check_reachable(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.removeprefix(RAY_CLIENT).rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
            answer = None if os.environ.get("RAY_USE_TLS") == "1" else _greeted(connection)
    except OSError as error:
        raise UserError(_no_cluster(address, str(error))) from None
    if answer:
        raise UserError(_no_cluster(address, answer))


def _greeted(connection: socket.socket) -> str | None:
    """What is wrong with a server's answer to a greeting in gRPC's protocol; None if it is as Ray's. Without this, a
    server that accepts and says nothing would be waited for as a cluster that wakes up."""
    connection.settimeout(GREETING_SECONDS)
    try:
        connection.sendall(HTTP2_HELLO)
        head = b""
        while len(head) < 4 and (more := connection.recv(4 - len(head))):
            head += more
    except TimeoutError:
        return f"something accepts connections there, and has said nothing for {GREETING_SECONDS:.0f} s"
    if len(head) < 4 or head[3] != HTTP2_SETTINGS:
        return f"something else than Ray answers there, with {head!r}"
    return None


def _no_cluster(address: str, reason: str) -> str:
    if "Version mismatch" in reason:
        way_out = "use the same versions of Ray and Python here and there"
    elif "oken" in reason:
        way_out = "put the cluster's token into RAY_AUTH_TOKEN, or its file's path into RAY_AUTH_TOKEN_PATH"
    else:
        way_out = "start one with `ray start --head`, or omit --address"
    return f"--address {address!r}: no Ray cluster answers ({reason}); {way_out}"


def node_problems(node: Node) -> list[str]:
    """Missing or differing packages that prevent workers on a node, or would change their numbers."""
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


def packages_to_send(nodes: Sequence[Node]) -> list[str]:
    """Folders of the packages to send to workers: scl itself, and what a node lacks."""
    lacking = any(node.versions[SENT] is None for node in nodes)
    packages = ["scl", *[SENT] * lacking]
    return [str(Path(str(spec.origin)).parent) for name in packages if (spec := find_spec(name)) is not None]


if __name__ == "__main__":
    print(json.dumps(query_nodes(sys.argv[1])))
