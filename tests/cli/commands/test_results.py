"""`scl results`: every study in a folder of results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from scl.cli.command import main


def test_results_lists_every_study(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", str(small.parent)]) == 0
    out = capsys.readouterr().out
    assert "6/6" in out
    assert f"{small}/report.html" in out
    assert main(["results", str(small)]) == 0
    assert main(["results", str(tmp_path)]) == 2
    assert "run a study first" in capsys.readouterr().err


def test_trials_of_the_plan_are_counted_by_their_state(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two studies: one that lacks a trial, has a failed one and no page; one without any trial."""
    for name in ("gaps", "empty"):
        (tmp_path / name).mkdir()
        shutil.copy(small / "study.json", tmp_path / name)
    trials = pd.read_parquet(small / "trials.parquet").iloc[1:].reset_index(drop=True)
    trials.loc[0, "state"] = "failed"
    trials.to_parquet(tmp_path / "gaps" / "trials.parquet")
    assert main(["results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[3:-1]] for line in _body(out)}
    means = trials[trials["state"] == "completed"].groupby("arm")["test_acc"].mean()
    assert rows["gaps"] == ["4/6", "1", "1", str(means.idxmax()), f"{100 * means.max():.2f} %", "accuracy"]
    assert rows["empty"][:3] == ["0/6", "0", "6"]
    assert rows["empty"][3:5] == ["—", "—"]
    assert f"{tmp_path}/gaps has no page yet" in out


def _body(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("│")]
