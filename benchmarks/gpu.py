"""All that a GPU is to show, in pieces of a few minutes: the same command goes on where the last piece stopped.

    python benchmarks/gpu.py --minutes 9 --work gpu-work --out OUT --data CIFAR100       # one piece
    python benchmarks/gpu.py --unpack OUT --work gpu-work                                # elsewhere: its results
    uv run benchmarks/gpu.py --rehearse --minutes 9 --work WORK --out OUT                # on a CPU, tiny

Needs no Ray, network or installation: of what pyproject.toml asks for, all but Ray, Optuna, Plotly and shtab. The parts
stand in order of worth in `parts`; a part that needs more time than is left is passed over for one that does not. After
every part its figures are in OUT/summary.json, and before the time is up, all results are there in files of at most 15
MB, teachers apart. --work has the stores and what is done; unpacked on another machine, it goes on there. GPU.md says
what to type.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(ROOT)

import argparse
import json
import os
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from benchmarks.packs import pack, unpack

PACKING = {False: 30.0, True: 5.0}  # seconds at the end of a piece, for files that go back; True: of a rehearsal
GRACE = 25.0  # seconds that a study has to end in order, and a killed process to go
TRIES = 2  # of a part that fails, each in another piece
LEAST_STUDY = 60  # seconds in which a study on a GPU gets at least one cohort further
NOT_NEEDED = {"optuna", "plotly", "ray", "shtab"}  # by anything here; the page is made elsewhere
MOST_FILES = 7  # of a piece, beside summary.json

FULL = "channel+spatial+kd+self-taught"
MORE_ARMS = (  # of the headline, after those that answer its question
    *("channel", "spatial", "channel+spatial+kd", "kd+self-taught", "self-taught", f"{FULL} all guided"),
    *("dist", "dkd"),
)

Launch = Callable[[Sequence[str], Path, float], int]


@dataclass(frozen=True)
class Part:
    """One measurement.

    name: of its figures, its log and its record. command: after the interpreter. seconds: that it needs at least.
    goes_on: a study, which `--time-budget` stops and the same command continues. needs: a folder that must be there.
    """

    name: str
    command: tuple[str, ...]
    seconds: float
    goes_on: bool = False
    needs: str | None = None


def parts(work: Path, data: str, checkout: str, rehearse: bool) -> list[Part]:
    """Every part in order of worth: tests, the step's speed, kernels, the published pair, the headline.

    data: CIFAR-100 as image Parquet. checkout: a clone of RepDistiller. rehearse: tiny, on the CPU.
    """
    figures, device = work / "figures", "cpu" if rehearse else "cuda"

    def benchmark(name: str, seconds: float, script: str, *flags: str, needs: str | None = None) -> Part:
        json_flags = ("--json", str(figures / f"{name}.json"), "--force")
        return Part(name, (f"benchmarks/{script}", *flags, "--device", device, *json_flags), seconds, needs=needs)

    def study(name: str, script: str, *flags: str, store: str = "") -> Part:
        given = "digits" if rehearse else data
        more = ("--inline", "--device", device, "--data", given, "--out", str(work / (store or name)))
        label = () if rehearse else ("--label", "fine_label")
        needs = None if rehearse else data
        return Part(name, (f"studies/{script}", *flags, *more, *label), 5 if rehearse else LEAST_STUDY, True, needs)

    small = ("--images", "64") if rehearse else ("--images", "6400")
    rounds = ("--rounds", "1") if rehearse else ()
    tiny = ("--limit", "100", "--epochs", "1", "--teacher-epochs", "1", "--seeds", "1") if rehearse else ()
    short = tiny or ("--epochs", "100", "--teacher-epochs", "100", "--seeds", "3")
    limit = ("--limit", "100") if rehearse else ()
    pair = ("--pair", "vgg13-vgg8", "--scale", "smoke" if rehearse else "short", "--seeds", "1", *limit)
    tests = ("tests/test_machine.py",) if rehearse else ("-m", "gpu")
    losses = "kd,at" if rehearse else "kd,at,sp,pkt,ickd,dkd,scl+kd"
    headline = ("headline.py", "--scale", "smoke" if rehearse else "full")
    few = f"baseline,kd,{FULL}"
    more = f"{few},self-taught" if rehearse else f"{few},{','.join(MORE_ARMS)}"
    cohorts = (1,) if rehearse else (1, 8, 16)
    return [
        Part("tests", ("-m", "pytest", "-q", "-p", "no:xdist", *tests), 20 if rehearse else 60),
        benchmark("step", 20 if rehearse else 150, "step.py", *small, *rounds),
        benchmark("repdistiller", 120, "repdistiller.py", checkout, *small, *rounds, needs=checkout),
        *(benchmark(f"kernels-{n}", 5 * n + 35, "kernels.py", "--cohort", str(n), *small) for n in cohorts),
        study("pair", "benchmark.py", *pair, "--arms", f"baseline,{losses}"),
        study("headline-100", *headline, *short, "--arms", few),
        study("headline-100-more", *headline, *short, "--arms", more, store="headline-100"),
        study("headline-240", *headline, *(tiny or ("--seeds", "3")), "--arms", few),
    ]


class Work:
    """What is done, in a folder: `parts/NAME.json` of each part that has begun."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("parts", "figures", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def state(self, part: Part) -> dict[str, Any]:
        file = self.folder / "parts" / f"{part.name}.json"
        return json.loads(file.read_text()) if file.exists() else {"state": "to do", "seconds": 0.0, "failures": 0}

    def write(self, part: Part, state: dict[str, Any]) -> None:
        written = self.folder / "parts" / f"{part.name}.json"
        beside = written.with_suffix(".new")
        beside.write_text(json.dumps(state, indent=1))
        beside.replace(written)  # whole, or as before

    def log(self, part: Part) -> Path:
        return self.folder / "logs" / f"{part.name}.txt"


