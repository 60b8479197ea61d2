"""`scl report`: rebuild a page from its store."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from scl.cli import command
from scl.cli.command import main
from scl.report import paper_figures
from scl.store.files import open_folder
from scl.store.locks import locked
from tests.support.synthetic import make_store


def test_report_builds_the_page_anew(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "small")
    (tmp_path / "small" / "report.html").unlink()
    assert main(["report", str(tmp_path / "small")]) == 0
    assert (tmp_path / "small" / "report.html").stat().st_size > 1000
    assert main(["report", str(tmp_path)]) == 2


def test_the_page_of_a_store_that_a_run_holds_is_written_beside_it(small: Path, tmp_path: Path) -> None:
    store = tmp_path / "small"
    shutil.copytree(small, store)
    (store / "report.html").unlink()
    with locked(open_folder(str(store)), command="study.py --seeds 9"):
        assert main(["report", str(store)]) == main(["report", str(small)])
    assert (store / "report.html").exists()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "ablation"
    make_store(folder, ["baseline", "kd"], [0, 1])
    return folder


def test_the_numbers_of_the_figures_are_written_without_chrome(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    out = tmp_path / "new" / "paper"
    assert main(["report", str(store), "--figures", str(out), "--formats", "csv,tex"]) == 0
    assert {path.suffix for path in out.iterdir()} == {".csv", ".tex"}
    table = pd.read_csv(out / "ablation-main-table.csv").set_index("arm")
    assert table["test_acc_mean"].dtype == float
    shown = pd.read_csv(out / "ablation-accuracy.csv").set_index("Arm")["Estimate"]
    assert shown.to_dict() == pytest.approx((100 * table["test_acc_mean"]).to_dict())
    assert (out / "ablation-main-table.tex").read_text().startswith("% needs")
    assert not (store / "report.html").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--formats", "svg"], "add --figures DIR"),
        (["--width", "page"], "add --figures DIR"),
        (["--figures", "{out}", "--formats", "jpg,csv"], "unknown format 'jpg'"),
        (["--figures", "{out}", "--formats", ","], "unknown format ','"),
        (["--figures", "{out}", "--width", "wide"], "unknown width 'wide'; valid: column, page"),
        (["--figures", "{out}", "--page", "a.html"], "one of them at a time"),
        (["--figures", "{out}/file", "--formats", "csv"], "is a file; name another folder"),
        (["--figures", "{out}", "--formats", "csv"], "--force replaces it"),
        (["--figures", "{out}"], "extra `figures`"),
    ],
)
def test_a_mistake_is_explained_before_anything_is_written(
    store: Path, tmp_path: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "kaleido", None)
    name = "ablation-accuracy.csv" if "force" in says else "file"
    (tmp_path / name).write_text("mine")
    assert main(["report", str(store), *[flag.replace("{out}", str(tmp_path)) for flag in flags]]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_force_replaces_the_files_and_bad_formats_are_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / "ablation-accuracy.csv").write_text("old")
    assert main(["report", str(store), "--figures", str(tmp_path), "--formats", "csv", "--force"]) == 0
    assert (tmp_path / "ablation-accuracy.csv").read_text().startswith("Arm,")


@pytest.mark.slow
def test_every_figure_is_drawn_as_svg_pdf_and_png(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("no Chromium on this machine")
    assert main(["report", str(store), "--figures", str(tmp_path)]) == 0
    found = {path.suffix: path.read_bytes() for path in sorted(tmp_path.glob("ablation-accuracy.*"))}
    assert set(found) == {".csv", ".pdf", ".png", ".svg"}
    assert found[".pdf"].startswith(b"%PDF")
    assert b"/Subtype /Image" not in found[".pdf"]  # lines, no pixels
    assert found[".png"].startswith(b"\x89PNG")
    assert int.from_bytes(found[".png"][16:20]) == 3 * 420
    assert b"<text" in found[".svg"]
    assert b"baseline" in found[".svg"]
    names = {path.stem for path in tmp_path.glob("*.svg")}
    assert names == {path.stem for path in tmp_path.glob("*.pdf")} == {path.stem for path in tmp_path.glob("*.png")}


def test_the_help_names_what_there_is() -> None:
    assert (command.IMAGES, command.SAVED) == (paper_figures.DRAWN, paper_figures.FORMATS)
    assert tuple(paper_figures.WIDTHS) == command.WIDTHS
