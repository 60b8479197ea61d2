"""A search: Optuna suggests configurations, cohorts train them, what they reach goes back to Optuna.

All that Optuna hears and says passes through `Dialogue`, in the driver's process. It keeps Optuna's own storage, so a
search that was killed goes on with all it had learnt:

- a suggestion is a trial of Optuna and, by the hash of its configuration, a trial of the store. One that is in the
  store already is answered from there and trains nothing;
- what ends is written to the store first and told to Optuna next. Whatever Optuna calls running when a search
  starts is a trial that was cut off: it is trained on, under its own number, or told what the store has.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from scl import results
from scl.config import SHARED_IN_COHORT, Config, UserError, requested, sha256, with_params
from scl.errors import first_line
from scl.optuna_storage import database, load_optuna, masked, mend, storage_errors
from scl.plan import Bench, Plan, with_arms
from scl.space import OBJECTIVES, Choice, Float, Range, Search, describe, point_of
from scl.storage import explain
from scl.study import Cell, cells
from scl.trial import stream_seed

ARM = "search"
JOURNAL = "optuna.journal"
SHARED_START = 5  # configurations taken over from another study's results


def while_stored(otherwise: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A method that talks to Optuna's storage. When the storage goes away in the midst, the search ends: what has
    been searched is in the store, and the next run tells Optuna what it has not heard."""

    def decorated(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def guarded(self: Dialogue, *arguments: Any) -> Any:
            if self.lost_storage:
                return otherwise
            faults: tuple[type[Exception], ...] = (*storage_errors(self.optuna), OSError)
            try:
                return method(self, *arguments)
            except faults as error:
                self.lost_storage = True
                where = masked(self.plan.options.storage or JOURNAL)
                why = explain(error) if isinstance(error, OSError) else masked(first_line(error))[:300]
                self.on_lost(f"the search's storage {where} was lost ({why}); what was searched is kept")
                return otherwise

        return guarded

    return decorated


class Dialogue:
    """The driver's side of a search. Raises UserError where Optuna or its storage cannot be had."""

    def __init__(self, plan: Plan) -> None:
        assert plan.study.search is not None
        self.plan, self.search = plan, plan.study.search
        self.store = plan.world.store
        self.total = plan.options.trials or self.search.trials
        base = plan.study.base_on(plan.options.data, plan.options.student_changes())
        self.template = plan.study.searched(base)
        self.study_name = name_in_optuna(plan)
        self.optuna = load_optuna()
        self.study = self._open()
        # trial_id → how it ended; failed ones of an earlier run are left out: they are tried again.
        self.states: dict[str, str] = {}
        self.curves: dict[str, dict[int, float]] = {}  # trial_id → epoch → validation accuracy
        self.handles: dict[str, list[Any]] = {}  # trial_id → Optuna's trials that wait for its end
        self.waiting: list[Cell] = []  # cut off by an earlier end of the search
        self.numbers: dict[str, int] = {}  # trial_id → the order of suggestion
        self.cells: dict[str, Cell] = {}
        self.asked_more: Callable[[], None] = lambda: None  # called when the search knows more cells
        self.on_lost: Callable[[str], None] = lambda reason: None  # called when Optuna's storage is gone
        self.lost_storage = False
        self._resume()

    # --- opening and going on ---------------------------------------------------------------------------------

    def _open(self) -> Any:
        url = self.plan.options.storage
        self.pruning = self.search.prune and self.search.objectives == ("val_acc",)
        halving = self.search.pruner(self.template.total_epochs)
        pruners = self.optuna.pruners
        try:
            study = self.optuna.create_study(
                study_name=self.study_name,
                storage=database(self.optuna, url) if url else self._journal(),
                load_if_exists=True,
                directions=[OBJECTIVES[o] for o in self.search.objectives],
                pruner=pruners.SuccessiveHalvingPruner(**halving) if self.pruning else pruners.NopPruner(),
            )
            known = study.get_trials(deepcopy=False)
        except UserError:
            raise
        except Exception as error:
            reason = masked(str(error).strip().splitlines()[0])
            raise UserError(f"--storage {masked(url or JOURNAL)}: Optuna cannot open it ({reason})") from error
        owner = study.user_attrs.get("results")
        if url and known and owner != str(self.store):
            raise UserError(
                f"--storage {masked(url)}: it holds {len(known)} trials of this search, whose results are in {owner}; "
                "give --out as it was then, or another storage"
            )
        if owner != str(self.store):
            study.set_user_attr("results", str(self.store))
        # As many trials as are known: the same command always draws the same, and one that was cut off draws anew.
        seed = stream_seed("sampler", self.study_name, len(known)) % 2**32
        study.sampler = self.optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        if not known:
            for point in [*self.search.start, *self._taken_over()]:
                study.enqueue_trial(dict(point), skip_if_exists=True)
        return study

    def _journal(self) -> Any:
        """Optuna's journal file in the study's folder; for an object store a local copy, put back by `keep`."""
        if self.store.is_local:
            path = Path(self.store.path) / JOURNAL
        else:
            path = Path.home() / ".cache" / "scl" / f"{sha256(str(self.store))[:16]}-{JOURNAL}"
            if self.store.exists(JOURNAL):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.store.read(JOURNAL))
        path.parent.mkdir(parents=True, exist_ok=True)
        self.journal = path
        mend(path)
        journal = self.optuna.storages.journal
        return self.optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))

    def keep(self) -> None:
        """Put the journal into an object store; on a disk it is there already."""
        if not self.store.is_local and not self.plan.options.storage:
            self.store.write(JOURNAL, self.journal.read_bytes())

    def _taken_over(self) -> list[dict[str, Any]]:
        """The best configurations, by validation, of the results that `--start-from` names; those in the space."""
        place = self.plan.options.start_from
        if not place:
            return []
        rows = results.load(place).trials
        rows = rows[(rows["state"] == "completed") & rows["val_acc"].notna()].sort_values("val_acc", ascending=False)
        points: list[dict[str, Any]] = []
        for row in rows.drop_duplicates("config_id").to_dict("records"):
            point = {name: _plain(row.get(f"param.{name}")) for name in self.search.space}
            try:
                self.search.inside(point)
            except UserError:
                continue
            points.append(point)
        if not points:
            raise UserError(
                f"--start-from {place!r}: none of its {len(rows)} completed trials lies in the search space"
            )
        return points[:SHARED_START]

    def _resume(self) -> None:
        states = self.optuna.trial.TrialState
        if self.store.exists("study.json"):
            read = results.read(self.store)
            mine = read.trials[
                (read.trials["seed"] == self.search.seed) & read.trials["state"].isin(["completed", "pruned"])
            ]
            self.states = dict(zip(mine["trial_id"], mine["state"], strict=True))
            epochs = read.epochs[read.epochs["trial_id"].isin(self.states)]
            for trial_id, epoch, value in zip(epochs["trial_id"], epochs["epoch"], epochs["val_acc"], strict=True):
                self.curves.setdefault(trial_id, {})[int(epoch)] = float(value)
        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.state == states.WAITING:
                continue
            missing = set(self.search.space) - set(frozen.params)
            handle = None
            if frozen.state == states.RUNNING:
                handle = self.optuna.trial.Trial(self.study, frozen._trial_id)
                if missing:
                    self._suggest(handle)  # cut off between the question and its answer
            cell = self._cell({**frozen.params, **(handle.params if handle else {})}, handle)
            if cell is None:
                continue
            self._know(cell, frozen.number)
            if handle is not None:
                self._await(cell, handle)
            elif cell.trial_id not in self.states and cell not in self.waiting:
                # Failed, or its row was lost: tried again, while Optuna keeps what it was told.
                self.waiting.append(cell)

    def _await(self, cell: Cell, handle: Any) -> None:
        """Tell how this configuration ended if it has been trained, or wait for its end."""
        if cell.trial_id in self.states:
            for epoch, value in sorted(self.curves.get(cell.trial_id, {}).items()):
                self._report(handle, epoch, value)
            self._tell(handle, cell, self.states[cell.trial_id])
            return
        waits = self.handles.setdefault(cell.trial_id, [])
        waits.append(handle)
        if len(waits) == 1 and cell not in self.waiting:
            self.waiting.append(cell)

    # --- asking -----------------------------------------------------------------------------------------------

    @property
    @while_stored(0)
    def asked(self) -> int:
        """Suggestions made so far, repeated ones included."""
        states = self.optuna.trial.TrialState
        return sum(t.state != states.WAITING for t in self.study.get_trials(deepcopy=False))

    @property
    def to_go(self) -> int:
        """Trials that this search has still to train."""
        return max(0, self.total - self.asked) + len(self.waiting)

    def label(self, cell: Cell) -> str:
        return f"search · trial {self.numbers[cell.trial_id]}"

    @property
    def batch(self) -> int:
        """Suggestions that are trained side by side."""
        return self.plan.options.cohort_size or self.search.batch

    @while_stored([])
    def ask(self, size: int) -> list[Cell]:
        """Up to `size` configurations to train side by side: cut-off ones first. Empty when there are no more."""
        while len(self.waiting) < size and self.asked < self.total:
            handle = self.study.ask()
            self._suggest(handle)
            cell = self._cell(handle.params, handle)
            if cell is not None:
                self._know(cell, handle.number)
                handle.set_user_attr("trial_id", cell.trial_id)
                self._await(cell, handle)
        first = self.waiting[0] if self.waiting else None
        # Side by side goes what sees the same batches.
        batch = [c for c in self.waiting if first is not None and _stream(c.config) == _stream(first.config)][:size]
        self.waiting = [c for c in self.waiting if c not in batch]
        self.asked_more()
        return batch

    def _suggest(self, handle: Any) -> None:
        for name, range_ in self.search.space.items():
            if isinstance(range_, Choice):
                handle.suggest_categorical(name, list(range_.choices))
            elif isinstance(range_, Float):
                handle.suggest_float(name, range_.low, range_.high, log=range_.log)
            else:
                handle.suggest_int(name, range_.low, range_.high, step=range_.step, log=range_.log)

    def _cell(self, values: Mapping[str, Any], handle: Any) -> Cell | None:
        """The cell of some values; None where they do not go together, which Optuna is told as a failure."""
        try:
            cell = searched_cell(self.plan, self.template, values)
            self.plan.bench.comes_to(cell.config)
        except UserError as error:
            if handle is not None:
                self.study.tell(handle, state=self.optuna.trial.TrialState.FAIL)
                print(f"search: trial {handle.number} cannot be: {error}", file=sys.stderr)
            return None
        return cell

    def _know(self, cell: Cell, number: int) -> None:
        self.cells.setdefault(cell.trial_id, cell)
        self.numbers.setdefault(cell.trial_id, number)

    # --- hearing ----------------------------------------------------------------------------------------------

    @while_stored(False)
    def epoch(self, trial_id: str, epoch: int, val_acc: float) -> bool:
        """Hear of an epoch; true where this trial should stop there."""
        curve = self.curves.setdefault(trial_id, {})
        curve[epoch] = val_acc
        handles = self.handles.get(trial_id, [])
        for handle in handles:
            self._report(handle, epoch, val_acc)
        last = self.cells[trial_id].config.total_epochs
        return self.pruning and bool(handles) and epoch < last and bool(handles[0].should_prune())

    @while_stored(None)
    def ended(self, trial_id: str, state: str) -> None:
        """Hear of an end: completed, pruned or failed. Its row is in the store by now."""
        self.states[trial_id] = state
        for handle in self.handles.pop(trial_id, []):
            self._tell(handle, self.cells[trial_id], state)
        self.keep()

    def lost(self, trial_ids: list[str]) -> None:
        """Hear that a cohort is over: what has not ended in it takes its state from the store, or has failed."""
        left = [i for i in trial_ids if i in self.handles]
        if left:
            rows = results.read_trials(self.store).set_index("trial_id")["state"]
            for trial_id in left:
                self.ended(trial_id, str(rows.get(trial_id, "failed")))

    def _report(self, handle: Any, epoch: int, value: float) -> None:
        if self.pruning and value == value:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an epoch that was told before the search was cut off
                handle.report(value, epoch)

    def _tell(self, handle: Any, cell: Cell, state: str) -> None:
        states = self.optuna.trial.TrialState
        if state == "completed":
            values = self._values(cell)
            if all(v == v for v in values):
                self.study.tell(handle, values)
                return
            state = "failed"
        self.study.tell(handle, state=states.PRUNED if state == "pruned" else states.FAIL)

    def _values(self, cell: Cell) -> list[float]:
        curve = self.curves.get(cell.trial_id) or {}
        measured = {
            "val_acc": lambda: curve[max(curve)] if curve else float("nan"),
            "val_loss": lambda: self._last_val_loss(cell.trial_id),
            "macs": lambda: float(self.plan.bench.macs(cell.config)),
            "params": lambda: float(self.plan.bench.cost(cell.config, idle=False).params),
        }
        return [measured[o]() for o in self.search.objectives]

    def _last_val_loss(self, trial_id: str) -> float:
        epochs = results.read(self.store).epochs
        mine = epochs[epochs["trial_id"] == trial_id].sort_values("epoch")
        return float(mine["val_loss"].iloc[-1]) if len(mine) else float("nan")

    # --- what came out ----------------------------------------------------------------------------------------

    def searched_cells(self) -> list[Cell]:
        """The cells of this search, in the order in which they were suggested."""
        return sorted(self.cells.values(), key=lambda c: self.numbers[c.trial_id])

    def winners(self) -> dict[str, Config]:
        """`winner-1`, … : the best completed configurations, by validation alone.

        One objective: by validation accuracy, ties by validation loss, then the earlier suggestion. Several: those
        on the Pareto front, in the same order. A configuration that is an arm already is passed over.
        """
        read = results.read(self.store)
        rows = read.trials[read.trials["trial_id"].isin(self.cells) & (read.trials["state"] == "completed")]
        last = read.epochs.sort_values("epoch").drop_duplicates("trial_id", keep="last").set_index("trial_id")
        rows = rows.assign(val_loss=rows["trial_id"].map(last["val_loss"]), order=rows["trial_id"].map(self.numbers))
        if len(self.search.objectives) > 1:
            rows = rows[_on_front(rows, self.search.objectives)]
        lead = self.search.objectives[0]
        up = OBJECTIVES[lead] == "minimize"
        rows = rows.sort_values([lead, "val_loss", "order"], ascending=[up, True, True])
        taken = {sha256(requested(config)) for config in self.plan.arms.values()}
        chosen: dict[str, Config] = {}
        for trial_id in rows["trial_id"]:
            config = self.cells[trial_id].config
            if sha256(requested(config)) not in taken and len(chosen) < self.search.winners:
                try:
                    self.plan.bench.check(self.plan.study, {**self.plan.arms, **chosen, "winner": config})
                except UserError:
                    continue  # comes to the same as an arm or a better winner
                chosen[f"winner-{len(chosen) + 1}"] = config
        return chosen

    def record(self, winners: Mapping[str, Config]) -> dict[str, Any]:
        """What study.json keeps of the search."""
        trials = [] if self.lost_storage else self.study.get_trials(deepcopy=False)
        states = [t.state.name for t in trials if t.state.name != "WAITING"]
        by_config = {sha256(requested(c.config)): c.trial_id for c in self.cells.values()}
        return {
            "search_space": {name: describe(range_) for name, range_ in self.search.space.items()},
            "objectives": {o: OBJECTIVES[o] for o in self.search.objectives},
            "search": {
                "optuna_study": self.study_name,
                "storage": masked(self.plan.options.storage) if self.plan.options.storage else JOURNAL,
                "trials": self.total,
                "seed": self.search.seed,
                "template": requested(self.template),
                "pruner": self.search.pruner(self.template.total_epochs) if self.pruning else None,
                "states": {state: states.count(state) for state in sorted(set(states))},
                "repeated": max(0, len(states) - len(self.cells)),
                "tried": [c.trial_id for c in self.searched_cells()],
            },
            "winners": {
                arm: {
                    "number": self.numbers[by_config[sha256(requested(config))]],
                    "trial_id": by_config[sha256(requested(config))],
                    "params": point_of(config, self.search.space),
                    "val_acc": self._last(by_config[sha256(requested(config))]),
                }
                for arm, config in winners.items()
            },
        }

    def _last(self, trial_id: str) -> float | None:
        curve = self.curves.get(trial_id) or {}
        return curve[max(curve)] if curve else None


