"""The invariant: a trial's numbers depend on its configuration and its seed, and on nothing beside it."""

from __future__ import annotations

import gc
import math
import weakref
from pathlib import Path

import pytest
import torch
from conftest import CPU, RECIPE

from scl import checkpoint, graphs, trainer
from scl.config import Config, Term
from scl.evaluation import final_metrics
from scl.networks import build_student
from scl.storage import open_folder
from scl.trainer import Student, learning_rate, train_cohort
from scl.trial import Data, Teacher, Trial, TrialEnded

BASE = Config(width=0.125, **RECIPE)
ARMS = {
    "baseline": BASE,
    "kd": BASE.replace(ce=0.1, losses={"kd": 0.9}),
    "hint": BASE.replace(losses={"hint": 0.1}),
    "at": BASE.replace(losses={"at": 10}),
    "channel": BASE.replace(losses={"channel": 0.3}),
    "spatial": BASE.replace(losses={"spatial": 0.3}),
    "both": BASE.replace(losses={"channel": 0.3, "spatial": 0.3}),
    "scl": BASE.replace(losses={"channel": 0.3, "spatial": 0.3}, self_taught=4),
}


def train(names: list[str], data: Data, teacher: Teacher | None, **options: object) -> dict[str, TrialEnded]:
    trials = [Trial(name, ARMS[name], 0) for name in names]
    events = train_cohort(trials, data, teacher, CPU, **options)  # type: ignore[arg-type]
    return {e.trial_id: e for e in events if isinstance(e, TrialEnded)}


def stopped_after(epochs: int, trial: Trial, data: Data, teacher: Teacher) -> None:
    """A run that ends when so many epochs are kept, in the midst of the next."""
    list(zip(range(epochs + 1), train_cohort([trial], data, teacher, CPU), strict=False))
    assert trial.files is not None
    kept = checkpoint.load_last_epoch(trial.files)
    assert kept is not None
    assert kept[1]["epoch"] == epochs


def test_cohort_of_one_three_and_eight_are_bitwise_equal(tiny: Data, teacher: Teacher) -> None:
    whole = train(list(ARMS), tiny, teacher)
    three = train(["at", "scl", "kd"], tiny, teacher)
    for name in ("at", "scl", "kd"):
        alone = train([name], tiny, teacher)[name]
        for other in (whole[name], three[name]):
            assert other.epochs == alone.epochs
            assert torch.equal(other.test_logits, alone.test_logits)
            assert other.metrics["test_loss"] == alone.metrics["test_loss"]


@pytest.mark.parametrize("stop_after", [1, 2])
def test_stopped_and_resumed_is_bitwise_equal(tiny: Data, teacher: Teacher, tmp_path: Path, stop_after: int) -> None:
    whole = train(["scl", "kd"], tiny, teacher)
    trials = [Trial(n, ARMS[n], 0, open_folder(str(tmp_path / n))) for n in ("scl", "kd")]
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps > stop_after * 7 + 3  # 7 batches an epoch: in the midst of the next one

    first = list(train_cohort(trials, tiny, teacher, CPU, stop=stop))
    assert len(first) == 2 * stop_after
    assert not any(isinstance(e, TrialEnded) for e in first)
    # The other one goes on alone, later, in a cohort of its own.
    for trial in trials:
        (ended,) = [e for e in train_cohort([trial], tiny, teacher, CPU) if isinstance(e, TrialEnded)]
        assert ended.epochs == whole[trial.id].epochs
        assert torch.equal(ended.test_logits, whole[trial.id].test_logits)
        assert ended.metrics["restarts"] == 1


