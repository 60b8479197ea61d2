"""What a data set changes in a study, and the sizes that a study has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from scl.errors import names_checked
from scl.study.search import Search


@names_checked
@dataclass(frozen=True)
class Setting:
    """What a data set changes in a study.

    Attributes:
        student: fields of the students' base configuration.
        teacher: fields of the teacher's configuration.
        without: arms that are impossible on these data, such as more self-taught neurons than a layer has channels.
        arms: arms that are others on these data: name → what the arm changes here, such as weights found on them.
        search: the search on these data. None: the study's.

    Example:
        import scl

        study = scl.Study(
            name="depth",
            question="How deep?",
            arms={"baseline": {}, "deep": {"model": "plain9"}},
            settings={"digits": scl.Setting(student={"width": 0.125, "epochs": 15})},
        )
    """

    student: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    without: Collection[str] = ()
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    search: Search | None = None


@names_checked
@dataclass(frozen=True)
class Scale:
    """A size of a study: what `--scale NAME` sets. Other flags override it.

    Attributes:
        student: fields of the students' base configuration.
        teacher: fields of the teacher's configuration.
        arms: the arms at this scale. None: the study's.
        without: arms that run only if `--arms` names them.
        data: default of `--data`.
        limit: default of `--limit`, a number of training images. None: all.
        val: default of `--val`, the share of the training images held out.
        seeds: default of `--seeds`.

    Example:
        import scl

        study = scl.Study(
            name="sizes",
            question="Does KD help?",
            arms={"baseline": {}, "kd": {"losses": {"kd": 0.9}}},
            scales={"smoke": scl.Scale(student={"epochs": 2}, data="digits", seeds=2), "full": scl.Scale(seeds=5)},
        )
    """

    student: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    arms: Mapping[str, Mapping[str, Any]] | None = None
    without: Collection[str] = ()
    data: str = "cifar100"
    limit: int | None = None
    val: float = 0.1
    seeds: int = 3
