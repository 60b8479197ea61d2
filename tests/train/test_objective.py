"""Objectives: every loss gets its features, connectors and pooling, and its value falls in training."""

from __future__ import annotations

import math
from itertools import combinations, product

import pytest
import torch

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.build import build_model
from scl.models.networks import build_student, example_features
from scl.models.staged import Features, Wanted
from scl.study.config import Config
from scl.study.loss_table import LOSSES
from scl.study.term import Term
from scl.train.objective import Objective, balanced_weights
from scl.train.types import TrialFailure

IMAGES = (1, 16, 16)


def pair(student: str, teacher: str, width: float = 0.125) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    return build_model(student, 10, 1, width), build_model(teacher, 10, 1, 0.25).eval()


STUDENTS = ("plain5", "plain3", "vgg8", "resnet8", "wrn_16_1")
TEACHERS = ("plain11", "vgg11", "resnet14", "wrn_16_2", "torchvision:resnet18")


@pytest.fixture(scope="module")
def teacher_features() -> dict[str, Features]:
    torch.manual_seed(0)
    out = {}
    for name in TEACHERS:
        width = 1.0 if name.startswith("torchvision") else 0.25
        with torch.no_grad():
            out[name] = build_model(name, 10, 1, width, image_size=16).eval().features(batch())
    return out


def batch() -> torch.Tensor:
    return torch.randn(8, *IMAGES, generator=torch.Generator().manual_seed(0))


# A Latin square for each loss: with every student once and with every teacher once, which takes five trainings. The
# squares are shifted by the loss's name, so that every student also meets every teacher, and a new loss moves no other.
COVERING = [
    (loss, student, TEACHERS[(i + sum(map(ord, loss))) % len(TEACHERS)])
    for loss in sorted(LOSSES)
    for i, student in enumerate(STUDENTS)
]


def test_the_covering_set_has_each_pair_of_loss_student_and_teacher() -> None:
    for one, other in combinations(range(3), 2):
        names = (sorted(LOSSES), STUDENTS, TEACHERS)
        assert {(row[one], row[other]) for row in COVERING} == set(product(names[one], names[other]))


@pytest.mark.parametrize(("loss", "student_name", "teacher_name"), COVERING)
def test_every_loss_lowers_its_own_term_for_every_family(
    loss: str, student_name: str, teacher_name: str, teacher_features: dict[str, Features]
) -> None:
    torch.manual_seed(0)
    teacher = teacher_features[teacher_name]
    projector = teacher.maps[-1].shape[1] if LOSSES[loss].reuses else 0
    student = build_model(student_name, 10, 1, 0.125, projector=projector)
    if LOSSES[loss].expands:
        student.expand(8 * teacher.maps[-1].shape[1])
    x, y = batch(), torch.arange(8)
    objective = Objective(Config(ce=0, losses={loss: 1.0}), student.features(x), teacher, y)
    optimizer = torch.optim.Adam([*student.parameters(), *objective.parameters()], lr=2e-3)
    values = []
    for _ in range(30):
        (value,) = objective(student.features(x), teacher, y, 1, index=torch.arange(8)).values()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert all(map(math.isfinite, values))
    assert min(values[-5:]) < values[0]


def test_a_connector_where_the_widths_differ_and_none_where_they_agree() -> None:
    x = torch.randn(2, *IMAGES)
    for width, count in ((0.125, 4), (0.25, 0)):
        student, teacher = pair("plain5", "plain11", width)
        objective = Objective(Config(losses={"channel": 1.0}), student.features(x), teacher.features(x))
        assert len(objective.connectors) == count


def test_one_location_and_layers_that_are_not_there_are_refused() -> None:
    student, teacher = pair("plain5", "plain11")
    x, tiny = torch.randn(2, *IMAGES), torch.randn(2, 1, 1, 1)
    for loss in ("spatial", "channel"):
        with pytest.raises(UserError, match="one location has no correlations"):
            Objective(Config(losses={loss: 1.0}), student.features(tiny), teacher.features(tiny))
    with pytest.raises(UserError, match="no guided layer 4; valid: -4 to 3"):
        Objective(Config(losses={"at": Term(1.0, layers=(4,))}), student.features(x), teacher.features(x))
    with pytest.raises(UserError, match="needs a teacher"):
        Objective(Config(losses={"at": 1.0}), student.features(x), None)


