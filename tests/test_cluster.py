"""Studies on clusters: several hosts, clients outside, shares of GPUs, memory that does not suffice."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from clusters import Cluster, can_hide, cluster

import scl.cluster
from scl import nodes, results
from scl.cluster import slots_of_cluster
from scl.errors import UserError
from scl.nodes import Node
from scl.storage import open_folder

ROOT = Path(__file__).parents[1]
HERE = {name: importlib.metadata.version(name) for name in [*nodes.NEEDED, nodes.SENT]}
PYTHON = ".".join(map(str, sys.version_info[:3]))
SMALL = ["--seeds", "2", "--epochs", "2", "--teacher-epochs", "1", "--limit", "200", "--arms", "kd,channel"]
# What a run measures of its machine, and not of its trials.
OF_THE_MACHINE = [
    "train_seconds", "images_per_second", "latency_ms", "started", "ended", "cohort_size", "restarts", "device",
]  # fmt: skip


def study(script: str, *flags: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "studies" / script), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, **more)  # type: ignore[call-overload, no-any-return]


def equal(one: Path, two: Path) -> None:
    """The same numbers, cell by cell."""
    a, b = (results.load(str(p)) for p in (one, two))
    trials = [r.trials.sort_values("trial_id", ignore_index=True).drop(columns=OF_THE_MACHINE) for r in (a, b)]
    pd.testing.assert_frame_equal(*trials, check_exact=True)
    epochs = [r.epochs.sort_values(["trial_id", "epoch"], ignore_index=True) for r in (a, b)]
    pd.testing.assert_frame_equal(*epochs, check_exact=True)


# --- what nodes have ------------------------------------------------------------------------------------------------


def node(cpus: float = 4, gpus: float = 0, **versions: str | None) -> Node:
    return Node("10.0.0.7", {"CPU": cpus, "GPU": gpus}, {"python": PYTHON, **HERE, **versions})


def test_a_node_as_this_one_has_no_problem() -> None:
    assert nodes.problems(node()) == []
    assert nodes.problems(node(torch=f"{HERE['torch'].split('+')[0]}+cu130", pandas="99.0")) == []


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
    (problem,) = nodes.problems(node(**versions))
    assert problem.startswith(said)


def test_small_things_are_sent_where_they_are_absent() -> None:
    names = [Path(p).name for p in nodes.to_send([node(), node(safetensors=None)])]
    assert names == ["scl", "safetensors"]
    assert [Path(p).name for p in nodes.to_send([node()])] == ["scl"]


@pytest.mark.parametrize(
    ("cluster_of", "cpus", "gpus", "room"),
    [
        ([node(4), node(2)], 1, 0.0, 6),
        ([node(3), node(3)], 2, 0.0, 2),  # a cohort lies on one node
        ([node(16, 2)], 1, 0.25, 8),
        ([node(16, 2)], 1, 0.6, 2),  # and a share on one GPU
        ([node(16, 3)], 1, 2.0, 1),
        ([node(2, 2)], 1, 0.25, 2),
        ([node(2)], 1, 1.0, 0),
    ],
)
def test_slots(cluster_of: list[Node], cpus: int, gpus: float, room: int) -> None:
    assert nodes.slots(cluster_of, cpus, gpus) == room


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> tuple[SimpleNamespace, list[list[Node]]]:
    """A plan for a cluster that had two nodes of one CPU when it was asked, and the nodes that live at each look; the
    last look lasts."""
    looks: list[list[Node]] = []
    monkeypatch.setattr(nodes, "survey", lambda address: (Node("a", {"CPU": 1.0}, {}), Node("b", {"CPU": 1.0}, {})))
    monkeypatch.setattr(scl.cluster, "living", lambda: looks.pop(0) if len(looks) > 1 else looks[0])
    clock = [0.0]
    slept = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda s: clock.__setitem__(0, clock[0] + s))
    monkeypatch.setattr(scl.cluster, "time", slept)
    options = SimpleNamespace(address="10.0.0.1:6379", cpus_per_trial=1, gpus_per_trial=None, max_concurrent=None)
    return SimpleNamespace(options=options, world=SimpleNamespace(device="cpu")), looks


HEAD = Node("head", {}, {})


def test_nodes_that_have_gone_are_waited_for(
    leaving: tuple[SimpleNamespace, list[list[Node]]], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, looks = leaving
    looks[:] = [[HEAD], [HEAD], [HEAD, Node("c", {"CPU": 3.0}, {})]]
    assert slots_of_cluster(plan, lambda: False) == 3
    assert "waiting for nodes" in capsys.readouterr().err


def test_nodes_that_stay_away_are_an_error(leaving: tuple[SimpleNamespace, list[list[Node]]]) -> None:
    plan, looks = leaving
    looks[:] = [[HEAD]]
    with pytest.raises(UserError, match=r"the nodes have 0 and 0; .* or start more nodes"):
        slots_of_cluster(plan, lambda: False)
    assert scl.cluster.time.monotonic() >= nodes.PATIENCE
    assert slots_of_cluster(plan, lambda: True) == 1


def test_nodes_that_never_had_room_are_not_waited_for(leaving: tuple[SimpleNamespace, list[list[Node]]]) -> None:
    plan, looks = leaving
    plan.options.cpus_per_trial = 2
    looks[:] = [[Node("a", {"CPU": 1.0}, {})]]
    with pytest.raises(UserError, match="wants 2 CPUs and 0 GPUs of one node, the nodes have 1 and 0"):
        slots_of_cluster(plan, lambda: False)
    assert scl.cluster.time.monotonic() == 0


# --- files that come home -------------------------------------------------------------------------------------------


def test_workers_reach_nothing_beside_the_results(tmp_path: Path) -> None:
    from scl.relay import folder_answer

    home = open_folder(str(tmp_path / "out"))
    (tmp_path / "secret").write_text("x")
    answer = folder_answer(home, f"{home.path}/teachers")
    answer(f"{home.path}/ablation/parts", None, "write", ("a", b"1"))
    assert (tmp_path / "out" / "ablation" / "parts" / "a").read_bytes() == b"1"
    for path, call, arguments in (
        (str(tmp_path), "read", ("secret",)),
        (f"{home.path}/ablation/../..", "read", ("secret",)),
        (f"{home.path}/ablation", "read", ("../../secret",)),
        (f"{home.path}/ablation", "remove_all", ()),
        (f"{home.path}/ablation", "__class__", ()),
    ):
        with pytest.raises(PermissionError):
            answer(path, None, call, arguments)


# --- memory ---------------------------------------------------------------------------------------------------------

GREEDY = """
import torch
from scl.cli import main
from scl.config import Config, Term
from scl.study import Study