def left_to_search(plan: Plan) -> int:
    """Configurations that a search has still to try, by the store alone: Optuna's storage is not touched."""
    search = plan.study.search
    if search is None:
        return 0
    template = plan.study.searched(plan.study.base_on(plan.options.data, plan.options.student_changes()))
    rows = results.read_trials(plan.world.store)
    done = 0
    for row in rows[(rows["arm"] == ARM) & rows["state"].isin(["completed", "pruned"])].to_dict("records"):
        point = {name: _plain(row.get(f"param.{name}")) for name in search.space}
        try:
            search.inside(point)
            done += searched_cell(plan, template, point).trial_id == row["trial_id"]
        except UserError:
            continue  # of a search with other settings
    return max(0, (plan.options.trials or search.trials) - done)


def searched_cell(plan: Plan, template: Config, values: Mapping[str, Any]) -> Cell:
    assert plan.study.search is not None
    config = with_params(template, values)
    return cells({ARM: config}, [plan.study.search.seed], plan.world.fingerprint, plan.teacher_ids.__getitem__)[0]


def name_in_optuna(plan: Plan) -> str:
    """The search in Optuna's storage. Another base, data set, teacher or space is another search."""
    search = plan.study.search
    assert search is not None
    base = plan.study.base_on(plan.options.data, plan.options.student_changes())
    identity = {
        "template": requested(plan.study.searched(base)),
        "space": {name: describe(range_) for name, range_ in search.space.items()},
        "objectives": search.objectives,
        "data": plan.world.fingerprint,
        "teacher": plan.teacher_ids[search.seed],
    }
    return f"{plan.study.name}-{sha256(identity)[:12]}"


