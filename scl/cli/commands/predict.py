"""`scl predict`: classes of images by a trained student, on stdout and as a table."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scl.cli.flags import checked
from scl.errors import UserError, unknown
from scl.report.csv_text import csv_cell
from scl.store.output import output_file
from scl.students.predict import Predicted, images_in, predict, preprocessing_of
from scl.students.student import Student, load_student
from scl.study.checks import Check, own_class, place, text, whole
from scl.terminal import say, show

TABLES = (".csv", ".parquet")
CHECKS: dict[str, Check] = {"top": whole(1), "out": place, "fit": text, "model": own_class}


def run(given: Namespace) -> int:
    given = checked(given, CHECKS)
    if given.out and Path(given.out).suffix.lower() not in TABLES:
        raise UserError(f"--out {given.out}: {unknown('kind of table', Path(given.out).suffix, TABLES)}")
    out = output_file(given.out, given.force) if given.out else None
    student, places = _student_and_places(given.inputs, given.model)
    how = preprocessing_of(student, given.fit)
    images, others = images_in(places)
    if others:
        say(f"not read as images: {others:,} other files")
    answers, right = [], Counter[bool]()
    for one in predict(student, images, how):
        answers.append(one)
        if one.probabilities is None:
            say(f"error: {one.error}")
            continue
        best = np.argsort(-one.probabilities, kind="stable")[: given.top]
        show(f"{one.path}: " + ", ".join(f"{student.classes[i]} {one.probabilities[i]:.1%}" for i in best))
        if one.path.parent.name in student.classes:
            right[student.classes[best[0]] == one.path.parent.name] += 1
    if right:
        say(f"{right[True] / right.total():.2%} of {right.total():,} images whose folder names a class are right")
    if out is not None:
        _write(out, student.classes, answers)
        say(f"every class's probability: {out}")
    failed = sum(one.probabilities is None for one in answers)
    if failed and how.fit == "exact":
        say("the student was trained on images of one size; --fit crop, stretch or pad scales others")
    return 1 if failed else 0


def _student_and_places(inputs: Sequence[str], model: Callable[..., Any] | None) -> tuple[Student, list[str]]:
    """The student that the first arguments name, and the rest."""
    count = 1 if Path(inputs[0]).suffix.lower() == ".safetensors" else 2
    if len(inputs) <= count:
        raise UserError(
            "name a student and images: RESULTS TRIAL IMAGE…, as in `scl predict results ablation/scl/0 photo.jpg`, or "
            "STUDENT.safetensors IMAGE…"
        )
    return load_student(inputs[0], inputs[1] if count == 2 else None, model=model), list(inputs[count:])


def _write(out: Path, classes: Sequence[str], answers: Sequence[Predicted]) -> None:
    """A row for each image: its path, the likeliest class, its error, and the probability of every class."""
    nothing = np.full(len(classes), np.nan, dtype=np.float32)
    rows = np.stack([nothing if one.probabilities is None else one.probabilities for one in answers])
    best = [None if one.probabilities is None else classes[int(np.argmax(one.probabilities))] for one in answers]
    texts: dict[str, list[Any]] = {
        "image": [str(one.path) for one in answers],
        "predicted": best,
        "error": [one.error for one in answers],
    }
    csv = out.suffix.lower() == ".csv"
    if csv:  # which a spreadsheet may open
        texts = {name: [csv_cell(value) for value in values] for name, values in texts.items()}
    named = pd.DataFrame(rows, columns=[f"p.{name}" for name in classes])
    table = pd.concat([pd.DataFrame(texts), named], axis=1)
    try:
        table.to_csv(out, index=False) if csv else table.to_parquet(out, index=False)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}; name a file that can be written") from None
