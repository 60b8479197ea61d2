"""The configurations of a search that train or have trained: what trains next, and what came out. Without Optuna."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from scl.plan.plan import Plan
from scl.search.outcomes import ENDED, Outcome, mean_of
from scl.search.trials import search_of
from scl.study.identity import Trial
from scl.study.limits import COSTS


@dataclass
class Configuration:
    """One configuration of the search.

    trials: one for each seed. number: of its first suggestion. waiting: Optuna's trials that wait for its end.
    """

    trials: tuple[Trial, ...]
    number: int
    waiting: list[Any] = field(default_factory=list)


class Configurations:
    """Every configuration by the id of its first trial, the outcomes of all trials, and the queue of those to train."""

    def __init__(self, plan: Plan) -> None:
        self.search, self.feasibility = search_of(plan), plan.feasibility
        self.by_key: dict[str, Configuration] = {}
        self.of: dict[str, Configuration] = {}  # by trial_id
        self.trials: dict[str, Trial] = {}  # that train or have trained
        self.numbers: dict[str, int] = {}  # trial_id → the order of suggestion
        self.queue: list[Trial] = []  # to train and not yet given out
        self.training: set[str] = set()  # given out and not yet ended
        self.outcomes: dict[str, Outcome] = {}  # by trial_id

    def add(self, trials: tuple[Trial, ...], number: int) -> Configuration:
        """The configuration with these trials; `number` is its own if it is new."""
        configuration = self.by_key.setdefault(trials[0].trial_id, Configuration(trials, number))
        self.of |= {trial.trial_id: configuration for trial in trials}
        return configuration

    def outcome(self, trial: Trial) -> Outcome:
        return self.outcomes.get(trial.trial_id, Outcome())

    def own(self, configuration: Configuration) -> list[Outcome]:
        """The outcomes of its seeds."""
        return [self.outcome(trial) for trial in configuration.trials]

    def begin(self, configuration: Configuration, step: int) -> None:
        """Queue a seed of a configuration, or count it if it has trained already."""
        trial = configuration.trials[step]
        self.trials.setdefault(trial.trial_id, trial)
        self.numbers.setdefault(trial.trial_id, configuration.number)
        if not self.outcome(trial).state and not self.is_under_way(trial):
            self.queue.append(trial)

    def is_under_way(self, trial: Trial) -> bool:
        return trial in self.queue or trial.trial_id in self.training

    def give_out(self, size: int) -> list[Trial]:
        """Up to `size` trials of the queue that may form a cohort: they see the same batches and one teacher."""
        batch = [t for t in self.queue if _stream(t) == _stream(self.queue[0])][:size]
        self.queue = [t for t in self.queue if t not in batch]
        self.training |= {t.trial_id for t in batch}
        return batch

    @property
    def later_seed_first(self) -> bool:
        """Whether a configuration that has begun goes on next: then none is suggested beside it."""
        return bool(self.queue) and self.queue[0].seed != self.search.seed

    @property
    def left(self) -> int:
        """Trials of the queued configurations that have not ended, later seeds included."""
        begun = {id(c): c for c in map(self.of.__getitem__, (t.trial_id for t in self.queue))}
        return sum(outcome.state not in ENDED for c in begun.values() for outcome in self.own(c))

    def costs(self, trial: Trial, names: Iterable[str]) -> dict[str, float]:
        """Costs of a configuration: those of its row, else counted and measured."""
        stored, wanted = self.outcome(trial).last, list(names)
        missing = [name for name in wanted if name not in stored]
        if not missing:
            return {name: stored[name] for name in wanted}
        cost = self.feasibility.cost(trial.config, idle="latency_ms" in missing)
        return {name: stored[name] if name in stored else float(getattr(cost, name)) for name in wanted}

    def values(self, configuration: Configuration) -> dict[str, float]:
        """Metrics and costs of a configuration, means over its seeds."""
        wanted = [name for name in (*self.search.objectives, *self.search.constraints) if name in COSTS]
        return mean_of(self.own(configuration)) | self.costs(configuration.trials[0], wanted)

    def completed(self) -> list[Configuration]:
        """Those that completed on every seed, in the order of suggestion."""
        done = [c for c in self.by_key.values() if all(outcome.state == "completed" for outcome in self.own(c))]
        return sorted(done, key=lambda c: c.number)

    def in_order(self) -> list[Trial]:
        """The trials that train or have trained, in the order of suggestion."""
        return sorted(self.trials.values(), key=lambda trial: (self.numbers[trial.trial_id], trial.seed))


def _stream(trial: Trial) -> tuple[Any, ...]:
    return (trial.teacher_id, *trial.config.stream(trial.seed))
