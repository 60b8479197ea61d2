"""A plan in numbers: trials done and missing, time, the smallest detectable effect. Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from scl import stats
from scl.plan.context import Job
from scl.plan.looks import level_of_plan
from scl.plan.packing import makespan, plan_cohorts
from scl.plan.plan import Plan, missing, missing_teachers
from scl.report.formatting import UNITS, duration, plural
from scl.store.tables import read_trials
from scl.study.config import Config
from scl.study.identity import Trial, canonical_json, requested
from scl.study.metrics import DEFAULT, METRICS
from scl.study.space import ranges
from scl.train.reused import with_projector


@dataclass(frozen=True)
class PlanSummary:
    """What would run, what is done, and what the rest would cost. `str()` is the text that `--plan` prints.

    Attributes:
        study: the study's name.
        question: its question.
        design: the kind of its design.
        data: the data set.
        images: part → number of images.
        caveats: what a reader must know about the data, in sentences.
        arms: names of the arms that would run.
        seeds: their seeds.
        trials: number of trials.
        done: number of trials that have ended.
        missing: number of trials to train.
        cohorts: sizes of the cohorts that the missing trials form.
        slots: cohorts at once.
        teacher: the teacher's recipe.
        teachers: number of teachers trained by it.
        teacher_ready: True if no teacher is left to train.
        searched: configurations of a search, in all.
        to_search: configurations of a search, to try.
        search_space: names of the parameters searched.
        winners: number of the search's winners that run again.
        wall_seconds: estimate of the time left, from `source`; 0 if nothing is left.
        device_seconds: the same, summed over devices.
        source: where the estimate comes from.
        detectable_sds: smallest detectable effect (80 % power) in standard deviations of a paired difference; None if
            there is none.
        detectable: the same in the metric, as it is stored, if earlier trials show the spread; else None.
        detectable_from: number of finished trials that show it.
        look: number of the look at the study that this plan is.
        level: level of the look's intervals.
        decoding: seconds that decoding the images would take once; None if they are decoded. Until then nobody knows
            which trials are done, and all count as missing.
        search_seeds: seeds of each searched configuration.
        metric: what the study is judged by.
        teachers_missing: number of teachers to train.
        unshared_seconds: device seconds of the same trials if seeds did not share their batches; None if they do not.

    Example:
        import scl

        arms = {"baseline": {}, "kd": {"losses": {"kd": 0.9}}}
        study = scl.Study(name="example", question="Does KD help?", arms=arms)
        planned = scl.plan(study, inline=True, limit=100, epochs=1, width=0.125, teacher_width=0.125, out="results")
        print(planned)  # the text of --plan
        print(planned.trials, planned.missing, planned.detectable_sds)
    """

    study: str
    question: str
    design: str
    data: str
    images: Mapping[str, int]
    caveats: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    trials: int
    done: int
    missing: int
    cohorts: tuple[int, ...]
    slots: int
    teacher: Config
    teachers: int
    teacher_ready: bool
    searched: int
    to_search: int
    search_space: tuple[str, ...]
    winners: int
    wall_seconds: float
    device_seconds: float
    source: str
    detectable_sds: float | None
    detectable: float | None
    detectable_from: int
    look: int = 1
    level: float = stats.LEVEL
    decoding: float | None = None
    search_seeds: int = 1
    metric: str = DEFAULT
    teachers_missing: int = 0
    unshared_seconds: float | None = None
    other_teachers: tuple[str, ...] = ()

    def __str__(self) -> str:
        some = "" if self.teachers_missing in (0, self.teachers) else f"{self.teachers_missing} of them "
        lines = [
            f"study {self.study}: {self.question}",
            f"  design     {self.design}",
            f"  data       {self.data}: " + ", ".join(f"{count} {part}" for part, count in self.images.items()),
        ]
        lines += [f"             {caveat}" for caveat in self.caveats]
        if self.searched:
            seeds = f", seeds {self.seeds[0]} to {self.seeds[-1]}" if self.seeds else ""
            then = f"; then {plural(self.winners, 'winner')} beside the arms{seeds}" if self.seeds else ""
            over = ", ".join(self.search_space)
            n = self.search_seeds
            what = "trials" if n == 1 else f"configurations, each on {n} seeds,"
            lines.append(f"  search     {self.to_search} of {self.searched} {what} to go, over {over}{then}")
        lines += [
            f"  trials     {self.trials} = {plural(len(self.arms), 'arm')} × {plural(len(self.seeds), 'seed')}",
            f"  done       {self.done if self.decoding is None else self._unknown()}",
            f"  missing    {self.missing}" + (f", in {self._cohorts()}" if self.missing else ""),
            f"  teacher    {self.teacher.model_name} × {self.teacher.width:g}, {plural(self.teacher.epochs, 'epoch')}"
            + (f", {self.teachers} teachers: " if self.teachers > 1 else ": ")
            + ("done" if self.teacher_ready else f"{some}to train"),
            *(f"             among them {other}" for other in self.other_teachers),
        ]
        if self.missing or self.to_search:
            hours = f"{self.device_seconds / 3600:.2f} device hours"
            lines.append(f"  estimate   {duration(self.wall_seconds)} of wall time, {hours} ({self.source})")
        if self.unshared_seconds is not None:
            less = f"{duration(self.device_seconds)} instead of {duration(self.unshared_seconds)} of device time"
            lines.append(f"  batches    the same for all seeds, which share the teacher's forwards: {less}")
        if self.seeds:
            lines.append(f"  can show   {self._can_show()}")
        return "\n".join(lines)

    def _unknown(self) -> str:
        return (
            f"not known before the images are decoded (once, {duration(self.decoding or 0.0)}): the id of a trial "
            "depends on their pixels. The plan counts all trials as missing"
        )

    def _cohorts(self) -> str:
        sizes = self.cohorts
        many = f"{min(sizes)} to {max(sizes)} trials" if len(sizes) > 12 else ", ".join(map(str, sizes))
        return f"{plural(len(sizes), 'cohort')} of {many}, on {plural(self.slots, 'slot')}"

    def _can_show(self) -> str:
        if self.detectable_sds is None:
            lacking = ["a second seed"] * (len(self.seeds) < 2) + ["a second arm"] * (len(self.arms) + self.winners < 2)
            return f"values and differences, but no interval: that needs {' and '.join(lacking)}"
        text = f"differences of about {self.detectable_sds:.2f} sd of a paired difference, with 80 % power at "
        text += plural(len(self.seeds), "seed")
        if self.detectable is not None:
            text += f": about {_size(self)}, by the sd of {self.detectable_from} finished trials"
        if self.level != stats.LEVEL:
            text += f". It would be look {self.look} at this study, with intervals at {100 * self.level:.5g} %"
        return text


def _size(summary: PlanSummary) -> str:
    unit = UNITS[METRICS[summary.metric].unit]
    return f"{unit.factor * (summary.detectable or 0.0):.{unit.decimals}f} {unit.many}"


def summarise(plan: Plan, to_search: int = 0) -> PlanSummary:
    """A plan in numbers. to_search: configurations that a search has still to try."""
    todo = missing(plan)
    chosen = plan_cohorts(plan, todo) if todo else []
    untrained = [] if _given(plan) else missing_teachers(plan)
    trained = [job.config for job in plan.context.jobs.values() if not job.members]
    others = {canonical_json(requested(c)): c for c in trained if c != plan.teacher}
    teachers = len(untrained)
    wall, device_seconds, source = estimate(plan, chosen, untrained, to_search) if todo or to_search else (0.0, 0.0, "")
    sds, effect, trials = detectable(plan)
    look, level = level_of_plan(plan)
    search = plan.study.search
    return PlanSummary(
        study=plan.study.name,
        question=plan.study.question,
        design=plan.study.design.kind,
        data=str(plan.options.data),
        images={part: len(labels) for part, labels in plan.context.labels.items()},
        caveats=tuple(plan.about_data.get("caveats", ())),
        arms=tuple(plan.arms),
        seeds=tuple(plan.seeds),
        trials=len(plan.trials),
        done=len(plan.trials) - len(todo),
        missing=len(todo),
        cohorts=tuple(map(len, chosen)),
        slots=plan.slots,
        teacher=plan.teacher,
        teachers=len(trained),
        teacher_ready=teachers == 0,
        teachers_missing=teachers,
        other_teachers=tuple(
            f"{trained.count(c)} of {c.model_name} × {c.width:g}, {plural(c.epochs, 'epoch')}"
            + (f", taught by {c.taught_by[0]}" if c.taught_by else "")
            for c in others.values()
        ),
        searched=(plan.options.trials or search.trials) if search else 0,
        to_search=to_search,
        search_space=tuple(ranges(search.space)) if search else (),
        winners=search.winners if search else 0,
        wall_seconds=wall,
        device_seconds=device_seconds,
        source=source,
        detectable_sds=sds,
        detectable=effect,
        detectable_from=trials,
        look=look,
        level=level,
        decoding=plan.decoding,
        search_seeds=search.seeds if search else 1,
        metric=plan.study.metric,
        unshared_seconds=_unshared(plan, todo, untrained, to_search),
    )


def _unshared(plan: Plan, todo: Sequence[Trial], teachers: Sequence[str], to_search: int) -> float | None:
    """Device seconds of the same trials if each seed had batches of its own; None if no trial shares them."""
    if not any(trial.config.shared_batches for trial in todo):
        return None
    apart = [replace(trial, config=trial.config.replace(shared_batches=False)) for trial in todo]
    return estimate(plan, plan_cohorts(plan, apart), teachers, to_search)[1]


def _given(plan: Plan) -> bool:
    """True if the teacher comes whole from a file, or from a library: weights to fine-tune are in its jobs."""
    whole = plan.teacher.pretrained and all(job.weights is None for job in plan.context.jobs.values())
    given = plan.options.teacher_file is not None and not plan.options.teacher_finetune
    return given or whole


def detectable(plan: Plan) -> tuple[float | None, float | None, int]:
    """The smallest detectable effect of this many arms and seeds: in sds of a paired difference, in the
    metric as it is stored if the plan's finished trials show the spread, and how many of those there are."""
    arms, seeds = len(plan.arms) + (plan.study.search.winners if plan.study.search else 0), len(plan.seeds)
    if arms < 2 or seeds < 2:
        return None, None, 0
    effect = stats.smallest_effect(arms, seeds, level_of_plan(plan)[1])
    rows = read_trials(plan.context.store)
    rows = rows[rows["trial_id"].isin([t.trial_id for t in plan.trials]) & (rows["state"] == "completed")]
    column = METRICS[plan.study.metric].column
    scores = rows.pivot_table(index="seed", columns="arm", values=column) if len(rows) else pd.DataFrame()
    if plan.study.baseline in scores and scores.shape[1] > 1 and len(scores) > 1:
        sd = stats.against_baseline(scores, plan.study.baseline).sd
        if sd > stats.NO_SPREAD:
            return effect, effect * sd, len(rows)
    return effect, None, 0


