"""The files of deploy/, read and run by their tools or stand-ins of these."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scl.cli.flags import parsed
from scl.merge import merge
from scl.store.results import load
from tests.support.clusters import ROOT, SHORT, cluster, without_the_project
from tests.support.studies import SMALL


def test_the_files_of_deploy_are_what_their_tools_read() -> None:
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((ROOT / "deploy" / "cluster.yaml").read_text())))
    job = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text())
    assert (job["kind"], job["apiVersion"]) == ("RayJob", "ray.io/v1")
    flags = job["spec"]["entrypoint"].split()[2:]
    assert parsed(SMALL, "study.py", flags).address == "auto"
    for script in ("slurm.sh", "slurm-array.sh"):
        check = subprocess.run(
            ["bash", "-n", str(ROOT / "deploy" / script)], capture_output=True, text=True, check=False
        )
        assert check.returncode == 0, check.stderr


@pytest.mark.slow
def test_the_tasks_of_an_array_share_a_teacher_and_merge(tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "deploy" / "slurm-array.sh"), str(ROOT / "studies" / "ablation.py"), *SHORT[2:]]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    tasks = [
        subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": str(i)})
        for i in range(2)
    ]
    assert [task.wait(timeout=120) for task in tasks] == [0, 0]
    parts = tmp_path / "results" / "array"
    assert len(list(parts.glob("teachers/*/teacher.safetensors"))) == 1
    assert merge([str(parts / "0"), str(parts / "1")], str(tmp_path / "results")) == 0
    merged = load(str(tmp_path / "results" / "ablation"))
    assert set(merged.plan_states()["state"]) == {"completed"}
    assert merged.study["seeds"] == [0, 1]


@pytest.mark.slow
def test_a_submitted_job_runs_on_a_head_without_the_project(tmp_path: Path) -> None:
    """As deploy/README.md describes, with the packages already there."""
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
        entry = ["--", python[0], "studies/ablation.py", "--address", "auto", *SHORT, "--out", str(out)]
        token = {"RAY_AUTH_MODE": "token"} if (Path.home() / ".ray" / "auth_token").exists() else {}
        run = subprocess.run(
            [*submit, *place, *entry], capture_output=True, text=True, timeout=400, env={**os.environ, **token}
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert set(load(str(out / "ablation")).trials["state"]) == {"completed"}


def wait_for(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"nothing answers at port {port}")


STAND_INS = {
    "scontrol": "echo one; echo two",
    "hostname": "echo 127.0.0.1",
    # A step on a node: the command, with another address for a node that joins.
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
        [*script, *SHORT, "--out", str(tmp_path / "out")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=300)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    assert process.returncode == 0, said
    trials = load(str(tmp_path / "out" / "ablation")).trials
    assert set(trials["state"]) == {"completed"}


def slurm(tmp_path: Path, study: str, **more: str) -> tuple[subprocess.Popen[str], Path]:
    """The script with stand-ins for Slurm, Ray and the study, which need a second in all. What was called is noted."""
    (tmp_path / "bin").mkdir()
    calls = tmp_path / "calls"
    stand_ins = {
        "scontrol": f'echo "scontrol $*" >> {calls}; if [[ $1 == show ]]; then echo one; echo two; fi',
        "hostname": "echo 127.0.0.1",
        "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
        "ray": f"""
echo "ray $*" >> {calls}
if [[ "$*" == *--head* ]]; then
  sleep 0.5
  exec {sys.executable} -c 'import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)' "$(tr ' ' '\n' <<< "$*" | sed -n 's/--port=//p')"
fi
exec sleep 60""",
        "python": f"""
if [[ $1 == -c ]]; then [[ $(grep -c '^ray' {calls}) == 2 ]]; exit; fi
echo "study $*" >> {calls}
{study}""",
    }
    for name, text in stand_ins.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "one,two",
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_CPUS_PER_TASK": "1", **more,
    }  # fmt: skip
    script = ["bash", str(ROOT / "deploy" / "slurm.sh"), "studies/x.py", "--seeds", "2"]
    process = subprocess.Popen(script, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    return process, calls


STOPS = "trap 'exit 130' TERM; for i in {1..200}; do sleep 0.1; done"


@pytest.mark.parametrize(
    ("study", "number", "more", "code", "requeued"),
    [
        ("exit 0", None, {}, 0, False),
        ("exit 3", None, {}, 3, False),
        (STOPS, signal.SIGTERM, {}, 130, True),
        (STOPS, signal.SIGUSR1, {}, 130, True),
        (STOPS.replace("130", "1"), signal.SIGTERM, {}, 1, False),
        (STOPS, signal.SIGTERM, {"SLURM_RESTART_COUNT": "20"}, 130, False),
    ],
)
def test_the_slurm_script_waits_for_ray_and_requeues_itself(
    study: str, number: int | None, more: dict[str, str], code: int, requeued: bool, tmp_path: Path
) -> None:
    process, calls = slurm(tmp_path, study, **more)
    try:
        if number is not None:
            deadline = time.monotonic() + 30
            while not calls.exists() or "study" not in calls.read_text():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.3)
            process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, said
    lines = calls.read_text().splitlines()
    assert any(line.startswith("study studies/x.py --seeds 2 --address 127.0.0.1:") for line in lines)
    assert (f"scontrol requeue {os.getpid()}" in lines) == requeued, said


def test_a_head_that_does_not_start_ends_the_slurm_job(tmp_path: Path) -> None:
    process, calls = slurm(tmp_path, "exit 0")
    (tmp_path / "bin" / "ray").write_text("#!/bin/bash\nexit 1\n")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "does not answer" in said
    assert "study" not in calls.read_text()
