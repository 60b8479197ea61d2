"""Which trials train side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scl.plan import packing
from scl.plan.capacity import Node, slots_on
from scl.plan.packing import MOST, cohorts, makespan, plan_cohorts, room
from scl.plan.plan import missing
from scl.study.config import Config
from scl.study.identity import trials_of
from scl.study.options import Options
from scl.study.study import Study
from tests.support.studies import planned

ARMS = {"baseline": Config(), "kd": Config(ce=0.1, losses={"kd": 0.9}), "at": Config(losses={"at": 10})}


def test_cohorts_hold_every_cell_once_and_balance_the_slots() -> None:
    arms = {f"a{i}": Config(lr=0.01 * (i + 1)) for i in range(8)}
    todo = trials_of(arms, [0, 1, 2], "d", lambda seed: "t")
    plan = cohorts(todo, slots=2, size=None, teacher_cost=1.0, cost=lambda cell: 3.0)
    assert sorted(c.trial_id for cohort in plan for c in cohort) == sorted(c.trial_id for c in todo)
    assert sorted(len(cohort) for cohort in plan) == [4, 4, 8, 8]
    assert all(len({c.seed for c in cohort}) == 1 for cohort in plan)
    ends = makespan([1 + 3 * len(c) for c in plan], 2)
    assert ends <= 1.1 * sum(1 + 3 * len(c) for c in plan) / 2


@pytest.mark.parametrize("dear", [1.0, 100.0])
def test_cohort_size_is_an_upper_bound(dear: float) -> None:
    """Also where one trial costs as much as all others: cohorts of equal cost would hold too many of those."""
    todo = trials_of({f"a{i}": Config(lr=0.01 * (i + 1)) for i in range(8)}, [0, 1], "d", lambda seed: "t")
    for largest in (1, 3, 8):
        for size, most in ((largest, MOST), (None, largest)):
            plan = cohorts(todo, 2, size, 1.0, lambda t: dear if t.config.lr == 0.01 else 1.0, most=most)
            assert max(map(len, plan)) <= largest
            assert sum(map(len, plan)) == 16


def test_what_differs_in_batches_never_shares_a_cohort() -> None:
    arms = {"a": Config(), "b": Config(batch_size=64), "c": Config(augment="none"), "d": Config(precision="bf16")}
    assert len(cohorts(trials_of(arms, [0], "d", lambda s: "t"), 1, None, 1.0, lambda c: 1.0)) == 4


@pytest.mark.parametrize(
    ("shared", "teachers", "sizes"),
    [
        ((False, False), "one", [2, 2, 2]),
        ((True, True), "one", [6]),
        ((True, False), "one", [1, 1, 1, 3]),
        ((True, True), "a seed", [2, 2, 2]),  # the teacher's forwards differ
    ],
)
def test_cohorts_span_seeds_if_batches_and_teacher_are_the_same(
    shared: tuple[bool, bool], teachers: str, sizes: list[int]
) -> None:
    arms = {name: Config(lr=lr, shared_batches=s) for name, lr, s in zip("ab", (0.1, 0.2), shared, strict=True)}
    todo = trials_of(arms, [0, 1, 2], "d", lambda seed: "t" if teachers == "one" else f"t{seed}")
    assert sorted(map(len, cohorts(todo, 1, None, 1.0, lambda c: 1.0))) == sizes


def test_cohorts_hold_what_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"baseline": {}, **{f"kd {w}": {"losses": {"kd": float(w)}} for w in range(1, 9)}}
    study = Study("room", "?", arms, base=Config(width=0.125, epochs=1), teacher=Config("plain11", 0.125), seeds=1)
    made = replace(planned(study, tmp_path, "--epochs", "1"), slots=2)
    todo = missing(made)
    assert room(made, todo) > MOST
    parameters = made.feasibility.cost(todo[0].config, idle=False).params
    monkeypatch.setattr(packing, "physical_memory", lambda: 2 * 2 * 12 * parameters * 3)
    assert room(made, todo) == 3
    assert max(len(cohort) for cohort in plan_cohorts(made, todo)) == 3
    monkeypatch.setattr(packing, "physical_memory", lambda: 1)
    assert room(made, todo) == 1


@pytest.mark.parametrize(
    ("share", "slots", "at_once"),
    [
        (None, 8, 1),
        (1.0, 8, 1),
        (2.0, 8, 1),
        (0.6, 8, 1),  # a second cohort does not fit on the GPU
        (0.5, 8, 2),
        (0.4, 8, 2),
        (0.3, 8, 3),
        (1 / 49, 100, 49),
        (0.1, 8, 8),  # no more cohorts than slots
        (0.25, 1, 1),
        (0.0, 8, 8),  # all on one GPU
    ],
)
def test_memory_of_a_gpu_is_divided_among_the_cohorts_that_slots_place_there(
    share: float | None, slots: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 2 * 1000 * 100))
    plan: Any = SimpleNamespace(
        options=Options(gpus_per_trial=share),
        slots=slots,
        feasibility=SimpleNamespace(probe=SimpleNamespace(device=torch.device("cuda")), memory=lambda config: 1000),
    )
    todo: Any = [SimpleNamespace(config=Config())]
    assert room(plan, todo) == 100 // at_once
    if share:
        one_gpu = [Node("", {"CPU": 1000, "GPU": max(1.0, share)}, {})]
        assert min(slots, slots_on(one_gpu, 1, share)) == at_once


def test_memory_counts_what_losses_keep(tmp_path: Path) -> None:
    arms = {"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "crd": {"losses": {"crd": 0.8}}}
    arms |= {"mean teacher": {"losses": {"kd": 1.0}, "taught_by": ("ema",), "ema": 0.9}}
    arms |= {"each": {**arms["mean teacher"], "taught_by": ("teacher", "ema"), "mean_of": "losses"}}
    study = Study("kept", "?", arms, base=Config("plain3", 0.125, epochs=1), teacher=Config("plain5", 0.125), seeds=1)
    made = planned(study, tmp_path, "--epochs", "1")
    memory = {arm: made.feasibility.memory(config) for arm, config in made.arms.items()}
    assert memory["kd"] == memory["baseline"]
    assert memory["mean teacher"] > memory["kd"]  # the average of its weights
    images = len(made.feasibility.tensors.train.labels)
    least = 2 * images * 128 * 4  # two memories of 128 numbers an image
    assert least < memory["crd"] - memory["baseline"] < 1.5 * least + 2**20
