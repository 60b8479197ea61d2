"""The command `scl`: look at results without writing code.

    scl results                      every study in results/
    scl watch results/ablation       follow a run that goes on
    scl show ablation/scl/0          one trial: its configuration and its results
    scl run studies/ablation.py      a study: the same as python studies/ablation.py
    scl plan studies/ablation.py     what it would run, and its cost
    scl export ablation/scl/0 --format onnx
    scl predict results ablation/scl/0 photo.jpg folder/
    scl latency student.onnx --results results
    scl import-teacher model.pth.tar -o teacher.safetensors
    scl report results/ablation      rebuild the page
    scl report results/ablation --figures paper/    every figure as SVG, PDF and PNG, and the numbers as CSV
    scl merge jobs/0 jobs/1 --out results   one store of a study that was split over jobs

`--help` and a mistyped command are answered without importing torch: the module of a command is imported when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from scl.cli.exits import KEPT, Parser, exit_code, exit_with
from scl.cli.flags import add_flags
from scl.study.search import Search
from scl.study.study import Study

FORMATS = ("safetensors", "onnx", "torchscript")
INPUTS = ("pixels", "normalised", "photo")
ON_SIGNAL = {"run": KEPT, "watch": "Stopped watching; the run goes on"}  # what to say after one, by command
OWN_CLASS: dict[str, Any] = {
    "metavar": "FILE.py:CLASS",
    "help": "the class of the student's network, if it is your own (default: none)",
}
IMAGES = ("svg", "pdf", "png")
SAVED = (*IMAGES, "csv", "tex")
WIDTHS = ("column", "page")
SHELLS = ("bash", "zsh", "tcsh")


class Command(Parser):
    """Takes flags between positional arguments; argparse alone refuses `predict STUDENT --top 3 IMAGE`."""

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        whole_rest = any(action.nargs == argparse.REMAINDER for action in self._actions)
        if self._mixing or whole_rest:  # argparse calls this again for each kind of argument
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: of the command line, whose process then ends, or with these arguments; returns the exit code."""

    def work() -> int:
        given = parser().parse_args(arguments)
        return int(import_module(f"scl.cli.commands.{given.module}").run(given))

    words = sys.argv[1:] if arguments is None else arguments
    run = exit_with if arguments is None else exit_code
    return run(work, ON_SIGNAL.get(next(iter(words), ""), "interrupted{by}"))


