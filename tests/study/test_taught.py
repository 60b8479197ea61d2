"""The teachers that an arm names for itself."""

from __future__ import annotations

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.fields import generation_of
from scl.study.identity import canonical_json, effective, requested, teacher_id
from scl.study.taught import GENERATION_STEP, STEP, check_taught, teachers_of, trained_names

KD = {"losses": {"kd": 0.9}}
TEACHER = Config(model="plain11", width=0.5, epochs=40)


@pytest.mark.parametrize(
    ("taught_by", "models", "steps"),
    [
        ((), [], []),
        (("ema",), [], []),
        (("teacher",), ["plain11"], [0]),
        (("teacher", "teacher", "ema"), ["plain11", "plain11"], [0, 1]),
        (("teacher", "vgg8", "self"), ["plain11", "vgg8", "plain3"], [0, 1, 1]),
        (("self", "self"), ["plain3", "plain3"], [1, 2]),  # never the seed of the student
    ],
)
def test_each_name_is_a_network_with_a_seed(taught_by: tuple[str, ...], models: list[str], steps: list[int]) -> None:
    mean_of = "losses" if len(taught_by) > 1 else "logits"
    config = Config(model="plain3", epochs=7, ema=0.9, taught_by=taught_by, mean_of=mean_of, **KD)
    found = teachers_of(config, TEACHER, 3)
    assert [one.name for one in found] == list(trained_names(config))
    assert [one.config.model for one in found] == models
    assert [one.seed for one in found] == [3 + STEP * n for n in steps]
    for name, of, _, by in found:
        assert by is None
        assert not of.losses
        assert not of.taught_by
        assert (of.epochs, of.width) == ((7, 1.0) if name == "self" else (40, 0.5))


def test_a_generation_learns_from_the_one_before_by_the_arms_recipe() -> None:
    names = ("self", "self:1", "self:3", "self:3")
    config = Config(model="plain3", epochs=7, taught_by=names, mean_of="losses", ce=0.1, **KD)
    first, second, *thirds = teachers_of(config, TEACHER, 3)
    assert second.by == first
    for step, one in enumerate(thirds, 1):  # a name that repeats is another line, from its first generation on
        line = [one, one.by, one.by.by, one.by.by.by]  # type: ignore[union-attr]
        assert [each.name for each in line] == ["self:3", "self:2", "self:1", "self"]  # type: ignore[union-attr]
        assert [each.config.taught_by for each in line] == [("self:2",), ("self:1",), ("self",), ()]  # type: ignore[union-attr]
        assert [each.seed for each in line] == [3 + STEP * step + GENERATION_STEP * n for n in (3, 2, 1, 0)]  # type: ignore[union-attr]
        assert one.config == config.replace(taught_by=("self:2",), mean_of="logits")
        assert line[-1].by is None  # type: ignore[union-attr]
    assert thirds[0].by.by == second  # type: ignore[union-attr]


def test_the_id_of_a_teacher_has_its_own_teacher_in_it() -> None:
    config = Config(**KD)
    alone = teacher_id(config, 3, "data")
    assert alone == teacher_id(config, 3, "data", None)
    assert len({alone, teacher_id(config, 3, "data", "a"), teacher_id(config, 3, "data", "b")}) == 3


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("self", 0),
        ("self:1", 1),
        ("self:99", 99),
        *(
            (name, None)
            for name in ("self:0", "self:01", "self:100", "self:-1", "self:1.0", "self:", "self:a", "self: 1")
        ),
        *((name, None) for name in ("self:1\n", "Self:1", "ema", "teacher", "vgg8", "", "self:²", "self:١")),
    ],
)
def test_a_name_tells_its_generation(name: str, generation: int | None) -> None:
    assert generation_of(name) == generation
    if generation is None and name not in ("ema", "teacher", "vgg8"):
        with pytest.raises(UserError, match="self:K"):
            Config(taught_by=(name,), **KD)


