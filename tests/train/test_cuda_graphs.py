"""A replay gives what a step would. On a CPU a stand-in captures: see in_memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from scl.data.batches import SplitData
from scl.losses.arithmetic import tensors_in
from scl.models.staged import Features
from scl.study.term import Term
from scl.train import cuda_graphs, loop
from scl.train.cuda_graphs import WARMUP_CALLS, GraphRunner, StaticBuffers, StreamSlot
from scl.train.student import StudentTrainer
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec
from tests.support.studies import CPU
from tests.support.training import BASE, CHANGING, drawing_loss, ends, epochs_of


def in_memory(work: Callable[..., Any], inputs: Sequence[Any], slot: StreamSlot) -> tuple[Callable[[], None], Any]:
    """Stands in for `cuda_graphs.capture`: like a graph, it computes nothing when captured, keeps the values that
    Python had then, and writes all results into the same tensors."""
    if isinstance(inputs[-1], tuple) and not isinstance(
        inputs[-1], Features
    ):  # the teacher, of whom features are wanted
        first = work(*inputs)

        def again() -> None:
            for old, new in zip(tensors_in(first), tensors_in(work(*inputs)), strict=True):
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


def test_replayed_steps_learn_what_steps_learn(
    tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = epochs_of(CHANGING, tiny, teacher)
    captures = []

    def counted(*arguments: Any) -> Any:
        captures.append(arguments)
        return in_memory(*arguments)

    monkeypatch.setattr(cuda_graphs, "capture", counted)
    monkeypatch.setattr(loop, "supports_graphs", lambda device: True)
    replayed = epochs_of(CHANGING, tiny, teacher)
    # The teacher; each student once, and again where a weight has changed or a stage has ended.
    assert len(captures) > len(CHANGING)
    assert replayed.keys() == plain.keys()
    for name, rows in plain.items():
        for row, other in zip(rows, replayed[name], strict=True):
            # A rate on the device is a float32.
            assert other.keys() == row.keys()
            numbers = {column: value for column, value in row.items() if column != "trial_id"}
            assert [other[column] for column in numbers] == pytest.approx(list(numbers.values()), rel=1e-3, abs=1e-6)


def test_others_inputs_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    place = torch.ones(2)
    monkeypatch.setattr(cuda_graphs, "capture", lambda work, inputs, slot: (lambda: None, place))
    replayed, same, other = GraphRunner(StreamSlot(CPU, True)), torch.zeros(2), torch.zeros(2)
    first = [replayed(lambda x: torch.ones(2), same) is place for _ in range(WARMUP_CALLS + 2)]
    assert first == [False] * WARMUP_CALLS + [True] * 2
    assert replayed(lambda x: torch.ones(2), other) is not place
    assert replayed(lambda x: torch.ones(2), same) is place
    replayed.reset()
    assert replayed(lambda x: torch.ones(2), same) is not place


WRONG: list[Any] = [
    "does nothing", "weights stay", "count of batches stays", "another value", "another way", "the first batch",
    "the rate of the capture", 0.96, 0.99, 1.01, 1.04,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_graph_that_does_something_else_is_thrown_away(
    wrong: str | float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number is a factor on what the step changes. From step to step, the rate changes by a millionth only."""
    weight, count, place = torch.ones(3), torch.zeros((), dtype=torch.int64), torch.zeros(2)
    replayed, x, rate = GraphRunner(StreamSlot(CPU, True)), torch.zeros(()), torch.tensor(1e-3)

    def step(x: torch.Tensor) -> torch.Tensor:
        weight.mul_(1 - rate * x)
        count.add_(1)
        return torch.stack([x, 10 * x])

    def captured(work: Any, inputs: Any, slot: StreamSlot) -> Any:
        first, kept = x.clone(), rate.clone()

        def replay() -> None:
            old, now = (weight.clone(), count.clone()), rate.clone()
            if wrong == "the rate of the capture":
                rate.copy_(kept)
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
            elif isinstance(wrong, float):
                weight.copy_(old[0] + wrong * (weight - old[0]))
            rate.copy_(now)

        return replay, place

    monkeypatch.setattr(cuda_graphs, "capture", captured)
    expected = torch.ones(3)
    for i in range(1, 2 * WARMUP_CALLS):
        x.fill_(i)
        rate.mul_(1 - 1e-6)
        expected *= 1 - rate * x
        found = replayed(step, x, state=lambda: [[weight], [count]], settings=[rate])
        assert found.tolist() == [i, 10 * i]
        assert count == i
        torch.testing.assert_close(weight, expected)
    assert capsys.readouterr().err == ("steps run without a CUDA graph, more slowly: a replay differs from the step\n")


