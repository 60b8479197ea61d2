"""What is noticed of a Ray that is gone, with sockets instead of Ray."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scl.run.ray import watch


@pytest.mark.parametrize(
    ("dead", "found"),
    [
        ([], set()),
        (["raylet"], {"raylet"}),
        (["gcs_server", "raylet"], {"raylet", "gcs_server"}),
        (["log_monitor"], set()),
    ],
)
def test_processes_of_a_local_ray(dead: list[str], found: set[str]) -> None:
    node = SimpleNamespace(all_processes={"raylet": [1]}, dead_processes=lambda: [(name, None) for name in dead])
    assert set(watch.gone(node)) == found


@pytest.mark.parametrize("lacking", ["", "raylet", "head"])
def test_sockets_of_a_cluster(lacking: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as raylet, socket.socket() as head:
        raylet.bind(str(tmp_path / "raylet"))
        head.bind(("127.0.0.1", 0))
        for name, server in (("raylet", raylet), ("head", head)):
            if name != lacking:
                server.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        node = SimpleNamespace(all_processes={}, raylet_socket_name=str(tmp_path / "raylet"), gcs_address=address)
        assert set(watch.gone(node)) == ({lacking} if lacking else set())


@pytest.mark.parametrize(("seen", "told"), [([{}] * 9, 0), ([{"head": 0.02}] + [{}] * 9, 0), ([{"head": 0.02}] * 9, 1)])
def test_a_reason_is_given_once_and_only_if_it_stays(
    seen: list[dict[str, float]], told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(seen)
    reasons: list[str] = []
    node: Any = object()
    monkeypatch.setattr("ray._private.worker._global_node", node)
    monkeypatch.setattr(watch, "EVERY", 0.01)
    monkeypatch.setattr(watch, "gone", lambda node: next(left, {}))
    with watch.watching(reasons.append):
        import time

        time.sleep(0.4)
    assert len(reasons) == told
    assert all("head is gone" in reason and "--inline" in reason for reason in reasons)
