"""Ids, arms and cohorts."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scl.cli.flags import parser
from scl.errors import UserError
from scl.plan.packing import cohorts, makespan
from scl.run.provenance import git_state
from scl.study.config import MODELS, Config
from scl.study.designs import grid
from scl.study.identity import canonical_json, requested, teacher_id, trials_of
from scl.study.options import Options, moved_milestones
from scl.study.params import params
from scl.study.recipes import RECIPES, at_length
from scl.study.space import Float, Search
from scl.study.study import Setting, Study
from scl.study.term import LOSSES, Term
from scl.train.objective import FEEDS

ARMS = {"baseline": Config(), "kd": Config(ce=0.1, losses={"kd": 0.9}), "at": Config(losses={"at": 10})}


def test_golden_ids() -> None:
    """Ids are promises: a stored trial is found again by any later version. Raise RESULTS_VERSION, not these."""
    kd = trials_of(ARMS, [7], "data", lambda seed: "teacher")[1]
    assert canonical_json(requested(kd.config)) == '{"ce":0.1,"losses":{"kd":{"weight":0.9}}}'
    assert kd.config_id == "ea4e63d226957bb6293a4d2d33bbe0ba48e8f0fa528ff93137a71e3d0618f16b"
    assert kd.trial_id == "aec2cbea55aa1e3d755e226280cdbb54c516343cd05162383f490c22a556ef06"
    assert (
        teacher_id(Config(model="plain11"), 0, "data")
        == "f4825cc7fed2f672b49882cd983e9ee3acf2ea69575d6f6e9cfe0ed32ec006e1"
    )


def test_ids_do_not_depend_on_spelling() -> None:
    one = Config(lr=1, losses={"kd": 1, "at": 2})
    two = Config(losses={"at": Term(2.0), "kd": Term(1.0, loss="kd", options={"temperature": 4})}, lr=1.0)
    assert requested(one) == requested(two)
    assert canonical_json(requested(one)) == canonical_json(requested(two))


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.2}, {"self_taught": 1}, {"losses": {"kd": 1}}, {"losses": {"kd": Term(1, warmup=2)}},
        {"losses": {"kd": Term(1, options={"temperature": 2})}}, {"precision": "fp32"},
    ],
)  # fmt: skip
def test_what_moves_numbers_moves_the_id(change: dict[str, object]) -> None:
    assert requested(Config()) != requested(Config().replace(**change))


def test_an_own_loss_is_its_source() -> None:
    def mine(student: object, teacher: object) -> float:
        return 0.0

    def other(student: object, teacher: object) -> float:
        return 1.0

    one, two = (requested(Config(losses={"mine": Term(1.0, loss=f)})) for f in (mine, other))
    assert one["losses"]["mine"]["loss"]["sha256"] != two["losses"]["mine"]["loss"]["sha256"]


def test_params_are_flat_and_typed() -> None:
    flat = params(Config(losses={"kd": Term(0.9, options={"temperature": 2.0})}))
    assert flat["weight.kd"] == 0.9
    assert flat["kd.temperature"] == 2.0
    assert all(type(v) in (int, float, str, bool) for v in flat.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": float("nan")}, "lr must be finite"),
        ({"epochs": 0}, "epochs must be finite, 1 or more"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"model": "plain6"}, "unknown model 'plain6'"),
        ({"losses": {"kdd": 1}}, "unknown loss 'kdd' .did you mean 'kd'"),
        ({"losses": {"kd": -1}}, "weight must be"),
        ({"losses": {"kd": Term(1, options={"temprature": 1})}}, "did you mean 'temperature'"),
        ({"widht": 2}, "unknown field 'widht' .did you mean 'width'"),
        ({"ce": 0}, "an objective needs a term"),
        ({"schedule": "multistep"}, "needs milestones"),
    ],
)
def test_bad_values_are_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config().replace(**change)


def study(**changes: object) -> Study:
    arms = {"baseline": {}, "kd": {"losses": {"kd": 1}}}
    return dataclasses.replace(Study("s", "?", arms), **changes)  # type: ignore[arg-type]


def test_resolving_applies_setting_then_flags_then_arm() -> None:
    one = study(settings={"digits": Setting(student={"width": 0.5, "lr": 0.2}, teacher={"epochs": 9})})
    arms, teacher = one.resolve("digits", None, {"lr": 0.3}, {})
    assert (arms["kd"].width, arms["kd"].lr, list(arms["kd"].losses)) == (0.5, 0.3, ["kd"])
    assert teacher.epochs == 9
    _, elsewhere = one.resolve("cifar100", None, {"epochs": 4}, {})
    assert elsewhere.epochs == 4


def test_equal_arms_and_unknown_arms_are_refused() -> None:
    with pytest.raises(UserError, match="'kd' and 'again' are one configuration"):
        study(arms={"baseline": {}, "kd": {"losses": {"kd": 1}}, "again": {"losses": {"kd": 1.0}}}).resolve(
            "digits", None, {}, {}
        )
    with pytest.raises(UserError, match=r"unknown arm 'kdd'.*valid: baseline, kd"):
        study().resolve("digits", ["kdd"], {}, {})
    with pytest.raises(UserError, match="arm 'x': Config: unknown field"):
        study(arms={"baseline": {}, "x": {"lrr": 1}}).resolve("digits", None, {}, {})


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "x" * 65])
def test_a_study_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(UserError, match="names a folder"):
        study(name=name)


def test_the_baseline_always_runs() -> None:
    arms, _ = study().resolve("digits", ["kd"], {}, {})
    assert list(arms) == ["baseline", "kd"]


def test_cohorts_hold_every_cell_once_and_balance_the_slots() -> None:
    arms = {f"a{i}": Config(lr=0.01 * (i + 1)) for i in range(8)}
    todo = trials_of(arms, [0, 1, 2], "d", lambda seed: "t")
    plan = cohorts(todo, slots=2, size=None, teacher_cost=1.0, cost=lambda cell: 3.0)
    assert sorted(c.trial_id for cohort in plan for c in cohort) == sorted(c.trial_id for c in todo)
    assert sorted(len(cohort) for cohort in plan) == [4, 4, 8, 8]
    assert all(len({c.seed for c in cohort}) == 1 for cohort in plan)
    ends = makespan([1 + 3 * len(c) for c in plan], 2)
    assert ends <= 1.1 * sum(1 + 3 * len(c) for c in plan) / 2


def test_cohort_size_is_an_upper_bound() -> None:
    todo = trials_of({f"a{i}": Config(lr=0.01 * (i + 1)) for i in range(8)}, [0, 1], "d", lambda seed: "t")
    for size in (1, 3, 8):
        plan = cohorts(todo, 2, size, 1.0, lambda cell: 1.0)
        assert max(map(len, plan)) <= size
        assert sum(map(len, plan)) == 16


def test_what_differs_in_batches_never_shares_a_cohort() -> None:
    arms = {"a": Config(), "b": Config(batch_size=64), "c": Config(augment="none"), "d": Config(precision="bf16")}
    assert len(cohorts(trials_of(arms, [0], "d", lambda s: "t"), 1, None, 1.0, lambda c: 1.0)) == 4


def test_tables_of_names_agree_with_the_code() -> None:
    assert set(LOSSES) == set(FEEDS)
    assert all(Config(model=name) for name in MODELS)
    assert all(Config().replace(**recipe.fields) for recipe in RECIPES.values())


def test_configuration_and_flags_import_neither_torch_nor_ray() -> None:
    code = "import sys, scl.cli; print([m for m in ('torch', 'ray', 'plotly', 'pandas') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out.replace("'", '"')) == []


def test_fields_of_the_method_are_checked() -> None:
    pretrain = {"losses": {"fsp": Term(1.0, stage="pretrain")}, "pretrain_epochs": 2}
    assert Config(**pretrain, epochs=3).total_epochs == 5
    for changes, message in (
        ({"pretrain_epochs": 2}, "no loss of the stage 'pretrain' has a weight after epoch 0 of 2"),
        ({**pretrain, "ce": 0.0}, "no loss of the stage 'train'"),
        ({"losses": {"fsp": Term(1.0, stage="pretrain")}}, "needs pretrain_epochs of 1 or more"),
        ({"ce": 0.0, "losses": {"kd": Term(1.0, end=3)}, "epochs": 5}, "after epoch 3 of 5"),
        ({"losses": {"kd": Term(1.0, stage="first")}}, "unknown stage 'first'; valid: train, pretrain"),
        ({"losses": {"kd": Term(1.0, compares="logits")}}, "compares is for a loss of your own"),
        ({"self_taught": -1}, "0 to 65536"),
        ({"self_taught": (1, 2.5)}, "0 to 65536"),
        ({"self_taught": (1, 2), "self_taught_at": "penultimate"}, "one whole number"),
        ({"self_taught_from": "taken", "self_taught_at": "branch"}, "exclude each other"),
        ({"model": "torchvision:resnet18", "self_taught": 4}, "no self-taught neurons"),
        ({"pretrained": True}, "pretrained is for torchvision:NAME"),
        ({"model": "resnet9"}, "unknown model 'resnet9'"),
        ({"tap": "conv"}, "valid: relu, bn, block"),
    ):
        with pytest.raises(UserError, match=message):
            Config(**changes)  # type: ignore[arg-type]


def test_a_loss_whose_source_does_not_tell_it_all_is_refused() -> None:
    power = 3

    def closed(student: object, teacher: object) -> int:
        return power

    with pytest.raises(UserError, match="reads power of an enclosing function; pass such values as options"):
        requested(Config(losses={"mine": Term(1.0, loss=closed)}))
    made: dict[str, object] = {}
    exec("def made(student, teacher): return 0", made)
    with pytest.raises(UserError, match=r"source .* cannot be read"):
        requested(Config(losses={"mine": Term(1.0, loss=made["made"])}))  # type: ignore[arg-type]


def test_a_recipe_gives_arms_that_are_named_after_a_loss_their_published_setting() -> None:
    study = Study(
        name="s", question="?", arms={"baseline": {}, "kd": {"losses": {"kd": 3.0}}, "mine": {"losses": {"at": 3.0}}}
    )
    crd = RECIPES["crd"]
    arms, _ = study.resolve("digits", None, dict(crd.fields), {}, crd.arms)
    assert (arms["kd"].ce, arms["kd"].losses["kd"].weight) == (0.1, 0.9)
    assert arms["mine"].losses["at"].weight == 3.0
    assert list(arms) == ["baseline", "kd", "mine"]
    base = Config().replace(**crd.fields)
    assert all(base.replace(**arm) for arm in crd.arms.values())
    assert set(crd.arms) == set(LOSSES) - {"channel", "spatial"}


WRONG_LOSSES = [
    ({"kd": "x"}, "weight must be a finite number of 0 or more, got 'x'"),
    ({"kd": None}, "weight must be"),
    ({"kd": True}, "weight must be"),
    ({"kd": 10**400}, "weight must be"),
    ({"kd": float("nan")}, "weight must be"),
    (["kd"], "losses is a dict"),
    (None, "losses is a dict"),
    ({1: 2.0}, "losses is a dict"),
    ({"ce": Term(5.0, loss="kd")}, "not 'ce'"),
    ({"at": Term(1.0, layers=2)}, "layers are whole numbers"),  # type: ignore[arg-type]
    ({"at": Term(1.0, layers=())}, "layers are whole numbers"),
    ({"at": Term(1.0, layers=("a",))}, "layers are whole numbers"),  # type: ignore[arg-type]
    ({"at": Term(1.0, layers=(1.5,))}, "layers are whole numbers"),  # type: ignore[arg-type]
    ({"at": Term(1.0, layers=(True,))}, "layers are whole numbers"),
    ({"at": Term(1.0, warmup="3")}, "warmup must be a whole number"),  # type: ignore[arg-type]
    ({"at": Term(1.0, end=2.5)}, "end must be a whole number"),  # type: ignore[arg-type]
    ({"at": Term(1.0, loss=["kd"])}, "loss is a name, a function or a class"),  # type: ignore[arg-type]
    ({"kd": Term(1.0, options={"temperature": "hot"})}, "temperature must be a finite number, got 'hot'"),
    ({"kd": Term(1.0, options={"temperature": 0})}, "temperature must be above 0"),
    ({"kd": Term(1.0, options={"temprature": 2})}, "did you mean 'temperature'"),
    ({"kd": Term(1.0, options=["hot"])}, "options is a dict"),  # type: ignore[arg-type]
    ({"channel": Term(1.0, options={"norm": "cos"})}, "unknown norm 'cos'"),
    ({"mine": Term(1.0, loss=lambda s, t, q=1: 0, options={"r": 1})}, "unknown option 'r'; valid: q"),
]


@pytest.mark.parametrize(("losses", "message"), WRONG_LOSSES)
def test_losses_of_a_wrong_kind_are_refused_by_name(losses: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(losses=losses)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    swept = Config(losses={"kd": Term(np.float64(0.5), layers=[np.int64(1)], options={"temperature": np.float32(2)})})
    plain = Config(losses={"kd": Term(0.5, layers=(1,), options={"temperature": 2.0})})
    assert requested(swept) == requested(plain)
    assert params(swept) == params(plain)


def test_a_teacher_trains_for_its_own_epochs_else_for_the_students() -> None:
    base = Config(epochs=5)
    for teacher, flags, epochs in (
        (Config(model="plain11"), {}, 5),
        (Config(model="plain11", epochs=7), {}, 7),
        (Config(model="plain11", epochs=7), {"epochs": 9}, 9),
    ):
        study = Study(name="s", question="?", arms={"baseline": {}}, base=base, teacher=teacher)
        assert study.resolve("digits", None, {}, flags)[1].epochs == epochs


# --- what users write by hand ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Config(self_tought=3), "did you mean 'self_taught'"),
        (lambda: Term(1.0, layer=(1,)), "did you mean 'layers'"),
        (lambda: Term(), "'weight' must be given"),
        (lambda: Study(name="x", question="?", arm={}), "did you mean 'arms'"),
        (lambda: Setting(studnet={}), "did you mean 'student'"),
        (lambda: Search({}, trial=3), "did you mean 'trials'"),
        (lambda: Float(0.0), "'high' must be given"),
    ],
)
def test_a_misspelt_or_absent_field_is_a_users_error(build: Callable[[], object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build()


def test_a_study_file_with_a_misspelt_field_ends_with_code_2(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from scl.config import Config\nConfig(self_tought=3)\n")
    code = f"import scl.cli, runpy; runpy.run_path({str(file)!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stderr.startswith("error: Config: unknown field 'self_tought'")


def test_a_mistake_of_every_arm_is_told_once() -> None:
    study = Study(name="x", question="?", arms={"baseline": {}} | grid({"lrr": [1.0, 2.0], "width": [1.0, 2.0]}))
    with pytest.raises(UserError) as error:
        study.resolve("digits", None, {}, {})
    assert str(error.value).count("unknown field 'lrr'") == 1
    assert "'lrr=1/width=1', 'lrr=1/width=2'" in str(error.value)


def test_milestones_that_are_never_reached_are_refused() -> None:
    late = {"schedule": "multistep", "milestones": (10, 40), "epochs": 30}
    with pytest.raises(UserError, match="'late': milestones 40 lie after the last of 30 epochs"):
        Study(name="x", question="?", arms={"baseline": {}, "late": late}).resolve("digits", None, {}, {})
    with pytest.raises(UserError, match="the teacher: milestones 40"):
        Study(name="x", question="?", arms={"baseline": {}}, teacher=Config(**late)).resolve("digits", None, {}, {})


def test_a_recipe_of_another_length_keeps_its_shape() -> None:
    crd = RECIPES["crd"]
    assert at_length(crd, None) == at_length(crd, 240) == crd.fields
    assert at_length(crd, 60) == {**crd.fields, "epochs": 60, "milestones": (38, 45, 52)}
    assert at_length(crd, 1)["milestones"] == (1,)
    assert at_length(RECIPES["short"], 5) == {**RECIPES["short"].fields, "epochs": 5}


@pytest.mark.parametrize(
    ("flags", "epochs", "said"),
    [
        ((), (240, 240), ""),
        (("--epochs", "60"), (60, 60), "students 38, 45, 52; teacher 38, 45, 52"),
        (("--epochs", "60", "--teacher-epochs", "24"), (60, 24), "students 38, 45, 52; teacher 15, 18, 21"),
    ],
)
def test_a_recipe_is_for_the_teacher_too(flags: tuple[str, ...], epochs: tuple[int, int], said: str) -> None:
    """Also where the study sets the teacher's epochs for a data set; and milestones that move are said."""

    setting = Setting(teacher={"epochs": 40, "width": 0.25})
    study = Study(name="x", question="?", arms={"baseline": {}}, settings={"digits": setting})
    _, options = asked(study, "--recipe", "crd", *flags)
    arms, teacher = resolved(study, options)
    assert (arms["baseline"].epochs, teacher.epochs) == epochs
    assert teacher.milestones == at_length(RECIPES["crd"], teacher.epochs)["milestones"]
    assert teacher.width == 0.25
    assert moved_milestones(options).rpartition("in proportion: ")[2] == said


def test_code_that_git_does_not_know_is_dirty(tmp_path: Path) -> None:

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def dirty() -> bool:
        state = git_state(str(study))
        assert state is not None
        return bool(state["dirty"])

    study = tmp_path / "studies" / "mine.py"
    study.parent.mkdir()
    git("init")
    (tmp_path / ".gitignore").write_text("results/\n")
    git("add", ".")
    git("commit", "-m", "a")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert not dirty()
    study.write_text("x = 1\n")
    assert dirty()
    git("add", ".")
    git("commit", "-m", "b")
    assert not dirty()
    study.write_text("x = 2\n")
    assert dirty()