def test_a_graph_that_rounds_in_another_way_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kernels that sum in another order differ by a little, in all directions."""
    weight, place, gradient = torch.ones(1000), torch.zeros(1), torch.randn(1000)

    def step(x: torch.Tensor) -> torch.Tensor:
        weight.sub_(1e-3 * gradient)
        return x + 1

    def captured(work: Any, inputs: Any, slot: StreamSlot) -> Any:
        return lambda: weight.sub_(1e-3 * (gradient + 0.02 * torch.randn(1000))), place.fill_(1)

    monkeypatch.setattr(cuda_graphs, "capture", captured)
    replayed, x = GraphRunner(StreamSlot(CPU, True)), torch.zeros(1)
    results = [replayed(step, x, state=lambda: [[weight]]) for _ in range(WARMUP_CALLS + 2)]
    assert [result is place for result in results] == [False] * WARMUP_CALLS + [True] * 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("draw", [torch.rand_like, F.dropout, torch.bernoulli, lambda x: x + torch.randn(1)])
def test_a_step_that_draws_random_numbers_is_never_captured(
    draw: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All graphs of a device read one seed and offset there, which replays on several streams would overwrite."""
    monkeypatch.setattr(cuda_graphs, "capture", lambda *given: pytest.fail("it was captured"))
    replayed, x = GraphRunner(StreamSlot(CPU, True)), torch.full((8,), 0.5)
    for _ in range(2 * WARMUP_CALLS):
        replayed(draw, x)
    assert "steps run without a CUDA graph, more slowly: they draw random numbers" in capsys.readouterr().err


def test_a_warm_up_replays_one_graph(tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weight changes in each epoch; the graph reads it, and is captured again where a term comes or goes."""
    captures = []
    monkeypatch.setattr(cuda_graphs, "capture", lambda work, *rest: captures.append(work) or in_memory(work, *rest))
    warm = {"kd": BASE.replace(losses={"kd": Term(1.0, warmup=3), "at": Term(5.0, end=2)}, epochs=4)}
    plain = epochs_of(warm, tiny, teacher)["kd"]
    monkeypatch.setattr(loop, "supports_graphs", lambda device: True)
    replayed = epochs_of(warm, tiny, teacher)["kd"]
    assert sum(isinstance(getattr(work, "__self__", None), StudentTrainer) for work in captures) == 2
    for row, other in zip(plain, replayed, strict=True):
        assert other["weighted.kd"] == pytest.approx(row["weighted.kd"], rel=1e-4)
        assert other["val_loss"] == pytest.approx(row["val_loss"], rel=1e-3)


def test_each_graph_of_a_step_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A batch in other tensors needs another graph, which may be wrong although the first was right."""
    monkeypatch.setattr(cuda_graphs, "capture", lambda work, inputs, slot: (lambda: None, torch.zeros(2)))
    replayed, first, second = GraphRunner(StreamSlot(CPU, True)), torch.zeros(2), torch.ones(2)
    for _ in range(WARMUP_CALLS + 1):
        replayed(lambda x: x + 0, first)
    assert capsys.readouterr().err == ""
    for _ in range(WARMUP_CALLS + 2):
        assert replayed(lambda x: x + 0, second).tolist() == [1, 1]
    assert "a replay differs from the step" in capsys.readouterr().err


def test_a_step_that_is_not_finite_is_no_fault_of_its_graph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = torch.tensor([float("nan"), 1.0])
    monkeypatch.setattr(cuda_graphs, "capture", lambda work, inputs, slot: (lambda: None, place))
    replayed, same = GraphRunner(StreamSlot(CPU, True)), torch.zeros(2)
    results = [replayed(lambda x: torch.tensor([float("nan"), 1.0]), same) for _ in range(WARMUP_CALLS + 1)]
    assert results[-1] is place
    assert capsys.readouterr().err == ""


def test_what_cannot_be_captured_runs_as_it_is_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graphs, "capture", refuse)
    replayed, same = GraphRunner(StreamSlot(CPU, True)), torch.zeros(2)
    assert [replayed(lambda x: x + 1, same).sum() for _ in range(3 * WARMUP_CALLS)] == [2] * 3 * WARMUP_CALLS
    assert capsys.readouterr().err == (
        "steps run without a CUDA graph, more slowly: operation not permitted when stream is capturing\n"
    )


def test_code_that_is_not_this_projects_is_never_captured(
    tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that draws random numbers on the host would repeat them at each replay."""
    captured = []
    monkeypatch.setattr(cuda_graphs, "capture", lambda work, *rest: captured.append(work) or in_memory(work, *rest))
    monkeypatch.setattr(loop, "supports_graphs", lambda device: True)
    own = BASE.replace(losses={"mine": Term(1.0, loss=drawing_loss)})
    (ended,) = ends([TrialSpec("own", own, 0)], tiny, teacher).values()
    assert ended.metrics["state"] == "completed"
    assert captured
    assert not any(isinstance(getattr(work, "__self__", None), StudentTrainer) for work in captured)


def test_no_memory_for_a_graph_is_the_cohorts_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(cuda_graphs, "capture", full)
    replayed, same = GraphRunner(StreamSlot(CPU, True)), torch.zeros(2)
    for _ in range(WARMUP_CALLS - 1):
        replayed(lambda x: x, same)
    with pytest.raises(torch.OutOfMemoryError):
        replayed(lambda x: x, same)


def test_whole_batches_are_in_one_place_and_others_are_left_alone() -> None:
    in_place = StaticBuffers(3)
    images, target = in_place((torch.ones(3, 1), torch.ones(3)))
    again = in_place((torch.full((3, 1), 2.0), torch.full((3,), 2.0)))
    assert again[0] is images
    assert again[1] is target
    assert images.eq(2).all()
    assert target.eq(2).all()
    last = torch.ones(2, 1), torch.ones(2)
    assert in_place(last) is last


def test_only_what_has_another_shape_takes_another_place() -> None:
    in_place = StaticBuffers(2)

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
