"""Replays: what is captured once must give what a fresh step would. On a CPU a stand-in captures, see in_memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from conftest import CPU, RECIPE

from scl import graphs, trainer
from scl.config import Config, Term
from scl.graphs import WARM, InPlace, Lane, Replayed
from scl.models import Features
from scl.trainer import train_cohort
from scl.trial import Data, Teacher, Trial, TrialEnded

BASE = Config(width=0.125, **RECIPE)
ARMS = {
    "baseline": BASE,
    "kd, warmed up, ended": BASE.replace(losses={"kd": Term(1.0, warmup=2), "at": Term(5.0, end=2)}),
    "scl": BASE.replace(losses={"channel": 0.3, "spatial": 0.3}, self_taught=4),
    "fsp first": BASE.replace(losses={"fsp": Term(50.0, stage="pretrain")}, pretrain_epochs=1, epochs=2),
}


def in_memory(work: Callable[..., Any], inputs: Sequence[Any], lane: Lane) -> tuple[Callable[[], None], Any]:
    """In place of `graphs.capture`: like a graph it computes nothing when captured, keeps all that Python knew then,
    and writes its results into one place."""
    if isinstance(inputs[-1], tuple) and not isinstance(
        inputs[-1], Features
    ):  # the teacher, of whom features are wanted
        first = work(*inputs)

        def again() -> None:
            for old, new in zip([*first.maps, *first[1:]], [*(f := work(*inputs)).maps, *f[1:]], strict=True):
                old.copy_(new)

        return again, first
    student = work.__self__  # type: ignore[attr-defined]
    known = {name: getattr(student, name) for name in ("weights", "wanted", "epoch")}
    result = [torch.full((len(student.weights),), float("nan")), torch.zeros((), dtype=torch.int64)]

    def replay() -> None:
        now = {name: getattr(student, name) for name in known}
        vars(student).update(known)
        for old, new in zip(result, work(*inputs), strict=True):
            old.copy_(new)
        vars(student).update(now)

    return replay, result


def epochs(data: Data, teacher: Teacher, device: torch.device = CPU, **options: Any) -> dict[str, list[dict[str, Any]]]:
    trials = [Trial(name, config, 0) for name, config in ARMS.items()]
    ended = [e for e in train_cohort(trials, data, teacher, device, **options) if isinstance(e, TrialEnded)]
    assert [e.metrics["state"] for e in ended] == ["completed"] * len(ARMS)
    return {e.trial_id: e.epochs for e in ended}


def test_replayed_steps_learn_what_steps_learn(tiny: Data, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = epochs(tiny, teacher)
    captures = []

    def counted(*arguments: Any) -> Any:
        captures.append(arguments)
        return in_memory(*arguments)

    monkeypatch.setattr(graphs, "capture", counted)
    monkeypatch.setattr(trainer, "can_replay", lambda device: True)
    replayed = epochs(tiny, teacher)
    # The teacher; each student once, and again where a weight has changed or a stage has ended.
    assert len(captures) > len(ARMS)
    assert replayed.keys() == plain.keys()
    for name, rows in plain.items():
        for row, other in zip(rows, replayed[name], strict=True):
            # A rate on the device is a float32.
            assert other.keys() == row.keys()
            numbers = {column: value for column, value in row.items() if column != "trial_id"}
            assert [other[column] for column in numbers] == pytest.approx(list(numbers.values()), rel=1e-3, abs=1e-6)


def test_others_inputs_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    place = torch.ones(2)
    monkeypatch.setattr(graphs, "capture", lambda work, inputs, lane: (lambda: None, place))
    replayed, same, other = Replayed(Lane(CPU, True)), torch.zeros(2), torch.zeros(2)
    assert [replayed(lambda x: torch.ones(2), same) is place for _ in range(WARM + 2)] == [False] * WARM + [True] * 2
    assert replayed(lambda x: torch.ones(2), other) is not place
    assert replayed(lambda x: torch.ones(2), same) is place
    replayed.forget()
    assert replayed(lambda x: torch.ones(2), same) is not place


WRONG = ["does nothing", "weights stay", "count of batches stays", "another value", "another way", "the first batch"]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_graph_that_does_something_else_is_thrown_away(
    wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weight, count, place = torch.ones(3), torch.zeros((), dtype=torch.int64), torch.zeros(2)
    replayed, x = Replayed(Lane(CPU, True)), torch.zeros(())

    def step(x: torch.Tensor) -> torch.Tensor:
        weight.mul_(1 - 1e-3 * x)
        count.add_(1)
        return torch.stack([x, 10 * x])

    def captured(work: Any, inputs: Any, lane: Lane) -> Any:
        first = x.clone()

        def replay() -> None:
            old = weight.clone(), count.clone()
            if wrong != "does nothing":
                place.copy_(step(first if wrong == "the first batch" else x))
            if wrong == "weights stay":
                weight.copy_(old[0])
            elif wrong == "count of batches stays":
                count.copy_(old[1])
            elif wrong == "another value":
                place.mul_(1.2)
            elif wrong == "another way":
                weight.copy_(2 * old[0] - weight)

        return replay, place

    monkeypatch.setattr(graphs, "capture", captured)
    expected = torch.ones(3)
    for i in range(1, 2 * WARM):
        x.fill_(i)
        expected *= 1 - 1e-3 * x
        assert replayed(step, x, state=lambda: [[weight], [count]]).tolist() == [i, 10 * i]
        assert count == i
        torch.testing.assert_close(weight, expected)
    assert capsys.readouterr().err == (
        "steps run without a CUDA graph, more slowly: a replay did something else than the step\n"
    )


def test_each_graph_of_a_step_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Another place for the batch is another graph, which may be wrong where the first was right."""
    monkeypatch.setattr(graphs, "capture", lambda work, inputs, lane: (lambda: None, torch.zeros(2)))
    replayed, first, second = Replayed(Lane(CPU, True)), torch.zeros(2), torch.ones(2)
    for _ in range(WARM + 1):
        replayed(lambda x: x + 0, first)
    assert capsys.readouterr().err == ""
    for _ in range(WARM + 2):
        assert replayed(lambda x: x + 0, second).tolist() == [1, 1]
    assert "a replay did something else" in capsys.readouterr().err


