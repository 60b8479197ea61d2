"""What `--plan` prints: what would run, what is done, and what the rest would cost. Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from scl import results, stats
from scl.cohort import load_teacher
from scl.config import Config
from scl.plan import Plan, missing, plan_cohorts
from scl.progress import clock
from scl.study import Cell, makespan


def show_plan(plan: Plan, to_search: int = 0) -> int:
    """Print the plan. `to_search`: configurations that a search has still to try."""
    todo = missing(plan)
    chosen = plan_cohorts(plan, todo) if todo else []
    guide, images = plan.teacher, plan.world.labels
    ready = all(load_teacher(plan.world, i, guide) for i in set(plan.teacher_ids.values()))
    print(f"study {plan.study.name}: {plan.study.question}")
    print(f"  design     {plan.study.design.kind}")
    print(f"  data       {plan.options.data}: " + ", ".join(f"{len(images[k])} {k}" for k in images))
    search = plan.study.search
    if search is not None:
        print(
            f"  search     {to_search} of {plan.options.trials or search.trials} trials to go, "
            f"over {', '.join(search.space)}"
            + (f"; then {search.winners} winners beside the arms, seeds {_span(plan.seeds)}" if plan.seeds else "")
        )
    print(f"  cells      {len(plan.cells)} = {len(plan.arms)} arms × {len(plan.seeds)} seeds")
    print(f"  done       {len(plan.cells) - len(todo)}")
    sizes = [len(cohort) for cohort in chosen]
    many = f"{min(sizes)} to {max(sizes)} trials" if len(sizes) > 12 else ", ".join(map(str, sizes))
    print(f"  missing    {len(todo)}" + (f", in {len(chosen)} cohorts of {many}, on {_slots(plan)}" if todo else ""))
    print("  invalid    0")
    print(f"  teacher    {guide.student} × {guide.width:g}, {guide.epochs} epochs: {'done' if ready else 'to train'}")
    if todo or to_search:
        wall, device_seconds, source = estimate(plan, chosen, ready, to_search)
        print(f"  estimate   {clock(wall)} of wall time, {device_seconds / 3600:.2f} device hours ({source})")
    if plan.seeds:
        print(f"  can show   {can_show(plan)}")
    return 0


def _span(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])


def _slots(plan: Plan) -> str:
    return f"{plan.slots} slots" if plan.slots > 1 else "1 slot"


def can_show(plan: Plan) -> str:
    """The smallest effect that this many seeds can show: in sds, and in points where earlier results give the sd."""
    arms, seeds = len(plan.arms) + (plan.study.search.winners if plan.study.search else 0), len(plan.seeds)
    if arms < 2 or seeds < 2:
        lacking = ["a second seed"] * (seeds < 2) + ["a second arm"] * (arms < 2)
        return f"values and differences, no interval: that needs {' and '.join(lacking)}"
    effect = stats.smallest_effect(arms, seeds)
    text = f"differences of {effect:.2f} sd of a paired difference, with 80 % power at {seeds} seeds"
    rows = results.read_trials(plan.world.store)
    wanted = {c.trial_id for c in plan.cells}
    rows = rows[rows["trial_id"].isin(wanted) & (rows["state"] == "completed")]
    scores = rows.pivot_table(index="seed", columns="arm", values="test_acc") if len(rows) else pd.DataFrame()
    if plan.study.baseline in scores and scores.shape[1] > 1 and len(scores) > 1:
        sd = stats.against_baseline(scores, plan.study.baseline).sd_of_differences
        if sd > stats.NO_SPREAD:
            text += f": {100 * effect * sd:.2f} points, by the sd of {len(rows)} trials that are done"
    return text


def estimate(
    plan: Plan, chosen: Sequence[Sequence[Cell]], teacher_ready: bool, to_search: int
) -> tuple[float, float, str]:
    """Seconds of wall time and of device time that training takes, and what they were taken from."""
    configs = {c.config_id: c.config for cohort in chosen for c in cohort}
    if to_search:
        base = plan.study.base_on(plan.options.data, plan.options.student_changes())
        configs["search"] = plan.study.searched(base)
    earlier = _earlier(plan, configs)
    unknown = {key: config for key, config in configs.items() if key not in earlier}
    # A teacher that is done needs no timing unless an arm does: earlier trials carry their share of it.
    forward, timed = _timed(plan, unknown) if unknown or not teacher_ready else (0.0, {})

    def seconds(cohort: Sequence[Cell]) -> float:
        own = sum(earlier[c.config_id] if c.config_id in earlier else timed[c.config_id] for c in cohort)
        guided = max((c.config.total_epochs for c in cohort if c.config_id not in earlier), default=0)
        return own + forward * guided * _steps(plan, cohort[0].config)

    spent = [seconds(cohort) for cohort in chosen]
    if to_search:
        batch = plan.options.cohort_size or (plan.study.search.batch if plan.study.search else 1)
        config = configs["search"]
        each = earlier.get("search") or timed["search"] + forward * config.total_epochs * _steps(plan, config) / batch
        spent += [each * batch] * (to_search // batch) + [each * (to_search % batch)]
    guide = plan.teacher
    teachers = 0.0
    if not teacher_ready:
        teachers = 3.0 * forward * _steps(plan, guide) * guide.total_epochs * len(set(plan.teacher_ids.values()))
    source = " and ".join(
        [f"earlier trials of {len(earlier)} configurations"] * bool(earlier)
        + ["a few steps of each kind, timed here just now"] * bool(unknown)
    )
    if to_search and plan.study.search and plan.study.search.prune:
        source += "; early stopping makes a search shorter"
    return makespan(spent, plan.slots) + teachers, sum(spent) + teachers, source or "the teacher, timed here just now"


def _steps(plan: Plan, config: Config) -> int:
    return -(-len(plan.world.labels["train"]) // config.batch_size)


def _earlier(plan: Plan, configs: Mapping[str, Config]) -> dict[str, float]:
    """Device seconds of a trial, evaluation and share of the teacher included, from completed ones like it: those
    of the same configuration and as many training images, on the same kind of device."""
    rows = results.read_trials(plan.world.store)
    same = set(plan.teacher_ids.values())
    rows = rows[(rows["state"] == "completed") & (rows["restarts"] == 0) & rows["teacher_id"].isin(same)]
    rows = rows[(rows["device"] == "cpu") == (plan.world.device == "cpu")]
    seconds = (rows["ended"] - rows["started"]).dt.total_seconds() / rows["cohort_size"]
    by_config = seconds.groupby(rows["config_id"]).median()
    return {key: float(by_config[key]) for key in configs if key in by_config.index}


def _timed(plan: Plan, configs: Mapping[str, Config]) -> tuple[float, dict[str, float]]:
    """Seconds of a teacher's forward, and of all own steps and evaluations of each configuration."""
    step = plan.bench.probe.own(configs)
    judged = len(plan.world.labels["val"]) + len(plan.world.labels["test"])
    # An image costs a third of its training step in evaluation: a forward without a backward.
    whole = {
        k: s * configs[k].total_epochs * (_steps(plan, configs[k]) + judged / configs[k].batch_size / 3)
        for k, s in step.items()
    }
    return plan.bench.probe.forward(plan.teacher.batch_size), whole
