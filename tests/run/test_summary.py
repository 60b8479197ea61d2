"""What a run prints and writes at its end."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.cells import cell_len

from scl.cli.command import main
from scl.report.findings import verdict
from scl.report.formatting import duration
from scl.report.main_table import summary as table_of
from scl.report.questions.table import main_table
from scl.report.results import Results, load
from scl.run import summary
from scl.run.summary import print_summary, report, row_cells, time_taken
from scl.store.files import Folder, open_folder
from tests.support.synthetic import accuracy, gathered, make_search_store, make_store, rewrite_trials

NAN = float("nan")


@pytest.fixture
def store(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A copy of the small study without its page."""
    shutil.copytree(small, tmp_path / "small")
    (tmp_path / "small" / "report.html").unlink()
    monkeypatch.setenv("COLUMNS", "200")
    return open_folder(str(tmp_path / "small"))


def test_the_table_and_the_verdict_are_printed_and_the_page_is_named(
    store: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(store) == 0
    printed = capsys.readouterr()
    results = load(store.path)
    assert all(arm in printed.out for arm in ("baseline", "scl", "a/branch"))
    assert results.verdict().replace("\n", " ") in " ".join(printed.out.split())
    assert printed.err == f"page: {store}/report.html\n"
    assert store.exists("report.html")


def test_failed_trials_of_the_plan_make_it_code_1(store: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    def failed(trials: pd.DataFrame) -> pd.DataFrame:
        trials.loc[:1, "state"] = "failed"
        return pd.concat([trials, trials.iloc[[0]].assign(trial_id="of another plan")])

    rewrite_trials(store, failed)
    assert report(store) == 1
    assert "2 trials failed; the page says which and why. The same command runs them again" in capsys.readouterr().err
    assert store.exists("report.html")


def test_another_page_replaces_only_an_unchanged_one_of_this_store(
    store: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(summary, "render", lambda results: "<p>a page</p>")
    os.mkfifo("pipe")
    Path("link").symlink_to("new.html")
    Path("mine.html").write_text("mine")
    for page in ("new.html", "new.html", "link", str(tmp_path / "sub" / "new.html")):
        assert main(["report", store.path, "--page", page]) == 0
        assert capsys.readouterr().err == f"page: {page}\n"
    for page, reason in {
        "mine.html": "the file exists; --force",
        "pipe": "it is a pipe",
        "sub/": "it is a folder",
    }.items():
        assert main(["report", store.path, "--page", page]) == 2
        assert f"error: --page {page}: {reason}" in capsys.readouterr().err
    assert main(["report", store.path, "--page", "pipe", "--force"]) == 2
    assert main(["report", store.path, "--page", "mine.html", "--force"]) == 0
    assert (Path("link").is_symlink(), Path("pipe").is_fifo()) == (True, True)
    assert Path("mine.html").read_bytes() == Path("new.html").read_bytes()


def test_without_plotly_there_is_no_page_and_no_failure(
    store: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(results: Results) -> None:
        raise ModuleNotFoundError(name="plotly")

    monkeypatch.setattr(summary, "render", absent)
    assert report(store) == 0
    printed = capsys.readouterr()
    assert printed.err == "no page: plotly is not installed. Build it elsewhere with --report-only\n"
    assert "baseline" in printed.out


def row(arm: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("test_acc_mean", "test_acc_sd", "difference", "difference_low", "difference_high", "p"), NAN)
    return {"arm": arm, "n": 0, **empty, **values}


@pytest.mark.parametrize(
    ("found", "cells"),
    [
        (row("none"), ["none", "0", "–", "–", "–"]),
        (row("one", n=1, test_acc_mean=0.5), ["one", "1", "50.00", "–", "–"]),
        (row("base", n=3, test_acc_mean=0.5, test_acc_sd=0.012), ["base", "3", "50.00 ± 1.20", "–", "–"]),
        (
            row("kd", n=2, test_acc_mean=0.512, test_acc_sd=0.01, difference=0.012),
            ["kd", "2", "51.20 ± 1.00", "+1.20", "–"],
        ),
        (
            row("at", n=5, test_acc_mean=0.4567, test_acc_sd=0.01, difference=-0.0123, difference_low=-0.02,
                difference_high=0.0011, p=0.0456),
            ["at", "5", "45.67 ± 1.00", "−1.23 [−2.00, +0.11]", "0.046"],
        ),
        (row("p", n=5, test_acc_mean=0.4, difference=0.0, p=0.99999), ["p", "5", "40.00", "0.00", "> 0.999"]),
    ],
)  # fmt: skip
def test_a_row_of_the_table(found: dict[str, Any], cells: list[str]) -> None:
    assert row_cells(found, "test_acc", 2) == cells


def test_terminal_and_page_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digits of the main table, a name that is no markup, and that the intervals are simultaneous."""
    monkeypatch.setenv("COLUMNS", "200")
    arms = ["baseline", "[red]x", "kd"]
    facts = gathered(make_store(tmp_path, arms, range(4), accuracy(dict(zip(arms, (0.0, 0.01, 0.03), strict=True)))))
    print_summary(facts)
    out = capsys.readouterr().out
    assert "[simultaneous 95 % interval]" in out
    page = {str(r.cells[0].shown): [str(c.shown) for c in r.cells] for r in main_table(facts).rows}
    for line in [line for line in out.splitlines() if line.startswith("│")]:
        arm, n, mean, difference, p = [part.strip() for part in line.strip("│").split("│")]
        cells = page[arm]
        assert [n, mean.split(" ± ")[0], difference.split(" ")[0], p] == [cells[1], cells[2], cells[6], cells[9]]
    assert " ".join(out.split()).endswith(f"{verdict(facts)} {time_taken(facts)}")


def test_the_trials_of_a_search_have_no_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(gathered(make_search_store(tmp_path, 20)))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert any("winner-1" in row for row in rows)
    assert not any(row.startswith("│ search") for row in rows)


NAMES = {
    "short": ["baseline", "kd", "at"],
    "long": ["baseline", *(f"{'a name of many words ' * 3}{i}" for i in range(3))],
    "one long word": ["base" * 20, *(f"{'x' * 60}{i}" for i in range(2))],
    "wide": ["教師の知識蒸留" * 6, "🦊" * 20, "👩\u200d🔬 é\u0301 ｆｕｌｌ", "עברית" * 8],
    "like numbers": ["70.1 to 71.9", "[a, b c, d]", "± 3 %"],
}


@pytest.mark.parametrize(
    ("names", "kind"),
    [*((names, "accuracy") for names in NAMES), *(("wide", k) for k in ("loss", "failed", "one seed", "near zero"))],
)
def test_every_line_fits_and_every_interval_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: str, kind: str
) -> None:
    arms, metric = NAMES[names], "test_loss" if kind == "loss" else "test_acc"
    effects = {arm: (1e-5 if kind == "near zero" else 0.02) * i for i, arm in enumerate(arms)}
    states = dict.fromkeys([(arms[1], seed) for seed in range(4)], "failed") if kind == "failed" else {}
    store = make_store(tmp_path, arms, range(1 if kind == "one seed" else 4), accuracy(effects), states, metric=metric)
    if kind == "loss":
        rewrite_trials(store, lambda trials: trials.assign(test_loss=12.3 - trials["test_acc"], teacher_test_loss=11.0))
    facts = gathered(store)
    rows = [row_cells(row, facts.metric, facts.decimals, facts.unit) for row in table_of(facts).to_dict("records")]
    spans = re.findall(r"interval ([+−]?[\d.]+ to [+−]?[\d.]+)", verdict(facts))
    for width in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        print_summary(facts)
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if cell_len(line) > width] == []
        assert all(number in out for row in rows for number in (*row[1:], *spans))
        assert " ".join(out.split()).endswith("training steps.")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_summary_of_a_search_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_summary(gathered(make_search_store(tmp_path, 20)))
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if cell_len(line) > width] == []
    assert "winner-1" in out


def test_the_page_is_named_last(store: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    report(store, also=lambda: print("looks", file=sys.stderr))
    assert capsys.readouterr().err.splitlines() == ["looks", f"page: {store}/report.html"]


def test_the_time_that_training_took(tmp_path: Path) -> None:
    facts = gathered(make_store(tmp_path, ["baseline", "kd"], range(2), wall_seconds=3723.0))
    seconds = facts.trials["train_seconds"].sum()
    assert time_taken(facts) == (
        f"Wall time 1 h 02 min, device time {duration(seconds)} ({seconds / 3600:.2f} device hours) of training steps."
    )
    facts.study["wall_seconds"] = None
    assert time_taken(facts).startswith("Device time ")
    facts.study["teacher"]["train_seconds"] = {"0": 3600.0 - seconds}
    assert time_taken(facts) == "Device time 1 h 00 min (1.00 device hours) of training steps, teachers included."
