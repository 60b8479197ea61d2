"""Studies on real clusters: several hosts, clients outside, shares of GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

from scl.store.results import load
from tests.support.clusters import ROOT, SHORT, Cluster, can_hide, cluster, equal, study, without_the_project

pytestmark = pytest.mark.slow


def test_hosts_that_share_no_folder_and_lack_the_project_give_the_same_numbers(tmp_path: Path) -> None:
    """Through HOST:PORT and through a client outside; a search too. Then a host dies during a run."""
    if not can_hide():
        pytest.skip("needs the right to make mount namespaces")
    out = tmp_path / "out"
    out.mkdir()
    assert study("ablation.py", *SHORT, "--inline", "--out", str(tmp_path / "inline")).returncode == 0
    python, environment = without_the_project(tmp_path / "bare")
    with cluster("--num-cpus=0", workers=2, hidden=out, python=python, environment=environment) as made:
        for name, address in (("direct", made.address), ("client", made.client)):
            run = study("ablation.py", *SHORT, "--address", address, "--out", str(out / name))
            assert run.returncode == 0, run.stderr
            equal(tmp_path / "inline" / "ablation", out / name / "ablation")
            assert not (out / name / "ablation" / "parts").is_dir() or not list(
                (out / name / "ablation" / "parts").iterdir()
            )
        flags = ["--trials", "4", "--seeds", "1", "--epochs", "2", "--teacher-epochs", "1", "--limit", "200"]
        run = study("search.py", *flags, "--address", made.client, "--out", str(out / "search"))
        assert run.returncode == 0, run.stderr
        trials = load(str(out / "search" / "search")).trials
        assert (trials["arm"] == "search").sum() == 4
        assert {"winner-1", "baseline"} <= set(trials["arm"])

        long = [*SHORT, "--epochs", "30"]
        assert study("ablation.py", *long, "--inline", "--out", str(tmp_path / "long")).returncode == 0
        killer = threading.Thread(target=_kill_when_checkpoints_come_home, args=(made, out / "killed" / "ablation"))
        killer.start()
        run = study("ablation.py", *long, "--address", made.address, "--out", str(out / "killed"))
        killer.join()
        assert run.returncode == 0, run.stderr
        equal(tmp_path / "long" / "ablation", out / "killed" / "ablation")
        assert load(str(out / "killed" / "ablation")).trials["restarts"].max() >= 1


def _kill_when_checkpoints_come_home(made: Cluster, store: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(store.glob("checkpoints/*/epoch-0000[3-9]*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    made.kill(1)


PACKED = """
import os, time, uuid
from pathlib import Path
from scl.cli.main import main
from scl.plan import plan
from scl.study.config import Config
from scl.study.study import Study
from scl.study.term import Term

def noted(student, teacher):
    seen = Path(os.environ["SEEN"])
    with open(seen / f"{os.getpid()}", "a") as file:
        file.write(f"{time.time()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
    time.sleep(0.2)
    return (student.mean() - teacher.mean()) ** 2

plan.device_of = lambda options, nodes: "cpu"  # Ray counts shares of GPUs that do not exist
main(Study(
    name="packed", question="q", seeds=8,
    base=Config(model="plain3", width=0.05, epochs=40, batch_size=32),
    teacher=Config(model="plain5", width=0.05, batch_size=32, epochs=1),
    arms={"baseline": {"losses": {"noted": Term(0.5, loss=noted, version="1")}}},
))
"""


def test_a_quarter_of_a_gpu_packs_four_cohorts_on_each(tmp_path: Path) -> None:
    """Ray only counts GPUs, so this needs none, and trains on the processor."""
    (tmp_path / "packed.py").write_text(PACKED)
    (tmp_path / "seen").mkdir()
    command = [sys.executable, str(tmp_path / "packed.py"), "--cohort-size", "1", "--limit", "60"]
    with cluster("--num-cpus=8", "--num-gpus=2", environment={"SEEN": str(tmp_path / "seen")}) as made:
        run, refused = [
            subprocess.run(
                [*command, "--address", made.address, "--gpus-per-trial", gpus, "--out", str(tmp_path / gpus)],
                capture_output=True, text=True, timeout=300, env={**os.environ, "SEEN": str(tmp_path / "seen")},
            )
            for gpus in ("0.25", "3")
        ]  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert (refused.returncode, "on one node" in refused.stderr) == (2, True), refused.stderr
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


def test_a_local_run_listens_on_this_machine_alone(tmp_path: Path) -> None:
    import psutil

    script = str(ROOT / "studies" / "ablation.py")
    command = [sys.executable, script, *SHORT, "--epochs", "200", "--out", str(tmp_path)]
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


def test_no_more_processes_train_than_cohorts_at_once(tmp_path: Path) -> None:
    """On 16 CPUs and with 36 cohorts: a process trains one cohort after the other."""
    flags = ["--seeds", "6", "--epochs", "1", "--teacher-epochs", "1", "--limit", "60", "--width", "0.1"]
    flags += ["--arms", "kd,at,sp,channel,spatial", "--cohort-size", "1", "--max-concurrent", "3"]
    with cluster("--num-cpus=16") as made:
        command = [sys.executable, str(ROOT / "studies" / "ablation.py"), "--address", made.address, *flags]
        run = subprocess.Popen([*command, "--out", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        trained: set[int] = set()
        while run.poll() is None:
            for process in psutil.Process(made.processes[0].pid).children(recursive=True):
                with suppress(psutil.Error):
                    if "seed" in " ".join(process.cmdline()):
                        trained.add(process.pid)
            time.sleep(0.2)
    assert run.returncode == 0
    assert len(load(str(tmp_path / "ablation")).trials) == 36
    assert 1 <= len(trained) <= 3