def test_values_are_sums_over_layers() -> None:
    student, teacher = pair("plain5", "plain11", 0.25)
    x, y = torch.randn(4, *IMAGES), torch.arange(4)
    features = student.features(x), teacher.features(x)

    def value(layers: tuple[int, ...]) -> float:
        objective = Objective(Config(losses={"at": Term(1.0, layers=layers)}), *features)
        return objective(*features, y, 1)["at"].item()

    assert value((0, 2)) == pytest.approx(value((0,)) + value((2,)))
    assert value((-1,)) == value((3,))


def test_self_taught_channels_get_no_gradient_from_any_loss_of_their_own_layer() -> None:
    torch.manual_seed(0)
    student, teacher = build_model("plain5", 10, 1, 0.125, self_taught=6), build_model("plain11", 10, 1, 0.25)
    x, y = torch.randn(8, *IMAGES), torch.arange(8)
    with torch.no_grad():
        t = teacher.features(x)
    for loss in ("channel", "spatial", "hint", "at", "sp", "vid", "nst", "ickd"):
        for layer in range(4):
            student.zero_grad()
            config = Config(ce=0, losses={loss: Term(1.0, layers=(layer,))})
            objective = Objective(config, student.features(x), t)
            objective(student.features(x), t, y, 1)[loss].backward()
            gradient = student.stages[layer].layers[0].weight.grad
            guided = student.guided_channels[layer]
            assert gradient[guided:].abs().max() == 0
            assert gradient[:guided].abs().max() > 0


def test_connectors_always_and_all_channels_guided() -> None:
    x = torch.randn(2, *IMAGES)
    student, teacher = pair("plain5", "plain11", 0.25)
    features = student.features(x), teacher.features(x)
    for loss, count in (("channel", 4), ("hint", 1), ("spatial", 0)):
        assert len(Objective(Config(losses={loss: 1.0}, connector="always"), *features).connectors) == count
    wider = build_model("plain5", 10, 1, 0.25, self_taught=4, guided="all")
    objective = Objective(Config(losses={"channel": 1.0}), wider.features(x), teacher.features(x))
    assert [c[0].in_channels for c in objective.connectors.values()] == [20, 36, 68, 132]


def test_terms_of_the_pretraining_stage_come_first_and_alone() -> None:
    student, teacher = pair("plain5", "plain11")
    x = torch.randn(2, *IMAGES)
    terms = {
        "fsp": Term(50.0, stage="pretrain"),
        "at": Term(8.0, stage="pretrain", warmup=4, end=2),
        "kd": Term(2.0, warmup=2),
    }
    objective = Objective(Config(losses=terms, pretrain_epochs=3, epochs=4), student.features(x), teacher.features(x))
    weights = {name: [objective.weight(name, epoch) for epoch in range(1, 8)] for name in ("ce", *terms)}
    assert weights == {
        "ce": [0, 0, 0, 1, 1, 1, 1],
        "fsp": [50, 50, 50, 0, 0, 0, 0],
        "at": [2, 4, 0, 0, 0, 0, 0],
        "kd": [0, 0, 0, 1, 2, 2, 2],
    }


@pytest.mark.parametrize(("stage", "epoch", "told"), [("train", 1, 1), ("train", 5, 2), ("pretrain", 2, 2)])
def test_losses_are_told_the_epoch_of_their_stage(stage: str, epoch: int, told: int) -> None:
    student, teacher = pair("plain5", "plain11")
    x = torch.randn(2, *IMAGES)
    terms = {"ctkd": Term(1.0, stage=stage), "at": Term(1.0, stage="pretrain")}
    objective = Objective(Config(losses=terms, pretrain_epochs=3), student.features(x), teacher.features(x))
    objective.start_epoch(epoch)
    assert objective.learned["ctkd-loss"].factor.item() == pytest.approx((math.cos(math.pi * told / 10) - 1) / 2)


def test_networks_without_class_activation_maps_are_refused() -> None:
    student, teacher = pair("plain5", "plain11")
    x = torch.randn(2, *IMAGES)
    s, t = student.features(x), teacher.features(x)
    for one, other, whose in ((s._replace(cams=None), t, "student"), (s, t._replace(cams=None), "teacher")):
        with pytest.raises(UserError, match=f"'catkd' compares class activation maps.* those of the {whose} are not"):
            Objective(Config(losses={"catkd": 1.0}), one, other)


