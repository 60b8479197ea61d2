"""Trackers: every trial is a run of the tool, and a tool that fails stops no training.

Each tool is an extra: its tests skip where it is not installed. They read back what the tool itself has.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, run_study

from scl import results
from scl.cli import TRACKERS
from scl.config import UserError
from scl.storage import open_folder
from scl.track import TOOLS, Run, Tracker, tracking

ONE = ["--seeds", "1", "--limit", "100", "--arms", "scl"]  # two trials on digits, two epochs each


class Recorder:
    """A tool that keeps what it is told; `fail_at` names the call that fails."""

    def __init__(self, fail_at: str = "") -> None:
        self.fail_at = fail_at
        self.told: list[tuple[str, Any, Any]] = []

    def start(self, run: Run) -> str:
        self._tell("start", run.trial_id, run)
        return run.trial_id

    def log(self, run: str, step: int, values: Any) -> None:
        self._tell("log", run, (step, dict(values)))

    def end(self, run: str, state: str, error: str | None, values: Any) -> None:
        self._tell("end", run, (state, error))

    def _tell(self, what: str, run: str, value: Any) -> None:
        if what == self.fail_at:
            raise ConnectionError("the server is gone")
        self.told.append((what, run, value))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setitem(TOOLS, "mlflow", lambda store: made)
    return made


def check_told(recorder: Recorder, store: Path) -> None:
    read = results.load(str(store))
    for row in read.planned().to_dict("records"):
        mine = [(what, value) for what, run, value in recorder.told if run == row["trial_id"]]
        assert [what for what, _ in mine] == ["start", "log", "log", "log", "end"]
        about = mine[0][1]
        assert (about.study, about.arm, about.seed) == ("small", row["arm"], row["seed"])
        assert about.params["lr"] == row["param.lr"]
        assert [value[0] for what, value in mine if what == "log"] == [1, 2, 2]
        epochs = read.epochs[read.epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
        assert [mine[1][1][1]["test_acc"], mine[2][1][1]["test_acc"]] == pytest.approx(epochs["test_acc"].tolist())
        assert mine[3][1][1]["agreement"] == pytest.approx(row["agreement"])
        assert mine[4][1] == ("completed", None)
    assert {run for _, run, _ in recorder.told} == set(read.planned()["trial_id"])  # and no teacher


def test_every_trial_is_a_run(recorder: Recorder, tmp_path: Path) -> None:
    assert run_study(SMALL, "--out", str(tmp_path), "--track", "mlflow", *ONE) == 0
    check_told(recorder, tmp_path / "small")


@pytest.mark.slow
def test_on_ray_too(recorder: Recorder, tmp_path: Path) -> None:
    from scl import cli, runner

    flags = ["--out", str(tmp_path), "--track", "mlflow", *ONE]
    assert runner.run(SMALL, cli.Options(**vars(cli.parser(SMALL).parse_args(flags)))) == 0
    check_told(recorder, tmp_path / "small")


@pytest.mark.parametrize("fail_at", ["start", "log", "end"])
def test_a_tool_that_fails_stops_no_training(
    recorder: Recorder, tmp_path: Path, capfd: pytest.CaptureFixture[str], fail_at: str
) -> None:
    recorder.fail_at = fail_at
    assert run_study(SMALL, "--out", str(tmp_path), "--track", "mlflow", *ONE) == 0
    assert set(results.load(str(tmp_path / "small")).trials["state"]) == {"completed"}
    assert capfd.readouterr().err.count("the server is gone); training goes on") == 1


def test_what_a_stop_cuts_off_is_ended_and_goes_on_later() -> None:
    recorder = Recorder()
    columns = dict.fromkeys(("trial_id", "study", "arm", "config_id", "teacher_id"), "x")
    columns |= {"seed": 0, "teacher_test_acc": 0.5, "params": 1, "macs": 1}  # type: ignore[dict-item]
    tracker = Tracker("mlflow", recorder)
    tracker.epoch(columns, {"trial_id": "x", "epoch": 1, "val_acc": 0.5, "term.kd": float("nan")})
    tracker.close()
    assert recorder.told[1] == ("log", "x", (1, {"val_acc": 0.5}))
    assert recorder.told[2] == ("end", "x", ("stopped", None))


def test_trackers_are_those_of_the_flag(tmp_path: Path) -> None:
    assert tuple(TOOLS) == TRACKERS
    with (
        pytest.raises(UserError, match=r"did you mean 'mlflow'.*valid: tensorboard, mlflow, wandb"),
        tracking("mflow", open_folder(str(tmp_path))),
    ):
        pass
    with tracking(None, open_folder(str(tmp_path))) as tracker:
        tracker.ended({"trial_id": "x"}, {"state": "completed"})


@pytest.mark.parametrize("name", TRACKERS)
def test_without_the_extra_the_way_out_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for module in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'scl-studies\[{name}\]'"):
        run_study(SMALL, "--out", str(tmp_path), "--track", name)
    assert not (tmp_path / "small" / "study.json").exists()


# ------------------------------------------------------------------------------------------------- the tools themselves


def test_tensorboard_reads_the_numbers_of_the_store(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    assert run_study(SMALL, "--out", str(tmp_path), "--track", "tensorboard", *ONE) == 0
    read = results.load(str(tmp_path / "small"))
    folders = {f.name.rpartition("-")[2]: f for f in (tmp_path / "small" / "tensorboard").iterdir()}
    assert len(folders) == 2
    for row in read.planned().to_dict("records"):
        folder = folders[row["trial_id"][:8]]
        assert folder.name.startswith(f"{row['arm']}-seed{row['seed']}-")
        events = EventAccumulator(str(folder)).Reload()
        epochs = read.epochs[read.epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
        for name in ("test_acc", "train_loss"):
            assert [e.step for e in events.Scalars(name)] == [1, 2]
            assert [e.value for e in events.Scalars(name)] == pytest.approx(epochs[name].tolist())
        assert events.Scalars("agreement")[0].value == pytest.approx(row["agreement"])
        plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        settings = HParamsPluginData.FromString(plugin).session_start_info.hparams
        assert settings["arm"].string_value == row["arm"]
        assert settings["lr"].number_value == row["param.lr"]


def test_tensorboard_wants_a_disk() -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    with pytest.raises(UserError, match="needs an --out on a disk"), tracking("tensorboard", open_folder("mock://a/b")):
        pass


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen([*command, *store], stdout=log, stderr=log, cwd=folder, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.5)
        else:
            pytest.fail((folder / "server.log").read_text())
        yield address
    finally:
        os.killpg(process.pid, 15)  # the group that was started above: the server has workers
        process.wait(timeout=30)


@pytest.mark.slow
def test_a_real_mlflow_server_has_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is an extra")
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow.set_tracking_uri(address)
        assert run_study(SMALL, "--out", str(tmp_path), "--track", "mlflow", *ONE) == 0
        client = mlflow.MlflowClient(address)
        experiment = client.get_experiment_by_name("small")
        runs = {run.data.tags["scl.trial_id"]: run for run in client.search_runs([experiment.experiment_id])}
        read = results.load(str(tmp_path / "small"))
        assert set(runs) == set(read.planned()["trial_id"])
        for row in read.planned().to_dict("records"):
            run = runs[row["trial_id"]]
            assert run.info.status == "FINISHED"
            assert run.info.run_name == f"{row['arm']} · seed {row['seed']}"
            assert (run.data.tags["arm"], run.data.tags["seed"]) == (row["arm"], str(row["seed"]))
            assert run.data.tags["study"] == "small"
            assert float(run.data.params["lr"]) == row["param.lr"]
            history = client.get_metric_history(run.info.run_id, "test_acc")
            epochs = read.epochs[read.epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
            assert [m.step for m in history] == [1, 2]
            assert [m.value for m in history] == pytest.approx(epochs["test_acc"].tolist())
            assert run.data.metrics["agreement"] == pytest.approx(row["agreement"])
        # A trial that goes on after a stop goes on in its run.
        with tracking("mlflow", open_folder(str(tmp_path / "small"))) as tracker:
            columns = {**row, "params": 1, "macs": 1}
            tracker.epoch(columns, {"epoch": 3, "val_acc": 0.5})
        assert len(client.search_runs([experiment.experiment_id])) == len(runs)
        assert client.get_run(run.info.run_id).info.status == "KILLED"
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*cannot be used"), tracking("mlflow", open_folder("x/small")):
        pass


def test_weights_and_biases_keeps_offline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is an extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    command = [sys.executable, "-c", OFFLINE, str(tmp_path), str(Path(__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    read = results.load(str(tmp_path / "small"))
    found = {}
    for file in (tmp_path / "small" / "wandb").glob("offline-run-*/run-*.wandb"):
        history, settings, name = read_offline(file)
        found[settings["trial_id"]] = (history, settings, name)
    assert set(found) == set(read.planned()["trial_id"])
    for row in read.planned().to_dict("records"):
        history, settings, name = found[row["trial_id"]]
        assert name == f"{row['arm']} · seed {row['seed']}"
        assert (settings["study"], settings["arm"], settings["seed"]) == ("small", row["arm"], row["seed"])
        assert settings["lr"] == row["param.lr"]
        epochs = read.epochs[read.epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
        assert [step["test_acc"] for step in history if "test_acc" in step] == pytest.approx(
            epochs["test_acc"].tolist()
        )
        assert history[-1]["agreement"] == pytest.approx(row["agreement"])


# In a process of its own: the tool reads its mode once a process.
OFFLINE = """
import sys
sys.path.insert(0, sys.argv[2])
from conftest import SMALL, run_study
flags = ["--seeds", "1", "--limit", "100", "--arms", "scl"]
sys.exit(run_study(SMALL, "--out", sys.argv[1], "--track", "wandb", *flags))
"""


def read_offline(file: Path) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """History, configuration and name of an offline run, by the tool's own messages."""
    from wandb.proto import wandb_internal_pb2

    history, settings, name = [], {}, ""
    for content in log_records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            history.append({(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in items})
        if record.WhichOneof("record_type") == "run":
            name = record.run.display_name
            settings |= {u.key: json.loads(u.value_json) for u in record.run.config.update}
    return history, settings, name


def log_records(content: bytes) -> Iterator[bytes]:
    """Records of a LevelDB log after its 7 bytes of header: blocks of 32 KiB; checksum, length and kind before each."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""
