"""What a study survives: each fault on real processes, and the numbers afterwards are those of a calm run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.chaos import Cluster, compare, descendants, read
from scl.errors import UserError
from scl.store.files import open_folder
from scl.store.results import load
from scl.store.study_file import check_study
from scl.store.tables import mend
from tests.support.commands import here
from tests.support.parts import read_predictions

ROOT = Path(__file__).parents[2]
STUDY = """
import os, sys, time
from scl.cli import main
from scl import Config, Term
from scl import Study

def trains():
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != "train_cohort":
        frame = frame.f_back
    return frame is not None

def loss(student, teacher):
    if trains():  # not in the rehearsal before it
        time.sleep(float(os.environ.get("A_STEP_SLEEPS", "0")))
    return (student.mean((1, 2, 3)) - teacher.mean((1, 2, 3))).square().mean()

def kills(student, teacher):
    os.kill(os.getpid(), 9)

def broken(student, teacher):
    raise ArithmeticError("this loss is broken on purpose")

def not_a_number(student, teacher):
    return (student - student).sum() / 0

arms = {
    "baseline": {},
    "mine": {"losses": {"mine": Term(0.5, loss=loss, version="1")}},
    "../../x": {"losses": {"kd": 0.5}},
    "<img src=x onerror=alert(1)>": {"losses": {"kd": 0.7}},
    "kills": {"losses": {"mine": Term(0.5, loss=kills)}},
    "raises": {"losses": {"mine": Term(0.5, loss=broken)}},
    "nan": {"losses": {"mine": Term(0.5, loss=not_a_number)}},
}
main(Study(
    name="faulty", question="What does a study survive?", seeds=2, asked_for=("kills", "raises", "nan"), arms=arms,
    base=Config(model="plain3", width=0.125, epochs=EPOCHS, batch_size=32, lr=0.05),
    teacher=Config(model="plain5", width=0.125, epochs=2, batch_size=32, lr=0.05),
))
"""
FLAGS = ["--limit", "200"]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "faulty.py"
    path.write_text(STUDY.replace("EPOCHS", "12"))
    return path


class Run:
    """The study as a process of its own."""

    def __init__(self, script: Path, out: Path, *flags: str, sleeps: float = 0, launcher: tuple[str, ...] = ()) -> None:
        self.store = out / "faulty"
        out.mkdir(parents=True, exist_ok=True)
        self.log = out.parent / f"{out.name}-{time.monotonic_ns()}.log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "A_STEP_SLEEPS": str(sleeps)}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*(launcher or (sys.executable,)), str(script), "--out", str(out), *FLAGS, *flags],
                env=environment, stdout=log, stderr=log, cwd=out.parent,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return read(str(self.log))

    def until(self, done: Callable[[], object], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)

    def until_epoch(self, epoch: int) -> None:
        self.until(lambda: list(self.store.glob(f"checkpoints/*/epoch-{epoch:05d}*")))

    def ends(self, code: int, seconds: float = 240) -> str:
        assert self.process.wait(timeout=seconds) == code, self.said
        assert "Traceback" not in self.said
        return self.said

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def finish(script: Path, out: Path, *flags: str, code: int = 0) -> str:
    """The study in this process, without the seconds of imports; what it said."""
    run = here("--out", str(out), *FLAGS, "--inline", *flags, script=str(script))
    assert run.returncode == code, run.stderr
    return run.stderr


@pytest.fixture(scope="module")
def calm(script: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "out"
    finish(script, out)
    return out


def rows(out: Path) -> pd.DataFrame:
    return load(str(out / "faulty")).trials


def same(calm: Path, out: Path) -> None:
    """Cell by cell, trials and epochs: nothing lost, nothing twice, nothing different."""
    found = compare(*(load(str(place / "faulty")) for place in (calm, out)))
    assert found["compared"] > 0
    assert [found[name] for name in ("lost", "duplicated", "different", "more")] == [0, 0, 0, 0]


# --- processes that die -----------------------------------------------------------------------------------------


def test_a_killed_driver_goes_on_and_counts_each_stop(script: Path, calm: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for epoch in (2, 3):  # the second time within the epoch that it resumed
        run = Run(script, out, "--inline", sleeps=0.03)
        run.until_epoch(epoch)
        run.kill()
    stale = next((run.store / "checkpoints").iterdir()) / ".epoch-00004.safetensors.1-0123abcd.partial"
    stale.write_bytes(b"half")
    finish(script, out)
    same(calm, out)
    assert not stale.exists()
    assert rows(out)["restarts"].max() == 2


@pytest.mark.slow
def test_a_killed_worker_resumes_once(script: Path, calm: Path, tmp_path: Path) -> None:
    run = Run(script, tmp_path / "out", "--cohort-size", "8", sleeps=0.1)
    run.until_epoch(2)
    busy = [p for p in descendants(run.process.pid) if " seed " in read(f"/proc/{p}/cmdline")]
    assert busy
    for pid in busy:
        os.kill(pid, signal.SIGKILL)
    run.ends(0)
    same(calm, tmp_path / "out")
    assert set(rows(tmp_path / "out")["restarts"]) <= {0, 1}
    assert rows(tmp_path / "out")["restarts"].max() == 1


@pytest.mark.slow
def test_a_loss_that_kills_its_worker_fails_alone(script: Path, calm: Path, tmp_path: Path) -> None:
    flags = ["--cohort-size", "8", "--arms", "mine,../../x,<img src=x onerror=alert(1)>,kills"]
    said = Run(script, tmp_path / "out", *flags).ends(1)
    trials = rows(tmp_path / "out")
    failed = trials[trials["state"] == "failed"]
    assert set(failed["arm"]) == {"kills"}
    assert len(failed) == 2
    assert failed["error"].str.contains("worker process has died").all()
    assert failed["error"].str.contains("out of memory").all()
    assert "run this arm with --inline" in said
    found = compare(*(load(str(place / "faulty")) for place in (calm, tmp_path / "out")))
    assert [found[name] for name in ("lost", "duplicated", "different")] == [0, 0, 0]


@contextmanager
def cluster(nodes: int) -> Iterator[Cluster]:
    started = Cluster(nodes, cpus=1)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.chaos import ENVIRONMENT

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, ENVIRONMENT[name])


@pytest.mark.slow
@pytest.mark.usefixtures("token")
def test_a_killed_node_and_then_the_head(script: Path, calm: Path, tmp_path: Path) -> None:
    """Cohorts move to the other node. When the head is gone for good, the store is enough."""
    out = tmp_path / "out"
    with cluster(2) as here:
        run = Run(script, out, "--address", here.address, sleeps=0.05)

        def second_epoch() -> bool:
            here.replace_lost()  # on a machine that is too busy, Ray gives nodes up by itself
            return bool(list(run.store.glob("checkpoints/*/epoch-00002*")))

        run.until(second_epoch, seconds=240)
        here.kill_node(0)
        run.ends(0)
        same(calm, out)
        more = Run(script, out, "--address", here.address, "--seeds", "3", sleeps=0.3)
        more.until(lambda: "students" in more.said)
        more.until(lambda: list(more.store.glob("checkpoints/*/epoch-00001*")))
    more.kill()
    finish(script, out, "--report-only")
    assert len(rows(out)) >= 8
    finish(script, out, "--seeds", "3")
    assert rows(out)["state"].tolist() == ["completed"] * 12


# --- a wish to stop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_asked_to_stop_in_a_long_step(script: Path, number: int, tmp_path: Path) -> None:
    run = Run(script, tmp_path / "out", "--inline", sleeps=30)
    run.until(lambda: "students" in run.said)
    time.sleep(1)
    began = time.monotonic()
    run.process.send_signal(number)
    assert "interrupted" in run.ends(130, seconds=40)
    assert time.monotonic() - began < 15
    assert (run.store / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("name", ["SIGUSR1", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGXCPU", "SIGHUP"))])
def test_signals_of_schedulers_end_a_run_orderly(script: Path, name: str, tmp_path: Path) -> None:
    run = Run(script, tmp_path / "out", "--inline", sleeps=0.03)
    run.until_epoch(1)
    run.process.send_signal(getattr(signal, name))
    assert f"stopping after {name}" in run.ends(130, seconds=40)
    assert (run.store / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("gone", ["pipe", pytest.param("terminal", marks=pytest.mark.slow)])
def test_a_run_outlives_its_reader_and_its_terminal(script: Path, gone: str, tmp_path: Path) -> None:
    """As `| tee` at Ctrl-C, and as a closed window, at which the system itself sends SIGHUP: both streams are gone when
    the page is written."""
    mine, its = os.pipe() if gone == "pipe" else os.openpty()
    start = os.setsid if gone == "pipe" else partial(os.login_tty, its)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "A_STEP_SLEEPS": "0.03"}
    command = [sys.executable, str(script), "--out", str(out), *FLAGS, "--inline"]
    process = subprocess.Popen(command, env=environment, stdout=its, stderr=its, preexec_fn=start)
    os.close(its)
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob("faulty/checkpoints/*/epoch-00001*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.close(mine)
        if gone == "pipe":
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
    assert (out / "faulty" / "report.html").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("to", ["group", "tree", "raylet", "gcs_server"])
def test_a_signal_to_the_group_or_the_end_of_ray_leaves_a_page(script: Path, to: str, tmp_path: Path) -> None:
    import psutil

    out = tmp_path / "out"
    run = Run(script, out, sleeps=0.2, launcher=("setsid", sys.executable))
    run.until_epoch(2)
    family = [psutil.Process(run.process.pid), *psutil.Process(run.process.pid).children(recursive=True)]
    began = time.monotonic()
    if to == "group":
        os.killpg(os.getpgid(run.process.pid), signal.SIGTERM)
    for process in family:
        if to == "tree":
            process.terminate()
        elif process.name() == to:
            process.kill()
    said = run.ends(130 if to in ("group", "tree") else 1, seconds=50)
    assert time.monotonic() - began < 45
    assert (run.store / "report.html").stat().st_size > 1000
    if to in ("raylet", "gcs_server"):
        assert f"Ray's {to} is gone" in said
        assert "--inline" in said
    time.sleep(2)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), ("uv", "run", "--project", str(ROOT))])
@pytest.mark.parametrize("at", ["students", "teacher", "trials"])
def test_asked_to_stop_on_ray_leaves_no_process(
    script: Path, at: str, launcher: tuple[str, ...], tmp_path: Path
) -> None:
    if launcher and shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    run = Run(script, tmp_path / "out", sleeps=120, launcher=launcher)
    run.until(lambda: f"{at}" in run.said)
    time.sleep(3)
    below = descendants(run.process.pid)
    # Ray, or the command itself under its launcher. A teacher trains in the command's own process, and Ray may start
    # while this test waits.
    assert below or (at != "students" and not launcher)
    began = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    run.ends(130, seconds=60)
    # Training is left after 10 s, and a page follows. SLURM and Kubernetes kill after 30 s, and the step takes 120.
    assert time.monotonic() - began < 30
    time.sleep(3)
    assert [read(f"/proc/{pid}/cmdline") for pid in below if read(f"/proc/{pid}/cmdline")] == []


@pytest.mark.slow
def test_before_anything_trains_a_signal_ends_at_once(script: Path, tmp_path: Path) -> None:
    run = Run(script, tmp_path / "out", "--inline")
    time.sleep(1.5)
    run.process.send_signal(signal.SIGTERM)
    run.ends(130, seconds=10)


@pytest.mark.slow
def test_out_of_time_says_what_is_missing(script: Path, tmp_path: Path) -> None:
    run = Run(script, tmp_path / "out", "--inline", "--time-budget", "3", sleeps=0.2)
    said = run.ends(3)
    assert "missing: " in said
    assert "mine seed 0" in said
    assert "Missing: " in (run.store / "report.html").read_text()


# --- trials that fail -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failed(script: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("failed") / "out"
    arms = "mine,raises,nan,../../x,<img src=x onerror=alert(1)>"
    finish(script, out, "--seeds", "1", "--epochs", "2", "--arms", arms, code=1)
    return out


def test_what_raises_fails_alone_with_its_trace(failed: Path) -> None:
    trials = rows(failed).set_index("arm")
    assert trials["state"].to_dict() == {
        "baseline": "completed", "mine": "completed", "../../x": "completed",
        "<img src=x onerror=alert(1)>": "completed", "raises": "failed", "nan": "failed",
    }  # fmt: skip
    assert "broken on purpose" in trials.loc["raises", "error"]
    assert 'faulty.py", line' in trials.loc["raises", "error"]
    assert "loss term 'mine' became nan at epoch 1" in trials.loc["nan", "error"]
    page = (failed / "faulty" / "report.html").read_text()
    assert "ArithmeticError: this loss is broken on purpose" in page
    assert "in broken" in page


def test_names_of_arms_reach_neither_paths_nor_html(failed: Path) -> None:
    assert "<img src=x" not in (failed / "faulty" / "report.html").read_text()
    assert sorted(p.name for p in failed.iterdir()) == ["faulty", "teachers"]
    assert sorted(p.name for p in failed.parent.iterdir() if p.suffix != ".log") == ["out"]
    assert [p for p in failed.rglob("*") if "img" in p.name or p.name == "x"] == []


# --- places that cannot be written to ---------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a file system of its own cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("where", [["--inline"], []], ids=["inline", "ray"])
def test_a_disk_that_is_full(where: list[str], script: Path, calm: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        run = Run(script, disk / "out", *where, sleeps=0.05)
        run.until_epoch(2)
        subprocess.run(["dd", "if=/dev/zero", f"of={disk}/ballast", "bs=64k"], capture_output=True)
        said = run.ends(1, seconds=120)
        assert "the disk is full, so free some space" in said
        assert "run the same command again" in said
        assert "cannot be written" in finish(script, disk / "out", code=2)
        (disk / "ballast").unlink()
        assert list(disk.rglob("*.partial")) == []
        Run(script, disk / "out", *where).ends(0)
        same(calm, disk / "out")
        assert rows(disk / "out")["error"].isna().all()


@pytest.mark.slow
@pytest.mark.parametrize("where", [["--inline"], []], ids=["inline", "ray"])
def test_a_place_that_turns_read_only(where: list[str], script: Path, calm: Path, tmp_path: Path) -> None:
    """The checkpoints' part of it: what holds an open lock cannot be made read-only."""
    out = tmp_path / "out"
    with small_disk(out / "faulty" / "checkpoints", "64m") as disk:
        run = Run(script, out, *where, sleeps=0.1)
        run.until_epoch(2)
        while subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True).returncode:
            assert run.process.poll() is None, run.said
        assert "read-only, so make it writable" in run.ends(1, seconds=120)
        assert "read-only" in finish(script, out, code=1)  # nothing was mended
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        Run(script, out, *where).ends(0)
        same(calm, out)
        assert rows(out)["error"].isna().all()


