"""The declaration of a search: space, objectives, sampler, pruner, constraints and length. Plain data, no Optuna."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scl.errors import UserError, names_checked, shown, unknown
from scl.study.config import Config
from scl.study.fields import ARCHITECTURE, LARGEST
from scl.study.limits import COSTS, METRICS, OBJECTIVES, limit_problems
from scl.study.params import ADD_A_LOSS, TERM_FIELDS, of_loss, with_params
from scl.study.space import (
    Branch,
    Choice,
    Float,
    Int,
    active,
    changes,
    check_point,
    choices,
    conditions,
    ends,
    fixed,
    is_label,
    is_range,
    paths,
    ranges,
    space_problems,
)  # fmt: skip
from scl.study.term import as_whole

MOST_TRIALS = 100_000  # of a study; their rows and plan fit into memory
FRESH_SEED = 1000  # the first seed of the trials that confirm a search's winners
MOST_MEASURED = 200  # architectures whose latency is measured before a search that needs it
LEAST_WILCOXON = 5  # seeds: of fewer, no test is significant at Optuna's level of 0.1 before the last


@dataclass(frozen=True)
class Sampler:
    """What a sampler can do. several: objectives. conditional: parameters within branches. numbers: how many
    parameters with a Float or an Int it needs."""

    several: bool = True
    conditional: bool = False
    numbers: int = 0
    why: str = ""


# By the names that Optuna's users know.
SAMPLERS = {
    "tpe": Sampler(conditional=True),
    "gp": Sampler(why="a Gaussian process needs every parameter in every trial"),
    "cmaes": Sampler(several=False, numbers=2, why="CMA-ES adapts one distribution of numbers to one objective"),
    "random": Sampler(conditional=True),
    "qmc": Sampler(why="a sequence of low discrepancy has one dimension for each parameter"),
}
# Name → what it judges trials by; "" prunes none. `auto` prunes by halving where the one objective is val_acc.
PRUNERS = {"halving": "epochs", "hyperband": "epochs", "median": "epochs", "wilcoxon": "seeds", "none": ""}
AUTO = "auto"


@names_checked
@dataclass(frozen=True)
class Search:
    """A search over the parameters of one arm.

    Attributes:
        space: parameter → its range. Names as in `param.*` columns: `lr`, `weight.kd`, `kd.temperature`. A Branch has
            parameters of its own for each of its choices.
        template: changes to the study's base that all searched configurations share, as in an arm.
        trials: number of configurations to try.
        objectives: validation metrics (`val_acc`, …) or costs (`params`, `macs`, `latency_ms`), by the names in
            `scl.study.limits.OBJECTIVES`. The first ranks the winners.
        winners: number of configurations that run again on fresh seeds, 1000 and up. 0 ends the study with the search.
        start: parameter values to try first.
        prune: False is `pruner="none"`.
        reduction: one in this number of trials passes a rung of successive halving or Hyperband.
        first_rung: epochs before the first rung. None: a fifth of all epochs.
        batch: number of suggestions that train side by side.
        seed: of all searched trials, below 1000.
        sampler: `tpe`, `gp`, `cmaes`, `random` or `qmc`, as in Optuna.
        pruner: `halving`, `hyperband`, `median`, `wilcoxon`, `none`, or `auto`: halving if the one objective is
            `val_acc`, else none.
        constraints: objective → its upper bound, or the lower bound of an accuracy or F1. A configuration whose costs
            break one is not trained, and no winner breaks one.
        seeds: number of seeds, from `seed` on, on which each configuration trains; objectives are means over them.
        terminator: end the search once this number of configurations in a row have not improved on the best. None:
            never.

    Raises:
        UserError: a field does not exist. A run checks values and ranges before anything trains.

    Example:
        import scl

        search = scl.Search(
            space={"weight.kd": scl.Float(0.1, 10.0, log=True), "kd.temperature": scl.Choice((1.0, 4.0, 16.0))},
            template={"losses": {"kd": 1.0}},
            trials=20,
            winners=2,
        )
    """

    space: Mapping[str, Any]
    template: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 40
    objectives: tuple[str, ...] = ("val_acc",)
    winners: int = 3
    start: tuple[Mapping[str, Any], ...] = ()
    prune: bool = True
    reduction: int = 3
    first_rung: int | None = None
    batch: int = 4
    seed: int = 0
    sampler: str = "tpe"
    pruner: str = AUTO
    constraints: Mapping[str, float] = field(default_factory=dict)
    seeds: int = 1
    terminator: int | None = None

    @property
    def seed_range(self) -> range:
        """The seeds on which each configuration trains."""
        return range(self.seed, self.seed + self.seeds)

    @property
    def pruner_name(self) -> str:
        """The pruner in force, a name of PRUNERS."""
        if self.pruner == AUTO:
            return "halving" if self.prune and self.objectives == ("val_acc",) else "none"
        return self.pruner

    @property
    def judged_by(self) -> str:
        """What the pruner judges by: `epochs` of the first seed, `seeds` one after the other, or nothing."""
        return PRUNERS[self.pruner_name]

    @property
    def costs(self) -> dict[str, float]:
        """The constraints that are known before a configuration trains."""
        return {name: limit for name, limit in self.constraints.items() if name in COSTS}

    @property
    def needs_latency(self) -> bool:
        return "latency_ms" in (*self.objectives, *self.constraints)

    def check(self, base: Config) -> None:
        """Raises UserError for an unknown parameter, a range that is wrong or changes nothing, a wrong start, or a
        sampler or pruner that cannot do what is asked.

        base: the configuration that the search starts from.
        """
        problems = [unknown("objective", o, OBJECTIVES) for o in self.objectives if o not in OBJECTIVES]
        if not self.objectives or not self.space:
            problems.append("a search needs an objective and a parameter to search")
        problems += self._wrong_numbers()
        problems += limit_problems(self.constraints)
        problems += space_problems(self.space)
        for name in {} if problems else ranges(self.space):
            loss, what = of_loss(name, base.losses)
            own_option = loss in base.losses and callable(base.losses[loss].loss)
            if what in TERM_FIELDS and name != f"share.{loss}" and not own_option:
                instead = f"; write share.{loss}" if what == "share" else ""
                problems.append(
                    f"search space, {name!r}: a search varies fields, weights, shares and options of losses{instead}"
                )
        problems = problems or [*self._wrong_sampler(), *self._wrong_pruner()]
        if not problems and self.needs_latency and architectures(self.space, ARCHITECTURE, MOST_MEASURED) is None:
            problems.append(
                "latency_ms is measured before the search, while nothing trains, and this space has more than "
                f"{MOST_MEASURED} networks; give a Choice of widths or neurons, or use macs"
            )
        if problems:
            raise UserError("; ".join(problems))
        for path in paths(self.space):
            self._check_path(base, path)
        for point in self.start:
            check_point(self.space, point)

    def _wrong_numbers(self) -> list[str]:
        counts = {
            "trials": (1, MOST_TRIALS),
            "winners": (0, MOST_TRIALS),
            "batch": (1, MOST_TRIALS),
            "seed": (0, FRESH_SEED - 1),  # winners have the seeds from there
            "reduction": (2, LARGEST["epochs"]),
            "first_rung": (1, LARGEST["epochs"]),
            "seeds": (1, FRESH_SEED),
            "terminator": (1, MOST_TRIALS),
        }
        problems = []
        for name, (least, most) in counts.items():
            value = getattr(self, name)
            whole = as_whole(value)
            optional = name in ("first_rung", "terminator") and value is None
            if (whole is None or not least <= whole <= most) and not optional:
                problems.append(f"{name} must be a whole number of {least} to {most:,}, got {shown(value)}")
        if not problems and self.seed + self.seeds > FRESH_SEED:
            last = self.seed + self.seeds - 1
            most = FRESH_SEED - self.seed
            problems.append(
                f"seeds {self.seed} to {last}: winners have the seeds from {FRESH_SEED}; give seeds={most} "
                f"(--trial-seeds {most}) or fewer"
            )
        if not problems and self.trials * self.seeds > MOST_TRIALS:
            problems.append(
                f"{self.trials:,} configurations × {self.seeds} seeds are {self.trials * self.seeds:,} trials, and a "
                f"study has at most {MOST_TRIALS:,}; give fewer trials (--trials) or seeds (--trial-seeds)"
            )
        return problems

    def _wrong_sampler(self) -> list[str]:
        if self.sampler not in SAMPLERS:
            return [unknown("sampler", self.sampler, SAMPLERS)]
        can, count, problems = SAMPLERS[self.sampler], len(self.objectives), []
        others = "; use tpe or random"
        if count > 1 and not can.several:
            problems.append(f"sampler {self.sampler} takes one objective, got {count}: {can.why}{others}")
        if not can.conditional and any(isinstance(range_, Branch) for range_ in ranges(self.space).values()):
            problems.append(f"sampler {self.sampler} cannot search parameters within branches: {can.why}{others}")
        numbers = sum(isinstance(range_, (Float, Int)) for range_ in ranges(self.space).values())
        if numbers < can.numbers:
            problems.append(
                f"sampler {self.sampler} needs {can.numbers} parameters or more with a Float or an Int, and this space "
                f"has {numbers}: {can.why}{others}"
            )
        if self.terminator is not None and count > 1:
            problems.append(
                "terminator (--terminate): several objectives have a front and no best value; drop it, or give one "
                "objective"
            )
        return problems

    def _wrong_pruner(self) -> list[str]:
        name = self.pruner
        if name != AUTO and name not in PRUNERS:
            return [unknown("pruner", name, (AUTO, *PRUNERS))]
        if not isinstance(self.prune, bool):
            return [f"prune must be True or False, got {shown(self.prune)}"]
        if not self.prune and name not in (AUTO, "none"):
            return [f"prune=False and pruner={name!r} exclude each other; drop one"]
        if not self.judged_by:
            return []
        if len(self.objectives) > 1:
            return [f"pruner {name}: Optuna prunes by one objective, got {len(self.objectives)}; give pruner='none'"]
        if self.objectives[0] not in METRICS:
            return [
                f"pruner {name} judges by the course of a metric, and {self.objectives[0]} is known before training; "
                "give pruner='none'"
            ]
        if self.judged_by == "seeds" and self.seeds < LEAST_WILCOXON:
            return [
                f"pruner {name} compares seeds in pairs and needs {LEAST_WILCOXON} or more, got {self.seeds}: with "
                f"fewer, its smallest p-value before the last seed is {0.5 ** max(0, self.seeds - 1):g}, and it prunes "
                f"below 0.1; give seeds={LEAST_WILCOXON} (--trial-seeds {LEAST_WILCOXON}), or another pruner: "
                f"{', '.join(p for p in PRUNERS if PRUNERS[p] != 'seeds')}"
            ]
        return []

    def _check_path(self, base: Config, path: Mapping[str, Any]) -> None:
        """Raises UserError if a value at an end of a range is refused where these branches are taken."""
        held = active(self.space, path)
        set_here = changes(self.space, path)
        searched = {
            name: [path[name]] if isinstance(range_, Branch) else ends(range_)
            for name, range_ in held.items()
            if is_range(range_) and not is_label(name, range_)
        }
        weights = [name for name in searched if name.startswith(ADD_A_LOSS)]
        at = f", where {' and '.join(f'{b} = {c!r}' for b, c in path.items())}" if path else ""
        for name, values in searched.items() or {"": [None]}.items():
            # An option of a loss can be set only together with the loss's weight, and an optimizer with its rate.
            needed = {w: searched[w][-1] for w in weights if w != name}
            if name == "optimizer" and "lr" in searched:
                needed["lr"] = searched["lr"][0]
            for value in values:
                try:
                    made = with_params(base, {**set_here, **needed, **({name: value} if name else {})})
                    problem = made.neurons_problem
                except UserError as error:
                    problem = str(error)
                if problem:
                    raise UserError(f"search space, {name!r}{at}: {problem}")
                if (kept := getattr(made, name, value)) != value:  # it would be no choice of this search
                    raise UserError(f"search space, {name!r}{at}: write {value!r} as {kept!r}, as results name it")

    def without(self, given: Mapping[str, str]) -> Search:
        """This search with some parameters fixed at a value, given as text (`--fix self_taught=8`)."""
        space, template, start = dict(self.space), dict(self.template), list(self.start)
        # Branches first: what their choice searches is then a parameter like another.
        for name in sorted(given, key=lambda name: not isinstance(ranges(space).get(name), Branch)):
            branch = isinstance(ranges(space).get(name), Branch)
            space, more, value = fixed(space, name, given[name])
            template |= more
            start = [
                {n: v for n, v in point.items() if n != name and n in ranges(space)}
                for point in start
                if not branch or point.get(name, value) == value
            ]
        for name in [name for name in template if "." in name]:
            # A branch may have brought the loss whose option is held: the template needs it, with any weight or share.
            for weight in (f"{adds}{name.partition('.')[0]}" for adds in ADD_A_LOSS):
                if conditions(self.space).get(weight) and weight in space:
                    template.setdefault(weight, ends(space[weight])[0])
        return replace(self, space=space, template=template, start=tuple(start))


def winner(place: int) -> str:
    """The name of a search's winner as an arm; the best has place 1."""
    return f"winner-{place}"


def architectures(space: Mapping[str, Any], fields: Collection[str], most: int) -> list[dict[str, Any]] | None:
    """The points of a space in the parameters that make a network; None if there are more than `most`."""
    found: list[dict[str, Any]] = []
    for path in paths(space):
        points = [{name: value for name, value in changes(space, path).items() if name in fields}]
        for name, range_ in active(space, path).items():
            if name not in fields or not is_range(range_) or isinstance(range_, Branch):
                continue
            values: Sequence[Any] = []  # of a Float: too many
            if not isinstance(range_, Float):
                values = choices(range_) if isinstance(range_, Choice) else _whole(range_)
            if not values or len(points) * len(values) > most:
                return None
            points = [{**point, name: value} for point in points for value in values]
        found += [point for point in points if point not in found]
    return found if len(found) <= most else None


def _whole(range_: Int) -> range:
    return range(range_.low, range_.high + 1, range_.step)
