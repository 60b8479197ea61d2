"""Tests that need a CUDA device: graphs, streams, exact kernels, memory. `pytest -m gpu`, without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scl.data.batches import SplitData
from scl.store.files import open_folder
from scl.store.results import load
from scl.study.config import Config
from scl.study.loss_table import LOSSES
from scl.study.term import Term
from scl.train import cuda_graphs, loop
from scl.train.loop import train_cohort
from scl.train.student import StudentTrainer
from scl.train.teacher import Teacher
from scl.train.types import TrialEnded, TrialSpec
from tests.support.studies import SMALL, run_study, write_images
from tests.support.training import BASE, CHANGING, Shelf, ends, epochs_of

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda")
# Of an epoch's mean loss: sums in another order, in bfloat16.
TOLERANCE = 0.02


@pytest.fixture(autouse=True)
def _exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuBLAS reads its workspace setting once, at its first use in the process."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def train(configs: dict[str, Config], data: SplitData, teacher: Teacher, **options: Any) -> dict[str, TrialEnded]:
    trials = [TrialSpec(name, config, 0) for name, config in configs.items()]
    ended = ends(trials, data, teacher, GPU, **options)
    assert {name: e.metrics["error"] for name, e in ended.items()} == dict.fromkeys(configs)
    return ended


def test_graphs_learn_what_steps_learn(
    tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replayed = epochs_of(CHANGING, tiny, teacher, GPU)
    assert capsys.readouterr().err == ""  # no graph was thrown away
    monkeypatch.setattr(loop, "supports_graphs", lambda device: False)
    for name, rows in epochs_of(CHANGING, tiny, teacher, GPU).items():
        for row, other in zip(rows, replayed[name], strict=True):
            assert other["train_loss"] == pytest.approx(row["train_loss"], rel=TOLERANCE)


def test_graphs_are_replayed(tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once captured, a student's step is not run again by Python but for the last, smaller batch."""
    ran = []
    learned = StudentTrainer.learn
    monkeypatch.setattr(StudentTrainer, "learn", lambda *given: ran.append(len(given[2])) or learned(*given))
    train({"kd": BASE.replace(losses={"kd": 1.0}, epochs=10)}, tiny, teacher)
    whole, rest = divmod(len(tiny.train.labels), BASE.batch_size)
    assert len(ran) < 10 + 10 * (rest > 0) < 10 * whole


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_trial_alone_learns_what_it_learns_beside_others(
    tiny: SplitData, teacher: Teacher, deterministic: bool
) -> None:
    together = train(CHANGING, tiny, teacher, deterministic=deterministic)
    for name, config in CHANGING.items():
        alone = train({name: config}, tiny, teacher, deterministic=deterministic)[name]
        if deterministic:
            assert alone.epochs == together[name].epochs
            assert torch.equal(alone.test_logits, together[name].test_logits)
        for row, other in zip(alone.epochs, together[name].epochs, strict=True):
            assert other["train_loss"] == pytest.approx(row["train_loss"], rel=TOLERANCE)