def greedy(student, teacher):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8.00 GiB")

main(Study(
    name="own", question="q", seeds=1,
    base=Config(student="plain3", width=0.05, epochs=2, batch_size=32),
    teacher=Config(student="plain5", width=0.05, batch_size=32),
    arms={"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 1.0}},
          "greedy": {"losses": {"mine": Term(0.5, loss=greedy)}}},
))
"""


@pytest.mark.parametrize("where", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_cohort_that_does_not_fit_goes_on_in_halves(tmp_path: Path, where: str) -> None:
    (tmp_path / "own.py").write_text(GREEDY)
    flags = ["--limit", "60", "--cohort-size", "4", *(["--inline"] if where == "inline" else [])]
    run = subprocess.run(
        [sys.executable, str(tmp_path / "own.py"), *flags, "--out", str(tmp_path / "all")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    trials = results.load(str(tmp_path / "all" / "own")).trials.set_index("arm")
    assert trials["state"].to_dict() == {
        "baseline": "completed",
        "kd": "completed",
        "at": "completed",
        "greedy": "failed",
    }
    assert "Tried to allocate 20.00 GiB" in trials.loc["greedy", "error"]
    assert "lower batch_size" in trials.loc["greedy", "error"]
    if where == "inline":
        assert "a cohort of 4 does not fit" in run.stderr
        calm = ["--arms", "kd,at", "--inline", "--limit", "60", "--out", str(tmp_path / "calm")]
        subprocess.run([sys.executable, str(tmp_path / "own.py"), *calm], capture_output=True, timeout=300, check=True)
        undisturbed = results.load(str(tmp_path / "calm" / "own")).trials.set_index("arm")
        for arm in ("baseline", "kd", "at"):
            assert trials.loc[arm, "test_loss"] == undisturbed.loc[arm, "test_loss"]


# --- real clusters --------------------------------------------------------------------------------------------------


def without_the_project(folder: Path) -> tuple[list[str], dict[str, str]]:
    """An interpreter that has this environment's packages and not this project, and what it must be started with."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = sysconfig.get_paths()["purelib"]
    python = [str(folder / "bin" / "python")]
    # Packages by path, and not as a site folder: the pointer to an editable install is not followed.
    environment = {"PYTHONPATH": packages}
    seen = subprocess.run(
        [*python, "-c", "import importlib.util as u, ray, torch; print(u.find_spec('scl'))"],
        env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert seen.stdout.strip() == "None", "the project is there"
    return python, environment


@pytest.mark.slow
def test_hosts_that_share_no_folder_and_lack_the_project_give_the_same_numbers(tmp_path: Path) -> None:
    """Through HOST:PORT and through a client outside; a search too. Then a host dies in the midst of a run."""
    if not can_hide():
        pytest.skip("needs the right to make mount namespaces")
    out = tmp_path / "out"
    out.mkdir()
    assert study("ablation.py", *SMALL, "--inline", "--out", str(tmp_path / "inline")).returncode == 0
    python, environment = without_the_project(tmp_path / "bare")
    with cluster("--num-cpus=0", workers=2, hidden=out, python=python, environment=environment) as made:
        for name, address in (("direct", made.address), ("client", made.client)):
            run = study("ablation.py", *SMALL, "--address", address, "--out", str(out / name))
            assert run.returncode == 0, run.stderr
            equal(tmp_path / "inline" / "ablation", out / name / "ablation")
            assert not (out / name / "ablation" / "parts").is_dir() or not list(
                (out / name / "ablation" / "parts").iterdir()
            )
        flags = ["--trials", "4", "--seeds", "1", "--epochs", "2", "--teacher-epochs", "1", "--limit", "200"]
        run = study("search.py", *flags, "--address", made.client, "--out", str(out / "search"))
        assert run.returncode == 0, run.stderr
        trials = results.load(str(out / "search" / "search")).trials
        assert (trials["arm"] == "search").sum() == 4
        assert {"winner-1", "baseline"} <= set(trials["arm"])

        long = [*SMALL, "--epochs", "30"]
        assert study("ablation.py", *long, "--inline", "--out", str(tmp_path / "long")).returncode == 0
        killer = threading.Thread(target=_kill_when_checkpoints_come_home, args=(made, out / "killed" / "ablation"))
        killer.start()
        run = study("ablation.py", *long, "--address", made.address, "--out", str(out / "killed"))
        killer.join()
        assert run.returncode == 0, run.stderr
        equal(tmp_path / "long" / "ablation", out / "killed" / "ablation")
        assert results.load(str(out / "killed" / "ablation")).trials["restarts"].max() >= 1


def _kill_when_checkpoints_come_home(made: Cluster, store: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(store.glob("checkpoints/*/epoch-0000[3-9]*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    made.kill(1)


PACKED = """
import os, time, uuid
from pathlib import Path
from scl.cli import main
from scl.config import Config, Term
from scl.study import Study

def noted(student, teacher):
    seen = Path(os.environ["SEEN"])
    with open(seen / f"{os.getpid()}", "a") as file:
        file.write(f"{time.time()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
    time.sleep(0.2)
    return (student.mean() - teacher.mean()) ** 2

main(Study(
    name="packed", question="q", seeds=8,
    base=Config(student="plain3", width=0.05, epochs=40, batch_size=32),
    teacher=Config(student="plain5", width=0.05, batch_size=32, epochs=1),
    arms={"baseline": {"losses": {"noted": Term(0.5, loss=noted)}}},
))
"""


@pytest.mark.slow
def test_a_quarter_of_a_gpu_packs_four_cohorts_on_each(tmp_path: Path) -> None:
    """By Ray's book-keeping alone: there need not be a GPU for it."""
    (tmp_path / "packed.py").write_text(PACKED)
    (tmp_path / "seen").mkdir()
    flags = ["--gpus-per-trial", "0.25", "--device", "cpu", "--cohort-size", "1", "--limit", "60", "--out"]
    with cluster("--num-cpus=8", "--num-gpus=2", environment={"SEEN": str(tmp_path / "seen")}) as made:
        run = subprocess.run(
            [sys.executable, str(tmp_path / "packed.py"), "--address", made.address, *flags, str(tmp_path / "out")],
            capture_output=True, text=True, timeout=300, env={**os.environ, "SEEN": str(tmp_path / "seen")},
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        refused = study(
            "ablation.py", "--address", made.address, "--gpus-per-trial", "3", "--out", str(tmp_path / "no")
        )
    assert (refused.returncode, "of one node" in refused.stderr) == (2, True), refused.stderr
    spans = []
    for file in (tmp_path / "seen").iterdir():
        lines = [line.split() for line in file.read_text().splitlines()]
        gpus = {gpu for _, gpu in lines}
        assert len(gpus) == 1, "a worker stays on its GPU"
        spans.append((float(lines[0][0]), float(lines[-1][0]), gpus.pop()))
    together = max(([s for s in spans if s[0] <= at <= s[1]] for at, _, _ in spans), key=len)
    counts = pd.Series([gpu for _, _, gpu in together]).value_counts()
    assert set(counts.index) <= {"0", "1"}
    assert counts.max() == 4, counts


@pytest.mark.slow
def test_a_token_that_is_wrong_is_said(tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
    with cluster("--num-cpus=1", environment=token) as made:
        flags = ["--address", made.address, *SMALL]
        right = study("ablation.py", *flags, "--out", str(tmp_path / "a"), env={**os.environ, **token})
        other = {**os.environ, **token, "RAY_AUTH_TOKEN": "b" * 64}
        wrong = study("ablation.py", *flags, "--out", str(tmp_path / "b"), env=other)
    assert right.returncode == 0, right.stderr
    assert wrong.returncode == 2
    assert re.search("token", wrong.stderr)
    assert "Traceback" not in wrong.stderr


def test_an_address_that_is_none_is_refused() -> None:
    for address in ("ray://", "ray://nowhere", "x", "127.0.0.1:"):
        with pytest.raises(UserError, match="valid: auto, HOST:PORT or ray://HOST:PORT"):
            nodes.survey(address)


@pytest.mark.slow
def test_a_local_run_listens_on_this_machine_alone(tmp_path: Path) -> None:
    import psutil

    script = str(ROOT / "studies" / "ablation.py")
    command = [sys.executable, script, *SMALL, "--epochs", "200", "--out", str(tmp_path)]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("ablation/checkpoints/*/epoch-*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        family = [process, *process.children(recursive=True)]
        sockets = [s for p in family for s in p.net_connections("inet") if s.status == psutil.CONN_LISTEN]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    hosts = {s.laddr.ip.removeprefix("::ffff:") for s in sockets}
    assert len(sockets) > 3, "Ray was seen"
    assert all(host == "::1" or host.startswith("127.") for host in hosts), hosts


# --- deploy/ --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_submitted_job_runs_on_a_head_without_the_project(tmp_path: Path) -> None:
    """What deploy/README.md tells, with the packages already there."""
    pytest.importorskip("aiohttp_cors", reason="jobs need Ray's dashboard: uv pip install 'ray[default]'")
    python, environment = without_the_project(tmp_path / "bare")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dashboard = ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
    out = tmp_path / "out"
    with cluster("--num-cpus=2", *dashboard, python=python, environment=environment):
        address = f"http://127.0.0.1:{port}"
        wait_for(port)
        submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", address]
        place = ["--working-dir", str(ROOT), "--runtime-env-json", '{"excludes": ["results", ".venv", ".git"]}']
        entry = ["--", python[0], "studies/ablation.py", "--address", "auto", *SMALL, "--out", str(out)]
        token = {"RAY_AUTH_MODE": "token"} if (Path.home() / ".ray" / "auth_token").exists() else {}
        run = subprocess.run(
            [*submit, *place, *entry], capture_output=True, text=True, timeout=400, env={**os.environ, **token}
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert set(results.load(str(out / "ablation")).trials["state"]) == {"completed"}


def wait_for(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"nothing answers at port {port}")


def test_the_files_of_deploy_are_what_their_tools_read() -> None:
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((ROOT / "deploy" / "cluster.yaml").read_text())))
    job = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text())
    assert (job["kind"], job["apiVersion"]) == ("RayJob", "ray.io/v1")
    flags = job["spec"]["entrypoint"].split()[2:]
    from conftest import SMALL as STUDY

    from scl.cli import parser

    assert parser(STUDY).parse_args(flags).address == "auto"
    check = subprocess.run(
        ["bash", "-n", str(ROOT / "deploy" / "slurm.sh")], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


STAND_INS = {
    "scontrol": "echo one; echo two",
    "hostname": "echo 127.0.0.1",
    # A step on a node: its command, with an address of its own for what joins.
    "srun": """
while [[ $1 == --* ]]; do shift; done
if [[ "$*" == *--address=* ]]; then set -- "$@" --node-ip-address=127.0.0.2; fi
exec "$@"
""",
}


@pytest.mark.slow
def test_the_slurm_script_runs_a_study_and_passes_its_exit_code_on(tmp_path: Path) -> None:
    """With stand-ins for Slurm's commands."""
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    folder = tempfile.mkdtemp(prefix="scl", dir="/tmp")
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_PER_TASK": "1",
        "SCL_RAY_FLAGS": f"--temp-dir={folder} --ray-client-server-port={20000 + (os.getpid() + 7) % 20000}",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    script = ["bash", str(ROOT / "deploy" / "slurm.sh"), str(ROOT / "studies" / "ablation.py")]
    process = subprocess.Popen(
        [*script, *SMALL, "--out", str(tmp_path / "out")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=300)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    assert process.returncode == 0, said
    trials = results.load(str(tmp_path / "out" / "ablation")).trials
    assert set(trials["state"]) == {"completed"}
