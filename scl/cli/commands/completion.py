"""`scl completion`: what a shell needs to complete the commands of `scl`."""

from __future__ import annotations

from argparse import Namespace

import shtab

from scl.cli.command import SHELLS, parser
from scl.errors import UserError, unknown


def run(given: Namespace) -> int:
    if given.shell not in SHELLS:
        raise UserError(unknown("shell", given.shell, SHELLS))
    print(shtab.complete(parser(with_study_flags=True), shell=given.shell))
    return 0
