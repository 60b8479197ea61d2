"""Golden numbers: the last epoch of small trials of each kind, as in tests/golden/numbers.json.

On the recorded type of CPU with the recorded version of torch they are bitwise the same. Elsewhere losses agree within
0.1 %, and shares of images within 1.1 points (2 of 200 images). After an intended change, raise RESULTS_VERSION and
record them again:

    SCL_RECORD_NUMBERS=1 uv run pytest tests/train/test_golden_numbers.py
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest
import torch

from scl.data.batches import SplitData
from scl.study.config import Config
from scl.study.identity import RESULTS_VERSION
from scl.study.loss_table import LOSSES
from scl.study.term import Term
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec
from tests.support.training import ends, few_digits

FILE = Path(__file__).parents[1] / "golden" / "numbers.json"
TEST_METRICS = ("test_loss", "test_acc5", "ece", "agreement", "teacher_kl", "test_acc_muted")
SMALL: dict[str, Any] = {"width": 0.125, "batch_size": 32, "lr": 0.01, "epochs": 2}
WEIGHTS = {
    "channel": 0.3, "spatial": 0.3, "kd": 0.9, "hint": 0.1, "at": 10.0, "sp": 30.0, "cc": 0.02, "rkd": 0.1,
    "pkt": 300.0, "vid": 0.1, "nst": 5.0, "fsp": 5.0, "ickd": 0.1, "dkd": 0.5, "dist": 1.0,
    "nkd": 1.0, "wttm": 5.0, "crd": 0.8, "reviewkd": 0.5, "mlld": 0.5, "ctkd": 0.5, "logit": 0.5, "catkd": 0.5,
    "ldrld": 0.1, "ofd": 0.001, "semckd": 0.5, "simkd": 0.5, "norm": 0.5,
}  # fmt: skip
ARMS: dict[str, dict[str, Any]] = {
    "baseline": {},
    **{name: {"losses": {name: weight}} for name, weight in WEIGHTS.items()},
    "simkd": {"losses": {"simkd": 0.5}, "projector": 64},
    "expansion": {"model": "resnet8", "expansion": 24, "self_taught": 2, "ema": 0.9},
    "zscore": {"losses": {"kd": Term(2.0, options={"temperature": 2.0, "norm": "zscore"})}},
    "vgg8": {"model": "vgg8", "losses": {"channel": 0.3, "hint": 0.1, "kd": 0.5}},
    "resnet8": {"model": "resnet8", "losses": {"spatial": 0.3, "vid": 0.1}, "connector": "always"},
    "wrn_16_1": {"model": "wrn_16_1", "losses": {"channel": 0.3, "at": 10.0}, "tap": "block"},
    "plain3": {"model": "plain3", "losses": {"fsp": Term(5.0, stage="pretrain"), "sp": 30.0}, "pretrain_epochs": 1},
    "layers": {"losses": {"channel": 0.3, "spatial": 0.3}, "self_taught": 4},
    "penultimate": {"losses": {"channel": 0.3}, "self_taught": 4, "self_taught_at": "penultimate"},
    "branch": {"losses": {"channel": 0.3}, "self_taught": (0, 2, 0, 1), "self_taught_at": "branch"},
    "taken": {"losses": {"channel": 0.3}, "self_taught": 4, "self_taught_from": "taken"},
    "all guided": {"losses": {"channel": 0.3}, "self_taught": 4, "guided": "all"},
    "options": {
        "losses": {
            "channel": Term(0.3, layers=(1, -1), options={"norm": "cosine", "pool": "batch"}),
            "gram": Term(0.3, loss="spatial", warmup=3, options={"norm": "gram"}),
            "kd": Term(0.5, end=1, options={"temperature": 2.0}),
        },
        "ce": 0.5,
        "label_smoothing": 0.1,
        "schedule": "multistep",
        "milestones": (1,),
        "augment": "none",
        "nesterov": False,
    },
}


def machine() -> dict[str, str]:
    """What bitwise equality depends on: the processor, its instructions as torch uses them, and torch."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def numbers(data: SplitData) -> dict[str, dict[str, float]]:
    """For the teacher and each arm, the row of the last epoch and the test metrics."""
    config = Config(model="plain11", **SMALL)
    found = ends([TrialSpec("teacher", config, 0)], data, None)
    logits = found["teacher"].test_logits
    assert logits is not None
    teacher = Teacher(config, found["teacher"].weights, logits)
    configs = {name: Config(**{**SMALL, **arm}) for name, arm in ARMS.items()}
    for batches in {(c.augment, c.tap) for c in configs.values()}:
        cohort = [TrialSpec(name, c, 0) for name, c in configs.items() if (c.augment, c.tap) == batches]
        found |= ends(cohort, data, teacher)
    rows = {}
    for name, end in found.items():
        assert end.metrics["state"] == "completed", (name, end.metrics["error"])
        tested = {metric: end.metrics[metric] for metric in TEST_METRICS if metric in end.metrics}
        rows[name] = {column: value for column, value in end.epochs[-1].items() if column != "trial_id"} | tested
    return rows


def nearly(column: str, value: float) -> object:
    share_of_images = "acc" in column or column in ("agreement", "ece")
    return pytest.approx(value, abs=0.011) if share_of_images else pytest.approx(value, rel=1e-3, abs=1e-6)


def test_the_numbers_of_trials_have_not_moved(tmp_path: Path) -> None:
    found = numbers(few_digits(tmp_path, test=797))
    if os.environ.get("SCL_RECORD_NUMBERS"):
        record = {"results_version": RESULTS_VERSION, "machine": machine(), "numbers": found}
        FILE.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    golden = json.loads(FILE.read_text())
    assert golden["results_version"] == RESULTS_VERSION, "RESULTS_VERSION has changed: record the numbers again"
    expected, exact = golden["numbers"], golden["machine"] == machine()
    assert found.keys() == expected.keys()
    assert all(expected[name].keys() <= row.keys() for name, row in found.items())  # later versions add columns
    moved = [
        f"{name}: {column} was {value}, is {found[name][column]}"
        for name, row in expected.items()
        for column, value in row.items()
        if found[name][column] != (value if exact else nearly(column, value))
    ]
    assert not moved, (
        f"the numbers of trials have moved ({'; '.join(moved[:3])}). If that is intended, raise RESULTS_VERSION in "
        f"scl/study/identity.py, now {RESULTS_VERSION}, and record them again"
    )


def test_there_is_an_arm_for_each_loss() -> None:
    assert WEIGHTS.keys() == LOSSES.keys()
