"""Options and a study put together: what they settle, and the contradictions that are refused."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.options import Options, options_for
from scl.study.recipes import RECIPES, at_length
from scl.study.scales import Scale, Setting
from scl.study.search import Search
from scl.study.settled import left_out, moved_milestones, resolved, seeds_of, settled
from scl.study.space import Choice, Float, Int
from scl.study.study import Study

ARMS: dict[str, dict[str, Any]] = {"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 10.0}}}
STUDY = Study("options", "?", ARMS, base=Config(epochs=5), teacher=Config(model="plain11", epochs=7))
SEARCH = Search(
    {"weight.kd": Float(0.1, 10.0, log=True), "lr": Float(0.01, 0.1), "self_taught": Choice((0, 4))},
    template={"losses": {"at": 10.0, "kd": 1.0}, "width": 0.5},
)
SEARCHING = replace(STUDY, search=SEARCH)
SCALES = {
    "short": Scale(student={"epochs": 2}, data="digits", limit=100, val=0.2, seeds=2),
    "full": Scale(
        teacher={"epochs": 9}, arms={"baseline": {}, "kd": {"losses": {"kd": 2.0}}}, without=("kd",), val=0.0
    ),
}
SCALED = replace(STUDY, scales=SCALES)
MIRRORED = replace(STUDY, arms={**ARMS, "flip": {"augment": "flip"}})


def settle(study: Study = STUDY, **given: Any) -> tuple[Study, Options]:
    return settled(study, options_for(study, given))


def test_data_may_have_a_search_of_their_own() -> None:
    on_digits = replace(SEARCH, space={"lr": Float(0.01, 0.1)}, trials=7)
    several = replace(SEARCHING, settings={"digits": Setting(search=on_digits)})
    assert settle(several)[0].search == on_digits
    assert settle(several, data="cifar100")[0].search == SEARCH
    asked, _ = settle(several, trials=3)
    assert asked.search is not None
    assert asked.search.trials == 3, "flags override it"
    with pytest.raises(UserError, match="'digits' has a search, but the study has none"):
        replace(STUDY, settings={"digits": Setting(search=on_digits)})


def test_a_study_without_more_is_settled_with_digits() -> None:
    study, options = settle()
    assert study == STUDY
    assert options == Options(data="digits")
    assert settled(study, options) == (study, options)  # to settle twice changes nothing


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ("short", "digits", 100, 0.2)),
        ({"scale": "full"}, ("full", "cifar100", None, 0.0)),
        ({"data": "cifar10", "limit": 7, "val": 0.4}, ("short", "cifar10", 7, 0.4)),
        ({"recipe": "crd"}, ("short", "digits", 100, 0.0)),  # the recipe says how many images to hold out
    ],
)
def test_a_scale_gives_defaults_that_options_override(given: dict[str, Any], wanted: tuple[Any, ...]) -> None:
    study, options = settle(SCALED, **given)
    assert (options.scale, options.data, options.limit, options.val_share) == wanted
    assert not study.scales
    assert study.seeds == SCALES[str(options.scale)].seeds


def test_a_scale_changes_configurations_and_arms() -> None:
    short, options = settle(SCALED)
    arms, teacher = resolved(short, options)
    assert ({a.epochs for a in arms.values()}, teacher.epochs, len(arms)) == ({2}, 7, 3)
    full, options = settle(SCALED, scale="full")
    arms, teacher = resolved(full, options)
    assert (list(arms), teacher.epochs) == (["baseline"], 9)
    full, options = settle(SCALED, scale="full", arms="kd")
    assert resolved(full, options)[0]["kd"].losses["kd"].weight == 2.0
    with pytest.raises(UserError, match=r"unknown scale 'ful' \(did you mean 'full'"):
        settle(SCALED, scale="ful")


def test_a_recipe_reaches_students_teacher_and_arms_named_after_a_loss() -> None:
    study, options = settle(recipe="crd", epochs=60)
    arms, teacher = resolved(study, options)
    length = at_length(RECIPES["crd"], 60)
    assert all(config.milestones == teacher.milestones == length["milestones"] for config in arms.values())
    assert (arms["kd"].ce, arms["kd"].losses["kd"].weight) == (0.1, 0.9)
    assert (arms["at"].ce, arms["at"].losses["at"].weight) == (1.0, 1000)
    assert moved_milestones(options) == (
        "recipe crd has 240 epochs; its milestones move in proportion: students 38, 45, 52; teacher 38, 45, 52"
    )
    assert moved_milestones(settle(recipe="crd")[1]) == moved_milestones(settle(recipe="short", epochs=3)[1]) == ""


def test_an_augmentation_reaches_students_and_teacher_below_the_arms_own() -> None:
    arms, teacher = resolved(*settle(MIRRORED, augment="erasing+rrc"))
    assert {arm: config.augment for arm, config in arms.items()} == {
        **dict.fromkeys(ARMS, "rrc+erasing"),
        "flip": "flip",
    }
    assert teacher.augment == "rrc+erasing"


def test_a_setting_of_the_data_lies_below_flags_and_flags_below_set() -> None:
    study = replace(STUDY, settings={"cifar10": Setting(student={"lr": 0.2, "width": 2.0}, teacher={"epochs": 3})})
    sized, options = settle(study, data="cifar10", lr=0.3, set={"lr": 0.4, "teacher.lr": 0.5})
    arms, teacher = resolved(sized, options)
    assert {(a.lr, a.width) for a in arms.values()} == {(0.4, 2.0)}
    assert (teacher.lr, teacher.epochs) == (0.5, 3)
    sized, options = settle(study, data="cifar10", lr=0.3)
    assert {a.lr for a in resolved(sized, options)[0].values()} == {0.3}


def test_every_field_of_config_can_be_set() -> None:
    base = Config()
    for field in dataclasses.fields(Config):
        if field.name in ("losses", "taught_by"):  # arms of this study have losses that `taught_by` refuses
            continue
        value = getattr(base, field.name)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        if not text:
            text = {
                "milestones": "1", "teacher_layers": "layer1", "layers": "layer1,model=timm:x",
                "initial_weights": __file__,
            }[field.name]  # fmt: skip
        _, options = settled(STUDY, options_for(STUDY, {"set": f"{field.name}={text}"}))
        assert options.set


@pytest.mark.parametrize(
    ("given", "arm", "values"),
    [
        ("weight.kd=2,kd.temperature=3", "kd", {"kd": (2.0, {"temperature": 3})}),
        ("weight.kd=2", "at", {"at": (10.0, {})}),
        ({"weight.at": 5}, "at", {"at": (5, {})}),
    ],
)
def test_set_reaches_the_losses_that_an_arm_has(given: Any, arm: str, values: dict[str, Any]) -> None:
    arms, _ = resolved(*settle(set=given))
    assert {name: (term.weight, dict(term.options)) for name, term in arms[arm].losses.items()} == values


def test_set_reaches_every_part_of_a_term() -> None:
    arms, _ = resolved(*settle(set="at.layers=-1,at.warmup=2,at.end=4"))
    term = arms["at"].losses["at"]
    assert (term.layers, term.warmup, term.end, term.weight) == ((-1,), 2, 4, 10.0)
    assert arms["kd"].losses["kd"] == resolved(*settle())[0]["kd"].losses["kd"]


@pytest.mark.parametrize("teacher_per_seed", [False, True])
@pytest.mark.parametrize("given", [{}, {"teacher_per_seed": True}])
def test_a_teacher_for_each_seed_by_the_study_or_by_the_option(teacher_per_seed: bool, given: dict[str, Any]) -> None:
    study = replace(STUDY, teacher_per_seed=teacher_per_seed)
    assert settle(study, **given)[1].teacher_per_seed == (teacher_per_seed or bool(given))


@pytest.mark.parametrize(
    ("study", "given", "of_seeds"),
    [
        (STUDY, {}, {0: 0, 1: 0, 2: 0}),
        (STUDY, {"teachers": 1}, {0: 0, 1: 0, 2: 0}),
        (STUDY, {"teachers": "2"}, {0: 0, 1: 1, 2: 0}),
        (STUDY, {"teachers": 3}, {0: 0, 1: 1, 2: 2}),
        (STUDY, {"teachers": 3, "teacher_per_seed": True}, {0: 0, 1: 1, 2: 2}),
        (STUDY, {"teachers": 2, "seeds": 5}, {0: 0, 1: 1, 2: 0, 3: 1, 4: 0}),
        (STUDY, {"teachers": 2, "seed_list": "4-6"}, {4: 0, 5: 1, 6: 0}),
        (STUDY, {"teachers": 1, "interval": 0.01, "between": "kd,at"}, dict.fromkeys(range(5), 0)),
        (replace(STUDY, teachers=2), {}, {0: 0, 1: 1, 2: 0}),
        (replace(STUDY, teachers=2), {"teachers": 1}, {0: 0, 1: 0, 2: 0}),
        (replace(STUDY, teachers=2), {"teacher": "mine.pt"}, {0: 0, 1: 0, 2: 0}),
        (replace(STUDY, teachers=2), {"teacher_per_seed": True}, {0: 0, 1: 1, 2: 2}),
        (replace(STUDY, teacher_per_seed=True), {"teachers": 2}, {0: 0, 1: 1, 2: 0}),
        (replace(STUDY, teacher_per_seed=True), {"teachers": 1}, {0: 0, 1: 0, 2: 0}),
        (SEARCHING, {"teachers": 2}, {1000: 0, 1001: 1, 1002: 0}),
        (SEARCHING, {"teachers": 3}, {1000: 1, 1001: 2, 1002: 0}),
    ],
)
def test_which_teacher_each_seed_learns_from(study: Study, given: dict[str, Any], of_seeds: dict[int, int]) -> None:
    study, options = settle(study, **given)
    assert {seed: options.teacher_seed(seed) for seed in seeds_of(study, options)} == of_seeds
    assert options.teachers is None or len(set(of_seeds.values())) == options.teachers > 1


@pytest.mark.parametrize(("seeds", "pilot"), [(None, 5), (2, 5), (8, 8)])
def test_an_interval_has_a_pilot_of_five_seeds_or_more(seeds: int | None, pilot: int) -> None:
    assert settle(interval=0.01, between="kd,at", seeds=seeds)[1].seeds == pilot
    listed = settle(interval=0.01, between="kd,at", seed_list="3-7")
    assert (listed[1].seeds, listed[1].seed_list) == (None, (3, 4, 5, 6, 7))
    assert settled(*listed) == listed


# --- searches -------------------------------------------------------------------------------------------------------


def test_fixed_parameters_leave_the_space_for_the_template() -> None:
    study, _ = settle(SEARCHING, fix="lr=0.05,self_taught=4")
    assert study.search is not None
    assert list(study.search.space) == ["weight.kd"]
    assert study.search.template == {**SEARCH.template, "lr": 0.05, "self_taught": 4}


@pytest.mark.parametrize("form", ["epochs=4,lr=0.05,self_taught=4", {"epochs": 4, "lr": 0.05, "self_taught": 4}])
def test_parameters_are_fixed_by_text_or_by_values(form: Any) -> None:
    search = Search({"epochs": Int(2, 9), "lr": Float(0.01, 0.1), "self_taught": Choice((0, 4)), "ce": Float(0.1, 1)})
    study, _ = settle(replace(STUDY, search=search), fix=form)
    assert study.search is not None
    assert study.search.template == {"epochs": 4, "lr": 0.05, "self_taught": 4}
    for name, value in (("epochs", 2.5), ("epochs", True), ("lr", None), ("lr", [1]), ("self_taught", 5)):
        with pytest.raises(UserError, match=f"--fix {name}: "):
            settle(replace(STUDY, search=search), fix={name: value})


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ("width=0.25", {"width": 0.25}),  # the template's own value
        ("weight_decay=0", {"weight_decay": 0.0}),  # a field
        ("weight.at=3", {"weight.at": 3.0}),  # a loss of the template
        ("kd.temperature=3", {"kd.temperature": 3}),  # an option of a searched loss
        ("teacher.width=0.5", {}),
    ],
)
def test_set_reaches_the_template_of_a_search(given: str, changed: dict[str, Any]) -> None:
    study, options = settle(SEARCHING, set=given)
    assert study.search is not None
    assert study.search.template == {**SEARCH.template, **changed}
    assert study.search.space == SEARCH.space
    assert options.set


@pytest.mark.parametrize("name", SEARCH.space)
def test_a_searched_parameter_cannot_be_set(name: str) -> None:
    with pytest.raises(UserError, match=f"--set {name}: the search varies it; hold it with --fix {name}=VALUE"):
        settle(SEARCHING, set={name: "1"})


def test_set_overrides_a_parameter_that_is_fixed() -> None:
    study, _ = settle(SEARCHING, fix="lr=0.05", set="lr=0.02")
    assert study.search is not None
    assert study.search.template["lr"] == 0.02


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"set": "model=,width=0.5"}, "^--set model=, width=0.5: unknown model ''; valid: plain3"),
        ({"set": {"epochs": 0}}, "^--set epochs=0: epochs must be finite, 1 or more"),
        ({"set": "weight.at=-1"}, "^--set weight.at=-1: loss 'at': weight must be"),
        ({"fix": "lr=-1"}, "^--fix lr=-1: lr must be finite, above 0, got -1.0$"),
        ({"fix": {"weight.kd": -2.0}}, "^--fix weight.kd=-2.0: loss 'kd': weight must be"),
    ],
)
def test_a_value_that_a_search_refuses_names_its_flag(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settle(SEARCHING, **given)


def test_a_template_that_is_wrong_is_no_fault_of_a_flag() -> None:
    study = replace(SEARCHING, search=replace(SEARCH, template={"epochs": 0}))
    with pytest.raises(UserError, match=r"^the search's template: epochs must be"):
        settle(study, set="width=0.5")


# --- contradictions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("study", "given", "message"),
    [
        (STUDY, {"inline": True, "address": "auto"}, "--inline runs in this process and --address on a cluster"),
        (STUDY, {"teacher": "timm:x", "teacher_model": "plain7"}, "--teacher timm:x already names the network; drop"),
        (STUDY, {"plan": True, "report_only": True}, "--plan and --report-only exclude each other; give one of them"),
        (STUDY, {"teachers": 2, "teacher": "mine.pt"}, "--teachers 2: --teacher 'mine.pt' is one teacher; drop"),
        (STUDY, {"teachers": 2, "teacher_per_seed": True}, "--teachers 2 and --teacher-per-seed exclude each other"),
        (STUDY, {"teachers": 4}, "--teachers 4: 4 teachers need 4 seeds or more, and this run has 3; give more"),
        (replace(STUDY, teachers=2), {"seeds": 1}, "--teachers 2, as this study has by default: 2 teachers need 2"),
        (STUDY, {"teachers": 2, "seed_list": "0,2,4"}, "--teachers 2: no seed of --seed-list uses teacher 1, .* add"),
        (STUDY, {"teachers": 2, "interval": 0.01, "between": "kd,at"}, "--interval with --teachers 2: it adds seeds"),
        (replace(SEARCHING, search=replace(SEARCH, winners=0)), {"teachers": 2}, "2 seeds or more, and this run has 0"),
        (STUDY, {"device": "cpu", "gpus_per_trial": 1}, "--device cpu and --gpus-per-trial 1 exclude each other"),
        (STUDY, {"seeds": 50_000}, "3 arms × 50,000 seeds are 150,000 trials, .*; give --seeds 33,333 or"),
        (replace(STUDY, seeds=10**9), {}, "3 arms × 1,000,000,000 seeds are 3,000,000,000 trials"),
        (STUDY, {"seeds": 3, "seed_list": [3]}, "--seeds and --seed-list exclude each other"),
        (STUDY, {"seed_list": "3-6", "interval": 0.01, "between": "kd,at"}, "a pilot of 5 seeds or more; .* gives 4"),
        (STUDY, {"seed_list": range(2**63 - 9, 2**63), "interval": 0.01, "between": "kd,at"}, "give smaller seeds"),
        (STUDY, {"looks": "5,9", "interval": 0.01, "between": "kd,at"}, "--looks names other numbers; drop one"),
        (STUDY, {"report_only": True, "margin": 0.01}, "--margin, --looks, --metric and --at-most are recorded by"),
        (STUDY, {"report_only": True, "metric": "macro_f1"}, "--metric and --at-most are recorded by a run"),
        (STUDY, {"report_only": True, "at_most": "params=5"}, "--metric and --at-most are recorded by a run"),
        (STUDY, {"logits": True, "no_logits": True}, "--logits and --no-logits exclude each other"),
        (STUDY, {"report_only": True, "looks": [3]}, "drop --report-only: finished trials are kept"),
        (SEARCHING, {"seed_list": "3"}, "--seed-list is for studies of arms; a search's winners run on --seeds N"),
        (STUDY, {"interval": 0.01}, "--interval F and --between A,B go together"),
        (STUDY, {"between": "kd,at"}, "--interval F and --between A,B go together"),
        (STUDY, {"interval": 0.01, "between": "kd"}, "--between takes two different arms, as in kd,baseline; got kd"),
        (STUDY, {"interval": 0.01, "between": "kd,kd"}, "two different arms"),
        (STUDY, {"interval": 0.01, "between": "kd,at,baseline"}, "two different arms"),
        (STUDY, {"interval": 0.01, "between": "kd,kdd"}, "--between: unknown arm of this run 'kdd' .did you mean 'kd'"),
        (STUDY, {"interval": 0.01, "between": "kd,at", "arms": "kd"}, "unknown arm of this run 'at'"),
        (SEARCHING, {"interval": 0.01, "between": "kd,at"}, "--interval is for studies of arms; a search's winners"),
        (SEARCHING, {"fix": "nosuch=1"}, "unknown parameter 'nosuch'"),
        (SEARCHING, {"fix": "lr=fast"}, "--fix lr: must be a finite number, got 'fast'"),
        (SEARCHING, {"set": "weight.sp=1"}, "--set: 'weight.sp': no arm of this run has the loss 'sp'; --arms"),
        (STUDY, {"set": "sp.nosuch=1"}, "--set: 'sp.nosuch': no arm of this run has the loss 'sp'"),
        (STUDY, {"set": "weight.nosuch=1"}, "--set: unknown name 'weight.nosuch'"),
        (STUDY, {"set": "kd.nosuch=1"}, r"--set: unknown name 'kd.nosuch'.*kd\.temperature"),
        (STUDY, {"set": "kd.layers=deep"}, "--set kd.layers: must be whole numbers, as in 150,180, got 'deep'"),
        (STUDY, {"set": "kd.layers=7,8.5"}, "must be whole numbers"),
        (STUDY, {"set": "kd.warmup=often"}, "warmup must be a whole number of epochs"),
        (STUDY, {"set": "kd.stage=never"}, "unknown stage 'never'"),
        (STUDY, {"set": "kd.stage=pretrain"}, "needs pretrain_epochs of 1 or more"),
        (SEARCHING, {"set": "width=wide"}, "--set width: must be a finite number, got 'wide'"),
        (STUDY, {"arms": "kdd"}, "unknown arm 'kdd'"),
        (STUDY, {"no_flip": True, "augment": "flip+crop"}, "--no-flip says .*arm 'baseline' mirrors, with .*crop"),
        (STUDY, {"no_flip": True, "set": "teacher.augment=flip"}, "--no-flip says .*, and the teacher mirrors"),
        (MIRRORED, {"no_flip": True}, "--no-flip says .*arm 'flip' mirrors, .* leave out the word flip, or drop"),
        (
            replace(SEARCHING, search=replace(SEARCH, space={"augment": Choice(("rrc", "rrc+flip"))}, template={})),
            {"no_flip": True},
            "--no-flip says .*, and the search mirrors",
        ),
        (
            replace(SEARCHING, search=replace(SEARCH, template={**SEARCH.template, "augment": "rrc+flip"})),
            {"no_flip": True},
            "--no-flip says .*, and the search mirrors",
        ),
        (STUDY, {"set": "nosuch=1"}, "--set: unknown name 'nosuch'.*valid: model, "),
        (STUDY, {"set": "teacher.nosuch=1"}, r"--set: unknown name 'teacher\.nosuch'.*valid: teacher\."),
        (STUDY, {"set": "pretrained=true"}, "pretrained is for torchvision:NAME"),
        (STUDY, {"set": "milestones=9,schedule=multistep"}, "milestones 9 lie after the last of 5 epochs"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_with_the_way_out(study: Study, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settle(study, **given)


def test_a_file_of_a_teacher_may_name_its_network() -> None:
    assert settle(teacher="mine.pt", teacher_model="plain7")[1].teacher_file == "mine.pt"


NEURONS = Study(
    "neurons", "q",
    {"baseline": {}, "kd": {"losses": {"kd": 1}}, "scl": {"losses": {"channel": 1}, "self_taught": 4},
     "taken": {"losses": {"channel": 1}, "self_taught": 2, "self_taught_from": "taken"}},
)  # fmt: skip


def test_arms_whose_neurons_the_student_cannot_have_are_left_out_or_refused_by_name() -> None:
    study, options = settled(NEURONS, options_for(NEURONS, {"student": "timm:x"}))
    assert list(resolved(study, options)[0]) == ["baseline", "kd", "taken"]
    assert left_out(study, options).startswith("left out: scl, because this student cannot be widened")
    with pytest.raises(UserError, match=r"arm 'scl': timm:x cannot be widened.*self_taught_from='taken'"):
        settled(NEURONS, options_for(NEURONS, {"student": "timm:x", "arms": "scl"}))
    study, options = settled(NEURONS, options_for(NEURONS, {"student": "timm:x", "set": "self_taught_from=taken"}))
    assert list(resolved(study, options)[0]) == ["baseline", "kd", "scl", "taken"]
    assert left_out(study, options) == ""
    assert left_out(*settled(NEURONS, options_for(NEURONS, {}))) == ""


WITH_RATE = replace(STUDY, settings={"digits": Setting(student={"lr": 0.05})})
ADAM = {"optimizer": "adamw", "lr": 0.001}


@pytest.mark.parametrize("study", [STUDY, WITH_RATE])
@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "adamw"},
        {"set": "optimizer=adam"},
        {"set": "teacher.optimizer=nadam"},
        {"optimizer": "adamw", "set": "teacher.optimizer=radam"},
    ],
)
def test_an_optimizer_without_its_learning_rate_is_refused(study: Study, given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"has the lr of another optimizer, 0\.[01].*set lr too, as in lr=0\.001"):
        settle(study, **given)


@pytest.mark.parametrize(
    ("given", "student", "teacher"),
    [
        ({"optimizer": "adamw", "lr": 0.002}, ("adamw", 0.002), ("sgd", 0.1)),
        ({"set": "optimizer=adamw,lr=0.003"}, ("adamw", 0.003), ("sgd", 0.1)),
        ({"set": "teacher.optimizer=adamw,teacher.lr=0.004"}, ("sgd", 0.05), ("adamw", 0.004)),
    ],
)
def test_an_optimizer_comes_with_its_rate(
    given: dict[str, Any], student: tuple[str, float], teacher: tuple[str, float]
) -> None:
    arms, resolved_teacher = resolved(*settle(WITH_RATE, **given))
    assert {(a.optimizer, a.lr) for a in arms.values()} == {student}
    assert (resolved_teacher.optimizer, resolved_teacher.lr) == teacher


def test_arms_and_searches_over_optimizers_name_rates() -> None:
    arms = {"baseline": {}, "adamw": ADAM}
    assert resolved(*settle(replace(STUDY, arms=arms)))[0]["adamw"].lr == 0.001
    with pytest.raises(UserError, match=r"arm 'adamw': optimizer 'adamw' has the lr of another"):
        resolved(*settle(replace(STUDY, arms={"baseline": {}, "adamw": {"optimizer": "adamw"}})))
    with pytest.raises(UserError, match=r"optimizer 'sgd' has the lr of another optimizer, 0.001.*as in lr=0.05"):
        resolved(*settle(replace(STUDY, base=Config(**ADAM), arms={"baseline": {}, "sgd": {"optimizer": "sgd"}})))  # type: ignore[arg-type]
    space = {"optimizer": Choice(("sgd", "adamw")), "lr": Float(1e-4, 0.1, log=True)}
    assert settle(replace(STUDY, search=Search(space)))
    with pytest.raises(UserError, match=r"search space, 'optimizer': optimizer 'adamw' has the lr of another"):
        settle(replace(STUDY, search=Search({"optimizer": Choice(("sgd", "adamw"))})))
