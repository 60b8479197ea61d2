"""Which arms can be built, which are the same, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scl.cli.exits import exit_code
from scl.cli.main import run_flags
from scl.errors import UserError
from scl.models.build import build_model, macs
from scl.plan import feasibility as module
from scl.plan.context import data_of
from scl.plan.feasibility import Feasibility
from scl.plan.packing import MOST, plan_cohorts
from scl.plan.plan import Plan
from scl.study.config import Config
from scl.study.designs import grid
from scl.study.study import Study
from scl.study.term import Term
from tests.support.plans import SHORT, STUDY, put_rows, tiny_plan
from tests.support.studies import planned


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return tiny_plan(tmp_path_factory.mktemp("out"))


def fresh(plan: Plan) -> Feasibility:
    return Feasibility(plan.teacher, data_of(plan.context), plan.context)


@pytest.mark.parametrize("changes", [{"width": 64.0}, {"self_taught": 65_536}, {"model": "wrn_40_2", "width": 60.0}])
def test_a_network_larger_than_memory_is_refused_before_it_is_built(
    plan: Plan, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "physical_memory", lambda: 16 * 2**30)
    monkeypatch.setattr(module, "build_student", lambda *_: pytest.fail("it was built"))
    large = Config(model="plain5").replace(**changes)
    checked = object.__new__(Feasibility)
    checked.tensors, checked.models = data_of(plan.context), {}
    with pytest.raises(
        UserError, match=r"parameters, which take [\d,]+ GiB to train, and this machine has 16 GiB; give a"
    ):
        checked.trained_as(large)
    with pytest.raises(UserError, match=r"and this machine has 16 GiB"):
        Feasibility(large, data_of(plan.context), plan.context)


def test_arms_that_come_to_the_same_on_these_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(**arms: object) -> str:
        study = Study("s", "?", {"baseline": {}} | arms, base=STUDY.base, teacher=STUDY.teacher)  # type: ignore[operator]
        flags = ["--out", str(tmp_path), *SHORT, "--plan"]
        assert exit_code(lambda: run_flags(study, "tiny.py", flags)) == 2
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


BASE = STUDY.base
AT = BASE.replace(losses={"at": 10.0})


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (BASE, BASE.replace(width=0.1252), True),
        (BASE, BASE.replace(width=0.25), False),
        (BASE, BASE.replace(augment="crop"), True),
        (BASE, BASE.replace(augment="none"), False),
        (BASE.replace(augment="auto+erasing"), BASE.replace(augment="crop+erasing:0.5"), True),
        (BASE, BASE.replace(augment="crop+erasing"), False),
        (BASE, BASE.replace(sampling="balanced"), False),
        (BASE, BASE.replace(precision="fp32"), True),
        (BASE, BASE.replace(precision="bf16"), False),
        (BASE, BASE.replace(lr=0.051), False),
        (BASE, BASE.replace(connector="always"), True),  # no loss that a connector could serve
        (AT, BASE.replace(losses={"at": 10.1}), False),
        (AT, BASE.replace(losses={"at": Term(10.0, layers=(0, 1))}), True),  # plain3 has two guided layers
        (AT, BASE.replace(losses={"at": Term(10.0, layers=(-2, -1))}), True),
        (AT, BASE.replace(losses={"at": Term(10.0, layers=(1,))}), False),
        (AT, BASE.replace(losses={"at": 10.0, "kd": 0.0}), True),
        (AT, AT.replace(self_taught=2), False),
        (AT.replace(self_taught=2), AT.replace(self_taught=(2, 2)), True),
        (AT.replace(self_taught=2), AT.replace(self_taught=2, guided="all"), False),
    ],
)
def test_two_configurations_train_the_same_or_not(plan: Plan, one: Config, two: Config, same: bool) -> None:
    assert (plan.feasibility.trained_as(one) == plan.feasibility.trained_as(two)) == same


def test_precision_auto_is_bf16_on_a_gpu_alone(plan: Plan) -> None:
    there = Feasibility(plan.teacher, data_of(plan.context), replace(plan.context, device="cuda"))
    for where, precision in ((plan.feasibility, "fp32"), (there, "bf16")):
        assert where.trained_as(BASE) == where.trained_as(BASE.replace(precision=precision))


def test_all_arms_that_cannot_be_built_are_named_at_once(plan: Plan) -> None:
    arms = {
        "fits": BASE,
        "taken": BASE.replace(self_taught=4000, self_taught_from="taken", losses={"at": 1}),
        "layer": BASE.replace(losses={"at": Term(1.0, layers=(7,))}),
    }
    with pytest.raises(UserError) as error:
        plan.feasibility.check(STUDY, arms)
    lines = str(error.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["arm 'taken'", "arm 'layer'"]
    with pytest.raises(UserError, match="arms 'a' and 'b' are one configuration"):
        plan.feasibility.check(STUDY, {"a": BASE, "b": BASE.replace(augment="crop")})
    plan.feasibility.check(STUDY, {"a": BASE, "b": AT})


@pytest.mark.parametrize(("asked", "said"), [({}, "16,384"), ({"negatives": 2000}, "2,000"), ({"negatives": 9}, "")])
def test_fewer_images_to_contrast_than_asked_for_are_said(plan: Plan, asked: dict[str, int], said: str) -> None:
    labels = plan.feasibility.tensors.train.labels
    others = len(labels) - int(labels.bincount().max())
    arms = {"a": BASE, "crd": BASE.replace(losses={"crd": Term(0.8, options=asked)}), "none": BASE}
    sentence = f"The loss 'crd' contrasts each image with {others} others instead of {said}: "
    assert [text.startswith(sentence) for text in plan.feasibility.bounded(arms)] == [True] * bool(said)


def test_what_crd_cannot_contrast_is_refused_before_training(plan: Plan) -> None:
    one = fresh(plan)
    labels = torch.zeros_like(one.tensors.train.labels)
    one.tensors = replace(one.tensors, train=replace(one.tensors.train, labels=labels))
    with pytest.raises(UserError, match=r"arm 'a': loss 'crd': .*all training images are of one"):
        one.check(STUDY, {"a": BASE.replace(losses={"crd": 0.8})})
    with pytest.raises(UserError, match=r"negatives must be a whole number from 1, got 0.5"):
        plan.feasibility.check(STUDY, {"a": BASE.replace(losses={"crd": Term(0.8, options={"negatives": 0.5})})})


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


@pytest.mark.parametrize("config", [BASE, BASE.replace(self_taught=3), Config(model="resnet8", width=0.25)])
def test_a_cost_counts_parameters_and_multiply_accumulates(plan: Plan, config: Config) -> None:
    model = build_model(config.model, 10, 1, config.width, config.self_taught)
    found = fresh(plan).cost(config, idle=False)
    assert found.params == sum(p.numel() for p in model.parameters())
    assert found.macs == macs(model, (1, 8, 8)) == fresh(plan).macs(config)
    assert found.latency_ms is None


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The networks whose latency is measured; each takes as many ms as have been measured so far."""
    seen: list[Any] = []
    measure: Callable[..., float] = lambda model, shape: seen.append(shape) or float(len(seen))  # type: ignore[func-returns-value]  # noqa: E731
    monkeypatch.setattr(module, "measure_latency_ms", measure)
    return seen


