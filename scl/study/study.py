"""A study: a question, its arms and what they change. Plain data: imports neither torch nor Ray."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scl.errors import UserError, names_checked, shown, unknown
from scl.study.checks import at_most
from scl.study.config import Config, other_rate
from scl.study.contrasts import Weights, checked_roles, weights_of
from scl.study.designs import Design, as_design
from scl.study.identity import effective, sha256
from scl.study.metrics import DEFAULT, METRICS
from scl.study.params import overridden, with_params
from scl.study.published import Published as Published  # users import it from here
from scl.study.scales import Scale, Setting
from scl.study.search import Search, winner
from scl.study.term import as_whole
from scl.terminal import is_control


@names_checked
@dataclass(frozen=True)
class Study:
    """A question and the trials that answer it.

    Attributes:
        name: 1 to 64 letters, digits, `.`, `_` or `-`, and not `teachers`; the folder of its results.
        question: the question, a sentence; the title of the page.
        arms: name → what it changes in `base`: fields, or parameters such as `weight.kd`. Written out or made by
            `scl.designs`.
        base: the configuration that arms change.
        teacher: the teacher's configuration.
        baseline: the arm that all others are compared with.
        asked_for: arms that run only if `--arms` names them.
        seeds: default of `--seeds`: seeds 0 to N − 1.
        settings: name of a data set → what changes on it.
        search: a search whose winners run beside the arms, on fresh seeds.
        scales: name → a size of the study; the first is the default. Empty: there is no flag `--scale`.
        teacher_per_seed: train a teacher for each seed.
        teachers: number of teachers; students of seed s learn from teacher s mod this number. None: one.
        against_teacher: the arm whose difference from its teacher is declared before anything trains, and is answered
            first on the page.
        published: accuracies from the literature for arms of this study.
        contrasts: question → the arms whose difference answers it, in a form of
            [`scl.study.contrasts`](#declared-comparisons). Declared before anything trains, answered first. Winners of
            the search are arms too: `winner-1`, …. None: those of the design that made the arms.
        roles: arm → `control` or `reference`: arms that the verdict never crowns, beside those that the design marks.
        metric: what the study is judged by: `test_acc`, `balanced_acc`, `macro_f1`, `test_acc5` or `test_loss`.
        constraints: cost → its upper bound, of `params`, `macs`, `latency_ms` and `file_bytes`. The verdict never
            crowns an arm that breaks one.

    At a scale, contrasts and roles of arms that the scale does not have are left out.

    Raises:
        UserError: a name is not valid, or does not exist; a contrast is no difference of arms.

    Example:
        import scl

        study = scl.Study(
            name="does-kd-help",
            question="Does KD help a 5-layer student?",
            arms={"baseline": {}, "kd": {"ce": 0.1, "losses": {"kd": 0.9}}},
            base=scl.Config(model="plain5", width=0.125, epochs=15, batch_size=64, lr=0.05),
            teacher=scl.Config(model="plain11", width=0.25, epochs=40, batch_size=64, lr=0.05),
            contrasts={"Does KD help?": ("kd", "baseline")},
        )
    """

    name: str
    question: str
    arms: Mapping[str, Mapping[str, Any]]
    base: Config = field(default_factory=Config)
    teacher: Config = field(default_factory=lambda: Config(model="plain11"))
    baseline: str = "baseline"
    asked_for: Collection[str] = ()
    seeds: int = 3
    settings: Mapping[str, Setting] = field(default_factory=dict)
    search: Search | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)
    teacher_per_seed: bool = False
    teachers: int | None = None
    against_teacher: str = ""
    published: Published | None = None
    contrasts: Mapping[str, Any] | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    metric: str = DEFAULT
    constraints: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if wrong := self._of_wrong_type():
            raise UserError("; ".join(f"Study: {problem}" for problem in wrong))
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.name):
            raise UserError(
                f"study name {self.name!r}: it names a folder, so 1-64 letters, digits, '.', '_' or '-', "
                "the first a letter or digit"
            )
        if self.name.casefold() == OF_TEACHERS:
            raise UserError(
                f"study name {self.name!r}: this folder holds the trained teachers, which studies share; choose "
                "another name, such as 'teachers-compared'"
            )
        if self.baseline not in self.arms:
            raise UserError(unknown("baseline", self.baseline, self.arms))
        for name in self.asked_for:
            if name not in self.arms:
                raise UserError(unknown("arm in asked_for", name, self.arms))
        if self.against_teacher and self.against_teacher not in self.arms:
            raise UserError(unknown("arm in against_teacher", self.against_teacher, self.arms))
        for arm in self.arms:
            if not arm.strip() or len(arm) > 300 or any(map(is_control, arm)):
                raise UserError(f"arm name {arm!r}: 1-300 printable characters, without changes of direction")
        if self.metric not in METRICS:
            raise UserError(unknown("metric", self.metric, METRICS))
        try:
            at_most(self.constraints)
        except ValueError as error:
            raise UserError(f"Study: constraints {error}") from None
        _ = self.contrast_weights, self.arm_roles  # checked

    @property
    def contrast_weights(self) -> dict[str, Weights]:
        """Question → arm → weight of every declared contrast."""
        winners = map(winner, range(1, 1 + (as_whole(self.search.winners) or 0))) if self.search else ()
        declared = self.design.contrasts if self.contrasts is None else self.contrasts
        return weights_of(declared, [*self._arms_of_all_scales(), *winners])

    @property
    def arm_roles(self) -> dict[str, str]:
        """Arm → role of every control and reference."""
        of_design = {arm: role for arm, role in self.design.roles.items() if arm != self.baseline}
        return checked_roles({**of_design, **self.roles}, self._arms_of_all_scales(), self.baseline)

    def _arms_of_all_scales(self) -> list[str]:
        of_scales = (scale.arms for scale in self.scales.values() if isinstance(scale.arms, Mapping))
        return list(dict.fromkeys([*self.arms, *(arm for arms in of_scales for arm in arms)]))

    def _of_wrong_type(self) -> list[str]:
        """Fields that are something else than declared; found here, they are named, and not met deep in a run."""
        kinds: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
            ("name", str, "text"),
            ("question", str, "text"),
            ("arms", Mapping, "a dict of names and changes"),
            ("base", Config, "a scl.Config"),
            ("teacher", Config, "a scl.Config"),
            ("baseline", str, "the name of an arm"),
            ("settings", Mapping, "a dict of data sets and scl.Setting"),
            ("search", (Search, type(None)), "a scl.Search"),
            ("scales", Mapping, "a dict of names and scl.Scale"),
            ("teacher_per_seed", bool, "True or False"),
            ("against_teacher", str, "the name of an arm"),
            ("published", (Published, type(None)), "a Published"),
            ("contrasts", (Mapping, type(None)), "a dict of questions and the arms that answer them"),
            ("roles", Mapping, "a dict of arms and roles"),
            ("metric", str, "the name of a metric"),
            ("constraints", Mapping, "a dict of costs and their bounds"),
        )
        wrong = [
            f"{name} must be {rule}, got {shown(getattr(self, name))}"
            for name, kind, rule in kinds
            if not isinstance(getattr(self, name), kind)
        ]
        if isinstance(self.asked_for, str) or not isinstance(self.asked_for, Collection):
            wrong.append(f"asked_for must be a list of arms, got {shown(self.asked_for)}")
        if (as_whole(self.seeds) or 0) < 1:
            wrong.append(f"seeds must be a whole number of 1 or more, got {shown(self.seeds)}")
        if self.teachers is not None and (as_whole(self.teachers) or 0) < 1:
            wrong.append(f"teachers must be a whole number of 1 or more, got {shown(self.teachers)}")
        if self.teachers is not None and self.teacher_per_seed is True:
            wrong.append("teachers and teacher_per_seed exclude each other: a number, or one for each seed")
        items: tuple[tuple[str, type], ...] = (("arms", Mapping), ("settings", Setting), ("scales", Scale))
        for name, kind in items if not wrong else ():
            for key, value in getattr(self, name).items():
                if not isinstance(key, str) or not isinstance(value, kind):
                    of = "a dict of what it changes" if kind is Mapping else f"a scl.{kind.__name__}"
                    wrong.append(f"{name}: {key!r} must be text, and its value {of}, got {shown(value)}")
        return wrong

    def at(self, name: str) -> Study:
        """The study at one of its scales. Raises UserError if the scale does not exist."""
        if name not in self.scales:
            raise UserError(unknown("scale", name, self.scales))
        scale = self.scales[name]
        arms = self.arms if scale.arms is None else scale.arms
        contrasts = self.contrast_weights
        elsewhere = {arm for arm in self._arms_of_all_scales() if arm not in arms}
        return replace(
            self,
            base=self.base.replace(**scale.student),
            teacher=self.teacher.replace(**scale.teacher),
            arms=arms,
            asked_for=tuple(dict.fromkeys([*(a for a in self.asked_for if a in arms), *scale.without])),
            seeds=scale.seeds,
            scales={},
            contrasts=None
            if self.contrasts is None
            else {q: w for q, w in contrasts.items() if not elsewhere & set(w)},
            roles={arm: role for arm, role in self.roles.items() if arm not in elsewhere},
        )

    def resolve(
        self,
        data: str,
        only: Sequence[str] | None,
        student: Mapping[str, Any],
        teacher: Mapping[str, Any],
        recipe_arms: Mapping[str, Mapping[str, Any]] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, Config], Config]:
        """The arms' configurations and the teacher's, for a data set and with flags applied on top.

        Args:
            only: names of arms to keep, beside the baseline; None keeps all but those `asked_for`.
            student, teacher: fields set by flags.
            recipe_arms: a recipe's setting of arms that are named after a loss.
            overrides: what `--set` sets, by name; `teacher.NAME` sets the teacher's.

        An arm whose network cannot have its self-taught neurons is left out, unless it is asked for.

        Raises:
            UserError: an arm, a field or a value does not exist; two arms are one configuration.
        """
        if only is not None:
            wrong = [unknown("arm", name, self.arms) for name in only if name not in self.arms]
            if wrong:
                raise UserError("; ".join(wrong))
        base = self.base_on(data, student)
        running = self.chosen(data, only)
        arms: dict[str, Config] = {}
        mistakes: dict[str, list[str]] = defaultdict(list)  # a mistake → the arms that make it
        named = {name: changes for name, changes in (recipe_arms or {}).items() if name in self.arms}
        for name, changes in {**self.arms, **named}.items():
            if name in running:
                try:
                    arms[name] = with_params(base, changes)
                except UserError as error:
                    mistakes[str(error)].append(name)
        _raise_mistakes(mistakes)
        for_teacher = {n: v for n, v in (overrides or {}).items() if n.startswith(TEACHER)}
        arms = self._overridden(arms, base, {n: v for n, v in (overrides or {}).items() if n not in for_teacher})
        for name, config in list(arms.items()):
            if mistake := unreached_milestones(config) or rate_of_sgd(config):
                mistakes[mistake].append(name)
            if not (mistake := config.neurons_problem):
                continue
            if only is not None or name == self.baseline:
                mistakes[mistake].append(name)
            else:
                del arms[name]  # see `settled.left_out`
        _raise_mistakes(mistakes)
        _refuse_namesakes(arms)
        self.refuse_twins({name: sha256(effective(config)) for name, config in arms.items()})
        if self.search is not None:
            self.search.check(self.searched(base))
        # A teacher trains for the students' epochs unless its own were chosen.
        chosen = {} if self.teacher.epochs != Config.epochs else {"epochs": base.epochs}
        resolved = self.teacher.replace(**{**chosen, **self.settings.get(data, Setting()).teacher, **teacher})
        if for_teacher:
            resolved = overridden({"teacher": resolved}, for_teacher, prefix=TEACHER)["teacher"]
        if mistake := unreached_milestones(resolved) or rate_of_sgd(resolved) or resolved.neurons_problem:
            raise UserError(f"the teacher: {mistake}")
        if resolved.initial_weights:
            raise UserError("the teacher: initial_weights are for students; give a trained teacher as --teacher FILE")
        return arms, resolved

    def chosen(self, data: str, only: Sequence[str] | None) -> list[str]:
        """The names of the arms that run: the baseline and `only`; if that is None, all but those `asked_for` and those
        that are impossible on these data."""
        absent = {*self.asked_for, *self.settings.get(data, Setting()).without}
        return [
            name
            for name in self.arms
            if name == self.baseline or (name in only if only is not None else name not in absent)
        ]

    def _overridden(self, arms: dict[str, Config], base: Config, changes: Mapping[str, Any]) -> dict[str, Config]:
        if not changes:
            return arms
        searched = {} if self.search is None else {SEARCHED: self.searched(base)}
        found = overridden({**arms, **searched}, changes)
        return {name: found[name] for name in arms}

    @property
    def design(self) -> Design:
        return as_design(self.arms)

    def searched(self, base: Config) -> Config:
        """The configuration that a search varies: the base with the search's template."""
        assert self.search is not None
        try:
            return with_params(base, self.search.template)
        except UserError as error:
            raise UserError(f"the search's template: {error}") from None

    def base_on(self, data: str, student: Mapping[str, Any]) -> Config:
        """The base configuration for a data set, with flags applied on top."""
        # One after the other: a setting's learning rate is none for an optimizer that a flag chooses.
        return with_params(with_params(self.base, self.settings.get(data, Setting()).student), student)

    def refuse_twins(self, identity: Mapping[str, str]) -> None:
        """Raises UserError if two arms train the same. identity: arm → a hash of what it trains.

        If the two differ in one factor only, that factor changes nothing, and the message names it.
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


OF_TEACHERS = "teachers"  # in the folder of results, beside the studies' folders
TEACHER = "teacher."  # before a name that `--set` sets for the teacher
SEARCHED = "search"


def _raise_mistakes(mistakes: Mapping[str, Sequence[str]]) -> None:
    if mistakes:
        raise UserError("\n".join(f"{_arms(names)}: {mistake}" for mistake, names in mistakes.items()))


def _refuse_namesakes(arms: Mapping[str, Config]) -> None:
    """Raises UserError if two own networks have one name: columns and tables show their names alone."""
    first: dict[str, tuple[str, Any]] = {}
    for arm, config in arms.items():
        if not isinstance(config.model, str):
            other, model = first.setdefault(config.model_name, (arm, config.model))
            if model is not config.model and config.hashes["model"] != arms[other].hashes["model"]:
                raise UserError(
                    f"arms {other!r} and {arm!r} have different networks of one name, {config.model_name}; rename one, "
                    "because tables tell networks apart by their names"
                )


def unreached_milestones(config: Config) -> str:
    """The problem of a schedule with milestones after its last epoch; empty if there is none."""
    late = [m for m in config.milestones if m > config.epochs] if config.schedule == "multistep" else []
    if not late:
        return ""
    return (
        f"milestones {', '.join(map(str, late))} lie after the last of {config.epochs} epochs, so lr never "
        "decays there; give more epochs, or milestones before the last"
    )


def rate_of_sgd(config: Config) -> str:
    """The problem of an optimizer that has the default rate of sgd; empty if there is none."""
    return other_rate(config) if config.optimizer != "sgd" and config.lr == Config.lr else ""


def _arms(names: Sequence[str], most: int = 6) -> str:
    """Arms as the beginning of a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"arm{'s' * (len(names) > 1)} {', '.join(map(repr, names[:most]))}{more}"
