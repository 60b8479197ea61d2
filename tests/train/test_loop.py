"""The numbers of a trial depend on its configuration and its seed, and on nothing else."""

from __future__ import annotations

import errno
import gc
import time
import weakref
from collections import deque
from pathlib import Path

import pytest
import torch

from scl.data.batches import SplitData
from scl.models.networks import build_student
from scl.store.files import open_folder
from scl.study.term import Term
from scl.train import checkpoint, cuda_graphs, loop
from scl.train.loop import train_cohort
from scl.train.student import StudentTrainer
from scl.train.teacher import Teacher
from scl.train.types import EpochDone, Event, TrialEnded, TrialSpec
from tests.support.studies import CPU
from tests.support.training import ARMS, BASE, drawing_loss, ends, epochs_of, stop_after, train


def test_cohort_of_one_three_and_eight_are_bitwise_equal(tiny: SplitData, teacher: Teacher) -> None:
    whole = train(list(ARMS), tiny, teacher)
    three = train(["at", "scl", "kd"], tiny, teacher)
    for name in ("at", "scl", "kd"):
        alone = train([name], tiny, teacher)[name]
        for other in (whole[name], three[name]):
            assert other.epochs == alone.epochs
            assert torch.equal(other.test_logits, alone.test_logits)
            assert other.metrics["test_loss"] == alone.metrics["test_loss"]


LEARNED = {
    "memories of images": BASE.replace(losses={"crd": 0.8, "kd": 0.5}),
    "images several times": BASE.replace(losses={"crd": 0.8}, sampling="balanced"),
    "a temperature": BASE.replace(losses={"ctkd": Term(0.9, options={"rise": 2.0})}, ce=0.1, lr=1.0),
    "class activation maps": BASE.replace(losses={"catkd": 5.0}),
    "connectors": BASE.replace(losses={"ofd": 0.001}, tap="bn"),
    "layers crossed": BASE.replace(losses={"semckd": 1.0}),
    "the teacher's classifier": BASE.replace(losses={"simkd": 1.0}, ce=0.0, projector=64),
    "a transform, folded": BASE.replace(losses={"norm": 1.0}, ce=0.5, ema=0.9),
    "all levels": BASE.replace(losses={"reviewkd": Term(1.0, warmup=2)}, tap="bn"),
}


@pytest.mark.parametrize("case", LEARNED)
def test_what_a_loss_learns_is_that_of_its_trial(case: str, tiny: SplitData, teacher: Teacher, tmp_path: Path) -> None:
    """Alone, in a cohort, and stopped and resumed."""
    config = LEARNED[case].replace(epochs=2)
    beside = [TrialSpec("kd", config.replace(losses={"kd": 0.5}), 0), TrialSpec("other", config.replace(ce=0.5), 0)]
    alone = ends([TrialSpec("one", config, 0)], tiny, teacher)["one"]
    together = ends([*beside, TrialSpec("one", config, 0)], tiny, teacher)
    resumed = TrialSpec("one", config, 0, open_folder(str(tmp_path)))
    stop_after(1, resumed, tiny, teacher)
    for other in (together["one"], ends([resumed], tiny, teacher)["one"]):
        assert other.epochs == alone.epochs
        assert torch.equal(other.test_logits, alone.test_logits)


def test_seeds_with_shared_batches_train_side_by_side_bitwise(tiny: SplitData, teacher: Teacher) -> None:
    """They differ in initial weights and a loss's random numbers alone; each is what it is alone."""
    own = {"draws": Term(1.0, loss=drawing_loss)}
    kd, draws = (c.replace(shared_batches=True, epochs=2) for c in (ARMS["kd"], BASE.replace(losses=own)))
    trials = [TrialSpec(f"{n} {s}", config, s) for s in (0, 3) for n, config in (("kd", kd), ("draws", draws))]
    together = ends(trials, tiny, teacher)
    for trial in trials:
        (alone,) = ends([trial], tiny, teacher).values()
        assert together[trial.id].epochs == alone.epochs
        assert torch.equal(together[trial.id].test_logits, alone.test_logits)
    for name in ("kd", "draws"):
        assert not torch.equal(together[f"{name} 0"].test_logits, together[f"{name} 3"].test_logits)
    (unshared,) = ends([TrialSpec("kd", kd.replace(shared_batches=False), 0)], tiny, teacher).values()
    assert torch.equal(unshared.test_logits, together["kd 0"].test_logits)  # the batches are those of seed 0


