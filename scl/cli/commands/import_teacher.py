"""`scl import-teacher`: explain what is in a checkpoint from elsewhere, and write it as a safetensors file."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

from rich.table import Table

from scl.errors import UserError
from scl.plan.explained import as_safetensors, explained, recognised, write
from scl.plan.given import open_given
from scl.streams import console
from scl.study.checks import place
from scl.terminal import cell, show


def run(given: Namespace) -> int:
    try:
        path, out = place(given.file), None if given.out is None else place(given.out)
    except ValueError as error:
        raise UserError(f"{'--out' if given.out else 'FILE'}: {error}") from None
    teacher = open_given(path, flag="")
    model, width = recognised(teacher)
    table = Table.grid(padding=(0, 2))
    for topic, text in explained(teacher, model).items():
        table.add_row(topic, cell(text, overflow="fold"))
    console().print(table)
    if out is not None:
        file = write(as_safetensors(teacher, model, width), out, given.force)
        show(f"written to {file}; use it as --teacher {shlex.quote(str(file))}")
    elif Path(path).suffix != ".safetensors":
        show("-o FILE.safetensors writes it with this configuration")
    return 0
