"""Stores with made-up numbers, for tests of what reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from scl import results
from scl.config import sha256
from scl.storage import Folder, open_folder

START = datetime(2026, 1, 2, tzinfo=UTC)
Accuracy = Callable[[str, int], float | None]


def accuracy(effects: Mapping[str, float], base: float = 0.7, spread: float = 0.004) -> Accuracy:
    """base + the arm's effect + a seed's own luck (shared by arms) + noise."""

    def value(arm: str, seed: int) -> float:
        luck = np.random.default_rng(1000 + seed).normal(0, spread)
        noise = np.random.default_rng([7, seed, *arm.encode()]).normal(0, spread / 2)
        return float(base + effects[arm] + luck + noise)

    return value


def make_store(
    folder: Path,
    arms: Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    value: Accuracy | None = None,
    states: Mapping[tuple[str, int], str] | None = None,
    epochs: int = 6,
    baseline: str | None = None,
    compact: bool = True,
    **study: Any,
) -> Folder:
    """A store of arms × seeds. value: test accuracy of a cell; states: cells that are not `completed`."""
    value = value or accuracy({arm: 0.01 * i for i, arm in enumerate(arms)})
    store = open_folder(str(folder))
    plan = []
    for a, arm in enumerate(arms):
        for seed in seeds:
            trial_id = sha256([arm, seed])
            plan.append({"arm": arm, "seed": seed, "trial_id": trial_id})
            state = (states or {}).get((arm, seed), "completed")
            if state == "missing":
                continue
            final = value(arm, seed)
            assert final is not None
            results.write_part(
                store, _trial(arm, a, seed, trial_id, state, final, epochs), _epochs(trial_id, a, final, epochs), None
            )
    document = {**_document(arms, seeds, plan, baseline or arms[0]), **study}
    results.write_study(store, document)
    if compact:
        results.compact(store, document)
    return store


def _trial(arm: str, a: int, seed: int, trial_id: str, state: str, final: float, epochs: int) -> dict[str, Any]:
    done = state == "completed"
    return {
        "trial_id": trial_id,
        "study": "ablation",
        "arm": arm,
        "config_id": sha256(arm),
        "seed": seed,
        "state": state,
        "error": "TrialFailure: loss term 'kd' became nan at epoch 2, step 3 of 12" if state == "failed" else None,
        "config_json": "{}",
        "teacher_id": "t" * 64,
        "teacher_test_acc": 0.74,
        # A trial that did not complete leaves a wild number behind: it must never enter a mean.
        "test_acc": final if done else 0.999,
        "val_acc": final + 0.005 if done else None,
        "test_acc_at_best_val": final - 0.001 if done else None,
        "test_acc_best": final + 0.003 if done else None,
        "test_loss": 1 - final if done else None,
        "agreement": min(final + 0.02 * math.sin(a), 1) if done else None,
        "params": 70_000 + 1000 * (a % 3),
        "macs": 2_000_000 + 50_000 * (a % 3),
        "latency_ms": 1.25 + 0.01 * a,
        "epochs": epochs if done else 2,
        "best_epoch": epochs - 1,
        "train_seconds": 12.0 + a + 0.1 * seed,
        "images_per_second": 4000.0,
        "device": "cpu",
        "cohort_size": 4,
        "restarts": 0,
        "started": START + timedelta(seconds=seed),
        "ended": START + timedelta(seconds=60 + seed),
    }


def _epochs(trial_id: str, a: int, final: float, epochs: int) -> list[dict[str, Any]]:
    rows = []
    for e in range(1, epochs + 1):
        reached = final * (1 - 0.75 * math.exp(-5 * e / epochs)) / (1 - 0.75 * math.exp(-5))
        ce, extra = 2.0 * (1 - reached) + 0.1, 0.3 * (a % 3)
        terms = {"term.ce": ce, "weighted.ce": ce}
        if extra:
            terms |= {"term.kd": extra / 0.9, "weighted.kd": extra}
        loss = {"train_loss": ce + extra, "val_loss": 1 - reached, "train_acc": min(reached + 0.05, 1.0)}
        accuracies = {"val_acc": min(reached + 0.005, 1.0), "test_acc": reached}
        rows.append({"trial_id": trial_id, "epoch": e, "lr": 0.1, **loss, **accuracies, **terms})
    return rows


def _document(arms: Sequence[str], seeds: Sequence[int], plan: list[dict[str, Any]], baseline: str) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "study": "ablation",
        "question": "Which way of learning from a teacher makes a 5-layer student best?",
        "baseline": baseline,
        "arms": {arm: {"losses": {"kd": {"weight": 0.3 * (i % 3)}}} if i % 3 else {} for i, arm in enumerate(arms)},
        "factors": None,
        "search_space": None,
        "seeds": list(seeds),
        "metric": "test_acc",
        "direction": "max",
        "selection": "last epoch; nothing is selected on test images",
        "command": "studies/ablation.py --seeds 3",
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "versions": {"python": "3.11.9", "torch": "2.11.0"},
        "hardware": {"cpu": "a cpu", "cores": 2, "memory_gb": 8.0, "gpus": []},
        "data": {
            "name": "digits",
            "fingerprint": "f" * 64,
            "train": 1293,
            "val": 144,
            "test": 360,
            "classes": 10,
            "channels": 1,
            "height": 8,
            "width": 8,
            "limit": None,
            "val_share": 0.1,
            "split_seed": 0,
            "note": "1,797 images of 8×8: it shows that a study runs, not which loss is best on real images.",
        },
        "teacher": {
            "model": "plain11",
            "width": 1.0,
            "epochs": 30,
            "per_seed": False,
            "source": "trained here",
            "test_acc": {"all": 0.74},
            "ids": {"all": "t" * 64},
        },
        "plan": plan,
        "looks": [{"when": "2026-01-02T00:00:00Z", "seeds": len(seeds)}],
        "started": "2026-01-02T00:00:00Z",
        "ended": "2026-01-02T00:02:00Z",
        "wall_seconds": 120.0,
        "slots": 1,
        "cpus_per_trial": 1,
    }
