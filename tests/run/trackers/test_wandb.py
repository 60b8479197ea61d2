"""Trials as offline runs of Weights & Biases, read back by its own messages. Skipped without the extra."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scl.run.trackers.tool import TrackedTrial
from scl.run.trackers.wandb import WeightsAndBiases
from scl.store.files import open_folder
from scl.store.results import load
from tests.support.clusters import ROOT


def test_weights_and_biases_keeps_offline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is an extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    command = [sys.executable, "-c", OFFLINE, str(tmp_path), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    read = load(str(tmp_path / "small"))
    found = {}
    for file in (tmp_path / "small" / "wandb").glob("offline-run-*/run-*.wandb"):
        history, settings, name, files = read_offline(file)
        if name == "page of the study":
            assert [Path(f).read_bytes() for f in files] == [(tmp_path / "small" / "report.html").read_bytes()]
        else:
            found[settings["trial_id"]] = (history, settings, name, files)
    assert set(found) == set(read.planned()["trial_id"])
    for row in read.planned().to_dict("records"):
        history, settings, name, files = found[row["trial_id"]]
        network = tmp_path / "small" / "checkpoints" / row["trial_id"] / "student.safetensors"
        assert [Path(f).read_bytes() for f in files] == [network.read_bytes()]
        assert name == f"{row['arm']} · seed {row['seed']}"
        assert (settings["study"], settings["arm"], settings["seed"]) == ("small", row["arm"], row["seed"])
        assert settings["lr"] == row["param.lr"]
        epochs = read.epochs[read.epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
        assert [step["test_acc"] for step in history if "test_acc" in step] == pytest.approx(
            epochs["test_acc"].tolist()
        )
        assert history[-1]["agreement"] == pytest.approx(row["agreement"])


@pytest.mark.parametrize(
    ("words", "hidden"),
    [
        (["--seeds", "2"], False),
        (["--storage", "postgresql://me:pw@h/db"], True),
        (["--out=s3://b?secret_key=x"], True),
    ],
)
def test_a_command_line_with_credentials_stays_here(
    words: list[str], hidden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool sends the command line with the metadata of the machine."""
    started: list[dict[str, Any]] = []
    tool = SimpleNamespace(
        setup=lambda: SimpleNamespace(settings=SimpleNamespace(mode="offline")),
        Settings=lambda **settings: settings,
        init=lambda **how: started.append(how["settings"]),
    )
    monkeypatch.setattr("scl.run.trackers.wandb.imported", lambda *_: tool)
    monkeypatch.setattr(sys, "argv", ["study.py", *words])
    WeightsAndBiases(open_folder(str(tmp_path))).start(TrackedTrial("id", "study", "arm", 0, {}))
    assert started[0]["x_disable_meta"] == hidden


# In another process, since the tool reads its mode once.
OFFLINE = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.support.studies import SMALL, run_study
from tests.support.trackers import TWO_TRIALS
sys.exit(run_study(SMALL, "--out", sys.argv[1], "--track", "wandb", *TWO_TRIALS))
"""


def read_offline(file: Path) -> tuple[list[dict[str, Any]], dict[str, Any], str, list[str]]:
    """History, configuration, name and attached files of an offline run, by the tool's own messages."""
    from wandb.proto import wandb_internal_pb2

    history, settings, name = [], {}, ""
    files: list[str] = []
    for content in log_records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            history.append({(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in items})
        if record.WhichOneof("record_type") == "run":
            name = record.run.display_name
            settings |= {u.key: json.loads(u.value_json) for u in record.run.config.update}
        if record.WhichOneof("record_type") == "artifact" and record.artifact.type != "wandb-history":
            files += [entry.local_path for entry in record.artifact.manifest.contents]
    return history, settings, name, files


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