def with_winners(plan: Plan, dialogue: Dialogue) -> tuple[Plan, dict[str, Config]]:
    """The plan with the search's trials first, and its winners beside the arms on fresh seeds."""
    winners = dialogue.winners()
    confirmed = with_arms(plan, winners)
    # Blocks of a seed stay together: an arm's and a winner's run at a seed share batches and teacher.
    ordered = sorted(confirmed.cells, key=lambda c: c.seed)
    return replace(confirmed, cells=[*dialogue.searched_cells(), *ordered]), winners


def architectures(search: Search, template: Config, bench: Bench, most: int = 16) -> None:
    """Measure the networks that a space can lead to while the machine is idle, where they are few."""
    points: list[dict[str, Any]] = [{}]
    for name, range_ in search.space.items():
        if name in ("student", "self_taught", "self_taught_at", "width"):
            points = [{**p, name: v} for p in points for v in _values(range_)]
    if len(points) <= most:
        for point in points:
            bench.cost(with_params(template, point))


def _values(range_: Range) -> list[Any]:
    if isinstance(range_, Choice):
        return list(range_.choices)
    return [] if isinstance(range_, Float) else list(range(range_.low, range_.high + 1, range_.step))


def _on_front(rows: pd.DataFrame, objectives: tuple[str, ...]) -> list[bool]:
    signs = [1.0 if OBJECTIVES[o] == "maximize" else -1.0 for o in objectives]
    points = rows[list(objectives)].to_numpy(dtype=float) * signs
    return [not any((other >= p).all() and (other > p).any() for other in points) for p in points]


def _stream(config: Config) -> tuple[Any, ...]:
    return tuple(getattr(config, name) for name in SHARED_IN_COHORT)


def _plain(value: Any) -> Any:
    """A value from a frame as Python's own type."""
    value = value.item() if hasattr(value, "item") else value
    return None if value is None or value != value else value
