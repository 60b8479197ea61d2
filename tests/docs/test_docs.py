"""The code of the method page gives arms, and pages name files that exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from scl.study.config import Config
from scl.study.identity import requested

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "method.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_method_page_gives_an_arm(number: int, tmp_path: Path) -> None:
    file = tmp_path / "block.py"
    file.write_text(BLOCKS[number])
    arm = runpy.run_path(str(file))["arm"]
    config = Config().replace(**arm)
    assert list(config.losses) == sorted(arm["losses"])


def test_the_custom_loss_of_the_method_page_is_in_the_id(tmp_path: Path) -> None:
    ids = []
    (block,) = [block for block in BLOCKS if "def energy" in block]
    for text in (block, block.replace("abs()", "square()")):
        file = tmp_path / f"study{len(ids)}.py"
        file.write_text(text)
        ids.append(requested(Config().replace(**runpy.run_path(str(file))["arm"])))
    assert ids[0] != ids[1]


def test_the_study_of_the_contributing_page_resolves(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    file = tmp_path / "temperature.py"
    file.write_text(blocks[-1])
    study = runpy.run_path(str(file))["STUDY"]
    arms, _ = study.resolve("digits", None, {}, {})
    assert list(arms) == ["baseline", *(f"kd.temperature={t}" for t in (1, 4, 16))]


def test_files_that_pages_name_exist() -> None:
    pages = [
        *[page for page in DOCS.glob("*.md") if page.name != "by-hand.md"],
        *(ROOT / name for name in ("CONTRIBUTING.md", "README.md", ".ci/package", ".ci/run")),
    ]
    new = {"studies/temperature.py"}  # the example of CONTRIBUTING.md
    paths = r"(?<![\w/.-])(?:scl(?!/0)|tests|studies|reports|benchmarks|deploy|docs)/[\w/.-]*\w"
    missing = {
        f"{page.name}: {path}"
        for page in pages
        for path in re.findall(paths, page.read_text())
        if path not in new and not (ROOT / path).exists()
    }
    assert not missing


def test_modules_that_are_written_by_hand_exist() -> None:
    rows = re.findall(r"^\| (.+?) \|", (DOCS / "by-hand.md").read_text(), re.MULTILINE)
    named = {path for row in rows for path in re.findall(r"`([a-z_]+(?:/\w*)*)`", row)}
    assert len(named) > 20
    missing = [path for path in named if not any((ROOT / "scl" / (path + end)).exists() for end in ("", ".py"))]
    assert not missing
