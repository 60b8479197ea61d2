"""`scl export`: write one student as a file, and print what it takes and how near it is to the network."""

from __future__ import annotations

from argparse import Namespace

from scl.cli.command import FORMATS, INPUTS
from scl.cli.flags import checked
from scl.errors import UserError, unknown
from scl.store.output import file_name
from scl.students.export import SUFFIXES, save, takes, takes_photo
from scl.students.student import load_student, model_of
from scl.study.checks import Check, own_class, place
from scl.terminal import show

CHECKS: dict[str, Check] = {"out": place, "model": own_class}
MOST_LETTERS = 200  # of a file's name that are a trial's; file systems allow 255


def run(given: Namespace) -> int:
    for name, value, valid in (("format", given.format, FORMATS), ("input", given.input, INPUTS)):
        if value not in valid:
            raise UserError(f"--{name}: {unknown(name, value, valid)}")
    given = checked(given, CHECKS)
    student = load_student(given.results, given.trial, normalise=given.input != "normalised", model=given.model)
    record = student.record
    named = file_name(f"{record['study']}-{record['arm']}", MOST_LETTERS)
    path = given.out or f"{named}-seed{record['seed']}{SUFFIXES[given.format]}"
    photo = given.input == "photo"
    difference = save(student, path, given.format, given.force, photo)
    show(f"{path}: {model_of(record)}, test accuracy {record['test_acc']:.2%}")
    show(f"  takes   {takes_photo(student) if photo else takes(student)}")
    show(f"  gives   float32 logits (B, {len(record['classes'])}): {', '.join(student.classes[:10])}")
    show(f"  checked on random images: logits differ from the network's by at most {difference:.1g}")
    return 0