def test_resumes_from_the_checkpoint_before_a_truncated_one(tiny: Data, teacher: Teacher, tmp_path: Path) -> None:
    files = open_folder(str(tmp_path))
    trial = Trial("kd", ARMS["kd"], 0, files)
    list(zip(range(2), train_cohort([trial], tiny, teacher, CPU), strict=False))
    names = files.names()
    (tmp_path / names[-1]).write_bytes(files.read(names[-1])[:1000])
    (ended,) = [e for e in train_cohort([trial], tiny, teacher, CPU) if isinstance(e, TrialEnded)]
    assert ended.epochs == train(["kd"], tiny, teacher)["kd"].epochs


def test_flipped_bit_in_a_checkpoint_is_noticed() -> None:
    content = bytearray(checkpoint.pack({"w": torch.arange(100.0)}, {"epoch": 1}))
    assert checkpoint.unpack(bytes(content))[1] == {"epoch": 1}
    content[-3] ^= 1
    with pytest.raises(checkpoint.Damaged):
        checkpoint.unpack(bytes(content))


def test_members_at_different_epochs_go_on_together(tiny: Data, teacher: Teacher, tmp_path: Path) -> None:
    ahead = Trial("kd", ARMS["kd"], 0, open_folder(str(tmp_path / "kd")))
    stopped_after(1, ahead, tiny, teacher)
    late = Trial("at", ARMS["at"], 0, open_folder(str(tmp_path / "at")))
    ended = {e.trial_id: e for e in train_cohort([ahead, late], tiny, teacher, CPU) if isinstance(e, TrialEnded)}
    for name, one in train(["kd", "at"], tiny, teacher).items():
        assert ended[name].epochs == one.epochs


def test_nan_fails_that_trial_alone_and_is_named(tiny: Data, teacher: Teacher) -> None:
    wild = Trial("wild", BASE.replace(lr=1e30), 0)
    kd = Trial("kd", ARMS["kd"], 0)
    ended = {e.trial_id: e for e in train_cohort([wild, kd], tiny, teacher, CPU) if isinstance(e, TrialEnded)}
    assert ended["wild"].metrics["state"] == "failed"
    assert "'ce'" in ended["wild"].metrics["error"]
    assert "epoch 1, step" in ended["wild"].metrics["error"]
    assert ended["kd"].epochs == train(["kd"], tiny, teacher)["kd"].epochs


def broken_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("a user's mistake")


def own_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return (student.mean((1, 2, 3)) - teacher.mean((1, 2, 3))).square().mean()


def test_an_exception_in_a_users_loss_fails_that_trial_with_its_trace(tiny: Data, teacher: Teacher) -> None:
    trials = [
        Trial("broken", BASE.replace(losses={"mine": Term(1.0, loss=broken_loss)}), 0),
        Trial("own", BASE.replace(losses={"mine": Term(1.0, loss=own_loss)}), 0),
    ]
    ended = {e.trial_id: e for e in train_cohort(trials, tiny, teacher, CPU) if isinstance(e, TrialEnded)}
    assert ended["broken"].metrics["state"] == "failed"
    assert "a user's mistake" in ended["broken"].metrics["error"]
    assert ended["own"].metrics["state"] == "completed"
    assert ended["own"].epochs[-1]["term.mine"] >= 0


def test_terms_ramp_up_and_end(tiny: Data, teacher: Teacher) -> None:
    config = BASE.replace(losses={"kd": Term(1.0, warmup=2), "at": Term(5.0, end=1)})
    (ended,) = [e for e in train_cohort([Trial("x", config, 0)], tiny, teacher, CPU) if isinstance(e, TrialEnded)]
    first, second, third = ended.epochs
    assert first["weighted.kd"] == pytest.approx(0.5 * first["term.kd"])
    assert second["weighted.kd"] == pytest.approx(second["term.kd"])
    assert "term.at" in first
    assert "term.at" not in third
    for row in ended.epochs:
        total = sum(v for k, v in row.items() if k.startswith("weighted."))
        assert row["train_loss"] == pytest.approx(total)


