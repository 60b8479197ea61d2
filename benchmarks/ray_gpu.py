"""Ray's workers on a GPU: what each sees, how many share one, and what a broken one costs. About 3 minutes.

    python benchmarks/ray_gpu.py                                   # on a machine with a GPU and Ray
    uv run benchmarks/ray_gpu.py --logical 2 --device cpu          # without a GPU: Ray's share of it alone

1. Workers that ask for a part of a GPU: which devices each sees, and how many of them run at once on one.
2. A study with half a GPU for each cohort has the numbers of the same study in this process, bit by bit.
3. A loss that breaks its GPU (an assertion on the device, after which CUDA refuses every call of the process) fails its
   own trial; the trials after it run in another process.

Each check says yes, no or "cannot be shown here". The exit code is 1 if one says no.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(ROOT)

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.record import parsed, record
from scl import load

SECONDS = 3.0  # that a worker holds its share, so that those which fit run at once

BREAKS = '''
import torch
from torch import nn

import scl
from scl.cli import main


class Breaks(nn.Module):
    """Reads beyond the end of a tensor."""

    def forward(self, student, teacher):
        far = torch.full((1,), 7, device=student.logits.device)
        return torch.zeros(3, device=far.device)[far].sum() + 0 * student.logits.sum()


def breaks():
    return Breaks()


STUDY = scl.Study(
    name="breaks",
    question="Does a broken GPU stop the trials after it?",
    base=scl.Config(model="plain5", width=0.125, epochs=2),
    teacher=scl.Config(model="plain11", width=0.125, epochs=1),
    arms={"baseline": {}, "broken": {"losses": {"breaks": scl.Term(1.0, loss=breaks)}}, "kd": {"losses": {"kd": 0.9}}},
    seeds=2,
)

if __name__ == "__main__":
    main(STUDY)
'''


@dataclass(frozen=True)
class Check:
    """ok: None if it cannot be shown here."""

    ok: bool | None
    text: str


def seen(fraction: float) -> dict[str, Any]:
    """What a worker with a part of a GPU sees, and when it ran."""
    import ray  # noqa: PLC0415

    def look() -> dict[str, Any]:
        began = time.time()
        time.sleep(SECONDS)
        ids = [str(i) for i in ray.get_gpu_ids()]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return {"ids": ids, "visible": visible, "count": torch.cuda.device_count(), "from": began, "to": time.time()}

    looks = ray.remote(num_gpus=fraction, num_cpus=0)(look)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    return {"gpus": gpus, "workers": ray.get([looks.remote() for _ in range(2 * gpus * max(1, round(1 / fraction)))])}


def visible_devices(fraction: float, on_gpu: bool) -> Check:
    """Each worker sees the device that Ray gave it, and as many as 1 / fraction run on one at once."""
    found = seen(fraction)
    if not found["gpus"]:
        return Check(None, "Ray has no GPU here, not even a logical one (--logical 2)")
    workers, by_device = found["workers"], defaultdict(list)
    for worker in workers:
        by_device[worker["visible"]].append(worker)
    wrong = [w for w in workers if w["visible"].split(",") != w["ids"] or (on_gpu and w["count"] != len(w["ids"]))]
    at_once = max(
        sum(other["from"] <= worker["from"] < other["to"] for other in own)
        for own in by_device.values()
        for worker in own
    )
    fits = int(1 / fraction)
    names = ", ".join(sorted(by_device))
    text = f"{len(workers)} workers saw {names} as Ray gave them, {at_once} at once on one (at most {fits})"
    if wrong:
        text = f"{len(wrong)} of {len(workers)} workers see other devices than Ray gave them, as {wrong[0]}"
    return Check(not wrong and at_once <= fits and len(by_device) == found["gpus"], text)


def same_numbers(device: str, folder: Path) -> Check:
    """Two cohorts that share a GPU, and the same study inline."""
    small = ("--limit", "200", "--epochs", "2", "--teacher-epochs", "2", "--seeds", "2", "--arms", "baseline,kd,at")
    flags = (*small, "--device", device, "--cohort-size", "1", *(("--deterministic",) if device == "cuda" else ()))
    ways = {"ray": ("--gpus-per-trial", "0.5") if device == "cuda" else (), "inline": ("--inline",)}
    tables = {}
    for way, more in ways.items():
        done = study(ROOT / "studies" / "ablation.py", folder / way, *flags, *more)
        if done.returncode:
            return Check(False, f"{way}: exit code {done.returncode}: {done.stderr[-400:]}")
        rows = load(str(folder / way / "ablation")).trials.sort_values(["arm", "seed"])
        tables[way] = rows[["arm", "seed", "test_acc", "test_loss"]].reset_index(drop=True)
    equal = tables["ray"].equals(tables["inline"])
    return Check(equal, f"{len(tables['ray'])} trials on Ray and inline are {'the same' if equal else 'not the same'}")


def broken_device(device: str, folder: Path) -> Check:
    """A study in which one arm breaks its GPU."""
    script = folder / "breaks.py"
    script.write_text(BREAKS)
    done = study(script, folder / "out", "--limit", "200", "--device", device, "--cohort-size", "1")
    trials = load(str(folder / "out" / "breaks")).trials
    states = {arm: sorted(rows["state"]) for arm, rows in trials.groupby("arm")}
    wanted = {"baseline": ["completed"] * 2, "kd": ["completed"] * 2, "broken": ["failed"] * 2}
    if states != wanted:
        return Check(False, f"states {states}, wanted {wanted}; {done.stderr[-400:]}")
    text = "the arm that breaks it failed, all others completed"
    return Check(True, text) if device == "cuda" else Check(None, f"{text}; on a CPU nothing breaks for good")


def study(script: Path, out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), "--data", "digits", "--out", str(out), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def devices() -> str:
    """The machine's GPUs and their parts (MIG), as the driver lists them; "" without a driver."""
    if shutil.which("nvidia-smi") is None:
        return ""
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="default: cuda")
    parser.add_argument("--logical", type=int, metavar="N", help="N logical GPUs of Ray, on a machine without one")
    parser.add_argument("--fraction", type=float, default=0.5, help="of a GPU for a worker (default: 0.5)")
    given = parsed(parser)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --logical 2 --device cpu shows what Ray does without one")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # or workers start through uv, in a copy of the folder
    import ray  # noqa: PLC0415

    on_gpu = given.device == "cuda"
    found: dict[str, Any] = {"device": given.device, "devices": devices()}
    with tempfile.TemporaryDirectory() as folder:
        checks: dict[str, Callable[[], Check]] = {
            "workers see their devices": lambda: visible_devices(given.fraction, on_gpu),
            "same numbers on Ray and inline": lambda: same_numbers(given.device, Path(folder)),
            "a broken GPU costs one trial": lambda: broken_device(given.device, Path(folder)),
        }
        for name, check in checks.items():
            began = time.perf_counter()
            if name == "workers see their devices":  # studies start a Ray of their own
                ray.init(num_gpus=given.logical, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
            try:
                result = check()
            finally:
                ray.shutdown()
            said = {True: "yes", False: "NO", None: "cannot be shown here"}[result.ok]
            print(f"{name}: {said}: {result.text} ({time.perf_counter() - began:.0f} s)", flush=True)
            found[name] = asdict(result)
            record("ray_gpu", found, given.json, n=1)
    raise SystemExit(any(isinstance(f, dict) and f["ok"] is False for f in found.values()))


if __name__ == "__main__":
    main()
