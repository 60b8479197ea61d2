"""Which networks guide an arm whose teachers are not the study's one: several, earlier students, its own average.

`Config.taught_by` names them. This module says what each name trains, with which seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import count
from typing import Any, NamedTuple

from scl.errors import UserError
from scl.study.config import Config
from scl.study.fields import EMA_TEACHER, OWN_TEACHER, STUDY_TEACHER, generation_of
from scl.study.identity import canonical_json, effective

# Between the seeds of two teachers of one arm, and between those of two generations, so that no teacher has the seed of
# a student or of another seed's teacher: a student that starts as its teacher did would be no independent one.
STEP, GENERATION_STEP = 1_000_000_000, 1_000_000_000_000
BY_THE_STUDYS_TEACHER: dict[str, Any] = {"taught_by": (), "mean_of": "logits"}  # fields of a configuration


class Taught(NamedTuple):
    """A teacher to train: its name in `taught_by`, and the teacher from which it learns itself (None: from the labels
    alone)."""

    name: str
    config: Config
    seed: int
    by: Taught | None = None


def trained_names(config: Config) -> tuple[str, ...]:
    """The names of the teachers that train before the student; the average of its own weights is none of them."""
    return tuple(name for name in config.taught_by if name != EMA_TEACHER)


def teachers_of(config: Config, teacher: Config, seed: int) -> list[Taught]:
    """The trained teachers of an arm with `taught_by`. Two names may be one configuration, such as `self` and the
    student's network; they have different seeds then too.

    Args:
        teacher: the study's. seed: that of the study's teacher.
    """
    found, seen, taken = [], Counter[str](), set[tuple[str, int]]()
    for name in trained_names(config):
        network = canonical_json(effective(_teacher(name, config, teacher, seed).config))
        step = next(n for n in count(seen[name] + (name != STUDY_TEACHER)) if (network, n) not in taken)
        taken.add((network, step))
        found.append(_teacher(name, config, teacher, seed + STEP * step))
        seen[name] += 1
    return found


def _teacher(name: str, config: Config, teacher: Config, seed: int) -> Taught:
    if name == STUDY_TEACHER:
        return Taught(name, teacher, seed)
    generation = generation_of(name)
    if generation is None:
        return Taught(name, teacher.replace(model=name, layers=()), seed)
    if generation == 0:  # the student's network and recipe, from the labels alone
        own = {"losses": {}, "ce": 1.0, "pretrain_epochs": 0, "tap": "relu", "connector": "auto", "guided": "first"}
        return Taught(name, config.replace(**own, **BY_THE_STUDYS_TEACHER), seed)
    before = f"{OWN_TEACHER}:{generation - 1}" if generation > 1 else OWN_TEACHER
    recipe = config.replace(taught_by=(before,), mean_of="logits")
    return Taught(name, recipe, seed + GENERATION_STEP * generation, _teacher(before, config, teacher, seed))


def check_taught(
    arms: Mapping[str, Config], teacher: Config, template: Config | None, searched: Collection[str], elsewhere: bool
) -> None:
    """Refuse teachers that cannot be trained here.

    Args:
        template, searched: what a search starts from, and the names that it varies; None and () without a search.
        elsewhere: the study's teacher comes from a file, or with published weights.

    Raises:
        UserError: a teacher has teachers of its own, an arm's teachers need the recipe of a teacher from elsewhere,
            or a search would need teachers that are not the study's.
    """
    if teacher.taught_by:
        raise UserError(
            f"the teacher: taught_by {', '.join(teacher.taught_by)} is for students; the teacher learns from labels"
        )
    if template is not None and ("taught_by" in searched or trained_names(template)):
        raise UserError(
            "the search: taught_by trains teachers before the students, and a search has the study's teacher alone; "
            f"only {EMA_TEACHER!r} can stand in its template. Compare the others as arms of a study"
        )
    for arm, config in arms.items():
        if elsewhere and (names := trained_names(config)):
            raise UserError(
                f"arm {arm!r}: taught_by {', '.join(names)} trains teachers here, and the study's teacher comes from "
                "elsewhere; train it here too (no --teacher, and pretrained=False), or leave the arm out"
            )
        own = [name for name in config.taught_by if generation_of(name) is not None]
        if own and (config.pretrained or config.initial_weights):
            raise UserError(
                f"arm {arm!r}: taught_by {own[0]!r} trains the student's network from random weights, and this "
                "student starts from others; drop pretrained and initial_weights"
            )