def test_seed_moves_the_numbers_and_the_arm_does_not_move_the_start(tiny: Data) -> None:
    one, two = build_student(BASE, tiny, 0), build_student(BASE, tiny, 1)
    assert not torch.equal(one.state_dict()["classifier.weight"], two.state_dict()["classifier.weight"])
    same = build_student(ARMS["kd"], tiny, 0)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))


def test_every_column_is_filled_for_the_baseline_too(tiny: Data, teacher: Teacher) -> None:
    metrics = train(["baseline"], tiny, teacher)["baseline"].metrics
    wanted = (
        "val_acc",
        "test_acc",
        "test_acc_at_best_val",
        "test_acc_best",
        "test_acc5",
        "test_loss",
        "agreement",
        "ece",
    )
    assert all(metrics[name] >= 0 for name in wanted)
    assert metrics["epochs"] == 3
    assert metrics["best_epoch"] in (1, 2, 3)


def test_final_metrics_against_loops() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(200, 7), torch.randn(200, 7)
    labels = torch.randint(0, 7, (200,))
    got = final_metrics(logits, labels, teacher)
    agree = top5 = loss = kl = 0.0
    bins: dict[int, list[tuple[float, float]]] = {}
    for x, t, y in zip(logits.double().tolist(), teacher.double().tolist(), labels.tolist(), strict=True):
        p = [math.exp(v) / sum(map(math.exp, x)) for v in x]
        q = [math.exp(v) / sum(map(math.exp, t)) for v in t]
        agree += p.index(max(p)) == q.index(max(q))
        top5 += y in sorted(range(7), key=lambda i: -x[i])[:5]
        loss -= math.log(p[y])
        kl += sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True))
        bins.setdefault(min(int(max(p) * 15), 14), []).append((float(p.index(max(p)) == y), max(p)))
    ece = sum(abs(sum(c for c, _ in b) - sum(p for _, p in b)) for b in bins.values())
    wanted = {"agreement": agree, "test_acc5": top5, "test_loss": loss, "teacher_kl": kl, "ece": ece}
    assert got == pytest.approx({k: v / 200 for k, v in wanted.items()}, abs=1e-9)


def test_learning_rate_schedules() -> None:
    cosine = Config(lr=1.0, epochs=10, warmup_epochs=2)
    assert [learning_rate(cosine, e) for e in (1, 2, 6, 10)] == pytest.approx([0.5, 1.0, 0.5, 0.0])
    steps = Config(lr=1.0, epochs=10, schedule="multistep", milestones=(3, 6))
    assert [learning_rate(steps, e) for e in (0, 3, 3.1, 6.1)] == pytest.approx([1, 1, 0.1, 0.01])


def drawing_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return ((student * torch.rand(student.shape[1], 1, 1)).mean() - teacher.mean()).square()


def test_what_a_loss_draws_depends_on_no_neighbour_and_on_no_stop(tiny: Data, teacher: Teacher, tmp_path: Path) -> None:
    config = BASE.replace(losses={"mine": Term(1.0, loss=drawing_loss)})

    def ended(trials: list[Trial]) -> list[dict[str, object]]:
        events = [e for e in train_cohort(trials, tiny, teacher, CPU) if isinstance(e, TrialEnded)]
        return next(e.epochs for e in events if e.trial_id == "draws")

    alone = ended([Trial("draws", config, 0)])
    assert ended([Trial("kd", ARMS["kd"], 0), Trial("draws", config, 0)]) == alone
    stopped = Trial("draws", config, 0, open_folder(str(tmp_path)))
    stopped_after(1, stopped, tiny, teacher)
    torch.rand(7)
    assert ended([stopped]) == alone