def parser(with_study_flags: bool = False) -> argparse.ArgumentParser:
    """The command line. with_study_flags: for completion; otherwise a study reads its flags itself."""
    p = Parser(
        prog="scl",
        description="Run studies and look at their results. The flags of a study: python studies/ablation.py --help",
        epilog='Completion of these commands in your shell: eval "$(scl completion bash)", or zsh.',
        allow_abbrev=False,
    )
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Command)

    def command(name: str, summary: str, module: str = "") -> argparse.ArgumentParser:
        c = commands.add_parser(name, help=summary, description=summary[:1].upper() + summary[1:] + ".")
        c.set_defaults(module=module or name)
        return c

    c = command("results", "every study in a folder of results: what is done, its best arm, its page")
    c.add_argument("place", nargs="?", default="results", metavar="DIR", help="as given to --out (default: results)")
    c = command("watch", "follow a run that goes on elsewhere: in another shell, on a cluster, into a bucket")
    c.add_argument("place", metavar="RESULTS", help="a study's folder, as in results/ablation, or a folder of several")
    c.add_argument("--once", action="store_true", help="print the present state and end")
    c.add_argument("--wait", action="store_true", help="wait until a run starts there")
    c = command("show", "one trial: its configuration and its results")
    _trial_arguments(c)
    for name, summary in (
        ("run", "run a study, as its script does"),
        ("plan", "what a study would run, what is done and what the rest would cost; trains nothing"),
    ):
        c = command(name, summary, "study")
        c.add_argument("script", metavar="STUDY.py", help="a study's script; its flags may follow")
        if with_study_flags:
            add_flags(c, Study(name="any", question="", arms={"baseline": {}}, search=Search({})))
        else:
            c.add_argument(
                "flags", nargs=argparse.REMAINDER, metavar="FLAGS", help="the study's flags, as in --seeds 5"
            )
    c = command("export", "write a student as a file: safetensors, ONNX or TorchScript")
    _trial_arguments(c)
    c.add_argument(
        "--format", default="safetensors", metavar="NAME", help=f"one of {', '.join(FORMATS)} (default: safetensors)"
    )
    c.add_argument("--out", metavar="FILE", help="the file to write (default: STUDY-ARM-seedN, here)")
    c.add_argument("--force", action="store_true", help="replace the file if it exists")
    c.add_argument("--model", **OWN_CLASS)
    c.add_argument(
        "--input",
        default="pixels",
        metavar="KIND",
        help="what the model takes: pixels in [0, 1], which the model normalises; normalised images; or, as ONNX, a "
        f"photo of any size, which the model scales and normalises; one of {', '.join(INPUTS)} (default: pixels)",
    )
    c = command("predict", "classify images with a trained student, preprocessed as in its training")
    c.add_argument(
        "inputs", nargs="+", metavar="STUDENT|IMAGE",
        help="a student (RESULTS TRIAL, or a .safetensors file), then images and folders",
    )  # fmt: skip
    c.add_argument("--top", default="1", metavar="N", help="print the N likeliest classes of each image (default: 1)")
    c.add_argument("--model", **OWN_CLASS)
    c.add_argument("--fit", metavar="NAME", help="crop, stretch or pad other sizes (default: as in training)")
    c.add_argument(
        "--out", metavar="FILE", help="write a table of every class's probability: .csv or .parquet (default: none)"
    )
    c.add_argument("--force", action="store_true", help="with --out: replace the file if it exists")
    c = command("latency", "measure how long an exported student takes, and keep it with the study")
    c.add_argument("file", metavar="FILE", help="what `scl export` wrote: .onnx, .pt or .safetensors")
    c.add_argument("--model", **OWN_CLASS)
    c.add_argument("--runs", default="100", metavar="N", help="forwards to time (default: 100)")
    c.add_argument("--batch", default="1", metavar="N", help="images in a forward (default: 1)")
    c.add_argument("--threads", default="1", metavar="N", help="CPU threads (default: 1)")
    c.add_argument("--device", metavar="NAME", help="how tables name this machine (default: its processor)")
    c.add_argument(
        "--ms", metavar="F", help="measure nothing: another tool measured F ms on --device (default: measure)"
    )
    c.add_argument(
        "--results",
        metavar="DIR",
        help="write it into the study that trained the student, in this folder (default: print it only)",
    )
    c = command(
        "import-teacher",
        "explain what is in a checkpoint from elsewhere, executing nothing, and write it as safetensors",
        "import_teacher",
    )
    c.add_argument("file", metavar="FILE", help="a checkpoint, or a folder with one and its configuration")
    c.add_argument(
        "-o",
        "--out",
        metavar="OUT.safetensors",
        help="write its weights here, with its configuration (default: explain only)",
    )
    c.add_argument("--force", action="store_true", help="replace the file if it exists")
    c = command("report", "rebuild a study's page from its store, or write its figures for a paper")
    c.add_argument("place", metavar="RESULTS", help="a study's folder, as in results/ablation")
    c.add_argument(
        "--page",
        metavar="FILE",
        help="write the page to this file; the results are only read (default: report.html in them)",
    )
    c.add_argument(
        "--figures", metavar="DIR",
        help="write each figure of the page, its numbers and the main table into this folder, in place of the page "
        "(default: none)",
    )  # fmt: skip
    c.add_argument(
        "--formats", metavar="NAMES",
        help=f"with --figures: which files, of {', '.join(SAVED)} (default: all); {', '.join(IMAGES)} need the extra "
        "`figures` and Chrome or Chromium",
    )  # fmt: skip
    c.add_argument(
        "--width", metavar="NAME", help=f"with --figures: for one {' or one '.join(WIDTHS)} (default: column)"
    )
    c.add_argument("--force", action="store_true", help="with --page and --figures: replace files that exist")
    c.add_argument("--no-pictures", action="store_true", help="show no pictures of test images on the page")
    c = command("merge", "join stores of one study, which was split over jobs, into a new store")
    c.add_argument(
        "places", nargs="+", metavar="RESULTS", help="what was given to each job's --out, or one study's folder in it"
    )
    c.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the new store, DIR/STUDY; or s3://… or gs://…"
    )
    c = command("completion", "print what your shell needs to complete these commands")
    c.add_argument("shell", metavar="SHELL", help=f"one of {', '.join(SHELLS)}")
    return p


def _trial_arguments(p: argparse.ArgumentParser) -> None:
    """How every command names a trial: [RESULTS] TRIAL."""
    p.add_argument(
        "results",
        nargs="?",
        default="results",
        metavar="RESULTS",
        help="what was given to --out, or one study's folder in it (default: results)",
    )
    p.add_argument(
        "trial", metavar="TRIAL", help="STUDY/ARM/SEED, as in ablation/scl/0; ARM/SEED; or the beginning of an id"
    )


if __name__ == "__main__":
    sys.exit(main())
