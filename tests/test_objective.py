"""Every loss in an objective: fed, connected, pooled, and able to fall."""

from __future__ import annotations

import pytest
import torch

from scl.config import LOSSES, Config, Term, UserError
from scl.models import build_model
from scl.objective import Objective

IMAGES = (1, 16, 16)


def pair(student: str, teacher: str, width: float = 0.125) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    return build_model(student, 10, 1, width), build_model(teacher, 10, 1, 0.25).eval()


@pytest.mark.parametrize("teacher_name", ["plain11", "plain3"])
@pytest.mark.parametrize("student_name", ["plain5", "plain3", "plain9"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_lowers_its_own_term(loss: str, student_name: str, teacher_name: str) -> None:
    student, teacher = pair(student_name, teacher_name)
    x, y = torch.randn(8, *IMAGES), torch.arange(8)
    with torch.no_grad():
        guide = teacher.forward_features(x)
    objective = Objective(Config(ce=0, losses={loss: 1.0}), student.forward_features(x), guide)
    parameters = [*student.parameters(), *objective.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    values = []
    for _ in range(30):
        (value,) = objective(student.forward_features(x), guide, y, 1).values()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert min(values[-5:]) < values[0]


def test_a_connector_where_the_widths_differ_and_none_where_they_agree() -> None:
    x = torch.randn(2, *IMAGES)
    for width, count in ((0.125, 4), (0.25, 0)):
        student, teacher = pair("plain5", "plain11", width)
        objective = Objective(Config(losses={"channel": 1.0}), student.forward_features(x), teacher.forward_features(x))
        assert len(objective.connectors) == count


def test_one_location_and_layers_that_are_not_there_are_refused() -> None:
    student, teacher = pair("plain5", "plain11")
    x, tiny = torch.randn(2, *IMAGES), torch.randn(2, 1, 1, 1)
    for loss in ("spatial", "channel"):
        with pytest.raises(UserError, match="one location has no correlations"):
            Objective(Config(losses={loss: 1.0}), student.forward_features(tiny), teacher.forward_features(tiny))
    with pytest.raises(UserError, match="no guided layer 4; valid: -4 to 3"):
        Objective(
            Config(losses={"at": Term(1.0, layers=(4,))}), student.forward_features(x), teacher.forward_features(x)
        )
    with pytest.raises(UserError, match="needs a teacher"):
        Objective(Config(losses={"at": 1.0}), student.forward_features(x), None)


def test_values_are_sums_over_layers() -> None:
    student, teacher = pair("plain5", "plain11", 0.25)
    x, y = torch.randn(4, *IMAGES), torch.arange(4)
    features = student.forward_features(x), teacher.forward_features(x)

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
        guide = teacher.forward_features(x)
    for loss in ("channel", "spatial", "hint", "at", "sp", "vid", "nst", "ickd"):
        for layer in range(4):
            student.zero_grad()
            config = Config(ce=0, losses={loss: Term(1.0, layers=(layer,))})
            objective = Objective(config, student.forward_features(x), guide)
            objective(student.forward_features(x), guide, y, 1)[loss].backward()
            gradient = student.stages[layer][0].weight.grad
            guided = student.guided_channels[layer]
            assert gradient[guided:].abs().max() == 0
            assert gradient[:guided].abs().max() > 0
