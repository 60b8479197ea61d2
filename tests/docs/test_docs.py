"""The code blocks of docs/ run, and give arms that a configuration takes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from scl.study.config import Config
from scl.study.identity import requested

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "method.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_method_page_gives_an_arm(number: int, tmp_path: Path) -> None:
    file = tmp_path / "block.py"
    file.write_text(BLOCKS[number])
    arm = runpy.run_path(str(file))["arm"]
    config = Config().replace(**arm)
    assert list(config.losses) == sorted(arm["losses"])


def test_the_own_loss_of_the_method_page_is_in_the_id(tmp_path: Path) -> None:
    ids = []
    for text in (BLOCKS[1], BLOCKS[1].replace("abs()", "square()")):
        file = tmp_path / f"study{len(ids)}.py"
        file.write_text(text)
        ids.append(requested(Config().replace(**runpy.run_path(str(file))["arm"])))
    assert ids[0] != ids[1]