@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False)])
def test_seeds_with_batches_of_their_own_are_no_cohort(first: bool, second: bool, tiny: SplitData) -> None:
    trials = [TrialSpec(str(seed), BASE.replace(shared_batches=s), seed) for seed, s in ((0, first), (1, second))]
    with pytest.raises(ValueError, match="shared_batches"):
        next(train_cohort(trials, tiny, None, CPU))


@pytest.mark.parametrize("stop_after", [1, 2])
def test_stopped_and_resumed_is_bitwise_equal(
    tiny: SplitData, teacher: Teacher, tmp_path: Path, stop_after: int
) -> None:
    whole = train(["scl", "kd"], tiny, teacher)
    trials = [TrialSpec(n, ARMS[n], 0, open_folder(str(tmp_path / n))) for n in ("scl", "kd")]
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps > stop_after * 4 + 2  # 4 batches an epoch: in the midst of the next one

    first = list(train_cohort(trials, tiny, teacher, CPU, stop=stop))
    assert len(first) == 2 * stop_after
    assert not any(isinstance(e, TrialEnded) for e in first)
    # The other one goes on alone, later, in a cohort of its own.
    for trial in trials:
        (ended,) = ends([trial], tiny, teacher).values()
        assert ended.epochs == whole[trial.id].epochs
        assert torch.equal(ended.test_logits, whole[trial.id].test_logits)
        assert ended.metrics["restarts"] == 1


