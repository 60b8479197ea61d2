"""The command `scl`: look at results without writing code.

    scl results                      every study in results/
    scl show ablation/scl/0          one trial: what it was, what it reached
    scl plan studies/ablation.py     what a study would run, and its cost
    scl export results/ablation scl/0 --format onnx
    scl report results/ablation      build the page anew

Nothing here trains. `--help` and a mistyped command are answered without importing torch.
"""

from __future__ import annotations

import argparse
import json
import runpy
import shlex
import sys
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from scl.cli import guarded
from scl.errors import UserError, unknown

FORMATS = ("safetensors", "onnx", "torchscript")
INPUTS = ("pixels", "normalised")
SHELLS = ("bash", "zsh", "tcsh")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="scl",
        description="Look at the results of studies. A study itself is a script: python studies/ablation.py --help",
        epilog='Completion of these commands in your shell: eval "$(scl completion bash)", or zsh.',
        allow_abbrev=False,
    )
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=summary, description=summary[:1].upper() + summary[1:] + ".")

    c = command("results", "every study in a folder of results: what is done, what it says, where its page is")
    c.add_argument("place", nargs="?", default="results", metavar="DIR", help="as given to --out (default: results)")
    c = command("show", "one trial: its configuration and what it reached")
    c.add_argument("trial", metavar="TRIAL", help="STUDY/ARM/SEED, as in ablation/scl/0, or the beginning of an id")
    c.add_argument("--results", default="results", metavar="DIR", help="as given to --out (default: results)")
    c = command("plan", "what a study would run, what is done already and what the rest would cost; trains nothing")
    c.add_argument("script", metavar="STUDY.py", help="a study's script; its own flags may follow")
    c.add_argument("flags", nargs=argparse.REMAINDER, metavar="FLAGS", help="flags of the study, as in --seeds 5")
    export_arguments(command("export", "write a student as a file: safetensors, ONNX or TorchScript"))
    c = command("report", "build a study's page anew from its store")
    c.add_argument("place", metavar="RESULTS", help="a study's folder, as in results/ablation")
    c = command("completion", "print what your shell needs to complete these commands")
    c.add_argument("shell", metavar="SHELL", help=f"one of {', '.join(SHELLS)}")
    return p