@pytest.mark.parametrize(
    ("taught_by", "steps"),
    [
        (("self", "plain3"), [1, 2]),
        (("plain3", "self"), [1, 2]),
        (("self", "plain3", "self"), [1, 2, 3]),
        (("teacher", "plain11"), [0, 1]),
        (("plain11", "teacher"), [1, 0]),
        (("teacher", "teacher", "plain11"), [0, 1, 2]),
        (("plain11", "teacher", "teacher", "self"), [1, 0, 2, 1]),
    ],
)
def test_two_names_of_one_network_are_two_seeds(taught_by: tuple[str, ...], steps: list[int]) -> None:
    teacher = Config(model="plain11", epochs=7)
    found = teachers_of(Config(model="plain3", epochs=7, taught_by=taught_by, **KD), teacher, 3)
    assert [one.seed for one in found] == [3 + STEP * n for n in steps]
    networks = [(canonical_json(effective(one.config)), one.seed) for one in found]
    assert len(set(networks)) == len(networks)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"taught_by": ("techer",), **KD}, "did you mean|valid are|valid"),
        ({"taught_by": "teacher", **KD}, "must be a list of teachers"),
        ({"taught_by": (1,), **KD}, "must be a list of teachers"),
        ({"taught_by": ("ema",), **KD}, "set ema"),
        ({"taught_by": ("ema", "ema"), "ema": 0.9, **KD}, "'ema' 2 times"),
        ({"taught_by": ("teacher",), "losses": {"at": 1.0}}, "'at' compares maps"),
        ({"taught_by": ("teacher",), "losses": {"kd": 1.0, "pkt": 1.0}}, "'pkt' compares embedding"),
        ({"mean_of": "losses", **KD}, "name two or more in taught_by, got none"),
        ({"mean_of": "losses", "taught_by": ("vgg8",), **KD}, "two or more in taught_by, got vgg8"),
        ({"mean_of": "probabilities", "taught_by": ("vgg8", "self"), **KD}, "mean_of.*logits, losses"),
        ({"taught_by": ("self",), "teacher_layers": ("a",), **KD}, "logits have no layers"),
    ],
)
def test_what_is_not_defined_is_refused_in_words(fields: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Config(**fields)  # type: ignore[arg-type]


def test_ids_without_such_teachers_are_as_before_and_without_a_loss_they_have_no_effect() -> None:
    assert "taught_by" not in requested(Config(**KD))
    assert effective(Config(taught_by=("self",))) == effective(Config())
    assert effective(Config(taught_by=("self",), **KD)) != effective(Config(**KD))
    two = Config(taught_by=("teacher", "self"))
    assert effective(two.replace(mean_of="losses")) == effective(two)
    assert effective(two.replace(mean_of="losses", **KD)) != effective(two.replace(**KD))


@pytest.mark.parametrize(
    ("arm", "teacher", "template", "searched", "elsewhere", "said"),
    [
        ({}, {"taught_by": ("self",)}, None, (), False, "the teacher learns from labels"),
        ({}, {}, {"taught_by": ("self",), **KD}, (), False, "the study's teacher alone"),
        ({}, {}, {}, ("taught_by",), False, "the study's teacher alone"),
        ({"taught_by": ("vgg8",), **KD}, {}, None, (), True, "comes from elsewhere"),
        ({"taught_by": ("self:2",), **KD}, {}, None, (), True, "comes from elsewhere"),
        (
            {"taught_by": ("self:2",), **KD},
            {},
            {"taught_by": ("self:2",), **KD},
            (),
            False,
            "the study's teacher alone",
        ),
        (
            {"taught_by": ("self:2",), "model": "timm:resnet18", "pretrained": True, **KD},
            {},
            None,
            (),
            False,
            "'self:2' trains the student's network from random weights",
        ),
        ({"taught_by": ("ema",), "ema": 0.9, **KD}, {}, {"taught_by": ("ema",), "ema": 0.9, **KD}, (), True, ""),
    ],
)
def test_teachers_that_cannot_be_trained_are_refused(  # type: ignore[no-untyped-def]
    arm, teacher, template, searched, elsewhere: bool, said: str
) -> None:
    def check() -> None:
        start = None if template is None else Config(**template)
        check_taught({"arm": Config(**arm)}, TEACHER.replace(**teacher), start, searched, elsewhere)

    if not said:
        return check()
    with pytest.raises(UserError, match=said):
        check()
