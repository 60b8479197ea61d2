"""What the README shows is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from tests.support.commands import here

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_study_of_your_own_runs(tmp_path: Path) -> None:
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "main(" in block]
    assert len([line for line in text.splitlines() if line.strip()]) <= 15
    script = tmp_path / "mine.py"
    script.write_text(text)
    flags = [
        "--inline",
        "--epochs",
        "1",
        "--teacher-epochs",
        "1",
        "--limit",
        "60",
        "--seeds",
        "2",
        "--out",
        str(tmp_path),
    ]
    run = here(*flags, script=str(script))
    assert run.returncode == 0, run.stderr
    trials = pd.read_parquet(tmp_path / "temperature" / "trials.parquet")
    assert len(trials) == 14
    assert set(trials["state"]) == {"completed"}
    assert trials.groupby("arm")["param.kd.temperature"].nunique().max() == 1
    assert (tmp_path / "temperature" / "report.html").exists()


def test_its_links_and_studies_are_there() -> None:
    root = Path(__file__).parents[2]
    for target in re.findall(r"\]\(([^)#h][^)#]*)", README):
        assert (root / target).exists(), target
    for study in re.findall(r"`(\w+\.py)` \|", README):
        assert (root / "studies" / study).exists(), study
