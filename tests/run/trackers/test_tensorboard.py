"""Trials as event files of TensorBoard, read back by TensorBoard. Skipped without the extra."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.errors import UserError
from scl.run.trackers.tracker import tracking
from scl.store.files import open_folder
from scl.store.results import load
from tests.support.studies import SMALL, run_study
from tests.support.trackers import TWO_TRIALS


def test_tensorboard_reads_the_numbers_of_the_store(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    assert run_study(SMALL, "--out", str(tmp_path), "--track", "tensorboard", *TWO_TRIALS) == 0
    read = load(str(tmp_path / "small"))
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


@pytest.mark.parametrize("arm", ["a" * 300, "ä/" * 150, "." * 300, "日本" * 100])
def test_the_name_of_an_arm_may_be_longer_than_a_files(tmp_path: Path, arm: str) -> None:
    """A folder that cannot be made would end the tracker for all later trials."""
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    with tracking("tensorboard", open_folder(str(tmp_path))) as tracker:
        for number in range(2):
            row = {"trial_id": f"{number}" * 64, "study": "s", "arm": arm, "seed": number, "config_id": "c"}
            columns = {**row, "teacher_id": "t", "teacher_test_acc": 0.5, "params": 1, "macs": 1}
            tracker.epoch(columns, {"epoch": 1, "val_acc": 0.5})
            tracker.ended(columns, {"state": "completed", "error": None, "test_acc": 0.5})
        assert tracker.tool is not None
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_tensorboard_needs_a_disk() -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    with pytest.raises(UserError, match="needs an --out on a disk"), tracking("tensorboard", open_folder("mock://a/b")):
        pass
