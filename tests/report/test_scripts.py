"""The scripts of reports/."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.commands import here
from tests.support.pages import Page
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    make_store,
)

SCRIPTS = Path(__file__).parents[2] / "reports"


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return here(*arguments, script=str(SCRIPTS / name))


def test_scripts_write_pages_and_tables(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_store(tmp_path / name / "ablation", ARMS, range(3), accuracy(EFFECTS))
    stores = [str(tmp_path / name / "ablation") for name in ("one", "two")]
    done = script("compare.py", *stores, "--out", str(tmp_path / "compare.html"))
    assert done.returncode == 0, done.stderr
    assert "“two/ablation” shares 5 arms with “one/ablation”" in Page((tmp_path / "compare.html").read_text()).text
    table = script("table.py", stores[0], "--format", "markdown")
    assert table.stdout.startswith("| Arm |")
    done = script("own_page.py", stores[0], str(tmp_path / "own.html"))
    assert done.returncode == 0, done.stderr
    assert len(Page((tmp_path / "own.html").read_text()).figures()) == 2


def test_mistakes_of_a_user_are_one_line(tmp_path: Path) -> None:
    make_store(tmp_path / "one", ARMS, range(2), accuracy(EFFECTS))
    for name, arguments, said in (
        ("compare.py", [str(tmp_path / "one")], "two studies or more"),
        ("compare.py", [str(tmp_path / "one"), str(tmp_path / "none")], "no results in"),
        ("table.py", [str(tmp_path / "none")], "no results in"),
        ("table.py", [str(tmp_path / "one"), "--out", str(tmp_path / "no" / "folder" / "x")], "No such file"),
    ):
        done = script(name, *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
