"""An object store as --out: a server that speaks S3, on the loopback interface."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pyarrow import fs

from benchmarks.chaos import compare, free_port, read
from scl.errors import UserError
from scl.merge import merge
from scl.store import lease
from scl.store.files import open_folder
from scl.store.locks import locked
from scl.store.results import load
from scl.students.student import load_student
from tests.run.test_faults import FLAGS, STUDY, Run, finish, flip
from tests.support.clusters import ROOT

pytestmark = pytest.mark.skipif(find_spec("moto") is None, reason="moto is not installed")  # its import takes 1 s


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A local S3 server. Yields the query to append to `s3://bucket/…`."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        query = f"?endpoint_override=127.0.0.1:{port}&scheme=http"
        maker, _ = fs.FileSystem.from_uri(f"s3://bucket{query}&allow_bucket_creation=true")
        for _ in range(100):
            try:
                maker.create_dir("bucket")
                break
            except OSError:
                time.sleep(0.2)
        yield query
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "faulty.py"
    path.write_text(STUDY.replace("EPOCHS", "4"))
    return path


def run(script: Path, place: str, *flags: str, code: int = 0) -> str:
    return finish(script, Path(place), *flags, "--out", place, code=code)


@pytest.mark.slow
def test_the_lease_is_held_given_back_and_taken_over(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(f"s3://bucket/lease{server}")
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.5)
    with locked(folder) as held:
        with pytest.raises(UserError, match="in use by process"), locked(folder):
            pass
        assert held()
    assert not folder.exists(".holder")
    monkeypatch.setattr(lease, "LEASE_SECONDS", 4.0)
    with locked(folder) as held:
        other = open_folder(f"s3://bucket/lease{server}")
        other.write(".holder", b'{"host": "elsewhere", "pid": 1, "since": "now", "token": "another"}')
        time.sleep(1.5)
        assert not held()  # another token in the lease: it is lost
    with pytest.raises(UserError, match="process 1 on elsewhere"), locked(folder):
        pass
    time.sleep(5)
    with locked(folder):  # the other holder did not renew it
        pass


def test_of_two_that_claim_a_free_store_at_once_one_gets_it(server: str) -> None:
    place, got = f"s3://bucket/race{server}", []

    def claim() -> None:
        try:
            with locked(open_folder(place)):
                got.append(True)
                time.sleep(1)
        except UserError:
            got.append(False)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False, False, False, True]


def test_a_study_its_page_and_its_growth(
    script: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)  # no other run claims the store
    place = f"s3://bucket/results{server}"
    run(script, place, "--seeds", "1", "--arms", "mine")
    assert "nothing to train" in run(script, place, "--seeds", "1", "--arms", "mine")
    assert "page: s3://bucket/results/faulty/report.html" in run(script, place, "--report-only")
    finish(script, tmp_path / "out", "--seeds", "1", "--arms", "mine")
    there, here = load(f"s3://bucket/results/faulty{server}"), load(str(tmp_path / "out" / "faulty"))
    assert sum(compare(here, there)[name] for name in ("lost", "duplicated", "different", "more")) == 0


@pytest.mark.slow
def test_stores_are_merged_out_of_buckets_and_into_one(script: Path, server: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    parts = [str(tmp_path / "a"), f"s3://bucket/b{server}"]
    for seed, place in enumerate(parts):
        run(script, place, "--seed-list", str(seed), "--arms", "mine")
    assert merge(parts, f"s3://bucket/merged{server}") == 0
    assert "nothing to train" in run(script, f"s3://bucket/merged{server}", "--seeds", "2", "--arms", "mine")
    load_student(f"s3://bucket/merged/faulty{server}", "mine/1")
    finish(script, tmp_path / "whole", "--seeds", "2", "--arms", "mine")
    there, here = load(f"s3://bucket/merged/faulty{server}"), load(str(tmp_path / "whole" / "faulty"))
    assert sum(compare(here, there)[name] for name in ("lost", "duplicated", "different", "more")) == 0


# Stops itself at the n-th request of its compaction, and holds a lease that runs out soon.
STOPS = """
import os, signal, sys
from scl.store import files, lease

lease.LEASE_SECONDS, lease.SETTLE_SECONDS = 3.0, 0.3
requests = 0

