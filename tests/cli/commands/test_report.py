"""`scl report`: rebuild a page from its store."""

from __future__ import annotations

import shutil
from pathlib import Path

from scl.cli.command import main
from scl.store.files import open_folder
from scl.store.locks import locked


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