def test_pretraining_stopped_anywhere_is_bitwise_equal(tiny: Data, teacher: Teacher, tmp_path: Path) -> None:
    config = BASE.replace(losses={"fsp": Term(50.0, stage="pretrain")}, pretrain_epochs=2, epochs=2, width=0.125)
    (whole,) = [e for e in train_cohort([Trial("a", config, 0)], tiny, teacher, CPU) if isinstance(e, TrialEnded)]
    assert [sorted(k for k in row if k.startswith("weighted")) for row in whole.epochs] == [
        ["weighted.fsp"], ["weighted.fsp"], ["weighted.ce"], ["weighted.ce"],
    ]  # fmt: skip
    assert whole.metrics["epochs"] == 4
    assert [row["lr"] for row in whole.epochs[:2]] == [config.lr, config.lr]
    for epochs in (1, 2, 3):
        trial = Trial("a", config, 0, open_folder(str(tmp_path / str(epochs))))
        stopped_after(epochs, trial, tiny, teacher)
        (ended,) = [e for e in train_cohort([trial], tiny, teacher, CPU) if isinstance(e, TrialEnded)]
        assert ended.epochs == whole.epochs


@pytest.mark.parametrize("student", ["vgg8", "resnet8", "wrn_16_1", "torchvision:mobilenet_v3_small"])
def test_every_family_alone_and_beside_others_is_bitwise_equal(tiny: Data, teacher: Teacher, student: str) -> None:
    """torchvision's has dropout: what it draws is its own."""
    width = 1.0 if student.startswith("torchvision") else 0.125
    one = BASE.replace(student=student, width=width, losses={"kd": 0.9}, epochs=2)
    results = []
    for beside in ([], [Trial("kd", ARMS["kd"], 0)]):
        events = train_cohort([*beside, Trial("one", one, 0)], tiny, teacher, CPU)
        results.append(next(e for e in events if isinstance(e, TrialEnded) and e.trial_id == "one"))
    assert results[0].metrics["state"] == "completed"
    assert results[0].epochs == results[1].epochs
    assert torch.equal(results[0].test_logits, results[1].test_logits)


def test_accuracy_with_self_taught_channels_at_zero_is_stored_where_there_are_any(tiny: Data, teacher: Teacher) -> None:
    ended = train(["scl", "kd"], tiny, teacher)
    assert 0 <= ended["scl"].metrics["test_acc_muted"] <= 1
    assert "test_acc_muted" not in ended["kd"].metrics
    model = build_student(ARMS["scl"], tiny, 0)
    model.load_state_dict(ended["scl"].weights)
    model.eval().muted = True
    mean, std = tiny.mean.view(1, -1, 1, 1), tiny.std.view(1, -1, 1, 1)
    logits = model((tiny.test.images / 255 - mean) / std)
    accuracy = (logits.argmax(1) == tiny.test.labels).double().mean().item()
    assert ended["scl"].metrics["test_acc_muted"] == pytest.approx(accuracy, abs=2 / 797)


def test_what_a_cohort_held_goes_with_it(tiny: Data, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not when Python next looks for circles: on a GPU it is the next cohort's memory."""
    held: list[weakref.ref[Student]] = []
    made = Student.__init__
    monkeypatch.setattr(Student, "__init__", lambda self, *given: held.append(weakref.ref(self)) or made(self, *given))
    monkeypatch.setattr(trainer, "can_replay", lambda device: True)
    monkeypatch.setattr(graphs, "WARM", 1000)
    gc.disable()
    try:
        train(["scl", "kd"], tiny, teacher)
        assert len(held) == 2
        assert [ref() for ref in held] == [None, None]
    finally:
        gc.enable()


def test_cohorts_share_where_the_teacher_is_tapped(tiny: Data, teacher: Teacher) -> None:
    other = BASE.replace(losses={"at": 10}, tap="bn")
    with pytest.raises(ValueError, match="tap"):
        list(train_cohort([Trial("a", ARMS["at"], 0), Trial("b", other, 0)], tiny, teacher, CPU))
    (ended,) = [e for e in train_cohort([Trial("b", other, 0)], tiny, teacher, CPU) if isinstance(e, TrialEnded)]
    assert ended.epochs != train(["at"], tiny, teacher)["at"].epochs
