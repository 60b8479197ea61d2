"""A plan in numbers, and its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scl import stats
from scl.plan.estimate import PlanSummary, detectable, summarise
from scl.plan.plan import Plan
from scl.store.schema import now
from scl.study.config import Config
from tests.support.plans import SEARCHING, SHORT, STUDY, put_rows, put_teachers, tiny_plan
from tests.support.studies import run_study

STEP, FORWARD = 0.3, 0.05  # seconds of a step, and of the teacher's forward of its batch
STEPS, EPOCHS, UNSEEN = 2, 2, 100 + 797  # 60 images in batches of 32
EACH = STEP * EPOCHS * (STEPS + UNSEEN / 32 / 3)  # a trial: its steps and its evaluations
SHARED = FORWARD * EPOCHS * STEPS  # a cohort: the teacher's forwards
TEACHER = 3 * FORWARD * STEPS * 1  # one epoch, each step as long as three forwards


def timed(plan: Plan, step: float = STEP) -> Plan:
    """The plan with a probe that measures nothing."""
    probe: Any = plan.feasibility.probe
    probe.step_seconds = lambda configs: dict.fromkeys(configs, step)
    probe.teacher_seconds = lambda batch_size: FORWARD * batch_size / 32
    return plan


def test_a_plan_counts_and_estimates_from_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(out: Path, *flags: str) -> int:
        return run_study(STUDY, "--out", str(out), *SHORT, *flags)

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
    assert "points, by the sd of 4 finished trials" in after


# --- numbers --------------------------------------------------------------------------------------------------------


def test_a_plan_that_nothing_was_done_of(tmp_path: Path) -> None:
    found = summarise(timed(tiny_plan(tmp_path, "--seeds", "2")))
    assert (found.study, found.question, found.data, found.design) == ("tiny", "?", "digits", "arms")
    assert found.images == {"train": 60, "val": 100, "test": 797}
    assert (found.arms, found.seeds) == (("baseline", "kd", "at"), (0, 1))
    assert (found.trials, found.done, found.missing) == (6, 0, 6)
    assert (found.cohorts, found.slots) == ((3, 3), 1)
    assert (found.searched, found.to_search, found.search_space, found.winners) == (0, 0, (), 0)
    assert not found.teacher_ready
    assert found.device_seconds == pytest.approx(6 * EACH + 2 * SHARED + TEACHER)
    assert found.wall_seconds == pytest.approx(found.device_seconds)  # one slot
    assert found.source == "a few steps of each kind, timed here just now"


def test_slots_shorten_the_wall_time_and_not_the_device_time(tmp_path: Path) -> None:
    plan = replace(timed(tiny_plan(tmp_path, "--seeds", "2", "--cohort-size", "1")), slots=2)
    put_teachers(plan)
    found = summarise(plan)
    assert found.teacher_ready
    assert found.cohorts == (1,) * 6
    assert found.device_seconds == pytest.approx(6 * (EACH + SHARED))
    assert found.wall_seconds == pytest.approx(3 * (EACH + SHARED))


def test_a_teacher_for_each_seed_costs_its_own_training(tmp_path: Path) -> None:
    one, each = (
        summarise(timed(tiny_plan(tmp_path, "--seeds", "4", *flags))).device_seconds
        for flags in ((), ("--teacher-per-seed",))
    )
    assert each - one == pytest.approx(3 * TEACHER)


def test_earlier_trials_of_the_same_kind_replace_timings(tmp_path: Path) -> None:
    """Their median device time; resumed ones, those of another device or teacher, and those whose clock was set, say
    nothing."""
    plan = timed(tiny_plan(tmp_path, "--seeds", "4", "--arms", "kd"))
    put_teachers(plan)
    kd = [t for t in plan.trials if t.arm == "kd"]
    for trial, seconds, columns in (
        (kd[0], 40, {"cohort_size": 4}),  # 10 s
        (kd[1], 30, {"cohort_size": 1}),  # 30 s
        (kd[2], 700, {"restarts": 1}),
        (replace(kd[2], trial_id="gpu"), 700, {"device": "cuda"}),
        (replace(kd[2], trial_id="other teacher", teacher_id="other"), 700, {}),
        (replace(kd[2], trial_id="failed"), 700, {"state": "failed"}),
        (replace(kd[2], trial_id="clock back"), -50, {"train_seconds": 5.0}),
        (replace(kd[2], trial_id="clock ahead"), 10_000, {"train_seconds": 5.0}),
    ):
        end = now()
        put_rows(plan, [trial], **{"started": end - timedelta(seconds=seconds), "ended": end, **columns})
    found = summarise(plan)
    assert (found.done, found.missing) == (3, 5)  # one of kd, four of the baseline
    cohort_of_both = 20 + EACH + SHARED
    assert found.device_seconds == pytest.approx(cohort_of_both + 3 * (EACH + SHARED))
    assert found.source == "earlier trials of 1 configurations and a few steps of each kind, timed here just now"


def test_nothing_left_costs_nothing(tmp_path: Path) -> None:
    plan = timed(tiny_plan(tmp_path, "--seeds", "1"))
    put_rows(plan, plan.trials)
    found = summarise(plan)
    assert (found.done, found.missing, found.cohorts) == (3, 0, ())
    assert (found.wall_seconds, found.device_seconds, found.source) == (0.0, 0.0, "")


@pytest.mark.parametrize(("flags", "batch"), [((), 3), (("--cohort-size", "2"), 2)])
def test_a_search_costs_its_batches_and_its_winners_none_yet(
    flags: tuple[str, ...], batch: int, tmp_path: Path
) -> None:
    plan = timed(tiny_plan(tmp_path, "--seeds", "1", *flags, study=SEARCHING))
    put_teachers(plan)
    found = summarise(plan, to_search=7)
    cohorts = {3: 1, 2: 2}[batch]  # of the three arms
    assert found.device_seconds == pytest.approx((3 + 7) * EACH + cohorts * SHARED + 7 * SHARED / batch)
    assert (found.searched, found.to_search, found.winners) == (7, 7, 2)
    assert found.search_space == ("lr", "self_taught")
    assert found.source.endswith("; early stopping makes a search shorter")
    assert summarise(plan).device_seconds == pytest.approx(3 * EACH + cohorts * SHARED)  # the search is over


@pytest.mark.parametrize(
    ("seeds", "arms", "searching", "wanted"),
    [
        ("5", "kd,at", False, (3, 5)),
        ("5", "kd", False, (2, 5)),
        ("1", "kd,at", False, None),
        ("5", "baseline", False, None),
        ("5", "baseline", True, (3, 5)),  # the winners run beside the baseline
    ],
)
def test_the_smallest_detectable_effect_in_sds(
    seeds: str, arms: str, searching: bool, wanted: tuple[int, int] | None, tmp_path: Path
) -> None:
    plan = tiny_plan(tmp_path, "--seeds", seeds, "--arms", arms, study=SEARCHING if searching else STUDY)
    assert detectable(plan) == (None if wanted is None else stats.smallest_effect(*wanted), None, 0)


def test_finished_trials_turn_sds_into_accuracy(tmp_path: Path) -> None:
    """With two arms the spread is the sd of the differences by seed."""
    plan = tiny_plan(tmp_path, "--seeds", "3", "--arms", "kd")
    accuracy = {("baseline", 0): 0.5, ("kd", 0): 0.6, ("baseline", 1): 0.55, ("kd", 1): 0.61, ("kd", 2): 0.9}
    for trial in plan.trials:
        if (trial.arm, trial.seed) in accuracy:
            put_rows(plan, [trial], test_acc=accuracy[trial.arm, trial.seed])
    sds, effect, count = detectable(plan)
    sd = 0.04 / 2**0.5  # of 0.10 and 0.06
    assert sds == pytest.approx(stats.smallest_effect(2, 3))
    assert effect == pytest.approx(sds * sd)
    assert count == 5


# --- text -----------------------------------------------------------------------------------------------------------

SUMMARY = PlanSummary(
    study="mine", question="Does it help?", design="arms", data="digits", images={"train": 60, "val": 9, "test": 7},
    caveats=(), arms=("baseline", "kd"), seeds=(0, 1, 2), trials=6, done=2, missing=4, cohorts=(2, 1, 1), slots=2,
    teacher=Config(model="plain11", width=0.25, epochs=40), teachers=1, teacher_ready=False, searched=0, to_search=0,
    search_space=(), winners=0, wall_seconds=75.0, device_seconds=1800.0, source="a few steps", detectable_sds=1.234,
    detectable=None, detectable_from=0,
)  # fmt: skip


def lines(**changes: Any) -> Mapping[str, str]:
    """The text of a summary, by the label of each line."""
    first, *rest = str(replace(SUMMARY, **changes)).splitlines()
    assert first == "study mine: Does it help?"
    return {line[2:13].strip(): line[13:] for line in rest}


def test_the_text_has_the_numbers() -> None:
    assert lines() == {
        "design": "arms",
        "data": "digits: 60 train, 9 val, 7 test",
        "trials": "6 = 2 arms × 3 seeds",
        "done": "2",
        "missing": "4, in 3 cohorts of 2, 1, 1, on 2 slots",
        "teacher": "plain11 × 0.25, 40 epochs: to train",
        "estimate": "1 min 15 s of wall time, 0.50 device hours (a few steps)",
        "can show": "differences of about 1.23 sd of a paired difference, with 80 % power at 3 seeds",
    }


@pytest.mark.parametrize(
    ("changes", "label", "text"),
    [
        ({"caveats": ("1 of 7 test images is also there.",)}, "", "1 of 7 test images is also there."),
        ({"teacher_ready": True}, "teacher", "plain11 × 0.25, 40 epochs: done"),
        ({"teachers": 3}, "teacher", "plain11 × 0.25, 40 epochs, 3 teachers: to train"),
        ({"missing": 0, "cohorts": ()}, "missing", "0"),
        ({"missing": 0, "cohorts": ()}, "estimate", None),
        ({"cohorts": (4,), "slots": 1}, "missing", "4, in 1 cohort of 4, on 1 slot"),
        ({"missing": 30, "cohorts": (3,) + (2,) * 13}, "missing", "30, in 14 cohorts of 2 to 3 trials, on 2 slots"),
        ({"detectable": 0.0123, "detectable_from": 8}, "can show",
         "differences of about 1.23 sd of a paired difference, with 80 % power at 3 seeds: about 1.23 points, by the "
         "sd of 8 finished trials"),
        ({"look": 2, "level": 0.9985}, "can show",
         "differences of about 1.23 sd of a paired difference, with 80 % power at 3 seeds. It would be look 2 at this "
         "study, with intervals at 99.85 %"),
        ({"detectable_sds": None, "seeds": (0,)}, "can show",
         "values and differences, but no interval: that needs a second seed"),
        ({"detectable_sds": None, "seeds": (0,), "arms": ("baseline",)}, "can show",
         "values and differences, but no interval: that needs a second seed and a second arm"),
        ({"detectable_sds": None, "arms": ("baseline",)}, "can show",
         "values and differences, but no interval: that needs a second arm"),
        ({"seeds": ()}, "can show", None),
        ({"searched": 7, "to_search": 5, "search_space": ("lr", "ce"), "winners": 2, "seeds": (1000, 1001)}, "search",
         "5 of 7 trials to go, over lr, ce; then 2 winners beside the arms, seeds 1000 to 1001"),
        ({"searched": 7, "to_search": 0, "search_space": ("lr",), "seeds": ()}, "search",
         "0 of 7 trials to go, over lr"),
        ({"searched": 7, "to_search": 5, "missing": 0, "search_space": ("lr",)}, "estimate",
         "1 min 15 s of wall time, 0.50 device hours (a few steps)"),
    ],
)  # fmt: skip
def test_lines_that_depend_on_the_numbers(changes: dict[str, Any], label: str, text: str | None) -> None:
    assert lines(**changes).get(label) == text


@pytest.mark.parametrize(
    ("flags", "cohorts"), [(["--shared-batches"], 1), (["--shared-batches", "--teacher-per-seed"], 2)]
)
def test_a_plan_with_shared_batches_says_what_they_save(tmp_path: Path, flags: list[str], cohorts: int) -> None:
    found = summarise(timed(tiny_plan(tmp_path, "--seeds", "2", *flags)))
    assert len(found.cohorts) == cohorts
    assert found.unshared_seconds == pytest.approx(found.device_seconds + (2 - cohorts) * SHARED)
    assert "of device time" in str(found)
    assert summarise(timed(tiny_plan(tmp_path, "--seeds", "2"))).unshared_seconds is None