def gap(student: torch.Tensor, teacher: torch.Tensor, power: int = 2) -> torch.Tensor:
    return (student.mean() - teacher.mean()).abs() ** power


def pair_gap(student: tuple[torch.Tensor, ...], teacher: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return gap(student[0], teacher[0]) + gap(student[1], teacher[1])


class Projected(torch.nn.Module):
    """A loss with a learned part, built like those of scl."""

    def __init__(self, student: int, teacher: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(student, teacher, bias=bias)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return (self.linear(student.flatten(2).mean(2) if student.ndim == 4 else student)).square().mean()


def test_custom_losses_receive_what_they_compare() -> None:
    student, teacher = pair("plain5", "plain11")
    x, y = torch.randn(4, *IMAGES), torch.arange(4)
    s, t = student.features(x), teacher.features(x)
    for compares, expected in (
        ("maps", sum(gap(a, b, 3) for a, b in zip(s.maps, t.maps, strict=True))),
        ("embedding", gap(s.embedding, t.embedding, 3)),
        ("cams", gap(s.cams, t.cams, 3)),
        ("logits", gap(s.logits, t.logits, 3)),
    ):
        term = Term(1.0, loss=gap, compares=compares, options={"power": 3})
        assert torch.equal(Objective(Config(losses={"mine": term}), s, t)(s, t, y, 1)["mine"], expected)
    levels = Objective(Config(losses={"mine": Term(1.0, loss=pair_gap, compares="levels", layers=(-1,))}), s, t)
    both = (s.maps[-1], s.embedding), (t.maps[-1], t.embedding)
    assert levels(s, t, y, 1)["mine"] == pair_gap(*both)
    pairs = Objective(Config(losses={"mine": Term(1.0, loss=pair_gap, compares="pairs", layers=(0, 1))}), s, t)
    assert pairs(s, t, y, 1)["mine"] == pair_gap(s.maps[:2], t.maps[:2])


def test_a_custom_class_is_built_from_the_widths_and_trains() -> None:
    student, teacher = pair("plain5", "plain11")
    x, y = torch.randn(4, *IMAGES), torch.arange(4)
    s, t = student.features(x), teacher.features(x)
    for compares, sizes in (("maps", [(8, 16), (16, 32), (32, 64), (64, 128)]), ("embedding", [(64, 128)])):
        term = Term(1.0, loss=Projected, compares=compares, options={"bias": False})
        objective = Objective(Config(ce=0, losses={"mine": term}), s, t)
        built = [m for m in objective.modules() if isinstance(m, Projected)]
        assert [(m.linear.in_features, m.linear.out_features) for m in built] == sizes
        assert built[0].linear.bias is None
        objective(s, t, y, 1)["mine"].backward(retain_graph=True)
        assert all(m.linear.weight.grad is not None for m in built)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda s, t: (s.detach().mean() - t.mean()) ** 2, "does not depend on the student"),
        (lambda s, t: (s.mean((1, 2, 3)) - t.mean((1, 2, 3))) ** 2, r"one number.* returned a tensor of shape \(4,\)"),
        (lambda s, t: 1.0, "returned float"),
        (lambda s, t: None, "returned NoneType"),
    ],
)
def test_a_custom_loss_that_cannot_train_the_student_is_refused(loss: object, message: str) -> None:
    student, teacher = pair("plain5", "plain11")
    x, y = torch.randn(4, *IMAGES), torch.arange(4)
    s = student.features(x)
    with torch.no_grad():
        t = teacher.features(x)
    objective = Objective(Config(losses={"mine": Term(1.0, loss=loss)}), s, t)  # type: ignore[arg-type]
    with pytest.raises(TrialFailure, match=message):
        objective(s, t, y, 1)


class NotAModule:
    def __init__(self, student: int, teacher: int) -> None: ...


class Unbuildable(torch.nn.Module):
    def __init__(self, student: int, teacher: int) -> None:
        raise RuntimeError("no such width")