def export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", metavar="RESULTS", help="a study's folder, as in results/ablation")
    parser.add_argument("trial", metavar="TRIAL", help="ARM/SEED, as in scl/0, or the beginning of a trial's id")
    parser.add_argument("--format", default="safetensors", metavar="NAME", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("--out", metavar="FILE", help="the file to write (default: STUDY-ARM-seedN, here)")
    parser.add_argument(
        "--input",
        default="pixels",
        metavar="KIND",
        help="what the model takes: pixels in [0, 1] (default; the normalisation is in the model), or normalised",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    work = {
        "results": lambda: show_results(given.place),
        "show": lambda: show_trial(given.results, given.trial),
        "plan": lambda: plan(given.script, given.flags),
        "export": lambda: _export(given),
        "report": lambda: report(given.place),
        "completion": lambda: completion(given.shell),
    }[given.command]
    return guarded(work)


def _export(given: argparse.Namespace) -> int:
    from scl.export import export

    return export(given.results, given.trial, given.format, given.out, given.input)


def studies(place: str) -> dict[str, Any]:
    """The stores in a folder of results by name; the folder may be one store itself. Raises UserError for none."""
    from pyarrow import fs

    from scl.storage import open_folder

    folder = open_folder(place)
    if folder.exists("study.json"):
        return {folder.path.rpartition("/")[2]: folder}
    infos = folder.filesystem.get_file_info(fs.FileSelector(folder.path, allow_not_found=True))
    names = sorted(i.base_name for i in infos if i.type == fs.FileType.Directory)
    found = {name: folder / name for name in names if (folder / name).exists("study.json")}
    if not found:
        raise UserError(f"no results in {folder}; run a study first, or name the folder that was its --out")
    return found


def show_results(place: str) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from scl import results

    console = Console()
    table = Table("study", "data", "done", "failed", "missing", "best arm", "test acc, %")
    pages = []
    for name, store in studies(place).items():
        read = results.read(store)
        states = read.cells()["state"]
        rows = read.planned()
        means = rows[rows["state"] == "completed"].groupby("arm")["test_acc"].mean()
        done = int(states.isin(["completed", "pruned"]).sum())
        pages.append(f"{store}/report.html" if store.exists("report.html") else f"{store} has no page yet")
        table.add_row(
            Text(name),
            Text(str(read.study.get("data", {}).get("name", "?"))),
            f"{done}/{len(states)}",
            str(int((states == "failed").sum())),
            str(int((states == "missing").sum())),
            Text(str(means.idxmax()) if len(means) else "—"),
            f"{100 * means.max():.2f}" if len(means) else "—",
        )
    console.print(table)
    console.print("best arm: the highest mean, no more; the page says how sure that is")
    for page in pages:
        console.print(Text(page), soft_wrap=True)
    return 0


def show_trial(place: str, trial: str) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    name, store, row = find(place, trial)
    console = Console()
    console.print(Text(f"{name}: {row['arm']}, seed {row['seed']}, {row['state']}", style="bold"))
    if isinstance(row["error"], str) and row["error"]:
        console.print(Text(row["error"].strip(), style="red"))
    table = Table.grid(padding=(0, 2))
    for key in ("trial_id", "config_id", "teacher_id"):
        table.add_row(key, Text(str(row[key]), overflow="fold"))
    table.add_row("configuration", Text(json.dumps(json.loads(row["config_json"]), ensure_ascii=False)))
    hidden = {"trial_id", "study", "arm", "config_id", "seed", "state", "error", "config_json", "teacher_id"}
    for key, value in row.items():
        if key not in hidden and not key.startswith("param.") and not missing(value):
            table.add_row(key, Text(f"{value:.4f}" if isinstance(value, float) else str(value)))
    console.print(table)
    if row["state"] == "completed":
        file = f"{store}/checkpoints/{row['trial_id']}/student.safetensors"
        console.print(Text(f"network: {file}"), soft_wrap=True)
        command = shlex.join(["scl", "export", str(store), f"{row['arm']}/{row['seed']}", "--format", "onnx"])
        console.print(Text(f"as a file: {command}"), soft_wrap=True)
    return 0


def find(place: str, trial: str) -> tuple[str, Any, Mapping[str, Any]]:
    """A trial by STUDY/ARM/SEED, or in any study by ARM/SEED or the beginning of its id; UserError where not one."""
    from scl import results
    from scl.export import find_trial

    stores = studies(place)
    named, _, rest = trial.partition("/")
    asked = {named: stores[named]} if named in stores and rest else stores
    found, reasons = [], []
    for name, store in asked.items():
        for text in dict.fromkeys((rest, trial) if name == named and rest else (trial,)):
            try:
                found.append((name, store, find_trial(results.read(store), text)))
                break
            except UserError as error:
                reasons.append(str(error))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{name}/{row['arm']}/{row['seed']}" for name, _, row in found)
        raise UserError(f"trial {trial!r} is in several studies; say which: {names}")
    if len(asked) == 1:
        raise UserError(reasons[0])
    raise UserError(
        f"unknown trial {trial!r}; give STUDY/ARM/SEED or the beginning of an id; studies: {', '.join(asked)}"
    )


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))


def plan(script: str, flags: list[str]) -> int:
    path = Path(script)
    if not path.is_file():
        raise UserError(f"{script!r}: no such file; name a study's script, as in studies/ablation.py")
    before, sys.argv = sys.argv, [script, *flags, "--plan"]
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for a script
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    finally:
        sys.argv = before
        sys.path.pop(0)
    raise UserError(f"{script!r} ran no study: it must call scl.cli.main(Study(…))")


def report(place: str) -> int:
    from scl import results, runner
    from scl.storage import locked, open_folder

    store = open_folder(place)
    results.read_study(store)
    with locked(store):
        return runner.report(store)


def completion(shell: str) -> int:
    if shell not in SHELLS:
        raise UserError(unknown("shell", shell, SHELLS))
    import shtab

    print(shtab.complete(parser(), shell=shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
