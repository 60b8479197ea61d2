"""Growing a study: looks, and Stein's two stages."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy import stats as reference

from scl.store.results import load
from tests.support.plans import SHORT, STUDY
from tests.support.studies import run_study


def run(out: Path, *flags: str) -> int:
    return run_study(STUDY, "--out", str(out), *SHORT, *flags)


def test_an_interval_adds_seeds_once_to_two_arms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--interval", "0.01", "--between", "kd,baseline", "--max-seeds", "7"]
    assert run(tmp_path, *flags) == 0
    told = capsys.readouterr()
    assert "more than --max-seeds 7" in told.err
    assert "by Stein's two stages, n = 7" in told.out
    loaded = load(str(tmp_path / "tiny"))
    assert loaded.trials["arm"].value_counts().to_dict() == {"baseline": 7, "kd": 7, "at": 5}
    said = loaded.study["stein"]
    scores = loaded.trials.pivot(index="seed", columns="arm", values="test_acc")
    apart = scores["kd"] - scores["baseline"]
    assert said["pilot_sd"] == pytest.approx(apart.loc[:4].std(ddof=1))
    assert said["estimate"] == pytest.approx(apart.mean())
    half = float(reference.t.ppf(0.975, 4)) * apart.loc[:4].std(ddof=1) / math.sqrt(7)
    assert (said["low"], said["high"]) == pytest.approx((apart.mean() - half, apart.mean() + half))
    assert [look["seeds"] for look in loaded.study["looks"]] == [[0, 1, 2, 3, 4], list(range(7))]
    ended = list(loaded.trials["ended"])
    assert run(tmp_path, *flags) == 0
    assert "nothing to train" in capsys.readouterr().err
    again = load(str(tmp_path / "tiny"))
    assert list(again.trials["ended"]) == ended
    assert again.study["stein"] == said


def test_every_look_is_kept_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--seeds", "2", "--arms", "kd") == 0
    assert "this is look" not in capsys.readouterr().err
    assert run(tmp_path, "--seeds", "3", "--arms", "kd") == 0
    told = capsys.readouterr().err
    assert "this is look 2 at this study" in told
    assert "1. seeds 0–1: kd" in told
    assert "2. seeds 0–2: kd" in told
    looks = load(str(tmp_path / "tiny")).study["looks"]
    assert [look["seeds"] for look in looks] == [[0, 1], [0, 1, 2]]
    assert all("kd" in look["differences"] for look in looks)