def test_graphs_change_no_bit_of_a_deterministic_run(
    tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = epochs_of(CHANGING, tiny, teacher, GPU, deterministic=True)
    monkeypatch.setattr(cuda_graphs, "WARMUP_CALLS", 10**6)
    assert epochs_of(CHANGING, tiny, teacher, GPU, deterministic=True) == replayed


@pytest.mark.parametrize("deterministic", [False, True])
def test_fused_kernels_learn_what_torch_learns(tiny: SplitData, teacher: Teacher, deterministic: bool) -> None:
    """And alone what they learn beside others."""
    pytest.importorskip("triton")
    arms = {name: config.replace(precision="fp32") for name, config in CHANGING.items() if name != "shares"}
    fused = {name: config.replace(kernels="fused") for name, config in arms.items()}
    plain, together = (train(some, tiny, teacher, deterministic=deterministic) for some in (arms, fused))
    for name, config in fused.items():
        for row, other in zip(plain[name].epochs, together[name].epochs, strict=True):
            assert other["train_loss"] == pytest.approx(row["train_loss"], rel=TOLERANCE)
        if deterministic:
            alone = train({name: config}, tiny, teacher, deterministic=True)[name]
            assert alone.epochs == together[name].epochs


def test_a_warm_up_is_captured_once(tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    captured = []
    capture = cuda_graphs.capture
    monkeypatch.setattr(cuda_graphs, "capture", lambda work, *rest: captured.append(work) or capture(work, *rest))
    train({"kd": BASE.replace(losses={"kd": Term(1.0, warmup=6)}, epochs=6)}, tiny, teacher)
    assert sum(isinstance(getattr(work, "__self__", None), StudentTrainer) for work in captured) == 1


def test_what_a_teacher_gives_is_read_by_later_cohorts(tiny: SplitData, teacher: Teacher) -> None:
    """With graphs: an epoch that is read, one that is computed, and one that is read."""
    kd = {"kd": BASE.replace(losses={"kd": 1.0}, epochs=3)}
    shelf = Shelf()
    alone = train(kd, tiny, teacher, deterministic=True)["kd"]
    for _ in range(2):
        kept = train(kd, tiny, teacher, deterministic=True, kept=shelf)["kd"]
        assert kept.epochs == alone.epochs
        assert torch.equal(kept.test_logits, alone.test_logits)
        del shelf.files["epoch-00002.safetensors"]


def test_stopped_and_resumed_is_bitwise_equal(tiny: SplitData, teacher: Teacher, tmp_path: Path) -> None:
    config = CHANGING["scl"]
    whole = train({"scl": config}, tiny, teacher, deterministic=True)["scl"]
    trial = TrialSpec("scl", config, 0, open_folder(str(tmp_path)))
    list(zip(range(2), train_cohort([trial], tiny, teacher, GPU, True), strict=False))  # the first epoch is kept
    (ended,) = ends([trial], tiny, teacher, GPU, deterministic=True).values()
    assert ended.metrics["restarts"] == 1
    assert ended.epochs == whole.epochs
    assert torch.equal(ended.test_logits, whole.test_logits)


def test_every_loss_has_exact_kernels(tiny: SplitData, teacher: Teacher) -> None:
    """Between maps of equal sizes and of others: resnet8's are 8, 4 and 2 wide on digits."""
    arms = {
        f"{student} {name}": BASE.replace(model=student, losses={name: 0.1}, projector=64 * row.reuses, epochs=1)
        for name, row in LOSSES.items()
        for student in ("plain5", "resnet8")
    }
    train(arms, tiny, teacher, deterministic=True)


FAMILIES = ["vgg8", "resnet8x4", "wrn_16_1", "torchvision:resnet18"]


@pytest.mark.parametrize("student", FAMILIES)
def test_every_family_has_exact_kernels(tiny: SplitData, teacher: Teacher, student: str) -> None:
    width = 1.0 if student.startswith("torchvision") else 0.125
    config = BASE.replace(model=student, width=width, losses={"kd": 1.0}, epochs=1)
    for deterministic in (False, True):
        train({"kd": config}, tiny, teacher, deterministic=deterministic)


FULL = """
import torch
from scl.cli.main import main
from scl.study.config import Config
from scl.study.study import Study

torch.cuda.set_per_process_memory_fraction(2**30 / torch.cuda.get_device_properties(0).total_memory)
base = Config(model="plain3", width=0.25, epochs=2, batch_size=60, lr=0.02)
wide = {f"wide{i}": {"width": 4, "losses": {"kd": 1.0 + i}} for i in range(4)}
giant = {"width": 14, "losses": {"kd": 1.0}}
main(Study(name="full", question="?", base=base, teacher=base, arms={"baseline": {}, **wide, "giant": giant}, seeds=1))
"""


def test_a_cohort_that_does_not_fit_goes_on_in_halves(tmp_path: Path) -> None:
    """In 1 GiB: students that fit by threes or so, and one that never does. In a separate process: the memory of cuBLAS
    and of other tests would count too."""
    (tmp_path / "full.py").write_text(FULL)
    data = write_images(tmp_path / "images", classes=3, size=8, grey=True)
    flags = ["--inline", "--device", "cuda", "--data", str(data), "--cohort-size", "6", "--out", str(tmp_path / "out")]
    run = subprocess.run(
        [sys.executable, str(tmp_path / "full.py"), *flags],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert "it goes on in two" in run.stderr
    trials = load(str(tmp_path / "out" / "full")).trials.set_index("arm")
    fit = ["baseline", *(f"wide{i}" for i in range(4))]
    assert trials["state"].to_dict() == {**dict.fromkeys(fit, "completed"), "giant": "failed"}
    assert "lower batch_size or width" in trials.loc["giant", "error"]


def test_cohorts_one_after_another_hold_no_more_memory(tiny: SplitData, teacher: Teacher) -> None:
    arms = {"scl": BASE.replace(losses={"channel": 0.3, "kd": 1.0}, self_taught=4, epochs=2)}
    held = []
    for _ in range(4):
        train(arms, tiny, teacher)
        held.append(torch.cuda.memory_allocated())
    assert held[-1] <= held[1]


@pytest.mark.parametrize("flags", [(), ("--deterministic",)])
def test_a_study_from_flags_to_page(tmp_path: Path, flags: tuple[str, ...]) -> None:
    pytest.importorskip("plotly")
    data = write_images(tmp_path / "images", classes=3, size=12, grey=True)
    tables = []
    for out in ("one", "two"):
        assert run_study(SMALL, "--device", "cuda", "--data", str(data), "--out", str(tmp_path / out), *flags) == 0
        tables.append(load(str(tmp_path / out / "small")).trials.sort_values("trial_id"))
        assert (tmp_path / out / "small" / "report.html").stat().st_size > 100_000
    assert list(tables[0]["device"].unique()) == [torch.cuda.get_device_name()]
    if flags:
        assert tables[0]["test_loss"].tolist() == tables[1]["test_loss"].tolist()
    assert tables[0]["test_loss"].tolist() == pytest.approx(tables[1]["test_loss"].tolist(), rel=TOLERANCE)


@pytest.mark.parametrize("deterministic", [False, True])
def test_random_state_and_mode_stay_those_of_the_caller(tiny: SplitData, teacher: Teacher, deterministic: bool) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    for _ in train_cohort([TrialSpec("scl", CHANGING["scl"], 0)], tiny, teacher, GPU, deterministic):
        assert torch.equal(torch.get_rng_state(), before[0])
        assert torch.equal(torch.cuda.get_rng_state(), before[1])
        assert not torch.are_deterministic_algorithms_enabled()
