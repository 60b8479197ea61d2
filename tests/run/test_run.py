"""Studies from the command line to the store, as a user runs them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from scl.errors import RunFailed
from scl.run.provenance import OF_TRAINING, of_training
from scl.run.run import _writing_to
from scl.store.files import open_folder
from scl.store.results import load
from tests.support.clusters import cluster
from tests.support.commands import SHORT, TIMES, ablation, about, here, inline, rows
from tests.support.parts import read_predictions


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("done")
    run = inline(out, "--seeds", "2", "--arms", "kd,scl")
    assert run.returncode == 0, run.stderr
    return out


def test_every_file_and_column_of_the_contract_is_there(done: Path) -> None:
    store = done / "ablation"
    for name in ("study.json", "trials.parquet", "epochs.parquet", "report.html"):
        assert (store / name).stat().st_size > 0
    trials = pd.read_parquet(store / "trials.parquet")
    assert len(trials) == 6
    assert set(trials["state"]) == {"completed"}
    wanted = [
        "trial_id",
        "study",
        "arm",
        "config_id",
        "seed",
        "state",
        "error",
        "config_json",
        "teacher_id",
        "teacher_test_acc",
        "val_acc",
        "test_acc",
        "test_acc_at_best_val",
        "test_acc_best",
        "test_acc5",
        "test_loss",
        "agreement",
        "params",
        "macs",
        "latency_ms",
        "epochs",
        "best_epoch",
        "train_seconds",
        "images_per_second",
        "device",
        "cohort_size",
        "restarts",
        "started",
        "ended",
        "param.lr",
        "param.weight.kd",
    ]
    assert set(wanted) <= set(trials.columns)
    filled = [c for c in wanted if c not in ("error", "param.weight.kd")]
    assert trials[filled].notna().all().all()
    epochs = pd.read_parquet(store / "epochs.parquet")
    assert len(epochs) == 12
    assert sorted(epochs["epoch"].unique()) == [1, 2]
    assert {"lr", "train_loss", "train_acc", "val_loss", "val_acc", "test_acc", "term.ce", "weighted.kd"} <= set(epochs)
    last = epochs[epochs["epoch"] == 2].set_index("trial_id")["test_acc"]
    assert (trials.set_index("trial_id")["test_acc"] - last).abs().max() < 1e-6
    study = json.loads((store / "study.json").read_text())
    assert study["data"]["train"] == 100
    assert study["teacher"]["test_acc"]["all"] == pytest.approx(trials["teacher_test_acc"].iloc[0])
    assert len(study["plan"]) == 6


def test_accuracy_is_that_of_the_stored_predictions(done: Path) -> None:
    predictions = read_predictions(open_folder(str(done / "ablation"))).set_index("trial_id")
    labels = predictions.loc["labels", "predicted"]
    for row in rows(done).itertuples():
        assert (predictions.loc[row.trial_id, "predicted"] == labels).mean() == pytest.approx(row.test_acc)
        teacher = predictions.loc[row.teacher_id, "predicted"]
        assert (predictions.loc[row.trial_id, "predicted"] == teacher).mean() == pytest.approx(row.agreement)


def test_the_same_again_trains_nothing_and_more_trains_only_what_is_new(tmp_path: Path) -> None:
    assert inline(tmp_path, "--seeds", "1", "--arms", "kd").returncode == 0
    first, run = rows(tmp_path), of_training(about(tmp_path))
    assert len(run) == len(OF_TRAINING)
    again = inline(tmp_path, "--seeds", "1", "--arms", "kd", "--cpus-per-trial", "2")
    assert again.returncode == 0
    assert "nothing to train" in again.stderr
    assert of_training(about(tmp_path)) == run, "the page tells of a run that trained nothing"
    assert "3 trials, 2 done, 1 to train" in inline(tmp_path, "--seeds", "1", "--arms", "kd,at").stderr
    more = inline(tmp_path, "--seeds", "2", "--arms", "kd,at")
    assert "6 trials, 3 done, 3 to train" in more.stderr
    assert about(tmp_path)["started"] > run["ended"]
    after = rows(tmp_path)
    assert after["trial_id"].is_unique
    assert len(after) == 6
    kept = after[after["trial_id"].isin(first["trial_id"])].reset_index(drop=True)
    assert list(kept["ended"]) == list(first["ended"])


def test_plan_trains_nothing(tmp_path: Path) -> None:
    plan = inline(tmp_path, "--plan", "--seeds", "2")
    assert plan.returncode == 0, plan.stderr
    assert "16 = 8 arms × 2 seeds" in plan.stdout
    assert "missing    16" in plan.stdout
    assert not (tmp_path / "ablation" / "trials.parquet").exists()


def test_report_only_needs_a_store_and_nothing_else(done: Path, tmp_path: Path) -> None:
    page = done / "ablation" / "report.html"
    page.unlink()
    assert ablation(done, "--report-only").returncode == 0
    assert page.stat().st_size > 1000
    absent = ablation(tmp_path, "--report-only")
    assert absent.returncode == 2
    assert "run the study first" in absent.stderr


def test_a_diverging_arm_fails_alone_and_the_exit_code_says_so(tmp_path: Path) -> None:
    run = inline(tmp_path, "--seeds", "1", "--arms", "kd", "--lr", "1e30")
    assert run.returncode == 1
    failed = rows(tmp_path)
    assert set(failed["state"]) == {"failed"}
    assert failed["error"].str.contains("epoch 1, step").all()
    assert (tmp_path / "ablation" / "report.html").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arms", "kdd"], "unknown arm 'kdd'"),
        (["--data", "imagenet"], "unknown data 'imagenet'"),
        (["--student", "plain6"], "unknown model 'plain6'"),
        (["--precision", "fp8"], "fp32"),
        (["--label", "fine"], "--label"),
        (["--seeds", "0"], "--seeds"),
        (["--epochs", "0"], "--epochs"),
        (["--lr", "nan"], "--lr"),
        (["--lr", "-1"], "--lr"),
        (["--width", "inf"], "--width"),
        (["--limit", "9"], "fewer training images than the 10 classes"),
        (["--out", "/proc/nowhere"], "cannot be written"),
        (["--address", "127.0.0.1:1"], "no Ray cluster answers"),
        (["--address", "nonsense"], "HOST:PORT"),
        (["--address", "ray://127.0.0.1:1"], "no Ray cluster answers"),
        (["--teacher", "absent.pt"], "no such file"),
        (["--inline", "--address", "auto"], "one of them"),
        (["--cohort-size", "many"], "auto"),
        (["--device", "tpu"], "cpu, auto, cuda"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(flags: list[str], message: str, tmp_path: Path) -> None:
    out = [] if "--out" in flags else ["--out", str(tmp_path)]
    run = here(*out, *flags)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "ablation" / "trials.parquet").exists()


def test_on_ray_the_numbers_are_those_of_the_inline_run(done: Path, tmp_path: Path) -> None:
    run = ablation(tmp_path, *SHORT, "--seeds", "2", "--arms", "kd,scl")
    assert run.returncode == 0, run.stderr
    pd.testing.assert_frame_equal(rows(done).drop(columns=TIMES), rows(tmp_path).drop(columns=TIMES))


def test_a_teacher_for_each_seed(tmp_path: Path) -> None:
    run = inline(tmp_path, "--seeds", "2", "--arms", "kd", "--teacher-per-seed", "--val", "0")
    assert run.returncode == 0, run.stderr
    trials = rows(tmp_path)
    assert trials.groupby("seed")["teacher_id"].nunique().tolist() == [1, 1]
    assert trials["teacher_id"].nunique() == 2
    assert trials["val_acc"].isna().all()
    # The same two teachers by their number: the two trials of each seed are there, and a third seed shares a teacher.
    run = inline(tmp_path, "--seeds", "3", "--arms", "kd", "--teachers", "2", "--val", "0")
    assert run.returncode == 0, run.stderr
    assert "4 done, 2 to train" in run.stderr
    teacher = json.loads((tmp_path / "ablation" / "study.json").read_text())["teacher"]
    assert (teacher["teachers"], teacher["per_seed"], teacher["of_seed"]) == (2, False, {"0": 0, "1": 1, "2": 0})
    of_seed = rows(tmp_path).groupby("seed")[["teacher_id", "teacher_test_acc"]].first()
    keys = [str(teacher["of_seed"][str(seed)]) for seed in of_seed.index]
    assert [teacher["ids"][key] for key in keys] == of_seed["teacher_id"].tolist()
    assert [teacher["test_acc"][key] for key in keys] == of_seed["teacher_test_acc"].tolist()


def test_families_and_a_torchvision_teacher_from_the_command_line(tmp_path: Path) -> None:
    teacher = "torchvision:mobilenet_v3_small"  # the smallest
    flags = ["--student", "resnet8", "--teacher-model", teacher, "--teacher-layers", "features.1,features.2"]
    run = ablation(
        tmp_path, "--inline", *flags, "--width", "0.25", "--epochs", "1",
        "--teacher-epochs", "1", "--limit", "60", "--seeds", "1", "--arms", "kd,at,sp", "--batch-size", "30",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    trials = rows(tmp_path)
    assert set(trials["param.student"]) == {"resnet8"}
    assert set(trials["param.teacher_layers"]) == {"features.1/features.2"}
    study = json.loads((tmp_path / "ablation" / "study.json").read_text())
    assert study["teacher"]["model"] == teacher


def test_the_published_recipe_takes_all_images_and_the_published_weights(tmp_path: Path) -> None:
    run = inline(tmp_path, "--recipe", "crd", "--seeds", "1", "--arms", "kd,hint,fsp", "--epochs", "1")
    assert run.returncode == 0, run.stderr
    trials = rows(tmp_path).set_index("arm")
    assert (trials["param.batch_size"] == 64).all()
    assert not trials["param.nesterov"].any()
    assert (trials.loc["kd", "param.ce"], trials.loc["kd", "param.weight.kd"]) == (0.1, 0.9)
    assert trials.loc["hint", "param.weight.hint"] == 100
    assert trials.loc["fsp", "epochs"] == 31
    study = json.loads((tmp_path / "ablation" / "study.json").read_text())
    assert study["data"]["val"] == 0


OWN_STUDY = """
from own_losses import gap
from scl.cli import main
from scl import Config, Term
from scl import Study

