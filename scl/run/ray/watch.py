"""Whether Ray still runs. Ray's own answer to a head that is gone is to wait a minute and to end this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

EVERY = 0.5  # seconds between two looks
SIGNAL_FIRST = 1.0  # a signal that ends Ray's processes too should be heard before their end is
HEAD_RESTARTS = 20.0  # seconds for which the head of a cluster may be gone
WAY_OUT = "start it again, with more memory if it ran out, or train without Ray: --inline"


@contextmanager
def watching(lost: Callable[[str], None]) -> Iterator[None]:
    """Calls `lost`, in a thread and once, with the reason if Ray is gone."""
    from ray._private import worker  # noqa: PLC0415

    node, done = worker._global_node, threading.Event()  # None for a client, which notices by itself

    def watch() -> None:
        gone_since: dict[str, float] = {}
        while not done.wait(EVERY):
            present = gone(node)
            gone_since = {name: gone_since.get(name, time.monotonic()) for name in present}
            for name, patience in present.items():
                if time.monotonic() - gone_since[name] >= patience:
                    lost(f"Ray's {name} is gone, so nothing can train on: {WAY_OUT}")
                    return

    thread = threading.Thread(target=watch, daemon=True)
    if node is not None:
        thread.start()
    try:
        yield
    finally:
        done.set()


def gone(node: Any) -> Mapping[str, float]:
    """The processes of Ray that this process needs and that are gone, and how many seconds they may be so.

    node: Ray's node, which started them, or found them in its cluster.
    """
    if node.all_processes:
        return {name: SIGNAL_FIRST for name, _ in node.dead_processes() if name in ("raylet", "gcs_server")}
    found = {}
    if not _answers(socket.AF_UNIX, node.raylet_socket_name):
        found["raylet"] = SIGNAL_FIRST
    host, _, port = node.gcs_address.rpartition(":")
    if not _answers(socket.AF_INET6 if ":" in host else socket.AF_INET, (host.strip("[]"), int(port))):
        found["head"] = HEAD_RESTARTS
    return found


def _answers(family: int, address: Any) -> bool:
    with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        probe.connect(address)
        return True
    return False
