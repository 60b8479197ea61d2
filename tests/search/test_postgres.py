"""A search whose trials live in PostgreSQL, as Debian packages it, killed and finished."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests.support.searches import ROOT, SCRIPT, TINY, search, stored

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A fresh PostgreSQL on 127.0.0.1, run by an unprivileged user; its URL."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    root = os.geteuid() == 0
    user = "postgres" if root else None  # it refuses to run as root
    if root:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("no user postgres to run the server as")
    home = tempfile.mkdtemp(prefix="scl-postgres-")
    if root:
        shutil.chown(home, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def tool(name: str, *arguments: str) -> None:
        subprocess.run([f"{found[-1]}/{name}", *arguments], check=True, user=user, cwd=home, capture_output=True)

    password = Path(home) / "password"
    password.write_text("s3cret")
    password.chmod(0o644)
    tool("initdb", "-D", f"{home}/data", "-U", "scl", "--auth=scram-sha-256", f"--pwfile={password}")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c fsync=off"
    tool("pg_ctl", "-D", f"{home}/data", "-w", "-l", f"{home}/log", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://scl:s3cret@127.0.0.1:{port}/postgres"
    finally:
        tool("pg_ctl", "-D", f"{home}/data", "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


def test_killed_and_finished_on_postgresql(server: str, tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    flags = [*TINY, "--trials", "10", "--epochs", "8", "--storage", server]
    command = [sys.executable, str(script), "--out", str(tmp_path), *flags]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while finished(server) < 4 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Optuna knows studies by what they are, and the killed one is the same as that of this process.
    assert search(tmp_path, *flags[1:]) == 0
    (name,) = optuna.get_all_study_names(server)
    trials = optuna.load_study(study_name=name, storage=server).trials
    assert len(trials) == 10
    assert all(t.state.is_finished() for t in trials)
    assert len({t.user_attrs["trial_id"] for t in trials}) == 10
    rows = stored(tmp_path)
    assert (rows["arm"] == "search").sum() == 10
    assert rows["trial_id"].is_unique
    assert not (tmp_path / "tiny" / "optuna.journal").exists()
    kept = (tmp_path / "tiny" / "study.json").read_text()
    assert "s3cret" not in kept
    assert "scl:***@127.0.0.1" in kept


def finished(url: str) -> int:
    try:
        (name,) = optuna.get_all_study_names(url)
    except ValueError:
        return 0
    return sum(t.state.is_finished() for t in optuna.load_study(study_name=name, storage=url).trials)
