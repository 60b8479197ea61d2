"""What is asked of a cluster's nodes, and what is refused."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from scl.errors import UserError
from scl.plan.capacity import Node
from scl.run.ray import survey
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


def test_an_address_that_is_none_is_refused() -> None:
    for address in ("ray://", "ray://nowhere", "x", "127.0.0.1:"):
        with pytest.raises(UserError, match="valid: auto, HOST:PORT or ray://HOST:PORT"):
            survey.survey(address)


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
    assert survey.authentication() == {}
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