def stops_in_compaction(method):
    def call(*arguments, **more):
        global requests
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_name != "compact":
            frame = frame.f_back
        if frame is not None:
            requests += 1
            if requests == int(os.environ.get("STOPS_AT", "0")):
                os.kill(os.getpid(), signal.SIGSTOP)
        return method(*arguments, **more)
    return call

for name in ("write", "remove", "read", "names"):
    setattr(files.Folder, name, stops_in_compaction(getattr(files.Folder, name)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 9, 15])
def test_a_driver_that_sleeps_in_its_compaction_loses_nothing_of_the_next(
    at: int, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "study" / "faulty.py"
    script.parent.mkdir()
    script.write_text(STOPS + STUDY.replace("EPOCHS", "1"))
    place = f"s3://bucket/sleeps{at}{server}"
    flags = ["--inline", "--arms", "mine", "--out", place]
    monkeypatch.setenv("STOPS_AT", str(at))
    first = Run(script, tmp_path / "out", *flags, "--seed-list", "0")
    first.until(lambda: read(f"/proc/{first.process.pid}/stat").rpartition(")")[2].split()[0] == "T")
    monkeypatch.setenv("STOPS_AT", "0")
    time.sleep(3.5)
    Run(script, tmp_path / "out", *flags, "--seed-list", "1").ends(0)
    first.process.send_signal(signal.SIGCONT)
    assert "which took it over because this run was suspended" in first.ends(1)
    results = load(f"s3://bucket/sleeps{at}/faulty{server}")
    assert sorted(results.trials["seed"]) == [0, 0, 1, 1]
    assert set(results.trials["state"]) == {"completed"}
    assert results.epochs["trial_id"].nunique() == 4
    assert results.remarks == ()


@pytest.mark.slow
@pytest.mark.parametrize("where", [["--inline"], []], ids=["inline", "ray"])
def test_killed_locked_and_damaged(where: list[str], script: Path, server: str, tmp_path: Path) -> None:
    name = "ray" if not where else "inline"
    place = f"s3://bucket/{name}{server}"
    store = open_folder(f"s3://bucket/{name}/faulty{server}")
    first = Run(script, tmp_path / name, *where, "--out", place, sleeps=0.2)

    def checkpoints() -> list[str]:
        infos = store.filesystem.get_file_info(
            fs.FileSelector(f"{store.path}/checkpoints", recursive=True, allow_not_found=True)
        )
        return sorted(i.path for i in infos if "epoch-00002" in i.path)

    first.until(checkpoints)
    assert f"in use by process {first.process.pid}" in run(script, place, code=2)
    first.kill()
    (path, *_) = checkpoints()
    local = tmp_path / "checkpoint"
    with store.filesystem.open_input_file(path) as stream:
        local.write_bytes(stream.read())
    flip(local)
    with store.filesystem.open_output_stream(path) as stream:
        stream.write(local.read_bytes())
    time.sleep(3 if where else 10)  # Ray's workers notice that their driver is gone
    said = run(script, place)
    assert "epoch-00002.safetensors (its checksum does not match)" in said or "checksum of its record" in said
    finish(script, tmp_path / "calm")
    there, here = load(f"s3://bucket/{name}/faulty{server}"), load(str(tmp_path / "calm" / "faulty"))
    assert sum(compare(here, there)[k] for k in ("lost", "duplicated", "different", "more")) == 0
    assert there.trials["restarts"].max() == 1
    assert len(there.damaged) == 1


@pytest.mark.slow
def test_a_run_into_a_bucket_is_watched_until_it_is_killed(script: Path, server: str, tmp_path: Path) -> None:
    place = f"s3://bucket/watched{server}"
    command = [sys.executable, "-m", "scl.cli.command", "watch", place, "--wait"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "A_STEP_SLEEPS": "1.5"}
    study = [sys.executable, str(script), "--out", place, "--inline", "--seeds", "1", "--arms", "mine", *FLAGS]
    said: list[str] = []
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as watch,
        subprocess.Popen(study, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as run,
    ):
        assert watch.stdout is not None
        for line in watch.stdout:
            said.append(line)
            if " epoch " in line and "students" in line:
                run.kill()
        assert watch.wait(timeout=60) == 0, said
    assert said[0] == f"waiting for a run in {place}\n"
    assert said[-1].startswith("faulty: the run has ended; its page: s3://bucket/watched/faulty/report.html")
    assert any("of 2 ended" in line for line in said)
