"""studies/own.py: what it chooses by, and which networks it leaves out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from scl.cli.flags import parsed
from scl.errors import UserError
from scl.study.metrics import METRICS
from scl.study.options import Options
from tests.studies.test_studies import module

OWN: Any = module("own")

ROWS = pd.DataFrame(
    {
        "arm": ["a", "a", "b", "b", "lucky", "searched"],
        "seed": [1000, 1001, 1000, 1001, 1000, 0],
        "state": "completed",
        "val_acc": [0.8, 0.8, 0.7, 0.7, 0.99, 1.0],
        "val_macro_f1": [0.4, 0.4, 0.6, 0.6, 0.99, 1.0],
        "val_balanced_acc": [0.4, 0.4, 0.6, 0.6, 0.99, 1.0],
        "val_acc5": [1.0, 1.0, 0.9, 0.9, 1.0, 1.0],
        "val_loss": [2.0, 2.0, 0.5, 0.5, 0.1, 0.0],
        "params": [10, 10, 20, 20, 10, 10],
    }
)
READ = SimpleNamespace(planned=ROWS.copy)


@pytest.mark.parametrize(
    ("metric", "best"),
    [("test_acc", "a"), ("macro_f1", "b"), ("balanced_acc", "b"), ("test_acc5", "a"), ("test_loss", "b")],
)
def test_arms_are_ranked_by_the_metric_of_the_study(metric: str, best: str) -> None:
    """Of fresh seeds alone, and an arm with fewer seeds than others does not count."""
    found = OWN.ranked(READ, METRICS[metric], {})
    assert found == [best, *({"a", "b"} - {best})]
    assert OWN.ranked(READ, METRICS[metric], {"params": 15}) == ["a"]
    assert OWN.ranked(READ, METRICS[metric], {"params": 5}) == []


def options(out: Path, *flags: str) -> Options:
    study = OWN.comparison(["plain3", "plain11"], True)
    given = parsed(OWN.searching(study, study.baseline, 2), "own.py", ["--inline", "--out", str(out), *flags])
    return OWN.first_step(given, 3)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("bounds", "left"),
    [("params=20000", ["plain3"]), ("params=1e6,macs=1e9", ["plain3", "plain11"]), ("latency_ms=1e6", None)],
)
def test_networks_beyond_their_bounds_do_not_train(bounds: str, left: list[str] | None, tmp_path: Path) -> None:
    networks = ["plain3", "plain11"]
    assert OWN.affordable(networks, options(tmp_path, "--at-most", bounds)) == (left or networks)
    with pytest.raises(UserError, match="no network of --student keeps --at-most"):
        OWN.affordable(networks, options(tmp_path, "--at-most", f"{bounds},file_bytes=1"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--student", "plain3,plain3"], "different networks"),
        (["--student", "nosuch"], "unknown model 'nosuch'"),
        (["--val", "0"], "chooses on validation images"),
        (["--seeds", "2"], "3 or more"),
        (["--seed-list", "0-3"], "--seed-list is not for this study"),
    ],
)
def test_wrong_flags_are_refused_before_anything_trains(flags: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        OWN.work("own.py", ["--out", str(tmp_path), *flags])


def test_the_help_says_that_student_takes_several(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        OWN.work("own.py", ["--help"])
    assert end.value.code in (0, None)
    assert "--student A,B,C, as in --student plain5,timm:resnet18" in capsys.readouterr().out
