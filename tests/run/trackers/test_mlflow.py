"""Trials as runs of MLflow. The real server is skipped without the extra."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from scl.errors import UserError
from scl.run.trackers.mlflow import STATES, MLflow
from scl.run.trackers.tracker import Tracker, tracking
from scl.store.files import open_folder
from scl.store.results import load
from tests.support.studies import SMALL, run_study
from tests.support.trackers import TWO_TRIALS


def test_every_end_of_a_run_has_a_state() -> None:
    assert set(STATES) == {"completed", "pruned", "failed", "stopped"}


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
@pytest.mark.filterwarnings("ignore")  # of its own server, which runs in this process
def test_networks_and_the_page_are_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is an extra")
    monkeypatch.chdir(tmp_path)  # where a local MLflow keeps its files
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    for seeds in ("1", "2"):
        flags = ["--limit", "100", "--arms", "scl", "--seeds", seeds]
        assert run_study(SMALL, "--out", str(tmp_path), "--track", "mlflow", *flags) == 0
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    trials = {run.data.tags["scl.trial_id"]: run for run in runs if "scl.trial_id" in run.data.tags}
    (page,) = [run for run in runs if run.info.run_id not in {run.info.run_id for run in trials.values()}]
    assert (page.info.run_name, page.info.status) == ("page of the study", "FINISHED")
    names = {page.info.run_id: tmp_path / "small" / "report.html"}
    for trial_id, run in trials.items():
        names[run.info.run_id] = tmp_path / "small" / "checkpoints" / trial_id / "student.safetensors"
    assert len(names) == 5
    for run_id, file in names.items():
        assert [about.path for about in client.list_artifacts(run_id)] == [file.name]
        assert Path(client.download_artifacts(run_id, file.name)).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_a_real_mlflow_server_has_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is an extra")
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow.set_tracking_uri(address)
        assert run_study(SMALL, "--out", str(tmp_path), "--track", "mlflow", *TWO_TRIALS) == 0
        client = mlflow.MlflowClient(address)
        experiment = client.get_experiment_by_name("small")
        found = client.search_runs([experiment.experiment_id])
        runs = {run.data.tags["scl.trial_id"]: run for run in found if "scl.trial_id" in run.data.tags}
        assert len(found) == len(runs) + 1  # the page
        read = load(str(tmp_path / "small"))
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
        # A trial that resumes after a stop continues its run.
        with tracking("mlflow", open_folder(str(tmp_path / "small"))) as tracker:
            columns = {**row, "params": 1, "macs": 1}
            tracker.epoch(columns, {"epoch": 3, "val_acc": 0.5})
        assert len(client.search_runs([experiment.experiment_id])) == len(found)
        assert client.get_run(run.info.run_id).info.status == "KILLED"
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*cannot be used"), tracking("mlflow", open_folder("x/small")):
        pass


@pytest.mark.parametrize("uri", ["http://me:s3cret@127.0.0.1:1", "http://me:s3 s3cret@h/x", "https://h/x?token=s3cret"])
def test_a_server_that_cannot_be_used_is_named_without_its_password(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        def get_experiment_by_name(self, name: str) -> None:
            raise OSError(f"API request to {uri} failed, url {uri!r}")

    tool = SimpleNamespace(MlflowClient=Client, get_tracking_uri=lambda: uri)
    monkeypatch.setattr("scl.run.trackers.mlflow.imported", lambda *_: tool)
    with pytest.raises(UserError, match="cannot be used") as refused:
        MLflow(open_folder(str(tmp_path)))
    assert "s3cret" not in str(refused.value)
    assert "***" in str(refused.value)


def test_a_tracker_that_fails_later_tells_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = "http://me:s3 s3cret@server/x"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    class Broken:
        def start(self, trial: object) -> None:
            raise OSError(f"API request to {uri} failed")

    columns = dict.fromkeys(("trial_id", "study", "arm", "seed", "config_id", "teacher_id", "params", "macs"), 0)
    tracker = Tracker("mlflow", Broken())  # type: ignore[arg-type]
    tracker.epoch({**columns, "teacher_test_acc": 0.5}, {"epoch": 1})
    tracker.close()
    printed = capsys.readouterr().err
    assert "stopped" in printed
    assert "s3cret" not in printed
