"""The driver of a search: between Optuna, which suggests, and cohorts, which train.

All exchange with Optuna passes through SearchDriver, in the driver's process. Optuna's storage keeps its state, so a
search that was killed continues with all that it had learnt:

- a suggestion is a trial of Optuna and, by the hash of its configuration, a trial of the store. One that the store has
  already is answered from there and trains nothing;
- a result is written to the store first and reported to Optuna next. A trial that Optuna calls running when a search
  starts was cut off: it is trained on, under its number, or finished with the result that the store has.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from scl.errors import UserError, first_line
from scl.masking import masked_value, without_secrets
from scl.plan.plan import Plan
from scl.search.journal import JOURNAL, copy_journal, load_optuna, open_study, storage_errors
from scl.search.rebuild import Stored, add_missing, contradiction, stored_trials
from scl.search.trials import (
    draw,
    earlier_points,
    kept_epoch,
    lacks,
    name_in_optuna,
    search_of,
    searched_trial,
    stored_space,
)  # fmt: skip
from scl.store.files import explain
from scl.store.lease import LostLease
from scl.store.results import Results, read_results
from scl.store.tables import read_trials
from scl.study.config import SHARED_IN_COHORT, Config
from scl.study.identity import Trial, from_stored, requested, sha256, stored_name, stream_seed
from scl.study.space import OBJECTIVES, point_of
from scl.terminal import say


def ends_search_if_storage_fails(otherwise: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a method that uses Optuna's storage: if the storage fails, the search ends and the method returns
    `otherwise`. Finished trials are in the store, and the next run reports them to Optuna."""

    def decorator(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: SearchDriver, *arguments: Any) -> Any:
            if self.lost_storage:
                return otherwise
            try:
                return method(self, *arguments)
            except storage_errors(self.optuna) as error:
                self.lost_storage = True
                url = self.plan.options.storage or JOURNAL
                storage = masked_value(url)
                reason = explain(error) if isinstance(error, OSError) else without_secrets(first_line(error), url)[:300]
                self.on_storage_lost(f"the search's storage {storage} was lost ({reason}); finished trials are kept")
                return otherwise

        return call

    return decorator