def test_classes_that_cannot_be_built_are_refused_before_training_and_any_name_will_do() -> None:
    student, teacher = pair("plain5", "plain11")
    x, y = torch.randn(4, *IMAGES), torch.arange(4)
    s, t = student.features(x), teacher.features(x)
    for loss, message in (
        (NotAModule, "must be a torch.nn.Module"),
        (Unbuildable, r"\(8, 16\) raised .*no such width"),
    ):
        with pytest.raises(UserError, match=message):
            Objective(Config(losses={"mine": Term(1.0, loss=loss)}), s, t)
    objective = Objective(Config(losses={"type": Term(1.0, loss="vid"), "keys": Term(1.0, loss="cc")}), s, t)
    assert set(objective(s, t, y, 1)) == {"ce", "type", "keys"}


def test_what_an_objective_reads(tiny: SplitData) -> None:
    model = build_student(Config(width=0.125), tiny, 0)
    example = example_features(model, tiny, "relu")

    def wanted(epoch: int = 1, **changes: object) -> tuple[Wanted, Wanted | None]:
        return Objective(Config(width=0.125, epochs=3, **changes), example, example).wanted(epoch)  # type: ignore[arg-type]

    head = Wanted(frozenset(), head=True)
    assert wanted() == (head, None)
    assert wanted(losses={"kd": 1.0}) == (head, head)
    assert wanted(losses={"pkt": 1.0}) == (head, head)
    assert wanted(losses={"catkd": 1.0}) == (head._replace(cams=True),) * 2
    assert wanted(losses={"hint": 1.0}) == (Wanted(frozenset({1}), True), Wanted(frozenset({1}), False))
    assert wanted(losses={"sp": 1.0}) == (Wanted(frozenset({3}), True), Wanted(frozenset({3}), False))
    assert wanted(losses={"at": 1.0})[1] == Wanted(frozenset(range(4)), False)
    stages = {"fsp": Term(1.0, stage="pretrain"), "kd": Term(1.0, end=2)}
    early, late, last = (wanted(e, losses=stages, pretrain_epochs=1)[1] for e in (1, 2, 4))
    assert (early, late, last) == (Wanted(frozenset(range(4)), False), head, None)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_balanced_classes_weigh_the_cross_entropy_alone(smoothing: float, soft: bool) -> None:
    """Against the sum over classes, written out. With probabilities of classes, torch divides by the images."""
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    weights = balanced_weights(labels, 4)
    assert weights[:3].tolist() == pytest.approx([10 / 24, 10 / 12, 10 / 4])
    assert (weights[labels].sum() / 10).item() == pytest.approx(3 / 4)  # class 3 is empty
    config = Config(class_weights="balanced", label_smoothing=smoothing)
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    features = Features([], torch.zeros(10, 2), logits)
    objective = Objective(config, features, None, labels)
    hard = torch.nn.functional.one_hot(labels, 4).float()
    found = objective(features, None, hard if soft else labels, 1)["ce"]
    each = -(weights * (hard * (1 - smoothing) + smoothing / 4) * logits.log_softmax(1)).sum(1)
    assert found.item() == pytest.approx((each.sum() / (10 if soft else weights[labels].sum())).item(), rel=1e-5)
    assert "class_weights" not in objective.state_dict()


@pytest.mark.parametrize("mean_of", ["logits", "losses"])
def test_several_teachers_guide_by_their_mean_or_each(mean_of: str) -> None:
    generator = torch.Generator().manual_seed(0)
    own, one, other = (3 * torch.randn(8, 10, generator=generator) for _ in range(3))
    config = Config(losses={"kd": 1.0}, taught_by=("teacher", "vgg8"), mean_of=mean_of)
    teacher = Features([], own.new_empty(0), (one + other) / 2, each=(one, other))
    objective = Objective(config, Features([], own.new_empty(0), own), teacher)
    found = objective(Features([], own.new_empty(0), own), teacher, torch.zeros(8, dtype=torch.long), 1)["kd"]

    def kd(logits: torch.Tensor) -> torch.Tensor:
        target, log_p = (logits / 4).softmax(1), (own / 4).log_softmax(1)
        return 16 * (target * (target.log() - log_p)).sum(1).mean()

    each = (kd(one) + kd(other)) / 2
    torch.testing.assert_close(found, kd((one + other) / 2) if mean_of == "logits" else each)
    assert not torch.isclose(each, kd((one + other) / 2))