@pytest.mark.parametrize(("every", "saved"), [(0.0, [0, 1, 2]), (1.0, [0, 2]), (9.0, [0])])
def test_checkpoints_by_time_lose_no_number(
    every: float, saved: list[int], tiny: SplitData, teacher: Teacher, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A second passes after each epoch. What followed the last checkpoint is trained again, to the same end."""
    whole = train(["scl"], tiny, teacher)["scl"]
    clock, written = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    save = StudentTrainer.save
    monkeypatch.setattr(StudentTrainer, "save", lambda self, writer: (written.append(self.epoch), save(self, writer)))
    trial = TrialSpec("scl", ARMS["scl"], 0, open_folder(str(tmp_path)))
    for event in train_cohort([trial], tiny, teacher, CPU, checkpoint_every=every):
        clock[0] += 1
        if isinstance(event, EpochDone) and event.row["epoch"] == 3:
            break  # as a kill does
    assert written == saved
    (ended,) = [e for e in train_cohort([trial], tiny, teacher, CPU) if isinstance(e, TrialEnded)]
    assert ended.epochs == whole.epochs
    assert torch.equal(ended.test_logits, whole.test_logits)


@pytest.mark.parametrize("where", ["an epoch between", "the last one before the end"])
def test_a_full_disk_ends_a_cohort_before_its_trials(
    where: str, tiny: SplitData, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints are written beside the steps, but no trial ends while one of them is lost."""
    lost = 1 if where == "an epoch between" else ARMS["kd"].total_epochs - 1
    written = checkpoint.save_epoch

    def full(files: checkpoint.Files, taken: checkpoint.Snapshot) -> None:
        if taken.epoch == lost:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(files, taken)

    monkeypatch.setattr(checkpoint, "save_epoch", full)
    trial = TrialSpec("kd", ARMS["kd"], 0, open_folder(str(tmp_path)))
    seen: list[Event] = []
    with pytest.raises(OSError, match="No space left"):
        deque(map(seen.append, train_cohort([trial], tiny, teacher, CPU)))
    assert [type(event) for event in seen] == [EpochDone] * len(seen)
    monkeypatch.setattr(checkpoint, "save_epoch", written)
    (ended,) = ends([trial], tiny, teacher).values()
    assert ended.epochs == train(["kd"], tiny, teacher)["kd"].epochs


def test_no_checkpoint_is_written_after_its_trial_ended(
    tiny: SplitData, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would stay where the end of the trial has removed the others."""
    written = checkpoint.save_epoch
    monkeypatch.setattr(checkpoint, "save_epoch", lambda *given: (time.sleep(0.05), written(*given)))
    folders = {name: open_folder(str(tmp_path / name)) for name in ("kd", "at")}
    trials = [TrialSpec(name, ARMS[name], 0, files) for name, files in folders.items()]
    for event in train_cohort(trials, tiny, teacher, CPU):
        if isinstance(event, TrialEnded):
            checkpoint.drop_epochs(folders[event.trial_id])
    assert [files.names() for files in folders.values()] == [[], []]


def test_resumes_from_the_checkpoint_before_a_truncated_one(tiny: SplitData, teacher: Teacher, tmp_path: Path) -> None:
    files = open_folder(str(tmp_path))
    trial = TrialSpec("kd", ARMS["kd"], 0, files)
    list(zip(range(2), train_cohort([trial], tiny, teacher, CPU), strict=False))
    names = files.names()
    (tmp_path / names[-1]).write_bytes(files.read(names[-1])[:1000])
    (ended,) = ends([trial], tiny, teacher).values()
    assert ended.epochs == train(["kd"], tiny, teacher)["kd"].epochs


def test_members_at_different_epochs_go_on_together(tiny: SplitData, teacher: Teacher, tmp_path: Path) -> None:
    ahead = TrialSpec("kd", ARMS["kd"], 0, open_folder(str(tmp_path / "kd")))
    stop_after(1, ahead, tiny, teacher)
    late = TrialSpec("at", ARMS["at"], 0, open_folder(str(tmp_path / "at")))
    ended = ends([ahead, late], tiny, teacher)
    for name, one in train(["kd", "at"], tiny, teacher).items():
        assert ended[name].epochs == one.epochs


def test_nan_fails_that_trial_alone_and_is_named(tiny: SplitData, teacher: Teacher) -> None:
    wild = TrialSpec("wild", BASE.replace(lr=1e30), 0)
    kd = TrialSpec("kd", ARMS["kd"], 0)
    ended = ends([wild, kd], tiny, teacher)
    assert ended["wild"].metrics["state"] == "failed"
    assert "'ce'" in ended["wild"].metrics["error"]
    assert "epoch 1, step" in ended["wild"].metrics["error"]
    assert ended["kd"].epochs == train(["kd"], tiny, teacher)["kd"].epochs


def broken_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("a user's mistake")


def own_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return (student.mean((1, 2, 3)) - teacher.mean((1, 2, 3))).square().mean()


def test_an_exception_in_a_users_loss_fails_that_trial_with_its_trace(tiny: SplitData, teacher: Teacher) -> None:
    trials = [
        TrialSpec("broken", BASE.replace(losses={"mine": Term(1.0, loss=broken_loss)}), 0),
        TrialSpec("own", BASE.replace(losses={"mine": Term(1.0, loss=own_loss)}), 0),
    ]
    ended = ends(trials, tiny, teacher)
    assert ended["broken"].metrics["state"] == "failed"
    assert "a user's mistake" in ended["broken"].metrics["error"]
    assert ended["own"].metrics["state"] == "completed"
    assert ended["own"].epochs[-1]["term.mine"] >= 0


def test_terms_ramp_up_and_end(tiny: SplitData, teacher: Teacher) -> None:
    config = BASE.replace(losses={"kd": Term(1.0, warmup=2), "at": Term(5.0, end=1)})
    (ended,) = ends([TrialSpec("x", config, 0)], tiny, teacher).values()
    first, second, third = ended.epochs
    assert first["weighted.kd"] == pytest.approx(0.5 * first["term.kd"])
    assert second["weighted.kd"] == pytest.approx(second["term.kd"])
    assert "term.at" in first
    assert "term.at" not in third
    for row in ended.epochs:
        total = sum(v for k, v in row.items() if k.startswith("weighted."))
        assert row["train_loss"] == pytest.approx(total)


def test_seed_moves_the_numbers_and_the_arm_does_not_move_the_start(tiny: SplitData) -> None:
    one, two = build_student(BASE, tiny, 0), build_student(BASE, tiny, 1)
    assert not torch.equal(one.state_dict()["classifier.weight"], two.state_dict()["classifier.weight"])
    same = build_student(ARMS["kd"], tiny, 0)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))


def test_every_column_is_filled_for_the_baseline_too(tiny: SplitData, teacher: Teacher) -> None:
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


def test_what_a_loss_draws_depends_on_no_neighbour_and_on_no_stop(
    tiny: SplitData, teacher: Teacher, tmp_path: Path
) -> None:
    config = BASE.replace(losses={"mine": Term(1.0, loss=drawing_loss)})

    def ended(trials: list[TrialSpec]) -> list[dict[str, object]]:
        return ends(trials, tiny, teacher)["draws"].epochs

    alone = ended([TrialSpec("draws", config, 0)])
    assert ended([TrialSpec("kd", ARMS["kd"], 0), TrialSpec("draws", config, 0)]) == alone
    stopped = TrialSpec("draws", config, 0, open_folder(str(tmp_path)))
    stop_after(1, stopped, tiny, teacher)
    torch.rand(7)
    assert ended([stopped]) == alone


def test_pretraining_stopped_anywhere_is_bitwise_equal(tiny: SplitData, teacher: Teacher, tmp_path: Path) -> None:
    config = BASE.replace(losses={"fsp": Term(50.0, stage="pretrain")}, pretrain_epochs=2, epochs=2, width=0.125)
    (whole,) = ends([TrialSpec("a", config, 0)], tiny, teacher).values()
    assert [sorted(k for k in row if k.startswith("weighted")) for row in whole.epochs] == [
        ["weighted.fsp"], ["weighted.fsp"], ["weighted.ce"], ["weighted.ce"],
    ]  # fmt: skip
    assert whole.metrics["epochs"] == 4
    assert [row["lr"] for row in whole.epochs[:2]] == [config.lr, config.lr]
    for epochs in (1, 2, 3):
        trial = TrialSpec("a", config, 0, open_folder(str(tmp_path / str(epochs))))
        stop_after(epochs, trial, tiny, teacher)
        (ended,) = ends([trial], tiny, teacher).values()
        assert ended.epochs == whole.epochs


@pytest.mark.parametrize("student", ["vgg8", "resnet8", "wrn_16_1", "torchvision:mobilenet_v3_small"])
def test_every_family_alone_and_beside_others_is_bitwise_equal(tiny: SplitData, teacher: Teacher, student: str) -> None:
    """torchvision's network has dropout; its random numbers must not depend on the cohort."""
    width = 1.0 if student.startswith("torchvision") else 0.125
    one = BASE.replace(model=student, width=width, losses={"kd": 0.9}, epochs=2)
    trial = TrialSpec("one", one, 0)
    cohorts = [trial], [TrialSpec("kd", ARMS["kd"], 0), trial]
    results = [ends(cohort, tiny, teacher)["one"] for cohort in cohorts]
    assert results[0].metrics["state"] == "completed"
    assert results[0].epochs == results[1].epochs
    assert torch.equal(results[0].test_logits, results[1].test_logits)


def test_accuracy_with_self_taught_channels_at_zero_is_stored_where_there_are_any(
    tiny: SplitData, teacher: Teacher
) -> None:
    ended = train(["scl", "kd"], tiny, teacher)
    assert 0 <= ended["scl"].metrics["test_acc_muted"] <= 1
    assert "test_acc_muted" not in ended["kd"].metrics
    model = build_student(ARMS["scl"], tiny, 0)
    model.load_state_dict(ended["scl"].weights)
    model.eval().muted = True
    mean, std = tiny.mean.view(1, -1, 1, 1), tiny.std.view(1, -1, 1, 1)
    logits = model((tiny.test.images / 255 - mean) / std)
    accuracy = (logits.argmax(1) == tiny.test.labels).double().mean().item()
    assert ended["scl"].metrics["test_acc_muted"] == pytest.approx(accuracy, abs=1 / 100)


def test_what_a_cohort_held_goes_with_it(tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not at the next garbage collection: on a GPU the next cohort needs the memory."""
    held: list[weakref.ref[StudentTrainer]] = []
    made = StudentTrainer.__init__
    monkeypatch.setattr(
        StudentTrainer, "__init__", lambda self, *given: held.append(weakref.ref(self)) or made(self, *given)
    )
    monkeypatch.setattr(loop, "supports_graphs", lambda device: True)
    monkeypatch.setattr(cuda_graphs, "WARMUP_CALLS", 1000)
    gc.disable()
    try:
        train(["scl", "kd"], tiny, teacher)
        assert len(held) == 2
        assert [ref() for ref in held] == [None, None]
    finally:
        gc.enable()


def test_cohorts_share_where_the_teacher_is_tapped(tiny: SplitData, teacher: Teacher) -> None:
    other = BASE.replace(losses={"at": 10}, tap="bn")
    with pytest.raises(ValueError, match="tap"):
        list(train_cohort([TrialSpec("a", ARMS["at"], 0), TrialSpec("b", other, 0)], tiny, teacher, CPU))
    (ended,) = ends([TrialSpec("b", other, 0)], tiny, teacher).values()
    assert ended.epochs != train(["at"], tiny, teacher)["at"].epochs


def test_augmented_trials_alone_beside_others_and_resumed_are_bitwise_equal(
    tiny: SplitData, teacher: Teacher, tmp_path: Path
) -> None:
    """Every word whose target is a class, and balanced sampling: the batches are a function of seed and epoch."""
    changes = {"augment": "rrc:0.5+flip+randaugment:1+jitter+erasing", "sampling": "balanced", "epochs": 2}
    configs = {name: ARMS[name].replace(**changes) for name in ("baseline", "kd")}
    together = epochs_of(configs, tiny, teacher)
    assert epochs_of({"kd": configs["kd"]}, tiny, teacher)["kd"] == together["kd"]
    trial = TrialSpec("kd", configs["kd"], 0, open_folder(str(tmp_path)))
    stop_after(1, trial, tiny, teacher)
    assert ends([trial], tiny, teacher)["kd"].epochs == together["kd"]


class EverRising:
    """A meter that counts 6 J between two reads."""

    source = "RAPL"

    def __init__(self) -> None:
        self.total = 0.0

    def read(self) -> float:
        self.total += 6.0
        return self.total

    def keep_up(self) -> None:
        """Nothing can start over."""


def test_the_energy_of_a_cohort_is_split_by_time(
    tiny: SplitData, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "meter_of", lambda device: EverRising())
    trials = [TrialSpec(n, ARMS[n], 0, open_folder(str(tmp_path / n))) for n in ("scl", "kd")]
    epochs = BASE.epochs
    ended = ends(trials, tiny, teacher)
    assert sum(e.metrics["energy_joules"] for e in ended.values()) == pytest.approx(6.0 * epochs)
    seconds = {name: e.metrics["train_seconds"] for name, e in ended.items()}
    assert (ended["scl"].metrics["energy_joules"] > ended["kd"].metrics["energy_joules"]) == (
        seconds["scl"] > seconds["kd"]
    )
    assert {e.metrics["energy_source"] for e in ended.values()} == {"RAPL"}


@pytest.mark.parametrize(("before", "after"), [(True, True), (True, False), (False, True)])
def test_a_trial_that_was_not_metered_throughout_has_no_energy(
    before: bool, after: bool, tiny: SplitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def metered(there: bool) -> None:
        monkeypatch.setattr(loop, "meter_of", lambda device: EverRising() if there else None)

    metered(before)
    trial = TrialSpec("baseline", ARMS["baseline"], 0, open_folder(str(tmp_path)))
    steps = iter(range(100))
    list(train_cohort([trial], tiny, None, CPU, stop=lambda: next(steps) > 5))  # 4 batches an epoch
    metered(after)
    (ended,) = ends([trial], tiny, None).values()
    joules = 6.0 * BASE.epochs if before and after else None
    assert (ended.metrics["energy_joules"], ended.metrics["restarts"]) == (joules, 1)
    assert ended.metrics["energy_source"] == ("RAPL" if joules else None)


def test_a_glance_at_validation_is_for_those_who_watch_and_changes_nothing(
    tiny: SplitData, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BASE.replace(epochs=3)
    found = {}
    for share in (0.0, 1e9):
        monkeypatch.setattr(loop, "GLANCES_SHARE", share)
        *epochs, end = list(train_cohort([TrialSpec("teacher", config, 0, every_epoch=False)], tiny, None, CPU))
        assert isinstance(end, TrialEnded)
        found[share] = end
        told = ["val_acc" in event.row for event in epochs if isinstance(event, EpochDone)]
        assert told == [bool(share), bool(share), True]
    one, other = found.values()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    timeless = [{k: v for k, v in row.items() if "second" not in k} for end in (one, other) for row in end.epochs]
    assert timeless[:3] == timeless[3:]
    assert ["val_acc" in row for row in timeless[:3]] == [False, False, True]


class Kept:
    kept = None


def test_glances_take_a_small_share_of_the_time(tiny: SplitData, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("scl.train.loop.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr(loop, "evaluate", lambda models, images, data: [torch.zeros(len(images.labels), 2)])
    glances, student = loop.Glances(tiny), Kept()
    told = sum(bool(glances.after([student], 10.0)) for _ in range(1000))  # type: ignore[list-item]
    assert 100 <= told <= 200  # each takes a second of this clock
    assert glances.spent <= loop.GLANCES_SHARE * glances.trained
    assert glances.after([], 10.0) == {}