class SearchDriver:
    """Suggests trials, takes their epochs and ends, and reports them to Optuna.

    on_storage_lost: called with the reason if Optuna's storage fails during the search.

    Raises:
        UserError: Optuna is not installed, its storage cannot be opened, or --start-from has no configuration that
            lies in the search space.
    """

    def __init__(self, plan: Plan, on_storage_lost: Callable[[str], None]) -> None:
        self.plan, self.search, self.on_storage_lost = plan, search_of(plan), on_storage_lost
        self.store = plan.context.store
        self.total = plan.options.trials or self.search.trials
        self.template = plan.template
        self.study_name = name_in_optuna(plan)
        self.on_new_trials: Callable[[], None] = lambda: None  # called after each suggestion
        self.lost_storage = False
        self.trials: dict[str, Trial] = {}
        self.numbers: dict[str, int] = {}  # trial_id → the order of suggestion
        self.queue: list[Trial] = []  # suggested and not yet given out
        self.unfinished: dict[str, list[Any]] = {}  # trial_id → Optuna's trials that wait for its end
        self.states: dict[str, str] = {}  # trial_id → how it ended; failed ones of an earlier run are tried again
        self.curves: dict[str, dict[int, float]] = {}  # trial_id → epoch → validation accuracy
        self.optuna = load_optuna()
        # Optuna has no pruners for several objectives.
        self.pruning = self.search.prune and self.search.objectives == ("val_acc",)
        self.stored: list[Stored] = []
        if self.store.exists("study.json"):
            self._read(read_results(self.store))
        self.study = self._open()
        self._resume()

    # --- opening and resuming ---------------------------------------------------------------------------------

    def _read(self, read: Results) -> None:
        """What the store has of this search, and of other trials with its seed."""
        ended = read.trials[
            (read.trials["seed"] == self.search.seed) & read.trials["state"].isin(["completed", "pruned"])
        ]
        self.states = dict(zip(ended["trial_id"], ended["state"], strict=True))
        epochs = read.epochs[read.epochs["trial_id"].isin(self.states)]
        for trial_id, epoch, value in zip(epochs["trial_id"], epochs["epoch"], epochs["val_acc"], strict=True):
            self.curves.setdefault(trial_id, {})[int(epoch)] = float(value)
        self.stored = stored_trials(self.plan, read)
        for each in self.stored:
            if each.trial.trial_id in self.states:
                self.curves[each.trial.trial_id] = dict(each.curve)

    def _open(self) -> Any:
        halving = self.search.pruner(self.template.total_epochs)
        pruners = self.optuna.pruners
        directions = [OBJECTIVES[o] for o in self.search.objectives]
        study = open_study(
            self.optuna,
            self.store,
            self.plan.options.storage,
            lambda study: contradiction(self.plan, study, self.stored, directions),
            study_name=self.study_name,
            directions=directions,
            pruner=pruners.SuccessiveHalvingPruner(**halving) if self.pruning else pruners.NopPruner(),
        )
        self._add_missing(study)
        known = len(study.get_trials(deepcopy=False))
        # The same command draws the same suggestions; a search that was cut off draws new ones.
        seed = stream_seed("sampler", self.study_name, known) % 2**32
        study.sampler = self.optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        if not known:
            for point in [*self.search.start, *earlier_points(self.plan)]:
                study.enqueue_trial(_stored(point), skip_if_exists=True)
        return study

    def _add_missing(self, study: Any) -> None:
        """Add what the store has and Optuna lacks: its storage was lost, cut off, or is an older one."""
        waiting = self.optuna.trial.TrialState.WAITING
        known = set()
        for frozen in study.get_trials(deepcopy=False):
            if frozen.state != waiting and not lacks(self.search, frozen.params):
                trial = self._trial_of(frozen.params, None)
                known |= {trial.trial_id} if trial else set()
        missing = [each for each in self.stored if each.trial.trial_id not in known]
        if not missing:
            return
        # What waits has the next numbers. It is what the search starts from, so it is asked for at once.
        for _ in study.get_trials(deepcopy=False, states=(waiting,)):
            live = study.ask()
            draw(live, self.search)
            trial = self._trial_of(live.params, live)
            known |= {trial.trial_id} if trial else set()
        missing = [each for each in missing if each.trial.trial_id not in known]
        add_missing(self.optuna, study, missing, self.search.space, self._values, self.pruning)
        storage = masked_value(self.plan.options.storage or JOURNAL)
        say(f"search: {storage} lacked {len(missing)} trials of the results; they were added, and the search continues")

    def _values(self, stored: Stored) -> list[float]:
        known = {"val_acc": self._kept_val_acc(stored.trial), "val_loss": stored.val_loss}
        values = [known[o] if o in known else self._objective(o, stored.trial) for o in self.search.objectives]
        return [float("nan") if value is None else value for value in values]

    def _resume(self) -> None:
        states = self.optuna.trial.TrialState
        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.state == states.WAITING:
                continue
            live = None
            values = frozen.params
            if frozen.state == states.RUNNING:
                live = self.optuna.trial.Trial(self.study, frozen._trial_id)
                if lacks(self.search, values):
                    draw(live, self.search)  # it was cut off between the suggestion of two parameters
                values = {**values, **live.params}
            elif lacks(self.search, values):
                continue
            trial = self._trial_of(values, live)
            if trial is None:
                continue
            self._register(trial, frozen.number)
            if live is not None:
                self._finish_or_queue(trial, live)
            elif trial.trial_id not in self.states and trial not in self.queue:
                # It failed, or its row was lost: it is tried again, while Optuna keeps the earlier result.
                self.queue.append(trial)

    def _finish_or_queue(self, trial: Trial, live: Any) -> None:
        """Finish Optuna's trial if the configuration has ended already, else queue the configuration."""
        if trial.trial_id in self.states:
            for epoch, value in sorted(self.curves.get(trial.trial_id, {}).items()):
                self._report(live, epoch, value)
            self._finish(live, trial, self.states[trial.trial_id])
            return
        waiting = self.unfinished.setdefault(trial.trial_id, [])
        waiting.append(live)
        if len(waiting) == 1 and trial not in self.queue:
            self.queue.append(trial)

    # --- suggestions ------------------------------------------------------------------------------------------

    @property
    @ends_search_if_storage_fails(0)
    def suggested(self) -> int:
        """Suggestions made so far, including repeated ones."""
        states = self.optuna.trial.TrialState
        return sum(t.state != states.WAITING for t in self.study.get_trials(deepcopy=False))

    @property
    def to_go(self) -> int:
        """Trials that the search has still to train."""
        return max(0, self.total - self.suggested) + len(self.queue)

    @property
    def batch(self) -> int:
        """Suggestions that train side by side."""
        return self.plan.options.cohort_size or self.search.batch

    def label(self, trial: Trial) -> str:
        return f"search · trial {self.numbers[trial.trial_id]}"

    @ends_search_if_storage_fails([])
    def suggest(self, size: int) -> list[Trial]:
        """Up to `size` trials to train side by side, those that were cut off first. Empty if there are no more."""
        while len(self.queue) < size and self.suggested < self.total:
            live = self.study.ask()
            draw(live, self.search)
            trial = self._trial_of(live.params, live)
            if trial is not None:
                self._register(trial, live.number)
                live.set_user_attr("trial_id", trial.trial_id)
                self._finish_or_queue(trial, live)
        # Trials of a cohort see the same batches.
        batch = [t for t in self.queue if _stream(t.config) == _stream(self.queue[0].config)][:size]
        self.queue = [t for t in self.queue if t not in batch]
        self.on_new_trials()
        return batch

    def _trial_of(self, values: Mapping[str, Any], live: Any) -> Trial | None:
        """The trial of Optuna's values. If it cannot be built: None, and Optuna's trial has failed."""
        try:
            trial = searched_trial(self.plan, self.template, from_stored(values))
            self.plan.feasibility.trained_as(trial.config)
        except UserError as error:
            if live is not None:
                self.study.tell(live, state=self.optuna.trial.TrialState.FAIL)
                say(f"search: trial {live.number} cannot be built: {error}")
            return None
        return trial

    def _register(self, trial: Trial, number: int) -> None:
        self.trials.setdefault(trial.trial_id, trial)
        self.numbers.setdefault(trial.trial_id, number)

    # --- results ----------------------------------------------------------------------------------------------

    @ends_search_if_storage_fails(False)
    def epoch(self, trial_id: str, epoch: int, val_acc: float) -> bool:
        """Report an epoch; true if the trial should stop there."""
        self.curves.setdefault(trial_id, {})[epoch] = val_acc
        waiting = self.unfinished.get(trial_id, [])
        for live in waiting:
            self._report(live, epoch, val_acc)
        last = self.trials[trial_id].config.total_epochs
        return self.pruning and bool(waiting) and epoch < last and bool(waiting[0].should_prune())

    @ends_search_if_storage_fails(None)
    def ended(self, trial_id: str, state: str) -> None:
        """Report an end: completed, pruned or failed. Its row is in the store already."""
        self.states[trial_id] = state
        for live in self.unfinished.pop(trial_id, []):
            self._finish(live, self.trials[trial_id], state)
        self.copy_journal()

    def cohort_ended(self, trial_ids: Iterable[str]) -> None:
        """Report the end of a cohort: those of its trials that have not ended take their state from the store; without
        a row they failed."""
        left = [i for i in trial_ids if i in self.unfinished]
        if left:
            rows = read_trials(self.store).set_index("trial_id")["state"]
            for trial_id in left:
                self.ended(trial_id, str(rows.get(trial_id, "failed")))

    def copy_journal(self) -> None:
        """Copy Optuna's journal into an object store; on a disk, or with a database, nothing is to do."""
        if not self.plan.options.storage:
            with suppress(LostLease):  # the run stops at its next step
                copy_journal(self.store)

    def _report(self, live: Any, epoch: int, value: float) -> None:
        if self.pruning and value == value:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an epoch that was reported before the search was cut off
                live.report(value, epoch)

    def _finish(self, live: Any, trial: Trial, state: str) -> None:
        states = self.optuna.trial.TrialState
        if state == "completed":
            values = [self._objective(objective, trial) for objective in self.search.objectives]
            if all(v == v for v in values):
                self.study.tell(live, values)
                return
            state = "failed"
        self.study.tell(live, state=states.PRUNED if state == "pruned" else states.FAIL)

    def _objective(self, name: str, trial: Trial) -> float:
        """The value of an objective; nan if it is not known."""
        if name == "val_acc":
            value = self._kept_val_acc(trial)
            return float("nan") if value is None else value
        if name == "val_loss":
            epochs = read_results(self.store).epochs
            mine = epochs[epochs["trial_id"] == trial.trial_id].set_index("epoch")
            if mine.empty:
                return float("nan")
            return float(mine["val_loss"][kept_epoch(trial.config, mine["val_acc"].to_dict())])
        return float(getattr(self.plan.feasibility.cost(trial.config, idle=False), name))

    def _kept_val_acc(self, trial: Trial) -> float | None:
        curve = self.curves.get(trial.trial_id)
        return curve[kept_epoch(trial.config, curve)] if curve else None

    # --- the record -------------------------------------------------------------------------------------------

    def searched_trials(self) -> list[Trial]:
        """The trials of this search, in the order of suggestion."""
        return sorted(self.trials.values(), key=lambda trial: self.numbers[trial.trial_id])

    def record(self, winners: Mapping[str, Config]) -> dict[str, Any]:
        """The fields of study.json that describe the search. `winners`: by arm; none while it runs."""
        trials = [] if self.lost_storage else self.study.get_trials(deepcopy=False)
        states = [t.state.name for t in trials if t.state.name != "WAITING"]
        by_config = {sha256(requested(t.config)): t.trial_id for t in self.trials.values()}
        won = {arm: (config, by_config[sha256(requested(config))]) for arm, config in winners.items()}
        return {
            "search_space": stored_space(self.search.space),
            "objectives": {o: OBJECTIVES[o] for o in self.search.objectives},
            "search": {
                "optuna_study": self.study_name,
                "storage": masked_value(self.plan.options.storage or JOURNAL),
                "trials": self.total,
                "seed": self.search.seed,
                "template": requested(self.template),
                "pruner": self.search.pruner(self.template.total_epochs) if self.pruning else None,
                "states": {state: states.count(state) for state in sorted(set(states))},
                "repeated": max(0, len(states) - len(self.trials)),
                "tried": [trial.trial_id for trial in self.searched_trials()],
            },
            "winners": {
                arm: {
                    "number": self.numbers[trial_id],
                    "trial_id": trial_id,
                    "params": _stored(point_of(config, self.search.space)),
                    "val_acc": self._kept_val_acc(self.trials[trial_id]),
                }
                for arm, (config, trial_id) in won.items()
            },
        }


def _stored(point: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Parameter values by their stored names."""
    return None if point is None else {stored_name(name): value for name, value in point.items()}


def _stream(config: Config) -> tuple[Any, ...]:
    return tuple(getattr(config, name) for name in SHARED_IN_COHORT)