def test_latency_is_measured_once_an_architecture_and_only_if_the_machine_is_idle(
    plan: Plan, measured: list[Any]
) -> None:
    costs = fresh(plan)
    assert costs.cost(BASE, idle=False).latency_ms is None
    assert measured == []
    assert costs.cost(BASE).latency_ms == 1.0
    assert costs.cost(AT.replace(lr=0.3)).latency_ms == 1.0  # the same network
    assert costs.cost(BASE, idle=False).latency_ms == 1.0
    assert costs.cost(BASE.replace(self_taught=2)).latency_ms == 2.0
    assert measured == [(1, 8, 8)] * 2


def test_a_stored_latency_is_used_again(tmp_path: Path, measured: list[Any]) -> None:
    """So that rows of one architecture agree between runs."""
    plan = tiny_plan(tmp_path, "--seeds", "1")
    put_rows(plan, plan.trials[:1], latency_ms=0.75)
    costs = fresh(plan)
    assert costs.cost(plan.trials[0].config).latency_ms == 0.75
    assert costs.cost(BASE.replace(model="plain5")).latency_ms == 1.0
    assert len(measured) == 1


def test_patience_needs_validation_images(tmp_path: Path) -> None:
    patient = replace(STUDY, arms={"baseline": {}, "patient": {"patience": 2}})
    assert planned(patient, tmp_path, *SHORT)
    with pytest.raises(UserError, match=r"arm 'patient': patience 2 .* no image is held out; give --val 0.1"):
        planned(patient, tmp_path, *SHORT, "--val", "0")
    with pytest.raises(UserError, match="the teacher: patience 3"):
        planned(STUDY, tmp_path, *SHORT, "--val", "0", "--set", "teacher.patience=3")
