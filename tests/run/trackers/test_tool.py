"""What all trackers' tools share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.run.trackers.tool import TrackedTrial
from scl.study.options import TRACKERS
from tests.support.studies import SMALL, run_study


def test_a_run_is_named_by_arm_and_seed() -> None:
    assert TrackedTrial("x", "ablation", "kd", 3, {}).name == "kd · seed 3"


def test_a_long_name_of_an_arm_is_cut() -> None:
    """The longest that a study takes has 300 characters; tools and disks take fewer."""
    long = TrackedTrial("x", "ablation", "日" * 300, 3, {})
    assert long.arm == "日" * 300
    assert (len(long.short_arm), long.short_arm[-2:]) == (100, "日…")
    assert len(long.name) < 128


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named_with_its_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for module in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install '\.\[{name}\]'"):
        run_study(SMALL, "--out", str(tmp_path), "--track", name)
    assert not (tmp_path / "small" / "study.json").exists()
