"""Networks as they train and as they guide: folded batch norm, and no more of a network run than is read."""

from __future__ import annotations

import pytest
import torch
from conftest import CPU
from test_trainer import ARMS
from torch import nn

from scl.config import MODELS, Config, Term
from scl.models import Features, Wanted, build_model
from scl.networks import Guide, absorb_biases, build_student, example_features, folded, laid_out
from scl.objective import Objective
from scl.trainer import train_cohort
from scl.trial import Data, Teacher, Trial

FAMILIES = ("plain5", "plain3", "vgg8", "resnet8", "wrn_16_1")


def moved(name: str, **options: object) -> nn.Module:
    """A network whose batch norms have seen something, so that folding them wrongly shows."""
    torch.manual_seed(0)
    model = build_model(name, 10, width=0.25, **options)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
            nn.init.normal_(module.running_mean, 0.0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize("name", MODELS)
def test_folding_changes_rounding_alone(name: str) -> None:
    model, images = moved(name).eval().double(), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    for tap in ("relu", "bn"):
        with torch.no_grad():
            before = model.features(images, tap)  # type: ignore[operator]
            after = folded(moved(name).eval().double()).features(images, tap)  # type: ignore[operator]
        for a, b in zip([*before.maps, before.logits], [*after.maps, after.logits], strict=True):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in folded(moved(name).eval()).modules())
    # Only a wide residual network normalises what no convolution has just put out.
    assert norms == 0 or (
        name.startswith("wrn") and norms < sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    )


def test_biases_before_batch_norms_are_absorbed_and_nothing_else_learns_otherwise() -> None:
    """Three steps of SGD in float64, with the biases that batch norm takes away and without."""
    images, target = torch.rand(8, 3, 32, 32, dtype=torch.float64), torch.arange(8)
    models = [moved("vgg8").double() for _ in range(2)]
    for model in models:
        for name, parameter in model.named_parameters():
            if name.endswith("layers.0.bias"):
                nn.init.ones_(parameter)
    with_biases, without = models
    absorb_biases(without)
    torch.testing.assert_close(without.eval()(images), with_biases.eval()(images), rtol=1e-9, atol=1e-9)
    for model in models:
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), target).backward()
            optimizer.step()
    idle = 0
    for (name, parameter), other in zip(without.named_parameters(), with_biases.parameters(), strict=True):
        if name.endswith("layers.0.bias"):
            idle += 1
            assert not parameter.any()
        else:
            torch.testing.assert_close(parameter, other, rtol=1e-9, atol=1e-9)
    assert idle == 5
    torch.testing.assert_close(without.eval()(images), with_biases.eval()(images), rtol=1e-9, atol=1e-9)


def gradients(model: nn.Module, features: Features, maps: frozenset[int]) -> list[torch.Tensor | None]:
    model.zero_grad()
    (sum(features.maps[i].square().sum() for i in maps) + features.logits.square().sum()).backward()  # type: ignore[union-attr]
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("tap", ["relu", "bn", "block"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_not_wanted_moves_no_bit_of_the_rest(name: str, tap: str) -> None:
    images = torch.rand(4, 3, 32, 32)
    guided = len(moved(name).features(images).maps)  # type: ignore[operator]
    for maps in (frozenset(), frozenset({guided - 1}), frozenset({0}), frozenset(range(guided))):
        model = moved(name)
        whole = model.features(images, tap)  # type: ignore[operator]
        expected = gradients(model, whole, maps)
        model = moved(name)
        part = model.features(images, tap, Wanted(maps, head=True))  # type: ignore[operator]
        assert torch.equal(part.logits, whole.logits)
        assert torch.equal(part.embedding, whole.embedding)
        for i in range(guided):
            assert torch.equal(part.maps[i], whole.maps[i]) if i in maps else part.maps[i].numel() == 0
        for got, want in zip(gradients(model, part, maps), expected, strict=True):
            assert torch.equal(got, want)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_ends_after_the_last_stage_that_is_wanted(name: str) -> None:
    model, images = moved(name).eval(), torch.rand(2, 3, 32, 32)
    ran: list[int] = []
    for i, stage in enumerate(model.stages):  # type: ignore[arg-type]
        stage.register_forward_hook(lambda *_, i=i: ran.append(i))
    whole = model.features(images)  # type: ignore[operator]
    ran.clear()
    part = model.features(images, wanted=Wanted(frozenset({0}), head=False))  # type: ignore[operator]
    assert ran == list(range(model.unguided_stages + 1))  # type: ignore[operator]
    assert torch.equal(part.maps[0], whole.maps[0])
    assert part.logits.numel() == part.embedding.numel() == 0


def test_memory_is_laid_out_by_shapes_and_moves_rounding_alone(tiny: Data) -> None:
    config = Config(student="vgg8", self_taught=3)
    images = torch.rand(4, *tiny.image_shape)
    plain = build_student(config, tiny, 0)
    laid = laid_out(build_student(config, tiny, 0), tiny, CPU)
    first = [block.channels_first for block in laid.stages]  # type: ignore[union-attr]
    assert first == [False, False, False, True, True]  # 256 and more channels of 4×4
    for block, channels_first in list(zip(laid.stages, first, strict=True))[1:]:  # type: ignore[arg-type]
        assert block.layers[0].weight.is_contiguous() == channels_first
    torch.testing.assert_close(laid(images), plain(images), rtol=1e-3, atol=1e-4)
    narrow = laid_out(build_student(Config(width=0.125), tiny, 0), tiny, CPU)
    assert not any(block.channels_first for block in narrow.stages)  # type: ignore[union-attr]


def test_what_an_objective_reads(tiny: Data) -> None:
    model = build_student(Config(width=0.125), tiny, 0)
    example = example_features(model, tiny, "relu")

    def wanted(epoch: int = 1, **changes: object) -> tuple[Wanted, Wanted | None]:
        return Objective(Config(width=0.125, epochs=3, **changes), example, example).wanted(epoch)  # type: ignore[arg-type]

    head = Wanted(frozenset(), head=True)
    assert wanted() == (head, None)
    assert wanted(losses={"kd": 1.0}) == (head, head)
    assert wanted(losses={"pkt": 1.0}) == (head, head)
    assert wanted(losses={"hint": 1.0}) == (Wanted(frozenset({1}), True), Wanted(frozenset({1}), False))
    assert wanted(losses={"sp": 1.0}) == (Wanted(frozenset({3}), True), Wanted(frozenset({3}), False))
    assert wanted(losses={"at": 1.0})[1] == Wanted(frozenset(range(4)), False)
    stages = {"fsp": Term(1.0, stage="pretrain"), "kd": Term(1.0, end=2)}
    early, late, last = (wanted(e, losses=stages, pretrain_epochs=1)[1] for e in (1, 2, 4))
    assert (early, late, last) == (Wanted(frozenset(range(4)), False), head, None)


def test_a_cohort_asks_its_teacher_for_what_its_arms_read(
    tiny: Data, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[Wanted | None] = set()
    answer = Guide.__call__
    monkeypatch.setattr(Guide, "__call__", lambda self, x, wanted: (asked.add(wanted), answer(self, x, wanted))[1])

    def train(*names: str) -> set[Wanted | None]:
        asked.clear()
        list(train_cohort([Trial(name, ARMS[name], 0) for name in names], tiny, teacher, CPU))
        return set(asked)

    assert train("baseline") == set()
    assert train("baseline", "hint") == {Wanted(frozenset({1}), False)}
    assert train("hint", "kd") == {Wanted(frozenset({1}), True)}
