"""Ray's tokens: no other user reads one, or runs code in a session."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.run.ray import tokens

NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", *tokens.GIVEN):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".ray").mkdir()
    return tmp_path / ".ray" / "auth_token"


def test_a_local_session_has_a_token_of_its_own(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("a" * 64)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert tokens.of_local_session() == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": tokens.OWN}
    assert len(tokens.OWN) == 64
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
    assert tokens.of_local_session()["RAY_AUTH_TOKEN"] == "b" * 64


@pytest.mark.parametrize(("mode", "mended"), [(0o600, False), (0o400, False), (0o644, True), (0o620, True)])
def test_rays_file_is_closed_to_others(mode: int, mended: bool, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens.of_cluster() == {}
    file.write_text("a" * 64)
    file.chmod(mode)
    assert tokens.of_cluster() == {"RAY_AUTH_MODE": "token"}
    assert not stat.S_IMODE(file.stat().st_mode) & 0o077
    assert ("other users could read Ray's token" in capsys.readouterr().err) == mended


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused_unless_it_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("a" * 64)
    os.chown(file, NOBODY, -1)
    with pytest.raises(UserError, match=r"Ray's token in .*/auth_token belongs to another user.*RAY_AUTH_TOKEN"):
        tokens.of_cluster()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
    assert tokens.of_cluster() == {"RAY_AUTH_MODE": "token"}


OWNER = """
import os, sys
from scl.run.ray.session import ray_session
from scl.study.options import Options
with ray_session(Options(), ()):
    import ray
    session = ray._private.worker._global_node.get_session_dir_path().rpartition("/")[2]
    print(ray.get_runtime_context().gcs_address, session, os.environ["RAY_AUTH_TOKEN"], flush=True)
    sys.stdin.read()
"""
# Drops root's rights first, if that is asked for; the modules that it will need are then loaded. Looks for what it may
# read, and tries to run code with the given token, or without one.
OTHER = """
import importlib, os, sys
from contextlib import suppress
user, address, session, home, *modules = sys.argv[1:]
for name in modules:
    with suppress(Exception):
        importlib.import_module(name)
if int(user):
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
found = []
for top in (home, "/tmp", "/var/tmp", "/dev/shm"):
    for folder, _, names in os.walk(top):
        if "/ray/" in f"{folder}/" or "/.ray/" in f"{folder}/":
            for name in names:
                place = f"{folder}/{name}"
                if os.access(folder, os.W_OK) or name in ("auth_token", "raylet") and os.access(place, os.R_OK):
                    found.append(place)
for pid in filter(str.isdigit, os.listdir("/proc")):
    for file in ("environ", "cmdline"):
        with suppress(OSError):
            content = open(f"/proc/{pid}/{file}", "rb").read().decode(errors="replace")
            if int(pid) != os.getpid() and os.environ["KNOWN"] in content:
                found.append(f"/proc/{pid}/{file}")
print("FOUND", [p for p in found if session in p or p.startswith(("/proc/", home))], flush=True)
import ray
ray.init(address=address, log_to_driver=False, _node_ip_address="127.0.0.1")
print("RAN AS", ray.get(ray.remote(num_cpus=0)(lambda: os.getuid()).remote()))
print("MODULES", *sys.modules)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_another_user_neither_reads_the_token_nor_runs_code(tmp_path: Path) -> None:
    """Everybody can enter the owner's home. Two sessions of the owner run side by side."""
    home = tmp_path / "home"
    home.mkdir()
    for folder in (home, tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"HOME": str(home)}

    def attack(user: int, address: str, session: str, token: str | None, seconds: float, modules: str = "") -> str:
        """What a process of this user prints, in so many seconds from when it has looked at all folders."""
        given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
        given |= {"KNOWN": secret, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        command = [sys.executable, "-c", OTHER, str(user), address, session, str(home), *modules.split()]
        said = tmp_path / "said"
        with said.open("wb") as output:
            run = subprocess.Popen(command, env=clean | given, stdout=output)
        while run.poll() is None and "FOUND" not in said.read_text():
            time.sleep(0.1)
        with suppress(subprocess.TimeoutExpired):  # Ray tries for minutes
            run.wait(seconds)
        run.kill()
        run.wait()
        return said.read_text()

    owners = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER], env=clean, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    try:
        for owner in owners:
            assert owner.stdout is not None
            address, session, secret = owner.stdout.readline().split()
            began = time.monotonic()
            allowed = attack(0, address, session, secret, 120)
            enough = max(20.0, time.monotonic() - began)
            assert "RAN AS 0" in allowed
            assert session in allowed
            modules = allowed.partition("MODULES")[2]
            # Even one who knows the token cannot enter the session's folder.
            for guess in (secret, None, "c" * 64)[: 3 if owner is owners[0] else 1]:
                refused = attack(NOBODY, address, session, guess, enough, modules)
                assert "FOUND []" in refused
                assert "RAN AS" not in refused
        assert not (home / ".ray").exists()
    finally:
        for owner in owners:
            owner.communicate("", timeout=60)
    assert [owner.returncode for owner in owners] == [0, 0]