# --- files that are damaged -------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [truncate, flip])
def test_damaged_checkpoints_and_teachers(
    damage: Callable[[Path], None], script: Path, calm: Path, tmp_path: Path
) -> None:
    """The last checkpoint of each trial and the teacher: the one before serves, the teacher trains again."""
    out = tmp_path / "out"
    run = Run(script, out, "--inline", sleeps=0.1)
    run.until_epoch(3)
    run.kill()
    trial = next(p for p in (out / "faulty" / "checkpoints").iterdir() if list(p.glob("epoch-00003*")))
    damage(max(trial.glob("epoch-*")))
    damage(next(out.glob("teachers/*/teacher.safetensors")))
    said = finish(script, out)
    same(calm, out)
    names = load(str(out / "faulty")).damaged
    assert len(names) == 2
    assert any("epoch-00003" in name for name in names)
    assert any("teacher.safetensors" in name for name in names)
    assert said.count("damaged: ") == 2
    assert "2 damaged files" in said
    page = (out / "faulty" / "report.html").read_text()
    assert all(name in page for name in names)


@pytest.mark.parametrize("damage", [truncate, flip])
@pytest.mark.parametrize("name", ["trials.parquet", "epochs.parquet", "predictions.parquet", "study.json"])
def test_a_damaged_table_is_replaced_by_its_copy(
    name: str, damage: Callable[[Path], None], calm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "faulty"
    shutil.copytree(calm / "faulty", store)
    damage(store / name)
    if name == "study.json":
        with pytest.raises(UserError, match=r"study\.json is damaged.*the same command"):
            load(str(store))
        check_study(open_folder(str(store)))
        assert not (store / name).exists()
    else:
        same(calm, tmp_path)
        read = read_predictions(open_folder(str(store)))
        assert len(read) == len(read_predictions(open_folder(str(calm / "faulty"))))
        assert not (store / "damaged").exists()  # readers move nothing
        mend(open_folder(str(store)))
    assert [n for n in open_folder(str(store / "damaged")).names() if n.endswith(name)]
    said = capsys.readouterr().err
    assert f"damaged: {store}/{name} (" in said


@pytest.mark.slow
def test_a_part_with_one_bit_changed_trains_again(script: Path, calm: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = Run(script, out, "--inline", sleeps=0.02)
    run.until(lambda: list(run.store.glob("parts/*.arrows.zst")))
    run.kill()
    flip(next(run.store.glob("parts/*.arrows.zst")))
    assert "its checksum does not match" in finish(script, out)
    same(calm, out)


# --- two at once ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_studies_train_one_teacher_once(script: Path, calm: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(script.read_text().replace('name="faulty"', 'name="other"'))
    slow = ["--inline", "--teacher-epochs", "40"]
    one = Run(script, tmp_path / "out", *slow)
    two = Run(other, tmp_path / "out", *slow)
    said = [one.ends(0), two.ends(0)]
    assert sorted("waiting: " in text for text in said) == [False, True]
    assert sorted("teacher: 1 to train" in text for text in said) == [False, True]


def test_the_second_run_is_told_who_holds_the_store(script: Path, tmp_path: Path) -> None:
    first = Run(script, tmp_path / "out", "--inline", sleeps=5)
    first.until(lambda: (first.store / "study.json").exists())
    said = finish(script, tmp_path / "out", code=2)
    assert f"in use by process {first.process.pid} on " in said
    assert "faulty.py --out" in said
    first.kill()  # the lock goes with its process
    finish(script, tmp_path / "out", "--seeds", "1", "--epochs", "1", "--arms", "mine")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--inline",)], ids=["ray", "inline"])
def test_a_folder_moved_during_a_run_never_has_two_writers(
    script: Path, calm: Path, flags: tuple[str, ...], tmp_path: Path
) -> None:
    """Runs start at once at both places: the first run ends, and each store has the numbers of a calm run."""
    out, new = tmp_path / "out", tmp_path / "new"
    first = Run(script, out, *flags, sleeps=0.2)
    first.until_epoch(2)
    out.rename(new)
    again = Run(script, out, "--inline")
    said = first.ends(1)
    assert f"moved to {new}/faulty during the run; finished trials are safe there, and --out {new} continues" in said
    again.ends(0)
    finish(script, new)
    for place in (out, new):
        same(calm, place)
