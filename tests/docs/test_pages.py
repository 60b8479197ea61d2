"""The commands and code of the documentation work: every `sh` and `python` block of the tutorial and other pages.

Blocks marked `console` do not run: they install something, need a cluster or a server, or hold paths of the reader.
Commands run in this process and with `--inline`, which gives the same numbers as Ray and starts faster. Studies in
blocks of Python train on 60 images.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import scl
from scl.cli.command import main
from scl.cli.flags import parser
from scl.data.named import load_dataset
from scl.store.results import load
from scl.study.search import Search
from tests.support.studies import write_images

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and text of the fenced blocks of a page, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def run_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)
    assert words[:2] == ["uv", "run"], line
    if words[2] == "scl":
        assert main(words[3:]) == 0, line
        return
    monkeypatch.setattr(sys, "argv", [*words[2:], "--inline"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / words[2]), run_name="__main__")
    assert end.value.code == 0, line


@pytest.mark.slow
def test_the_tutorial_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (kind, text) in enumerate(blocks(DOCS / "tutorial.md")):
        if kind == "sh":
            for line in text.splitlines():
                run_line(line, monkeypatch)
        elif kind == "python":  # saved and run, as the page says
            script = tmp_path / f"block{number}.py"
            script.write_text(text)
            subprocess.run([sys.executable, str(script)], check=True, timeout=900)
    read = load("mine/ablation")
    assert read.study["teacher"]["model"] == "torchvision:resnet18"
    assert set(read.planned()["state"]) == {"completed"}
    assert len(read.planned()) == 24
    assert (tmp_path / "mine" / "ablation" / "report.html").stat().st_size > 1000
    said = capfd.readouterr()
    assert "teacher teacher.pt: test accuracy" in said.err
    assert "9 = 3 arms × 3 seeds" in said.out
    assert "this is look 2 at this study" in said.err + said.out
    assert "['bar-0', 'bar-1', 'bar-2']" in said.out


def test_every_block_of_python_stands_alone(tmp_path: Path) -> None:
    """It names nothing that it does not import or define. Blocks of pages made from the code run in test_reference."""
    pages = [*DOCS.glob("*.md"), ROOT / "README.md"]
    for page in pages:
        for number, text in enumerate(text for kind, text in blocks(page) if kind == "python"):
            (tmp_path / f"{page.stem}_{number}.py").write_text(text)
    check = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F822,F823", str(tmp_path)]
    run = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert len(list(tmp_path.iterdir())) > 50
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("page", ["how-to.md", "studies.md", "page.md", "statistics.md"])
def test_python_of_the_page_runs(page: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for out in ("mine", "results"):
        (tmp_path / out).mkdir()
        (tmp_path / out / "ablation").symlink_to(small)
    shutil.copytree(ROOT / "tests" / "golden" / "search", tmp_path / "results" / "search")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scl, "run", partial(scl.run, limit=60))
    found = [text for kind, text in blocks(DOCS / page) if kind == "python"]
    assert found
    for number, text in enumerate(found):
        # As files: a custom loss is identified by its source.
        file = tmp_path / f"block{number}.py"
        file.write_text(text)
        runpy.run_path(str(file))


@pytest.mark.slow
def test_the_search_of_the_how_to_page_runs(tmp_path: Path) -> None:
    (text,) = [text for kind, text in blocks(DOCS / "how-to.md") if kind == "python" and "Search(" in text]
    script = tmp_path / "tuned.py"
    script.write_text(f"{text}\nfrom scl.cli import main\n\nmain(tuned)\n")
    flags = ["--inline", "--trials", "2", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1", "--limit", "60"]
    flags += ["--fix", "lr=0.05", "--out", str(tmp_path)]
    run = subprocess.run([sys.executable, str(script), *flags], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    trials = load(str(tmp_path / "tuned")).trials
    assert (trials["arm"] == "search").sum() == 2
    assert {"winner-1", "winner-2", "kd", "baseline"} <= set(trials["arm"])
    assert "a search of 2 configurations, 2 to go; then 2 winners beside 2 trials of the arms" in run.stderr


def test_the_readme_s_lines_for_a_student(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (student,) = [text for kind, text in blocks(ROOT / "README.md") if kind == "python" and "load_student" in text]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "ablation").symlink_to(small)
    names: dict[str, Any] = {}
    exec(student, names)
    assert names["predicted"].shape == (5,)


def test_flags_that_pages_name_exist() -> None:
    """The flags of commands that do not run exist."""
    from tests.support.studies import SMALL

    searching = replace(SMALL, search=Search({}))
    known = {flag for action in parser(searching, "study.py")._actions for flag in action.option_strings}
    wrong = []
    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for kind, text in blocks(page):
            if kind in ("sh", "console", ""):
                for line in text.replace("\\\n", " ").splitlines():
                    if re.search(r"(studies/\w+|my_study|tuned)\.py", line):
                        flags = re.findall(r"(?<=\s)--[a-z-]+", line.partition("#")[0].partition(".py")[2])
                        wrong += [f"{page.name}: {flag}" for flag in flags if flag not in known]
    assert not wrong


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), *ROOT.glob("*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text()):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name} → {target}"
            assert not anchor or anchor in anchors(there), f"{page.name} → {target}#{anchor}"


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="docs is an extra")
    pytest.importorskip("material", reason="docs is an extra")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    run = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "tutorial" / "index.html").exists()


def test_the_data_that_the_how_to_page_allows(tmp_path: Path) -> None:
    """Grey and colour, from 4×4 pixels, two classes or more."""

    for number, (classes, size, grey) in enumerate([(2, 4, True), (3, 12, True), (7, 64, False)]):
        folder = write_images(tmp_path / str(number), classes, size, grey, train=2, test=1)
        read = load_dataset(str(folder), tmp_path / "cache")
        assert read.train_images.shape == (2 * classes, 1 if grey else 3, size, size)
        assert len(read.classes) == classes
