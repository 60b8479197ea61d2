"""The command `scl`: look at results without writing code.

    scl results                      every study in results/
    scl show ablation/scl/0          one trial: what it was, what it reached
    scl run studies/ablation.py      a study: the same as python studies/ablation.py
    scl plan studies/ablation.py     what it would run, and its cost
    scl export ablation/scl/0 --format onnx
    scl report results/ablation      build the page anew

`--help` and a mistyped command are answered without importing torch.
"""

from __future__ import annotations

import argparse
import json
import runpy
import shlex
import sys
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from scl.cli import add_flags
from scl.errors import UserError, unknown
from scl.exits import guarded
from scl.space import Search
from scl.study import Study

FORMATS = ("safetensors", "onnx", "torchscript")
INPUTS = ("pixels", "normalised")
SHELLS = ("bash", "zsh", "tcsh")
STUDIES = {
    "run": "run a study: the same as its script",
    "plan": "what a study would run, what is done already and what the rest would cost; trains nothing",
}


def parser(for_completion: bool = False) -> argparse.ArgumentParser:
    """The command line. for_completion: with the flags of studies, which studies read themselves otherwise."""
    p = argparse.ArgumentParser(
        prog="scl",
        description="Run studies and look at their results. What a study takes: python studies/ablation.py --help",
        epilog='Completion of these commands in your shell: eval "$(scl completion bash)", or zsh.',
        allow_abbrev=False,
    )
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=summary, description=summary[:1].upper() + summary[1:] + ".")

    c = command("results", "every study in a folder of results: what is done, what it says, where its page is")
    c.add_argument("place", nargs="?", default="results", metavar="DIR", help="as given to --out (default: results)")
    c = command("show", "one trial: its configuration and what it reached")
    trial_arguments(c)
    for name, summary in STUDIES.items():
        c = command(name, summary)
        c.add_argument("script", metavar="STUDY.py", help="a study's script; its own flags may follow")
        if for_completion:
            add_flags(c, Study(name="any", question="", arms={"baseline": {}}, search=Search({})))
        else:
            c.add_argument(
                "flags", nargs=argparse.REMAINDER, metavar="FLAGS", help="flags of the study, as in --seeds 5"
            )
    export_arguments(command("export", "write a student as a file: safetensors, ONNX or TorchScript"))
    c = command("report", "build a study's page anew from its store")
    c.add_argument("place", metavar="RESULTS", help="a study's folder, as in results/ablation")
    c = command("completion", "print what your shell needs to complete these commands")
    c.add_argument("shell", metavar="SHELL", help=f"one of {', '.join(SHELLS)}")
    return p


def trial_arguments(parser: argparse.ArgumentParser) -> None:
    """How every command takes a trial: [RESULTS] TRIAL."""
    parser.add_argument(
        "results",
        nargs="?",
        default="results",
        metavar="RESULTS",
        help="what was given to --out, or one study's folder in it (default: results)",
    )
    parser.add_argument(
        "trial", metavar="TRIAL", help="STUDY/ARM/SEED, as in ablation/scl/0; ARM/SEED; or the beginning of an id"
    )


def export_arguments(parser: argparse.ArgumentParser) -> None:
    trial_arguments(parser)
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
        "run": lambda: run(given.script, given.flags),
        "plan": lambda: run(given.script, [*given.flags, "--plan"]),
        "export": lambda: _export(given),
        "report": lambda: report(given.place),
        "completion": lambda: completion(given.shell),
    }[given.command]
    return guarded(work)


def _export(given: argparse.Namespace) -> int:
    from scl.export import export

    return export(given.results, given.trial, given.format, given.out, given.input)


def show_results(place: str) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from scl import results
    from scl.lookup import stores

    console = Console()
    table = Table("study", "data", "done", "failed", "missing", "best arm", "test acc, %")
    pages = []
    for name, store in stores(place).items():
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

    from scl.lookup import find

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


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))


def run(script: str, flags: list[str]) -> int:
    """A study's script in this process, as `python STUDY.py FLAGS` runs it."""
    path = Path(script)
    if not path.is_file():
        raise UserError(f"{script!r}: no such file; name a study's script, as in studies/ablation.py")
    before, sys.argv = sys.argv, [script, *flags]
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

    print(shtab.complete(parser(for_completion=True), shell=shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
