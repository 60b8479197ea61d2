"""The studies that come with the project: every arm can be built, no two are the same, controls are complete."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scl.plan.plan import Plan
from scl.study.study import Study
from tests.support.studies import asked, planned

STUDIES = Path(__file__).parents[2] / "studies"
sys.path.insert(0, str(STUDIES))  # as for a script: studies import each other
# These have one study for each method; test_headline.py and test_claim.py test them.
NAMES = sorted(
    path.stem for path in STUDIES.glob("*.py") if path.stem not in ("claim_search", "headline_search", "own")
)


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"studies_{name}", STUDIES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def load(name: str) -> Study:
    study = module(name).STUDY
    assert isinstance(study, Study)
    return study


def plan(name: str, out: Path, *flags: str) -> Plan:
    return planned(load(name), out, "--data", "digits", *flags)


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_can_be_built_on_digits(name: str, tmp_path: Path) -> None:
    made = plan(name, tmp_path)
    assert made.study.name.partition("-")[0] == name
    assert made.study.baseline in made.arms
    assert made.study.question.endswith("?")
    assert (STUDIES / f"{name}.py").read_text().startswith(f'"""{made.study.question[:30]}')


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_resolves_on_other_data(name: str) -> None:
    load(name).resolve("cifar100", None, {}, {})


def test_each_count_of_self_taught_neurons_has_its_controls(tmp_path: Path) -> None:
    made = plan("self_taught", tmp_path)
    for k in (4, 8, 16, 32, 64):
        arms = {arm for arm in made.arms if arm.startswith(f"scl k={k}") and made.arms[arm].self_taught == k}
        wanted = {f"scl k={k}", f"scl k={k} all guided", f"scl k={k} connector", f"scl k={k} unguided"}
        assert arms - {f"scl k={k} taken"} == wanted
    assert "scl k=4 taken" in made.arms
    elsewhere, _ = made.study.resolve("cifar100", None, {}, {})
    assert {f"scl k={k} taken" for k in (4, 8, 16, 32)} <= set(elsewhere)
    assert made.study.design.factors["self_taught"] == {"levels": [0, 4, 8, 16, 32, 64]}


@pytest.mark.parametrize(
    ("name", "contrasts", "roles"),
    [
        ("ablation", 0, set()),
        ("benchmark", 0, set()),
        ("claim", 0, {"control"}),
        ("components", 4, {"reference"}),
        ("depth", 2, set()),
        ("headline", 0, {"control", "reference"}),
        ("search", 1, set()),
        ("self_taught", 5, {"control"}),
        ("weights", 0, set()),
    ],
)
def test_a_study_declares_what_answers_its_question(name: str, contrasts: int, roles: set[str]) -> None:
    """Its contrasts need only arms that run by default, and none of them compares controls alone."""
    study = load(name)
    arms, _ = study.resolve("digits", None, {}, {})
    winners = {"winner-1"} if study.search else set()
    found = study.contrast_weights
    assert len(found) == contrasts
    assert set(study.arm_roles.values()) == roles
    for weights in found.values():
        assert set(weights) <= {*arms, *winners}
        assert max(weights, key=lambda arm: weights[arm]) not in study.arm_roles


def test_depth_is_a_full_factorial_with_a_weight_for_each_depth() -> None:
    arms, _ = load("depth").resolve("digits", None, {}, {})
    assert len(arms) == 15
    assert {c.model for c in arms.values()} == {f"plain{d}" for d in (3, 5, 7, 9, 11)}


@pytest.mark.parametrize("pair", ["vgg13-vgg8", "resnet32x4-resnet8x4", "wrn_40_2-wrn_16_2"])
def test_published_pairs_have_an_arm_for_each_figure(pair: str) -> None:
    study = vars(module("benchmark"))["study"](pair)
    full, options = asked(study, "--scale", "full")
    arms, teacher = full.resolve("cifar100", None, {}, {})
    without = {"channel", "spatial", "scl", "scl+kd"}
    without |= {"semckd"} if pair == "wrn_40_2-wrn_16_2" else set()
    assert set(study.published.accuracy) == {"teacher", *arms} - without
    assert all(0.7 < figure < 0.8 for figure in study.published.accuracy.values())
    assert f"{teacher.model}-{arms['baseline'].model}" == pair
    for config in (teacher, *arms.values()):
        assert (config.epochs, config.batch_size, config.milestones) == (240, 64, (150, 180, 210))
    assert arms["baseline"].tap == "block"
    assert arms["dkd"].losses["dkd"].options["beta"] == (8.0 if pair.startswith("resnet") else 6.0)
    assert {name for name, arm in arms.items() if arm.lr != 0.05} == {"mlld"}
    assert {name: arm.warmup_epochs for name, arm in arms.items() if arm.warmup_epochs} == {"ldrld": 20}
    alone, beside = (arms[name].losses["wttm"] for name in ("wttm", "crd+wttm"))
    tuned = {"vgg13-vgg8": (2.25, 10, 5), "resnet32x4-resnet8x4": (3, 10, 5), "wrn_40_2-wrn_16_2": (4, 10, 10)}
    assert (alone.weight, alone.options["temperature"], beside.options["temperature"]) == tuned[pair]
    assert (beside.weight, arms["crd+wttm"].losses["crd"].weight, arms["crd+wttm"].ce) == (4, 0.8, 1)
    assert (options.data, options.val_share, full.seeds) == ("cifar100", 0.0, 3)
    short, _ = study.at("short").resolve("cifar100", None, {}, {})
    assert short["kd"].milestones == (38, 45, 52)
    assert short["dkd"].losses["dkd"].warmup == short["ldrld"].warmup_epochs == 5
