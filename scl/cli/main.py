"""A study file as a script. Answers `--help` and mistyped flags without importing torch or Ray."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from scl.cli.exits import exit_with
from scl.cli.flags import parsed
from scl.study.options import Options
from scl.study.settled import left_out, moved_milestones, settled
from scl.study.study import Study
from scl.terminal import say, show


def main(study: Study) -> None:
    """Make a study file a command: read the flags, run, exit.

    Args:
        study: the study.

    Raises:
        SystemExit: always; with 0 if all trials are done, 1 if some failed, 2 for bad arguments, 3 if the time budget
            left trials missing, 130 if the run was interrupted.

    Example:
        from scl import Study
        from scl.cli import main

        STUDY = Study(name="kd", question="Does KD help?", arms={"baseline": {}, "kd": {"losses": {"kd": 0.9}}})

        if __name__ == "__main__":
            main(STUDY)
    """
    exit_with(lambda: run_flags(study, sys.argv[0], sys.argv[1:]))


def run_flags(study: Study, script: str, flags: Sequence[str]) -> int:
    """Run a study as its flags say; returns the exit code. Raises UserError before anything has started."""
    return run_options(study, parsed(study, script, flags))


def run_options(study: Study, options: Options) -> int:
    """The same from checked options."""
    study, options = settled(study, options)
    for note in filter(None, (moved_milestones(options), left_out(study, options))):
        say(note)
    # Imported only now: a mistyped name is answered before torch and pandas are imported, which takes seconds.
    if "torch" not in sys.modules and not options.plan and not options.report_only:
        say(f"{study.name}: loading PyTorch")
    life = import_module("scl.run.run")
    if options.plan:
        show(life.plan_study(study, options))
        return 0
    code: int = life.run_study(study, options)
    return code
