"""`scl export`: write one student as a file, and print what it takes and how near it is to the network."""

from __future__ import annotations

from argparse import Namespace

from scl.cli.command import FORMATS, INPUTS
from scl.errors import UserError, unknown
from scl.export import SUFFIXES, load_student, model_of, save, takes
from scl.store.output import file_name
from scl.study.checks import model, place
from scl.terminal import show

MOST_LETTERS = 200  # of a file's name that are a trial's; file systems allow 255


def run(given: Namespace) -> int:
    for name, value, valid in (("format", given.format, FORMATS), ("input", given.input, INPUTS)):
        if value not in valid:
            raise UserError(f"--{name}: {unknown(name, value, valid)}")
    try:
        out = None if given.out is None else place(given.out)
    except ValueError as error:
        raise UserError(f"--out: {error}") from None
    try:
        own = None if given.model is None else model(given.model)
    except ValueError as error:
        raise UserError(f"--model: {error}") from None
    if isinstance(own, str):
        raise UserError(f"--model {own}: only a student of your own class needs it, as FILE.py:CLASS; leave it out")
    student = load_student(given.results, given.trial, normalise=given.input == "pixels", model=own)
    record = student.record
    named = file_name(f"{record['study']}-{record['arm']}", MOST_LETTERS)
    path = out or f"{named}-seed{record['seed']}{SUFFIXES[given.format]}"
    difference = save(student, path, given.format, given.force)
    show(f"{path}: {model_of(record)}, test accuracy {record['test_acc']:.2%}")
    show(f"  takes   {takes(student)}")
    show(f"  gives   float32 logits (B, {len(record['classes'])}): {', '.join(student.classes[:10])}")
    show(f"  checked on random images: logits differ from the network's by at most {difference:.1g}")
    return 0
