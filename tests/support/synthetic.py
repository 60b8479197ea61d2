"""Stores with made-up numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from scl.report.facts import Facts, gather
from scl.store.checksums import to_parquet
from scl.store.files import Folder, open_folder
from scl.store.parts import write_part
from scl.store.results import read_results
from scl.store.study_file import write_study
from scl.store.tables import compact, read_trials, write_reference_predictions
from scl.study.identity import sha256

ARMS = ["baseline", "kd", "channel", "spatial", "channel+spatial"]
EFFECTS = dict(zip(ARMS, [0, 0.02, 0.004, -0.012, 0.026], strict=True))
START = datetime(2026, 1, 2, tzinfo=UTC)
Accuracy = Callable[[str, int], float | None]


def accuracy(effects: Mapping[str, float], base: float = 0.7, spread: float = 0.004) -> Accuracy:
    """base + effect of the arm + luck of the seed (shared by arms) + noise."""

    def value(arm: str, seed: int) -> float:
        luck = np.random.default_rng(1000 + seed).normal(0, spread)
        noise = np.random.default_rng([7, seed, *arm.encode()]).normal(0, spread / 2)
        return float(base + effects[arm] + luck + noise)

    return value


def gathered(store: Folder) -> Facts:
    """The facts of a page over this store."""
    return gather(read_results(store))


def make_store(
    folder: Path,
    arms: Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    value: Accuracy | None = None,
    states: Mapping[tuple[str, int], str] | None = None,
    epochs: int = 6,
    baseline: str | None = None,
    compacted: bool = True,
    **study: Any,
) -> Folder:
    """A store of arms × seeds. value: test accuracy of an arm and seed; states: trials that are not `completed`."""
    value = value or accuracy({arm: min(0.01, 0.25 / len(arms)) * i for i, arm in enumerate(arms)})
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
            write_part(
                store, _trial(arm, a, seed, trial_id, state, final, epochs), _epochs(trial_id, a, final, epochs), None
            )
    document = {**_document(arms, seeds, plan, baseline or arms[0]), **study}
    write_study(store, document)
    if compacted:
        compact(store, document)
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
        # A trial that did not complete has an absurd accuracy, which must never enter a mean.
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


def rewrite_trials(store: Folder, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Folder:
    """Change trials.parquet and its copy as a frame, for optional columns."""
    buffer = io.BytesIO()
    change(read_trials(store)).to_parquet(buffer, index=False)
    content = to_parquet(pq.ParquetFile(buffer).read())
    for folder in (store, store / "copies"):
        folder.write("trials.parquet", content)
    return store


def with_params(store: Folder, params: Mapping[str, Mapping[str, Any]], **columns: Any) -> Folder:
    """Give each arm its `param.*`; columns: name → function of the row of a trial."""

    def change(trials: pd.DataFrame) -> pd.DataFrame:
        names = sorted({name for of_arm in params.values() for name in of_arm})
        for name in names:
            trials[f"param.{name}"] = [params.get(arm, {}).get(name) for arm in trials["arm"]]
        for name, value in columns.items():
            trials[name] = [value(row) for row in trials.to_dict("records")]
        return trials

    return rewrite_trials(store, change)


def make_self_taught_store(
    folder: Path, counts: Sequence[int] = (0, 4, 8, 16), seeds: Sequence[int] = range(4), gain: float = 0.01
) -> Folder:
    """Arms with k self-taught neurons, both controls of equal width, muted accuracy and the share of the gap closed.

    Self-taught arms gain `gain` per doubling of k up to 8; the controls gain a fifth of it.
    """
    params: dict[str, dict[str, Any]] = {}
    effects: dict[str, float] = {}
    guided = {"weight.channel": 0.3, "connector": "auto", "self_taught_from": "added"}
    for k in counts:
        step = gain * math.log2(1 + min(k, 8))
        name = "baseline" if k == 0 else f"unguided k={k}"
        params[name] = {"self_taught": k, "guided": "first", "connector": "auto", "self_taught_from": "added"}
        effects[name] = step / 5
        params[f"channel k={k}"] = {"self_taught": k, "guided": "first", **guided}
        effects[f"channel k={k}"] = 0.01 + step
        if k:
            params[f"channel all k={k}"] = {"self_taught": k, "guided": "all", **guided}
            effects[f"channel all k={k}"] = 0.01 + step / 5
    store = make_store(folder, list(params), seeds, accuracy(effects), study="self_taught")
    base = {(r["seed"]): r["test_acc"] for r in read_trials(store).to_dict("records") if r["arm"] == "baseline"}
    return with_params(
        store,
        params,
        test_acc_muted=lambda r: r["test_acc"] - 0.03 if params[r["arm"]]["self_taught"] else None,
        gap_closed=lambda r: (
            None if r["arm"] == "baseline" else (r["test_acc"] - base[r["seed"]]) / (0.8 - base[r["seed"]])
        ),
        ece=lambda r: 0.03 + 0.1 * (r["test_acc"] - 0.7),
        teacher_kl=lambda r: 0.4 - r["test_acc"] / 4,
    )


def make_depth_store(
    folder: Path,
    depths: Sequence[int] = (3, 5, 7, 9),
    losses: Sequence[str] = ("none", "kd", "channel"),
    seeds: Sequence[int] = range(4),
    interaction: float = 0.004,
    **study: Any,
) -> Folder:
    """depth × loss; the gain of kd falls with depth. The baseline is the first depth without a loss."""
    levels: dict[str, dict[str, Any]] = {
        f"{loss}, {depth} layers": {"depth": depth, "loss": loss} for depth in depths for loss in losses
    }
    effects = {
        arm: 0.01 * (at["depth"] - 3) / 2
        + {"none": 0.0, "kd": 0.02, "channel": 0.01}.get(at["loss"], 0.0)
        - (interaction * (at["depth"] - 3) if at["loss"] == "kd" else 0)
        for arm, at in levels.items()
    }
    factors = {"depth": {"levels": list(depths)}, "loss": {"levels": list(losses)}}
    document = {"study": "depth", "factors": factors, "arm_levels": levels, "design": "factorial"}
    return make_store(folder, list(levels), seeds, accuracy(effects), **{**document, **study})


def make_image_store(
    folder: Path,
    predicted: Mapping[tuple[str, int], np.ndarray],
    labels: np.ndarray,
    teacher: np.ndarray | None,
    **study: Any,
) -> Folder:
    """A store with these predicted classes (images,) of each arm and seed, whose accuracies follow from them."""
    arms, seeds = list(dict.fromkeys(arm for arm, _ in predicted)), sorted({seed for _, seed in predicted})
    states = {(a, s): "missing" for a in arms for s in seeds if (a, s) not in predicted}
    store = make_store(folder, arms, seeds, lambda *at: float((predicted[at] == labels).mean()), states, **study)
    rows = {sha256([arm, seed]): classes for (arm, seed), classes in predicted.items()}
    rows |= {"labels": labels} | ({"t" * 64: teacher} if teacher is not None else {})
    write_reference_predictions(store, rows)
    return store


SPACE: dict[str, dict[str, Any]] = {
    "weight.kd": {"low": 0.01, "high": 10.0, "log": True},
    "kd.temperature": {"low": 1.0, "high": 16.0, "log": False},
    "lr": {"low": 0.001, "high": 0.3, "log": True},
    "self_taught": {"choices": [0, 4, 8, 16]},
}


def make_search_store(
    folder: Path,
    trials: int = 40,
    winners: int = 3,
    seeds: Sequence[int] = range(1000, 1005),
    multi: bool = False,
    noise: float = 0.002,
) -> Folder:
    """A search whose validation accuracy grows with log10(weight.kd) and log10(lr), and its winners on fresh seeds.

    Every seventh trial is pruned and every twenty-third failed. The winners gain 0.01 over the baseline.
    """
    arms = ["baseline", *[f"winner-{i + 1}" for i in range(winners)]]
    aims = {"val_acc": "maximize"} | ({"macs": "minimize"} if multi else {})
    document: dict[str, Any] = {"study": "search", "search_space": SPACE, "objectives": aims}
    effects = {arm: 0.01 if arm != "baseline" else 0.0 for arm in arms}
    store = make_store(folder, arms, seeds, accuracy(effects), **document)
    rng = np.random.default_rng(3)
    template = read_trials(store).iloc[0].to_dict()
    rows = []
    for number in range(trials):
        kd, lr = 10 ** rng.uniform(-2, 1), 10 ** rng.uniform(-3, math.log10(0.3))
        k = int(rng.choice([0, 4, 8, 16]))
        state = "pruned" if number % 7 == 6 else "failed" if number % 23 == 22 else "completed"
        value = 0.7 + 0.01 * (2 * math.log10(kd) / 3 + math.log10(lr) / 2.5) + rng.normal(0, noise)
        row = {**template, "arm": "search", "seed": 0, "number": number, "state": state}
        row |= {"trial_id": sha256(["search", number]), "config_id": sha256(["config", number])}
        row |= {"param.weight.kd": kd, "param.lr": lr, "param.kd.temperature": rng.uniform(1, 16)}
        row |= {"param.self_taught": k, "macs": 2_000_000 + 10_000 * k}
        row |= {"val_acc": value - 0.05 * (state == "pruned"), "test_acc": value - 0.005}
        if state == "failed":
            row |= {"val_acc": None, "test_acc": None, "error": "TrialFailure: train_loss became nan at epoch 1"}
        rows.append(row)
    done = [r for r in rows if r["state"] == "completed"]
    best = sorted(done, key=lambda r: -r["val_acc"])[:winners]
    chosen = {f"winner-{i + 1}": r["config_id"] for i, r in enumerate(best)}

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame["config_id"] = [chosen.get(arm, c) for arm, c in zip(frame["arm"], frame["config_id"], strict=True)]
        both = pd.concat([pd.DataFrame(rows).astype({"number": "Int64"}), frame], ignore_index=True)
        return both.astype({"number": "Int64"})

    return rewrite_trials(store, change)