def launch(command: Sequence[str], log: Path, seconds: float) -> int:
    """Run a command of this Python in the project's root, with its output in a file; returns its exit code, or 124 if
    the time was up. Then it is asked to end, and killed if it does not. It finds scl, which need not be installed."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path},
        )  # fmt: skip
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            for last in (signal.SIGTERM, signal.SIGKILL):
                os.killpg(process.pid, last)
                try:
                    process.wait(GRACE / 2)
                    break
                except subprocess.TimeoutExpired:
                    continue
            return 124


def piece(
    every: Sequence[Part],
    work: Work,
    seconds: float,
    after_each: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
    run: Launch = launch,
) -> None:
    """Train and measure until the time is up. after_each: called whenever a part has ended or was stopped."""
    end = clock() + seconds
    for part in every:
        state, left = work.state(part), end - clock()
        why = _passed_over(part, state, left)
        if why:
            if state["state"] != "done":
                print(f"{part.name}: passed over, {why}", flush=True)
            continue
        print(f"{part.name}: begins, {left:.0f} s left", flush=True)
        command = list(part.command)
        if part.goes_on:
            command += ["--time-budget", f"{max(1.0, left - GRACE):.0f}"]
        began = clock()
        code = run(command, work.log(part), left)
        took = clock() - began
        state = {**state, "code": code, "seconds": state["seconds"] + took}
        if code == 0:
            state["state"] = "done"
        elif code == 124 or (part.goes_on and code in (3, 130, 143)):
            # A study goes on; a benchmark that was cut off needs more time than it had.
            state |= {"state": "stopped"} if part.goes_on else {"state": "stopped", "needs": 1.2 * took}
        else:
            state |= {"state": "failed", "failures": state["failures"] + 1}
        work.write(part, state)
        print(f"{part.name}: {state['state']} (exit code {code}), {took:.0f} s", flush=True)
        after_each()


def _passed_over(part: Part, state: dict[str, Any], left: float) -> str:
    """Why a part does not run now; "" if it does."""
    if state["state"] == "done":
        return "done"
    if state["failures"] >= TRIES:
        return f"it failed {TRIES} times: see its log, and remove its file in parts to try again"
    if part.needs is not None and not Path(part.needs).exists():
        return f"{part.needs} is not there"
    needed = max(part.seconds, state.get("needs", 0.0))
    return f"it needs {needed:.0f} s and {max(0.0, left):.0f} are left" if left < needed else ""


def lacking() -> list[str]:
    """The packages that the parts need and this Python lacks, so that no GPU waits for them."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    found = []
    for name in sorted({"pytest", *(re.split(r"[^\w-]", entry)[0] for entry in asked)} - NOT_NEEDED):
        try:
            version(name)
        except PackageNotFoundError:
            found.append(name)
    return found


def summary(every: Sequence[Part], work: Work) -> dict[str, Any]:
    """What is done, and the figures of each benchmark."""
    states = {part.name: work.state(part) for part in every}
    found = {file.stem: json.loads(file.read_text()) for file in sorted((work.folder / "figures").glob("*.json"))}
    return {"parts": states, "figures": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="of this piece, packing included (default: 9)")
    parser.add_argument("--work", type=Path, required=True, help="folder of stores and of what is done")
    parser.add_argument("--out", type=Path, help="folder for the files that go back")
    parser.add_argument("--data", help="folder with CIFAR-100 as image Parquet; without it, studies are passed over")
    parser.add_argument("--repdistiller", metavar="CHECKOUT", help="a clone of RepDistiller; without it, passed over")
    parser.add_argument("--unpack", type=Path, nargs="+", metavar="DIR", help="put earlier pieces' files into --work")
    parser.add_argument("--rehearse", action="store_true", help="all parts, tiny and on the CPU")
    given = parser.parse_args()
    if given.unpack:
        for folder in given.unpack:
            try:
                unpack(folder, given.work)
            except (ValueError, OSError) as error:
                parser.error(f"--unpack: {error}")
    if given.out is None:
        if not given.unpack:
            parser.error("give --out, --unpack, or both")
        return
    if packages := lacking():
        parser.error(f"this Python ({sys.executable}) lacks {', '.join(packages)}; install them first")
    if not given.rehearse and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --rehearse shows on a CPU that everything runs")
    work, data = Work(given.work.resolve()), given.data and str(Path(given.data).resolve())
    every = parts(work.folder, data or "a folder (--data)", given.repdistiller or "a clone", given.rehearse)
    given.out.mkdir(parents=True, exist_ok=True)

    def tell() -> None:
        (given.out / "summary.json").write_text(json.dumps(summary(every, work), indent=1))

    tell()
    piece(every, work, 60 * given.minutes - PACKING[given.rehearse], tell)
    pack(work.folder, given.out, MOST_FILES)
    to_do = [part.name for part in every if work.state(part)["state"] != "done"]
    print(f"to do: {', '.join(to_do)}; the same command goes on" if to_do else "every part is done", flush=True)


if __name__ == "__main__":
    main()