def here(student, teacher):
    return gap(student, teacher).square()

main(Study(
    name="own", question="Does a loss of one's own travel?", seeds=1,
    base=Config(width=0.125, epochs=2, batch_size=32, lr=0.05), teacher=Config(model="plain11", width=0.125),
    arms={"baseline": {}, "imported": {"losses": {"mine": Term(0.5, loss=gap)}},
          "defined": {"losses": {"mine": Term(0.5, loss=here)}}},
))
"""
OWN_LOSSES = """
import os
import shifts
assert "ON_THE_DRIVER" in os.environ, "a worker read this file"

def gap(student, teacher):
    return (student.mean((1, 2, 3)) - shifts.shifted(teacher).mean((1, 2, 3))).square().mean()
"""
SHIFTS = """
import os
assert "ON_THE_DRIVER" in os.environ, "a worker read this file"

def shifted(x):
    return x + 0.1
"""


@pytest.mark.slow
def test_losses_of_ones_own_run_on_workers_that_have_never_seen_their_files(tmp_path: Path) -> None:
    """On a cluster that was started elsewhere, with an environment of its own."""
    folder = tmp_path / "study"
    folder.mkdir()
    for name, text in (("own.py", OWN_STUDY), ("own_losses.py", OWN_LOSSES), ("shifts.py", SHIFTS)):
        (folder / name).write_text(text)
    flags = ["--out", str(tmp_path / "out"), "--limit", "60"]
    with cluster("--num-cpus=2") as made:
        run = subprocess.run(
            [sys.executable, str(folder / "own.py"), "--address", made.address, *flags],
            cwd=tmp_path, env={**os.environ, "ON_THE_DRIVER": "1"}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert run.returncode == 0, run.stderr
    trials = load(str(tmp_path / "out" / "own")).trials
    assert set(trials["state"]) == {"completed"}
    epochs = load(str(tmp_path / "out" / "own")).epochs
    assert epochs.groupby("trial_id")["term.mine"].last().notna().sum() == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "/data/x: the disk is full"),
        (OSError(errno.EIO, "Input/output error"), "{store}: the disk or the network to it fails"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "ConnectionResetError: Connection reset"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (OSError("AF_UNIX path too long"), "OSError: AF_UNIX path too long"),
    ],
)
def test_the_store_is_blamed_only_for_errors_of_files(error: OSError, told: str, tmp_path: Path) -> None:
    store = open_folder(str(tmp_path))
    with pytest.raises(RunFailed) as failed, _writing_to(store):
        raise error
    assert str(failed.value).startswith(told.format(store=store))
    assert "run the same command again" in str(failed.value)
