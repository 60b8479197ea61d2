"""One student in training: isolation of failures, stages, rows, checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scl.data.batches import SplitData
from scl.models.networks import build_student, example_features
from scl.store.files import open_folder
from scl.study.config import Config
from scl.study.term import Term
from scl.train.checkpoint import Writer
from scl.train.cuda_graphs import StreamSlot
from scl.train.schedule import learning_rate
from scl.train.student import StudentTrainer
from scl.train.types import TrialFailure, TrialSpec
from tests.support.studies import CPU
from tests.support.training import BASE


def student(tiny: SplitData, config: Config = BASE, folder: Path | None = None) -> StudentTrainer:
    files = open_folder(str(folder)) if folder is not None else None
    features = example_features(build_student(config, tiny, 1), tiny, config.tap)
    return StudentTrainer(TrialSpec("one", config, 0, files), tiny, features, CPU, StreamSlot(CPU, graphs=False))


def take_steps(one: StudentTrainer, tiny: SplitData, steps: int) -> None:
    one.start_epoch(steps, CPU)
    for step in range(steps):
        images = tiny.train.images[step * 32 : step * 32 + 32] / 255
        one.step(images, tiny.train.labels[step * 32 : step * 32 + 32], None, step, steps)


def test_failures_end_the_trial_and_memory_errors_the_cohort(tiny: SplitData) -> None:
    one, other = student(tiny), student(tiny)
    with one.isolate("epoch 1"):
        raise TrialFailure("lower lr")
    assert (one.failure, one.finished) == ("lower lr", True)
    with other.isolate("epoch 2, step 3"):
        raise ValueError("a mistake")
    assert other.failure is not None
    assert other.failure.startswith("epoch 2, step 3: ")
    assert "a mistake" in other.failure
    with pytest.raises(torch.OutOfMemoryError), student(tiny).isolate("epoch 1"):
        raise torch.OutOfMemoryError("full")


def test_a_step_is_sgd_with_momentum_and_weight_decay(tiny: SplitData) -> None:
    """Against torch's own optimiser."""
    one = student(tiny)
    plain = build_student(BASE, tiny, 0).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(plain.parameters(), momentum=0.9, weight_decay=5e-4, nesterov=True, lr=1.0)
    take_steps(one, tiny, 3)
    plain.train()
    for step in range(3):
        optimizer.param_groups[0]["lr"] = learning_rate(BASE, (step + 1) / 3)
        images, target = (x[step * 32 : step * 32 + 32] for x in (tiny.train.images / 255, tiny.train.labels))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(plain(images), target).backward()
        optimizer.step()
    for found, expected in zip(one.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_row_of_an_epoch_weights_steps_by_their_images(tiny: SplitData) -> None:
    one = student(tiny)
    take_steps(one, tiny, 2)
    first, second = one.values[:, 0].tolist()
    one.end_epoch([30, 10], {})
    (row,) = one.history
    assert row["term.ce"] == pytest.approx(0.75 * first + 0.25 * second)
    assert row["train_loss"] == row["weighted.ce"] == row["term.ce"]
    assert row["train_acc"] == one.correct.item() / 40
    assert row["lr"] == learning_rate(BASE, 0.25)
    assert "val_acc" not in row


def test_values_and_logits_that_are_not_finite_name_their_place(tiny: SplitData) -> None:
    one = student(tiny)
    take_steps(one, tiny, 2)
    bad = torch.full((2, 10), float("inf"))
    with pytest.raises(TrialFailure, match="val logits are not finite after epoch 1, step 2; lower lr"):
        one.end_epoch([32, 32], {"val": (bad, torch.zeros(2, dtype=torch.int64))})
    one.values[1] = float("nan")
    with pytest.raises(TrialFailure, match="'ce' became nan at epoch 1, step 2 of 2; lower lr"):
        one.end_epoch([32, 32], {})


def test_a_checkpoint_restores_weights_momentum_and_record(tiny: SplitData, tmp_path: Path) -> None:
    config = BASE.replace(losses={"vid": Term(0.1, warmup=5)})
    one = student(tiny, config, tmp_path)
    one.start_epoch(1, CPU)
    features = example_features(one.model, tiny, config.tap)
    features = type(features)(
        [m.repeat(16, 1, 1, 1) for m in features.maps], features.embedding.repeat(16, 1), features.logits.repeat(16, 1)
    )
    one.step(tiny.train.images[:32] / 255, tiny.train.labels[:32], features, 0, 1)
    one.end_epoch([32], {})
    with Writer() as writer:
        one.save(writer)
    other = student(tiny, config, tmp_path)
    other.resume()
    assert (other.epoch, other.history, other.restarts, other.started) == (1, one.history, 1, one.started)
    for a, b in zip(one.optimizer.parameters, other.optimizer.parameters, strict=True):
        assert torch.equal(a, b)
    for found, momentum, parameter in zip(
        other.optimizer.state["momentum"], one.optimizer.state["momentum"], other.optimizer.parameters, strict=True
    ):
        assert found is not None
        assert momentum is not None
        assert torch.equal(found, momentum)
        assert found.stride() == parameter.stride()


def test_accumulated_batches_are_one_batch_where_nothing_depends_on_its_size(tiny: SplitData) -> None:
    """With the statistics of batch norm fixed. Five batches: the last is a step of its own."""
    several, one = student(tiny, BASE.replace(accumulate=2)), student(tiny)
    for each, steps, size in ((several, 5, 16), (one, 3, 32)):
        each.start_epoch(steps, CPU)
        each.model.eval()
        for step in range(steps):
            part = slice(step * size, min(step * size + size, 80))
            each.place = None  # type: ignore[assignment]
            each.config = each.config.replace(lr=0.05, schedule="multistep", milestones=(9,))
            each.step(tiny.train.images[part] / 255, tiny.train.labels[part], None, step, steps)
    for found, expected in zip(several.model.parameters(), one.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_with_patience_the_network_of_the_best_epoch_is_kept(tiny: SplitData) -> None:
    one = student(tiny, BASE.replace(patience=2, epochs=9))
    right, wrong = (torch.nn.functional.one_hot(tiny.val.labels + shift, 11)[:, :10].float() for shift in (0, 1))
    for epoch, logits in enumerate((wrong, right, right, wrong), 1):
        assert not one.finished
        take_steps(one, tiny, 1)
        one.end_epoch([32], {"val": (logits, tiny.val.labels), "test": (logits, tiny.val.labels)})
        if epoch == 2:
            best = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    assert one.finished
    ended = one.result(tiny, {p: torch.zeros(len(getattr(tiny, p).labels), 10) for p in ("val", "test")}, None, 1)
    assert (ended.metrics["state"], ended.metrics["epochs"], ended.metrics["best_epoch"]) == ("completed", 4, 2)
    assert ended.metrics["val_acc"] == ended.metrics["test_acc"] == 1.0
    assert all(torch.equal(ended.weights[name], tensor) for name, tensor in best.items())
    assert ended.test_logits is not None
    assert ended.test_logits.any()


def test_the_average_is_evaluated_and_kept(tiny: SplitData) -> None:
    one = student(tiny, BASE.replace(ema=0.5))
    take_steps(one, tiny, 3)
    assert one.kept is not one.model
    one.end_epoch([32, 32, 32], {})
    ended = one.result(tiny, {p: torch.zeros(len(getattr(tiny, p).labels), 10) for p in ("val", "test")}, None, 1)
    kept = one.kept.state_dict()
    assert all(torch.equal(ended.weights[name], kept[name]) for name in kept)
    assert not torch.equal(kept["classifier.weight"], one.model.classifier.weight)


def test_labels_may_be_probabilities_of_classes(tiny: SplitData) -> None:
    """One-hot probabilities give the same step as labels, and accuracy counts their largest."""
    hard, soft = (student(tiny, BASE.replace(label_smoothing=0.1)) for _ in range(2))
    for one in (hard, soft):
        one.start_epoch(1, CPU)
        labels = tiny.train.labels[:32]
        target = labels if one is hard else torch.nn.functional.one_hot(labels, 10).float()
        one.step(tiny.train.images[:32] / 255, target, None, 0, 1)
    torch.testing.assert_close(hard.values, soft.values)
    assert hard.correct == soft.correct
