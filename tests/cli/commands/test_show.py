"""`scl show`: one trial, its configuration and its results."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from scl.cli.command import main
from scl.store import lookup
from scl.store.results import load


def test_show_finds_a_trial_by_name_or_id(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = load(str(small)).planned().set_index(["arm", "seed"])
    identity = planned.loc[("a/branch", 1), "trial_id"]
    for name in ("small/a/branch/1", "a/branch/1", identity[:12]):
        assert main(["show", str(small.parent), name]) == 0
        out = capsys.readouterr().out
        assert f"id of the trial: {identity}\n" in out  # whole, to be copied
        assert re.search(rf"Test accuracy +{100 * planned.loc[('a/branch', 1), 'test_acc']:.2f} %", out)
        assert "scl export" in out
    assert main(["show", str(small), "small/a/branch/1"]) == 0
    capsys.readouterr()
    assert main(["show", str(small.parent), "small/a/branch/9"]) == 2
    assert "valid: a/branch/1" in capsys.readouterr().err


def test_a_trial_that_two_studies_have_is_asked_about(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        shutil.copytree(small, tmp_path / name)
    assert main(["show", str(tmp_path), "scl/0"]) == 2
    assert "give one of: one/scl/0, two/scl/0" in capsys.readouterr().err
    assert main(["show", str(tmp_path), "two/scl/0"]) == 0
    assert capsys.readouterr().out.startswith("two: scl, seed 0, completed")


@pytest.mark.parametrize("no_color", [True, False])
def test_no_color_turns_colours_off(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_color: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    read = load(str(small))
    read.trials.loc[0, ["state", "error"]] = ["failed", "it broke"]
    monkeypatch.setattr(lookup, "read_results", lambda store: read)
    assert main(["show", str(small), read.trials["trial_id"][0]]) == 0
    assert ("\x1b[31m" in capsys.readouterr().out) == (not no_color)
    assert Console().no_color == no_color


def test_a_failed_trial_shows_its_error_and_offers_no_network(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = load(str(small))
    read.trials.loc[0, ["state", "error", "test_acc"]] = ["failed", "  [bold]it broke\n", float("nan")]
    monkeypatch.setattr(lookup, "read_results", lambda store: read)
    assert main(["show", str(small), read.trials["trial_id"][0]]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1] == "[bold]it broke"  # text of a user is no markup
    assert "scl export" not in out
    assert "nan" not in out
    assert "\nTest accuracy  " not in out


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_every_line_but_ids_and_paths_fits(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["show", str(small), "scl/0"]) == 0
    out = capsys.readouterr().out
    long = [line for line in out.splitlines() if cell_len(line) > width]
    assert all(line.startswith(("id of the", "network: ", "as a file: ")) for line in long)
    assert ("test_acc_best" in out) == (width >= 100)
