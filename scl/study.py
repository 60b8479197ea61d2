"""A study: arms × seeds → cells with stable ids → cohorts. Plain data; imports neither torch nor Ray."""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scl.config import (
    RESULTS_VERSION,
    SHARED_IN_COHORT,
    Config,
    UserError,
    requested,
    sha256,
    unknown,
    with_params,
)
from scl.designs import Design, as_design
from scl.errors import names_checked
from scl.space import Search


@names_checked
@dataclass(frozen=True)
class Setting:
    """What a data set changes: fields of the students' base configuration and of the teacher's.

    without: arms that cannot be there, such as more channels taken from a layer than its width there has.
    """

    student: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    without: Collection[str] = ()


@names_checked
@dataclass(frozen=True)
class Scale:
    """How large a study runs: what `--scale NAME` sets. Flags come on top.

    student, teacher: fields of the students' base configuration and of the teacher's. arms: the arms at this scale;
    None takes the study's. without: arms that run only when --arms names them. data, limit, val, seeds: defaults of
    the flags of these names.
    """

    student: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    arms: Mapping[str, Mapping[str, Any]] | None = None
    without: Collection[str] = ()
    data: str = "cifar100"
    limit: int | None = None
    val: float = 0.1
    seeds: int = 3


@names_checked
@dataclass(frozen=True)
class Study:
    """A question and the trials that answer it.

    arms: name → what it changes in `base`: fields, or parameters such as `weight.kd`; written out or by
    `scl.designs`. baseline: the arm that all are compared with. asked_for: arms that run only when --arms names them.
    settings: data set name → what changes there. search: a search whose winners run beside the arms, on fresh seeds.
    scales: name → how large the study runs there, the first by default; empty: it has one size, and no flag --scale.
    teacher_per_seed: each seed has a teacher of its own, as with the flag. against_teacher: the arm whose difference
    to its teacher is declared before anything trains, and answered first on the page.
    """

    name: str
    question: str
    arms: Mapping[str, Mapping[str, Any]]
    base: Config = field(default_factory=Config)
    teacher: Config = field(default_factory=lambda: Config(student="plain11"))
    baseline: str = "baseline"
    asked_for: Collection[str] = ()
    seeds: int = 3
    settings: Mapping[str, Setting] = field(default_factory=dict)
    search: Search | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)
    teacher_per_seed: bool = False
    against_teacher: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.name):
            raise UserError(
                f"study name {self.name!r}: it names a folder, so 1-64 letters, digits, '.', '_' or '-', "
                "the first a letter or digit"
            )
        if self.baseline not in self.arms:
            raise UserError(unknown("baseline", self.baseline, self.arms))
        for name in self.asked_for:
            if name not in self.arms:
                raise UserError(unknown("arm in asked_for", name, self.arms))
        if self.against_teacher and self.against_teacher not in self.arms:
            raise UserError(unknown("arm in against_teacher", self.against_teacher, self.arms))
        for arm in self.arms:
            if not arm.strip() or len(arm) > 300 or any(ord(c) < 32 for c in arm):
                raise UserError(f"arm name {arm!r}: 1-300 printable characters")

    def at(self, name: str) -> Study:
        """The study at one of its scales, which then has one size. Raises UserError for a scale that does not exist."""
        if name not in self.scales:
            raise UserError(unknown("scale", name, self.scales))
        scale = self.scales[name]
        arms = self.arms if scale.arms is None else scale.arms
        return replace(
            self,
            base=self.base.replace(**scale.student),
            teacher=self.teacher.replace(**scale.teacher),
            arms=arms,
            asked_for=tuple(dict.fromkeys([*(a for a in self.asked_for if a in arms), *scale.without])),
            seeds=scale.seeds,
            scales={},
        )

    def resolve(
        self,
        data: str,
        only: Sequence[str] | None,
        student: Mapping[str, Any],
        teacher: Mapping[str, Any],
        published: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> tuple[dict[str, Config], Config]:
        """The arms' configurations and the teacher's, for a data set and with flags applied on top.

        Args:
            only: names of arms to keep, beside the baseline; None keeps all but those `asked_for`.
            student, teacher: fields set by flags.
            published: a recipe's own setting of arms that are named after a loss.

        Raises:
            UserError: an arm, a field or a value does not exist; two arms are one configuration.
        """
        if only is not None:
            wrong = [unknown("arm", name, self.arms) for name in only if name not in self.arms]
            if wrong:
                raise UserError("; ".join(wrong))
        base = self.base_on(data, student)
        absent = {*self.asked_for, *self.settings.get(data, Setting()).without}
        arms: dict[str, Config] = {}
        mistakes: dict[str, list[str]] = defaultdict(list)  # a mistake → the arms that make it
        for name, changes in {**self.arms, **{k: v for k, v in (published or {}).items() if k in self.arms}}.items():
            if name == self.baseline or (name in only if only is not None else name not in absent):
                try:
                    arms[name] = with_params(base, changes)
                except UserError as error:
                    mistakes[str(error)].append(name)
                    continue
                if arms[name].pretrained:
                    mistakes["pretrained is for teachers; students start from the seed's weights"].append(name)
                if mistake := unreached_milestones(arms[name]):
                    mistakes[mistake].append(name)
        if mistakes:
            raise UserError("\n".join(f"{_arms(names)}: {mistake}" for mistake, names in mistakes.items()))
        self.refuse_twins({name: sha256(effective(config)) for name, config in arms.items()})
        if self.search is not None:
            self.search.check(self.searched(base))
        # Only a teacher whose epochs nobody has chosen trains for the students'.
        chosen = {} if self.teacher.epochs != Config.epochs else {"epochs": base.epochs}
        guide = self.teacher.replace(**{**chosen, **self.settings.get(data, Setting()).teacher, **teacher})
        if mistake := unreached_milestones(guide):
            raise UserError(f"the teacher: {mistake}")
        return arms, guide

    @property
    def design(self) -> Design:
        return as_design(self.arms)

    def searched(self, base: Config) -> Config:
        """What a search starts from: the base with the search's template on it."""
        assert self.search is not None
        try:
            return with_params(base, self.search.template)
        except UserError as error:
            raise UserError(f"the search's template: {error}") from None

    def base_on(self, data: str, student: Mapping[str, Any]) -> Config:
        """The base configuration for a data set, with flags applied on top."""
        return self.base.replace(**{**self.settings.get(data, Setting()).student, **student})

    def refuse_twins(self, identity: Mapping[str, str]) -> None:
        """Raises UserError where two arms come to the same; `identity`: arm → what it comes to.

        Where the two differ in one factor alone, that factor changes nothing, and is named.
        """
        seen: dict[str, str] = {}
        for arm, same in identity.items():
            twin = seen.setdefault(same, arm)
            if twin == arm:
                continue
            one, two = (self.design.levels.get(a, {}) for a in (twin, arm))
            apart = [f for f in one if f in two and one[f] != two[f]]
            factor = f"; factor {apart[0]!r} changes nothing between them" if len(apart) == 1 else ""
            raise UserError(f"arms {twin!r} and {arm!r} are one configuration{factor}; change or remove one")


def unreached_milestones(config: Config) -> str:
    """What is wrong with a schedule whose milestones lie beyond its epochs; empty where nothing is."""
    late = [m for m in config.milestones if m > config.epochs] if config.schedule == "multistep" else []
    if not late:
        return ""
    return (
        f"milestones {', '.join(map(str, late))} lie after the last of {config.epochs} epochs, so lr never "
        "decays there; give more epochs, or milestones before the last"
    )


def _arms(names: Sequence[str], most: int = 6) -> str:
    """Arms as the beginning of a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"arm{'s' * (len(names) > 1)} {', '.join(map(repr, names[:most]))}{more}"


def effective(config: Config) -> dict[str, Any]:
    """`requested` without what has no effect: configurations that agree in this train the same network."""
    plain = requested(config)
    if not config.has_self_taught:
        for name in ("self_taught", "self_taught_at", "self_taught_from", "guided"):
            plain.pop(name, None)
    if config.schedule != "multistep":
        plain.pop("milestones", None)
        plain.pop("lr_decay", None)
    if config.ce == 0:
        plain.pop("label_smoothing", None)
    terms = {name: term for name, term in plain.pop("losses", {}).items() if term["weight"] > 0}
    for term in terms.values():
        if term.get("warmup", 0) <= 1:
            term.pop("warmup", None)
        stage = config.pretrain_epochs if term.get("stage") == "pretrain" else config.epochs
        if term.get("end", 0) >= stage:
            term.pop("end", None)
    return {**plain, **({"losses": terms} if terms else {})}


@dataclass(frozen=True)
class Cell:
    """One trial: an arm at a seed, with its ids."""

    arm: str
    seed: int
    config: Config
    config_id: str
    trial_id: str
    teacher_id: str


def teacher_id(config: Config, seed: int, data: str) -> str:
    """The id of a teacher that is trained here: its recipe, its seed, its data."""
    return sha256({"teacher": requested(config), "seed": seed, "data": data, "version": RESULTS_VERSION})


def cells(arms: Mapping[str, Config], seeds: Sequence[int], data: str, teacher: Callable[[int], str]) -> list[Cell]:
    """Every arm at every seed, seeds as paired blocks. `data` is a fingerprint, `teacher` gives a seed's teacher id."""
    asked = {arm: requested(config) for arm, config in arms.items()}
    config_ids = {arm: sha256(plain) for arm, plain in asked.items()}
    return [
        Cell(
            arm=arm,
            seed=seed,
            config=config,
            config_id=config_ids[arm],
            trial_id=sha256(
                {
                    "config": asked[arm],
                    "seed": seed,
                    "data": data,
                    "teacher": teacher(seed),
                    "version": RESULTS_VERSION,
                }
            ),
            teacher_id=teacher(seed),
        )
        for seed in seeds
        for arm, config in arms.items()
    ]


MOST = 32  # trials of a cohort, unless a number is asked for


def cohorts(
    todo: Sequence[Cell],
    slots: int,
    size: int | None,
    teacher_cost: float,
    cost: Callable[[Cell], float],
    most: int = MOST,
) -> list[list[Cell]]:
    """Cells that see the same batches, side by side, longest cohorts first.

    Args:
        slots: cohorts that run at once.
        size: largest cohort; None chooses so that the slots end at about the same time. A cohort pays for the
            teacher once, so as few are cut as that allows.
        most: what a cohort holds at most where it is chosen: by memory, and MOST, beyond which the teacher's share is
            small.
        teacher_cost, cost: work of the teacher for one cohort, and of one cell's own steps, in one unit.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = defaultdict(list)
    for cell in todo:
        c = cell.config
        groups[(cell.seed, cell.teacher_id, *(getattr(c, name) for name in SHARED_IN_COHORT))].append(cell)

    def total(cohort: list[Cell]) -> float:
        return teacher_cost + sum(map(cost, cohort))

    def cut(group: list[Cell], pieces: int) -> list[list[Cell]]:
        """Into pieces of about equal cost, each in the plan's order."""
        heap: list[tuple[float, int, list[Cell]]] = [(0.0, i, []) for i in range(min(pieces, len(group)))]
        for cell in sorted(group, key=cost, reverse=True):
            load, i, piece = heapq.heappop(heap)
            heapq.heappush(heap, (load + cost(cell), i, [*piece, cell]))
        order = {cell.trial_id: i for i, cell in enumerate(group)}
        return [sorted(piece, key=lambda c: order[c.trial_id]) for _, _, piece in sorted(heap)]

    whole = sorted(groups.values(), key=total, reverse=True)
    if size is not None:
        plan = [piece for group in whole for piece in cut(group, -(-len(group) // size))]
        return sorted(plan, key=total, reverse=True)

    # As many whole groups as fill all slots evenly; the rest is cut into so many pieces that all end together.
    whole = [piece for group in whole for piece in cut(group, -(-len(group) // most))]
    even = len(whole) // slots * slots
    candidates = [
        whole[:even] + [piece for group in whole[even:] for piece in cut(group, pieces)]
        for pieces in range(1, min(slots, max(map(len, whole), default=1)) + 1)
    ]
    best = min(candidates, key=lambda plan: (makespan([total(c) for c in plan], slots), len(plan)))
    return sorted(best, key=total, reverse=True)


def makespan(costs: Sequence[float], slots: int) -> float:
    """When the last slot ends, if each takes the longest cohort left as soon as it is free."""
    ends = [0.0] * slots
    for one in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)
