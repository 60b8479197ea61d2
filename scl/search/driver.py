"""The driver of a search: between Optuna, which suggests, and cohorts, which train.

All exchange with Optuna passes through SearchDriver, in the driver's process. Optuna's storage keeps its state, so a
search that was killed continues with all that it had learnt:

- a suggestion is a trial of Optuna and, for each seed of the search, a trial of the store, by the hash of its
  configuration. One that the store has already is answered from there and trains nothing;
- the seeds of a configuration train one after the other, so that what is pruned or has failed costs no more of them;
- a result is written to the store first and reported to Optuna next. A trial that Optuna calls running when a search
  starts was cut off: it is trained on, under its number, or finished with the result that the store has.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from scl.errors import UserError
from scl.masking import masked_value
from scl.plan.plan import Plan
from scl.search.configurations import Configuration, Configurations
from scl.search.constraints import check_reachable, tell_costs
from scl.search.journal import JOURNAL, copy_journal, load_optuna, open_study
from scl.search.lost_storage import ends_search_if_storage_fails
from scl.search.outcomes import ENDED, Outcome, outcomes, told
from scl.search.pruners import make_pruner
from scl.search.rebuild import UNTRAINED, Stored, add_missing, contradiction, stored_configurations
from scl.search.samplers import check_installed, make_sampler
from scl.search.terminator import why_ended
from scl.search.trials import draw, earlier_points, lacks, name_in_optuna, search_of, searched_trials
from scl.store.lease import LostLease
from scl.store.results import read_results
from scl.study.identity import Trial, from_stored, stored_name, stream_seed
from scl.study.limits import COSTS, METRICS, OBJECTIVES, excess, in_words
from scl.terminal import say

MOST_BROKEN = 200  # suggestions in a row that break a constraint, after which a search ends
BROKEN_BEFORE_RANDOM = 20  # of them, before suggestions are drawn at random


class SearchDriver:
    """Suggests trials, takes their epochs and ends, and reports them to Optuna.

    halt: called with the reason if the search cannot go on.

    Raises:
        UserError: Optuna or the sampler's library is not installed, its storage cannot be opened, no network of the
            space keeps the constraints, or --start-from has no configuration that lies in the search space.
    """

    def __init__(self, plan: Plan, halt: Callable[[str], None]) -> None:
        self.plan, self.search, self.halt = plan, search_of(plan), halt
        self.store = plan.context.store
        self.total = plan.options.trials or self.search.trials
        self.template = plan.template
        self.study_name = name_in_optuna(plan)
        self.on_new_trials: Callable[[], None] = lambda: None  # called after each suggestion
        self.lost_storage = False
        self.configurations = Configurations(plan)
        first = self.search.objectives[0]
        self.metric = first if first in METRICS else "val_acc"  # what a pruner judges by
        self.stored: list[Stored] = []
        self.told_end = False
        self.broken = 0  # suggestions in a row that broke a constraint
        check_installed(self.search)
        check_reachable(self.search, self.template, plan.feasibility)
        self.optuna = load_optuna()
        if self.store.exists("study.json"):
            self._read()
        self.study = self._open()
        self._resume()

    # --- opening and resuming ---------------------------------------------------------------------------------

    def _read(self) -> None:
        """What the store has of this search, and of other trials with its seeds. What failed is tried again."""
        read = read_results(self.store)
        known = outcomes(read, self.search.seed_range, self.metric)
        self.stored = stored_configurations(self.plan, read, known)
        self.configurations.outcomes = {i: outcome for i, outcome in known.items() if outcome.state in ENDED}

    def _open(self) -> Any:
        directions = [OBJECTIVES[o] for o in self.search.objectives]
        study = open_study(
            self.optuna,
            self.store,
            self.plan.options.storage,
            lambda study: contradiction(self.plan, study, self.stored, directions),
            study_name=self.study_name,
            directions=directions,
            pruner=make_pruner(self.optuna, self.search, self.template.total_epochs),
        )
        self._add_missing(study)
        known = len(study.get_trials(deepcopy=False))
        self.sampler = study.sampler = make_sampler(self.optuna, self.search, self.study_name, known)
        self.at_random = self.optuna.samplers.RandomSampler(
            seed=stream_seed("at random", self.study_name, known) % 2**32
        )
        if not known:
            for point in [*self.search.start, *earlier_points(self.plan)]:
                study.enqueue_trial({stored_name(name): value for name, value in point.items()}, skip_if_exists=True)
        return study

    def _add_missing(self, study: Any) -> None:
        """Add what the store has and Optuna lacks: its storage was lost, cut off, or is an older one."""
        waiting = self.optuna.trial.TrialState.WAITING
        known = set()
        for frozen in study.get_trials(deepcopy=False):
            if frozen.state != waiting and not lacks(self.search, frozen.params):
                trials = self._trials_of(frozen.params, None)
                known |= {trials[0].trial_id} if trials else set()
        missing = [each for each in self.stored if each.key not in known]
        if not missing:
            return
        # What waits has the next numbers. It is what the search starts from, so it is asked for at once.
        for _ in study.get_trials(deepcopy=False, states=(waiting,)):
            live = study.ask()
            draw(live, self.search.space)
            trials = self._trials_of(live.params, live)
            known |= {trials[0].trial_id} if trials else set()
        missing = [each for each in missing if each.key not in known]
        add_missing(self.optuna, study, missing, self.search, self._stored_objectives)
        storage = masked_value(self.plan.options.storage or JOURNAL)
        say(f"search: {storage} lacked {len(missing)} trials of the results; they were added, and the search continues")

    def _stored_objectives(self, stored: Stored) -> list[float]:
        costs = self.configurations.costs(stored.trials[0], [o for o in self.search.objectives if o in COSTS])
        return [{**costs, **stored.values}.get(objective, math.nan) for objective in self.search.objectives]

    def _resume(self) -> None:
        states = self.optuna.trial.TrialState
        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.state == states.WAITING or UNTRAINED in frozen.user_attrs:
                continue
            live = None
            values = frozen.params
            if frozen.state == states.RUNNING:
                live = self.optuna.trial.Trial(self.study, frozen._trial_id)
                if lacks(self.search, values):
                    draw(live, self.search.space)  # it was cut off between the suggestion of two parameters
                values = {**values, **live.params}
            elif lacks(self.search, values):
                continue
            trials = self._trials_of(values, live)
            if not trials:
                continue
            if live is not None:
                self._take(trials, live)
                continue
            # Rows of failed trials and lost rows: they are tried again, while Optuna keeps the earlier result.
            configuration = self.configurations.add(trials, frozen.number)
            if frozen.state == states.PRUNED:  # no seed after the first is missing
                self.configurations.begin(configuration, 0)
            else:
                self._advance(configuration)

    # --- suggestions ------------------------------------------------------------------------------------------

    @property
    @ends_search_if_storage_fails(0)
    def suggested(self) -> int:
        """Suggestions made so far, including repeated ones, without those that broke a constraint and did not train."""
        waiting = self.optuna.trial.TrialState.WAITING
        trials = self.study.get_trials(deepcopy=False)
        return sum(t.state != waiting and UNTRAINED not in t.user_attrs for t in trials)

    @property
    @ends_search_if_storage_fails("")
    def ended_early(self) -> str:
        """Why no more is suggested before the last configuration; empty if more is."""
        if self.broken >= MOST_BROKEN:
            limits = in_words(self.search.costs)
            return f"{MOST_BROKEN} suggestions in a row break {limits}; allow more, or search smaller networks"
        if self.search.terminator is None:
            return ""
        maximise = OBJECTIVES[self.search.objectives[0]] == "maximize"
        return why_ended(self.study.get_trials(deepcopy=False), maximise, self.search.terminator)

    @property
    def to_go(self) -> int:
        """Trials that the search has still to train, if none is pruned."""
        more = 0 if self.ended_early else max(0, self.total - self.suggested)
        return more * self.search.seeds + self.configurations.left

    @property
    def waits(self) -> bool:
        """Whether there may be more to train once something ends: the next seed of a configuration."""
        return self.search.seeds > 1 and bool(self.configurations.training)

    @property
    def numbers(self) -> Mapping[str, int]:
        """trial_id → the order of suggestion."""
        return self.configurations.numbers

    @property
    def batch(self) -> int:
        """Suggestions that train side by side."""
        return self.plan.options.cohort_size or self.search.batch

    def label(self, trial: Trial) -> str:
        seed = f" · seed {trial.seed}" if self.search.seeds > 1 else ""
        return f"search · trial {self.numbers[trial.trial_id]}{seed}"

    @ends_search_if_storage_fails([])
    def suggest(self, size: int) -> list[Trial]:
        """Up to `size` trials to train side by side, those that were cut off first. Empty if there are no more, or none
        before others have ended (`waits`)."""
        while len(self.configurations.queue) < size and not self.configurations.later_seed_first:
            if self.suggested >= self.total or self._ends():
                break
            self._ask()
        batch = self.configurations.give_out(size)
        self.on_new_trials()
        return batch

    def _ends(self) -> bool:
        """Whether the search ends before its last configuration; says so once."""
        why = self.ended_early
        if why and not self.told_end:
            self.told_end = True
            if self.suggested:
                say(f"search: ends after {self.suggested} of {self.total} configurations: {why}")
            else:
                self.halt(f"no configuration was found: {why}")
        return bool(why)

    def _ask(self) -> None:
        self.study.sampler = self.sampler if self.broken < BROKEN_BEFORE_RANDOM else self.at_random
        live = self.study.ask()
        draw(live, self.search.space)
        trials = self._trials_of(live.params, live)
        if trials:
            self._take(trials, live)

    def _trials_of(self, values: Mapping[str, Any], live: Any) -> tuple[Trial, ...]:
        """The trials of Optuna's values. If they cannot be built: none, and Optuna's trial has failed."""
        try:
            trials = searched_trials(self.plan, self.template, from_stored(values))
            self.plan.feasibility.trained_as(trials[0].config)
        except UserError as error:
            if live is not None:
                self.study.tell(live, state=self.optuna.trial.TrialState.FAIL)
                say(f"search: trial {live.number} cannot be built: {error}")
            return ()
        return trials

    def _take(self, trials: tuple[Trial, ...], live: Any) -> None:
        """Train Optuna's trial, or answer it from the store; if its costs break a constraint, it ends here."""
        if self._breaks_constraint(trials[0], live):
            return
        configuration = self.configurations.add(trials, live.number)
        live.set_user_attr("trial_id", trials[0].trial_id)
        configuration.waiting.append(live)
        if self.search.judged_by == "epochs":
            self._report_all(configuration, live)
        self._advance(configuration)

    def _breaks_constraint(self, trial: Trial, live: Any) -> bool:
        limits = self.search.costs
        if not limits or "trial_id" in live.user_attrs:  # it has begun to train
            return False
        broken = tell_costs(live, limits, self.configurations.costs(trial, limits))
        if not broken:
            self.broken = 0
            return False
        self.broken += 1
        live.set_user_attr(UNTRAINED, f"breaks {broken}")
        self.study.tell(live, state=self.optuna.trial.TrialState.PRUNED)
        return True

    def _advance(self, configuration: Configuration) -> None:
        """Queue the next seed of a configuration, or tell Optuna of its end."""
        for step, trial in enumerate(configuration.trials):
            state = self.configurations.outcome(trial).state
            fresh = not state and not self.configurations.is_under_way(trial)
            if fresh and step and self._hopeless(configuration):
                return self._finish(configuration, "pruned")
            self.configurations.begin(configuration, step)
            if not state:
                return None
            if state != "completed":
                return self._finish(configuration, state)
        return self._finish(configuration, "completed")

    def _hopeless(self, configuration: Configuration) -> bool:
        """Whether Optuna's pruner skips the other seeds, by those that have trained."""
        if self.search.judged_by != "seeds":
            return False
        for live in configuration.waiting:
            self._report_all(configuration, live)
        return any(live.should_prune() for live in configuration.waiting[:1])

    # --- results ----------------------------------------------------------------------------------------------

    @ends_search_if_storage_fails(False)
    def epoch(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        """Report an epoch, a row of epochs.parquet; true if the trial should stop there."""
        configuration = self.configurations.of[trial_id]
        first = configuration.trials[0]
        outcome = self.configurations.outcomes.setdefault(trial_id, Outcome())
        value = outcome.epoch(row, self.metric, first.config)
        if self.search.judged_by != "epochs" or trial_id != first.trial_id:
            return False
        waiting = configuration.waiting
        for live in waiting:
            self._report(live, row["epoch"], value)
        return bool(waiting) and row["epoch"] < first.config.total_epochs and bool(waiting[0].should_prune())

    @ends_search_if_storage_fails(None)
    def ended(self, trial_id: str, state: str) -> None:
        """Report an end: completed, pruned or failed. Its row is in the store already."""
        self.configurations.outcomes.setdefault(trial_id, Outcome()).state = state
        self.configurations.training.discard(trial_id)
        self._advance(self.configurations.of[trial_id])
        self.copy_journal()

    def cohort_ended(self, trial_ids: Iterable[str]) -> None:
        """Report the end of a cohort: those of its trials that have not ended take their state and values from the
        store; without a row they failed."""
        left = [i for i in trial_ids if i in self.configurations.training]
        if left:
            known = outcomes(read_results(self.store), self.search.seed_range, self.metric)
            for trial_id in left:
                found = self.configurations.outcomes[trial_id] = known.get(trial_id, Outcome())
                self.ended(trial_id, found.state or "failed")

    def copy_journal(self) -> None:
        """Copy Optuna's journal into an object store; on a disk, or with a database, nothing is to do."""
        if not self.plan.options.storage:
            with suppress(LostLease):  # the run stops at its next step
                copy_journal(self.store)

    def _report_all(self, configuration: Configuration, live: Any) -> None:
        """Report what the pruner is told of a configuration so far."""
        for step, value in sorted(told(self.search, self.configurations.own(configuration)).items()):
            self._report(live, step, value)

    def _report(self, live: Any, step: int, value: float) -> None:
        if self.search.judged_by and value == value:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a step that was reported before the search was cut off
                live.report(value, step)

    def _finish(self, configuration: Configuration, state: str) -> None:
        waiting, configuration.waiting = configuration.waiting, []
        states = self.optuna.trial.TrialState
        for live in waiting:
            if self.search.judged_by == "seeds":
                self._report_all(configuration, live)
            if state != "completed" or not self._complete(configuration, live):
                self.study.tell(live, state=states.PRUNED if state == "pruned" else states.FAIL)

    def _complete(self, configuration: Configuration, live: Any) -> bool:
        """Tell Optuna the values of a completed configuration; false if one is not known."""
        values = self.configurations.values(configuration)
        objectives = [values.get(objective, math.nan) for objective in self.search.objectives]
        learnt = {name: limit for name, limit in self.search.constraints.items() if name not in COSTS}
        beyond = excess(learnt, values)
        if any(map(math.isnan, [*objectives, *beyond.values()])):
            return False
        for name, by in beyond.items():
            live.set_constraint(name, by)
        self.study.tell(live, objectives)
        return True