def test_a_step_that_is_not_finite_is_no_fault_of_its_graph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = torch.tensor([float("nan"), 1.0])
    monkeypatch.setattr(graphs, "capture", lambda work, inputs, lane: (lambda: None, place))
    replayed, same = Replayed(Lane(CPU, True)), torch.zeros(2)
    results = [replayed(lambda x: torch.tensor([float("nan"), 1.0]), same) for _ in range(WARM + 1)]
    assert results[-1] is place
    assert capsys.readouterr().err == ""


def test_what_cannot_be_captured_runs_as_it_is_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphs, "capture", refuse)
    replayed, same = Replayed(Lane(CPU, True)), torch.zeros(2)
    assert [replayed(lambda x: x + 1, same).sum() for _ in range(3 * WARM)] == [2] * 3 * WARM
    assert capsys.readouterr().err == (
        "steps run without a CUDA graph, more slowly: operation not permitted when stream is capturing\n"
    )


def test_code_that_is_not_this_projects_is_never_captured(
    tiny: Data, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that draws on the host would draw the same at each replay."""
    captured = []
    monkeypatch.setattr(graphs, "capture", lambda work, *rest: captured.append(work) or in_memory(work, *rest))
    monkeypatch.setattr(trainer, "can_replay", lambda device: True)
    own = BASE.replace(losses={"mine": Term(1.0, loss=drawing_loss)})
    (ended,) = [e for e in train_cohort([Trial("own", own, 0)], tiny, teacher, CPU) if isinstance(e, TrialEnded)]
    assert ended.metrics["state"] == "completed"
    assert captured
    assert not any(isinstance(getattr(work, "__self__", None), trainer.Student) for work in captured)


def drawing_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return student.mean() * float(torch.rand(())) - teacher.mean()


def test_no_memory_for_a_graph_is_the_cohorts_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(graphs, "capture", full)
    replayed, same = Replayed(Lane(CPU, True)), torch.zeros(2)
    for _ in range(WARM - 1):
        replayed(lambda x: x, same)
    with pytest.raises(torch.OutOfMemoryError):
        replayed(lambda x: x, same)


def test_whole_batches_are_in_one_place_and_others_are_left_alone() -> None:
    in_place = InPlace(3)
    images, target = in_place((torch.ones(3, 1), torch.ones(3)))
    again = in_place((torch.full((3, 1), 2.0), torch.full((3,), 2.0)))
    assert again[0] is images
    assert again[1] is target
    assert images.eq(2).all()
    assert target.eq(2).all()
    last = torch.ones(2, 1), torch.ones(2)
    assert in_place(last) is last


def test_only_what_has_another_shape_takes_another_place() -> None:
    in_place = InPlace(2)

    def batch(value: float, *maps: int) -> tuple[torch.Tensor, Features | None]:
        whole = Features(
            [torch.full((size,), value) for size in maps], torch.full((2,), value), torch.full((2,), value)
        )
        return torch.full((2, 1), value), whole if maps else None

    images, features = in_place(batch(1, 3, 4))
    assert in_place(batch(2, 3, 4)) == (images, features)
    assert in_place(batch(2, 3, 4))[1] is features
    other_images, other = in_place(batch(3, 3, 5))
    assert other_images is images
    assert isinstance(other, Features)
    assert other.maps[0] is features.maps[0]  # type: ignore[union-attr]
    assert [m.tolist() for m in other.maps] == [[3] * 3, [3] * 5]
    assert in_place(batch(4))[0] is images
    assert in_place(batch(4))[1] is None
