"""Growing a study: looks, Stein's two stages, and what a plan says before it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from scl import stats
from scl.cli.exits import exit_code
from scl.cli.main import run_flags
from scl.plan.packing import MOST, plan_cohorts
from scl.run.sequential import format_seeds
from scl.store.results import load
from scl.study.config import Config
from scl.study.designs import grid
from scl.study.study import Study
from tests.support.studies import planned

ROOT = Path(__file__).parents[2]
TINY = ["--inline", "--limit", "60", "--epochs", "2", "--teacher-epochs", "1"]
STUDY = Study(
    name="tiny",
    question="?",
    arms={"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 10.0}}},
    base=Config(model="plain3", width=0.125, batch_size=32, lr=0.05),
    teacher=Config(model="plain5", width=0.125, batch_size=32, lr=0.05),
)


def run(out: Path, *flags: str, study: Study = STUDY) -> int:
    return exit_code(lambda: run_flags(study, "tiny.py", ["--out", str(out), *TINY, *flags]))


def test_steins_rule_by_hand() -> None:
    pilot = np.array([0.01, 0.03, 0.02, 0.05, -0.01])
    n, half = stats.stein_seeds(pilot, 0.02)
    t, s = float(reference.t.ppf(0.975, 4)), float(np.std(pilot, ddof=1))
    assert n == math.ceil((2 * t * s / 0.02) ** 2)
    assert 2 * half <= 0.02
    assert half == pytest.approx(t * s / math.sqrt(n))
    assert stats.stein_seeds(pilot, 1.0)[0] == 5


def test_steins_interval_covers_what_it_says() -> None:
    """2,000 simulated studies; a two-stage interval at 95 % misses about 100 of them."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        pilot = rng.normal(0.3, 1.0, 5)
        n, half = stats.stein_seeds(pilot, 1.5)
        mean = np.concatenate([pilot, rng.normal(0.3, 1.0, n - 5)]).mean()
        covered += abs(mean - 0.3) <= half
    assert 0.935 <= covered / 2000 <= 0.965


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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--interval", "0.01"], "go together"),
        (["--between", "kd,baseline"], "go together"),
        (["--interval", "0.01", "--between", "kd"], "two different arms"),
        (["--interval", "0.01", "--between", "kd,kd"], "two different arms"),
        (["--interval", "0.01", "--between", "kd,kdd"], "unknown arm of this run 'kdd'"),
        (["--interval", "0.01", "--between", "kd,at", "--arms", "kd"], "unknown arm of this run 'at'"),
    ],
)
def test_intervals_that_name_no_two_arms(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *flags) == 2
    assert message in capsys.readouterr().err


def test_arms_that_come_to_the_same_on_these_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(**arms: object) -> str:
        study = Study("s", "?", {"baseline": {}} | arms, base=STUDY.base, teacher=STUDY.teacher)  # type: ignore[operator]
        assert run(tmp_path, "--plan", study=study) == 2
        return capsys.readouterr().err

    # 0.1252 rounds to the channels of 0.125; digits are cropped and not flipped.
    assert "'baseline' and 'wider' are one configuration" in refused(wider={"width": 0.1252})
    assert "'baseline' and 'cropped' are one configuration" in refused(cropped={"augment": "crop"})
    assert "'a' and 'b' are one configuration" in refused(
        a={"losses": {"at": 1}}, b={"weight.at": 1.0, "losses": {"at": 1, "kd": 0}}
    )
    both = refused(x={"losses": {"at": 1}, "width": 0.0}, y={"lrr": 1})
    assert "arm 'x': width must be" in both
    assert "arm 'y': Config: unknown field 'lrr'" in both


def test_a_plan_counts_and_estimates_from_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--plan", "--seeds", "2") == 0
    before = capsys.readouterr().out
    assert "6 = 3 arms × 2 seeds" in before
    assert "missing    6" in before
    assert "timed here just now" in before
    assert run(tmp_path, "--seeds", "2", "--arms", "kd") == 0
    capsys.readouterr()
    assert run(tmp_path, "--plan", "--seeds", "3", "--arms", "kd") == 0
    after = capsys.readouterr().out
    assert "done       4" in after
    assert "missing    2" in after
    assert "earlier trials of 2 configurations" in after
    assert "points, by the sd of 4 trials" in after


def test_thousands_of_arms_are_few_builds(tmp_path: Path) -> None:
    rates = [0.001 * i for i in range(1, 500)]
    study = Study("s", "?", {"baseline": {}} | grid({"lr": rates, "self_taught": [4, 8]}),
                  base=STUDY.base.replace(losses={"kd": 1.0}), teacher=STUDY.teacher)  # fmt: skip
    plan = planned(study, tmp_path, "--seeds", "3")
    assert len(plan.trials) == 3 * 999
    assert len(plan.feasibility.models) == 3
    chosen = plan_cohorts(plan, plan.trials)
    assert sorted(c.trial_id for cohort in chosen for c in cohort) == sorted(c.trial_id for c in plan.trials)
    assert max(map(len, chosen)) <= MOST
    assert all(len({c.seed for c in cohort}) == 1 for cohort in chosen)


def test_a_mistake_in_a_study_file_is_a_message(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text("from scl.cli import main\nfrom scl import designs\ndesigns.grid({'lr': [0.1]})\n")
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == "error: factor 'lr' changes nothing: it has 1 levels, and needs 2 or more\n"


def test_factors_reach_the_store(tmp_path: Path) -> None:
    study = Study("tiny", "?", {"baseline": {}} | grid({"lr": [0.01, 0.02], "self_taught": [0, 4]}), base=STUDY.base,
                  teacher=STUDY.teacher)  # fmt: skip
    assert run(tmp_path, "--seeds", "1", study=study) == 0
    record = json.loads((tmp_path / "tiny" / "study.json").read_text())
    assert record["design"] == "full factorial"
    assert record["factors"] == {"lr": {"levels": [0.01, 0.02]}, "self_taught": {"levels": [0, 4]}}
    assert record["arm_levels"]["lr=0.02/self_taught=4"] == {"lr": 0.02, "self_taught": 4}
    trials = pd.read_parquet(tmp_path / "tiny" / "trials.parquet")
    assert trials["number"].isna().all()


def test_seeds_are_spelled_short() -> None:
    assert format_seeds([0, 1, 2]) == "0–2"
    assert format_seeds([5, 0, 1]) == "0–1, 5"