def estimate(
    plan: Plan, chosen: Sequence[Sequence[Trial]], teachers_missing: Sequence[str], to_search: int
) -> tuple[float, float, str]:
    """Seconds of wall time and of device time that training takes, and where the estimate comes from.

    teachers_missing: ids of the teachers that are to train.
    """
    configs = {t.config_id: t.config for cohort in chosen for t in cohort}
    if to_search:
        configs["search"] = with_projector(plan.template, plan.teacher)
    earlier = _earlier(plan, configs)
    untimed = {key: config for key, config in configs.items() if key not in earlier}
    # A finished teacher needs no timing unless an arm does: earlier trials include their share of it.
    forward, timed = _timed(plan, untimed) if untimed or teachers_missing else (0.0, {})

    def seconds(cohort: Sequence[Trial]) -> float:
        students = sum(earlier[t.config_id] if t.config_id in earlier else timed[t.config_id] for t in cohort)
        guided = max((t.config.total_epochs for t in cohort if t.config_id not in earlier), default=0)
        teacher = plan.context.jobs.get(cohort[0].teacher_id)  # none for one that comes from a file
        each = max(1, len(teacher.members)) if teacher else 1
        return students + forward * each * guided * _steps(plan, cohort[0].config)

    spent = [seconds(cohort) for cohort in chosen]
    if to_search:
        batch = plan.options.cohort_size or (plan.study.search.batch if plan.study.search else 1)
        config = configs["search"]
        each = earlier.get("search") or timed["search"] + forward * config.total_epochs * _steps(plan, config) / batch
        cohorts = [each * batch] * (to_search // batch) + [each * (to_search % batch)]
        spent += cohorts * (plan.study.search.seeds if plan.study.search else 1)
    teachers = sum(_training(plan, plan.context.jobs[i], forward) for i in teachers_missing)
    source = " and ".join(
        [f"earlier trials of {len(earlier)} configurations"] * bool(earlier)
        + ["a few steps of each kind, timed here just now"] * bool(untimed)
    )
    if to_search and plan.study.search and plan.study.search.judged_by:
        source += "; early stopping makes a search shorter"
    return makespan(spent, plan.slots) + teachers, sum(spent) + teachers, source or "the teacher, timed here just now"


def _training(plan: Plan, job: Job, forward: float) -> float:
    """Seconds that a teacher trains. forward: seconds of the study's teacher's forward of a batch."""
    config = job.config
    if config != plan.teacher:
        images = config.batch_size / plan.teacher.batch_size
        forward *= images * plan.feasibility.macs(config) / plan.feasibility.teacher_macs
    forwards = 3.0 if job.teacher_id is None else 4.0  # with that of its own teacher, a network of the same size
    return forwards * forward * _steps(plan, config) * config.total_epochs


def _steps(plan: Plan, config: Config) -> int:
    return -(-len(plan.context.labels["train"]) // config.batch_size)


def _earlier(plan: Plan, configs: Mapping[str, Config]) -> dict[str, float]:
    """Device seconds of a trial, evaluation and share of the teacher included, from completed trials of the same
    configuration and teacher on the same kind of device."""
    rows = read_trials(plan.context.store)
    same = set(plan.context.jobs)
    rows = rows[(rows["state"] == "completed") & (rows["restarts"] == 0) & rows["teacher_id"].isin(same)]
    rows = rows[(rows["device"] == "cpu") == (plan.context.device == "cpu")]
    seconds = (rows["ended"] - rows["started"]).dt.total_seconds() / rows["cohort_size"]
    # A clock that was set meanwhile shows beside the time of the steps, which no one sets.
    steps = rows["train_seconds"]
    seconds = seconds[(seconds > 0) & (steps.isna() | seconds.between(steps / 10, steps * 20 + 60))]
    by_config = seconds.groupby(rows["config_id"]).median()
    return {key: float(by_config[key]) for key in configs if key in by_config.index}


def _timed(plan: Plan, configs: Mapping[str, Config]) -> tuple[float, dict[str, float]]:
    """Seconds of a teacher's forward, and of all steps and evaluations of each configuration."""
    step = plan.feasibility.probe.step_seconds(configs)
    judged = len(plan.context.labels["val"]) + len(plan.context.labels["test"])
    # An image costs a third of its training step in evaluation: a forward without a backward.
    whole = {
        k: s * configs[k].total_epochs * (_steps(plan, configs[k]) + judged / configs[k].batch_size / 3)
        for k, s in step.items()
    }
    return plan.feasibility.probe.teacher_seconds(plan.teacher.batch_size), whole
