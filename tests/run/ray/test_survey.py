"""What is asked of a cluster's nodes, and what is refused."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from scl.errors import UserError
from scl.plan.capacity import Node
from scl.run.ray import survey
from scl.run.ray.tokens import of_cluster
from tests.support.clusters import SHORT, cluster, study

HERE = {name: importlib.metadata.version(name) for name in [*survey.NEEDED, survey.SENT]}
PYTHON = ".".join(map(str, sys.version_info[:3]))


def node(cpus: float = 4, gpus: float = 0, **versions: str | None) -> Node:
    return Node("10.0.0.7", {"CPU": cpus, "GPU": gpus}, {"python": PYTHON, **HERE, **versions})


def test_a_node_as_this_one_has_no_problem() -> None:
    assert survey.node_problems(node()) == []
    assert survey.node_problems(node(torch=f"{HERE['torch'].split('+')[0]}+cu130", pandas="99.0")) == []


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"torchvision": None}, "torchvision is not installed"),
        ({"torch": "1.13.1"}, f"torch is 1.13.1, here it is {HERE['torch']}"),
        ({"numpy": "1.26.4"}, "numpy is 1.26.4"),
        ({"python": "3.9.1"}, "Python is 3.9.1"),
    ],
)
def test_what_a_node_lacks_is_named(versions: dict[str, str | None], said: str) -> None:
    (problem,) = survey.node_problems(node(**versions))
    assert problem.startswith(said)


def test_small_packages_are_sent_if_a_node_lacks_them() -> None:
    names = [Path(p).name for p in survey.packages_to_send([node(), node(safetensors=None)])]
    assert names == ["scl", "safetensors"]
    assert [Path(p).name for p in survey.packages_to_send([node()])] == ["scl"]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_server_that_says_nothing_is_not_waited_for(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "GREETING_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"accepts connections there, and has said nothing for 0 s\); start one"):
        survey.survey(f"127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.parametrize("answer", [b"", b"HT", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b"\0\0\0\7\0"])
def test_something_else_than_ray_is_named(listening: socket.socket, answer: bytes) -> None:
    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(len(survey.HTTP2_HELLO), socket.MSG_WAITALL)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(UserError, match="something else than Ray answers there"):
        survey.survey(f"127.0.0.1:{listening.getsockname()[1]}")
    thread.join()


@pytest.mark.parametrize(("files", "driver"), [([], False), (["/dev/nvidiactl"], True), (["/dev/kfd", "/dev/x"], True)])
def test_a_driver_of_a_gpu_is_seen_by_its_devices(
    files: list[str], driver: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey.os.path, "exists", files.__contains__)
    monkeypatch.setattr(survey.sys, "platform", "linux")
    assert survey.gpu_driver() == driver
    monkeypatch.setattr(survey.sys, "platform", "darwin")
    assert survey.gpu_driver()


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A cluster that answers with `child`; keeps the environment that the child process got."""
    made = SimpleNamespace(child=SimpleNamespace(returncode=0, stdout="", stderr=""), environment={})

    def run(command: list[str], *, env: dict[str, str], **_: object) -> SimpleNamespace:
        made.environment = env
        return made.child

    monkeypatch.setattr(survey.subprocess, "run", run)
    return made


def test_nodes_are_what_the_child_process_prints(answering: SimpleNamespace) -> None:
    one = node(cpus=3)
    answering.child.stdout = f"a warning\n{json.dumps([vars(one)])}\n"
    assert survey.survey("auto") == (one,)
    answering.child.stdout = json.dumps([vars(node(torch=None))])
    with pytest.raises(UserError, match=r"workers cannot run there\n  10\.0\.0\.7: torch is not installed"):
        survey.survey("auto")


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("RuntimeError: Version mismatch: 2.9 and 2.60\nat exit", "use the same versions of Ray and Python"),
        ("AuthTokenError: wrong token\nat exit", "put the cluster's token into RAY_AUTH_TOKEN"),
        ("ConnectionError: nobody", "start one with `ray start --head`"),
        ("", "no Ray cluster answers"),
    ],
)
def test_a_failure_names_the_way_out(answering: SimpleNamespace, stderr: str, message: str) -> None:
    answering.child.returncode, answering.child.stderr = 1, stderr
    with pytest.raises(UserError, match=message):
        survey.survey("auto")


def test_only_the_child_process_gets_the_mode_of_authentication(
    answering: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    answering.child.stdout = json.dumps([vars(node())])
    assert of_cluster() == {}
    survey.survey("auto")
    assert "RAY_AUTH_MODE" not in answering.environment
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a" * 64)
    survey.survey("auto")
    assert answering.environment["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_MODE" not in os.environ


def test_a_survey_does_not_wait_for_torch() -> None:
    script = "import sys, scl.run.ray.survey; print({'torch', 'pandas', 'ray'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.slow
def test_a_wrong_token_is_reported(tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
    with cluster("--num-cpus=1", environment=token) as made:
        flags = ["--address", made.address, *SHORT]
        right = study("ablation.py", *flags, "--out", str(tmp_path / "a"), env={**os.environ, **token})
        other = {**os.environ, **token, "RAY_AUTH_TOKEN": "b" * 64}
        wrong = study("ablation.py", *flags, "--out", str(tmp_path / "b"), env=other)
    assert right.returncode == 0, right.stderr
    assert wrong.returncode == 2
    assert re.search("token", wrong.stderr)
    assert "Traceback" not in wrong.stderr
