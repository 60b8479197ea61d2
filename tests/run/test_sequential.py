"""Growing a study: looks, and Stein's two stages."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy import stats as reference

from scl.errors import UserError
from scl.report.stein import stein_sentence
from scl.run.sequential import differences, print_looks
from scl.store.results import load
from tests.support.plans import SHORT, STUDY
from tests.support.studies import run_study
from tests.support.synthetic import ARMS, accuracy, gathered, make_store


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
    assert "1. seeds 0–1: " in told
    assert "2. seeds 0–2: " in told
    looks = load(str(tmp_path / "tiny")).study["looks"]
    assert [look["seeds"] for look in looks] == [[0, 1], [0, 1, 2]]
    assert all("differences" in look for look in looks)


def test_a_look_has_the_intervals_of_the_page(tmp_path: Path) -> None:
    """Also if an arm collapsed, which the page leaves out of the comparison: an arm has one simultaneous interval."""
    effects = dict(zip(ARMS, [0, 0.02, 0.004, -0.012, -0.6], strict=True))
    store = make_store(tmp_path, ARMS, range(5), accuracy(effects))
    facts = gathered(store)
    seen = differences(store, facts.study)
    assert ARMS[-1] in facts.left_out
    assert seen == {
        arm: {"estimate": c.estimate, "low": c.low, "high": c.high, "p": c.p} for arm, c in facts.contrasts.items()
    }


def test_looks_that_were_not_planned_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    looks = [{"seeds": [0, 1], "planned": True}, {"seeds": [0, 1, 2], "planned": False}]
    print_looks({"looks": looks})
    told = capsys.readouterr().err
    assert "1. seeds 0–1: no differences" in told
    assert "2. seeds 0–2, not planned: no differences" in told


def test_an_interval_on_new_seeds_adds_the_seeds_that_follow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--seeds", "1", "--arms", "kd") == 0
    flags = ["--interval", "0.001", "--between", "kd,baseline", "--arms", "kd", "--max-seeds", "6"]
    with pytest.raises(UserError, match=r"had not declared this pair.*--seed-list 1-5"):
        run(tmp_path, *flags)
    assert run(tmp_path, *flags, "--seed-list", "1,3-6") == 0
    study = load(str(tmp_path / "tiny")).study
    assert (study["seeds"], study["stein"]["pilot_seeds"]) == ([1, 3, 4, 5, 6, 7], [1, 3, 4, 5, 6])
    assert study["stein"]["declared"] == study["stein_declared"][0]["when"]
    assert stein_sentence(study, 2).startswith("By Stein's two stages, “kd” minus “baseline” is ")
