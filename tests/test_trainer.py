"""The invariant: a trial's numbers depend on its configuration and its seed, and on nothing beside it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import CPU, RECIPE

from scl import checkpoint
from scl.config import Config, Term
from scl.storage import open_folder
from scl.trainer import Data, Teacher, Trial, TrialEnded, build_student, final_metrics, learning_rate, train_cohort

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
    next(train_cohort([ahead], tiny, teacher, CPU))
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
    assert [learning_rate(steps, e) for e in (0, 2.9, 3, 6)] == pytest.approx([1, 1, 0.1, 0.01])
