"""Tune runs as the driver sees them: from a plan's cohorts, or a search's suggestions, to progress and tracker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from scl.data.stored import StoredImages
from scl.plan.capacity import Node, gpus_of_cohort
from scl.plan.context import Job, RunContext
from scl.plan.packing import plan_cohorts
from scl.plan.plan import Plan, student_jobs
from scl.plan.teachers import teacher_hashes
from scl.run.backend import Work, show
from scl.run.live import Live
from scl.run.progress import Progress
from scl.run.ray import rpc
from scl.run.ray.folding import Folding
from scl.run.ray.images import images_function, on_driver
from scl.run.ray.session import check_travels
from scl.run.ray.slots import cluster_slots, has_other_hosts
from scl.run.ray.tune import DriverCalls, Throttled, TuneRun, run_tune
from scl.run.stopping import Stop
from scl.run.trackers.tracker import Tracker
from scl.search.driver import SearchDriver
from scl.store.files import Folder
from scl.store.parts import ended_in_parts, write_part
from scl.store.schema import now
from scl.study.checks import RAY_CLIENT
from scl.terminal import say


@dataclass(frozen=True)
class Runs:
    """Runs Tune in a Ray session.

    nodes: of the cluster when it was surveyed; none for a local Ray.
    """

    stop: Stop
    tracker: Tracker
    live: Live
    nodes: Sequence[Node]
    folding: Folding

    def train(self, plan: Plan, work: Work) -> None:
        """One Tune run over known cohorts."""
        context = replace(plan.context, jobs={**plan.context.jobs, **work.jobs})
        epochs = {i: context.jobs[i].config.total_epochs for i in work.labels}
        run, cohorts = self._tune_run(plan, work.title), work.cohorts
        if work.jobs and plan.options.cohort_size is None and run.slots != plan.slots:
            # The cluster has other slots now than when the cohorts were made.
            todo = [trial for trial in plan.trials if trial.trial_id in work.labels]
            cohorts = [[t.trial_id for t in cohort] for cohort in plan_cohorts(replace(plan, slots=run.slots), todo)]
        progress = Progress(work.title, work.labels, epochs, self.live, cohorts)
        self._run(plan, context, progress, context.jobs, replace(run, cohorts=cohorts))

    def search(self, plan: Plan, searcher: SearchDriver) -> None:
        """One Tune run whose trials are batches of a search's suggestions."""
        progress = Progress("search", {}, {}, self.live, expected=searcher.to_go)
        jobs: dict[str, Job] = {}
        numbers = itertools.count(1)

        def suggest(size: int) -> Mapping[str, Job] | None:
            if self.stop():
                return {}
            batch = searcher.suggest(size)
            if not batch and searcher.waits:
                return None
            if not batch:
                return {}
            new = student_jobs(plan, batch, searcher.numbers)
            jobs.update(new)
            number = next(numbers)
            for trial in batch:
                progress.add(number, trial.trial_id, searcher.label(trial), trial.config.total_epochs)
            return new

        calls: dict[str, Callable[..., Any]] = {
            "suggest": suggest,
            "epoch": searcher.epoch,
            "ended": searcher.ended,
            "cohort_ended": searcher.cohort_ended,
        }
        run = replace(self._tune_run(plan, "search"), batch=searcher.batch)
        self._run(plan, plan.context, progress, jobs, run, calls)

    def _tune_run(self, plan: Plan, title: str) -> TuneRun:
        options, device = plan.options, plan.context.device
        slots = cluster_slots(options, device, self.nodes, self.stop)
        return TuneRun(title, slots, options.cpus_per_trial, gpus_of_cohort(options, device))

    def _run(
        self,
        plan: Plan,
        context: RunContext,
        progress: Progress,
        jobs: Mapping[str, Job],
        run: TuneRun,
        search_calls: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """Run Tune to its end.

        Args:
            jobs: every job that a cohort may name; those of a search join while it runs.
            search_calls: functions of a search, by their names in DriverCalls.
        """

        searched = [plan.template] if plan.study.search else []
        check_travels([*searched, *(trial.config for trial in plan.trials), *(job.config for job in jobs.values())])
        began = now()
        calls: dict[str, Any] = {
            "events": partial(self._show_each, plan.context.store, progress),
            "notice": say,
            "stop": self.stop,
            "halt": self.stop.halt,
            "named": progress.named,
            "failed": partial(self._store_failures, plan, jobs, began, progress),
            **(search_calls or {}),
        }
        outside = (plan.options.address or "").startswith(RAY_CLIENT)
        if not context.out.is_local:  # a bucket; what the driver's folder holds travels once a node anyway
            named = {i: job.config for i, job in context.jobs.items() if job.columns is None and not job.members}
            teachers = dict.fromkeys(plan.teacher_ids.values(), plan.teacher) | named
            context = replace(context, teacher_hashes=teacher_hashes(context, teachers))
        with progress, ExitStack() as stack:
            in_files = any(isinstance(images, StoredImages) for images in context.images.values())
            if outside or ((context.out.is_local or in_files) and has_other_hosts()):
                out = context.out
                folder = rpc.folder_function(out, shared=f"{out.path}/teachers")
                files = {"folder": folder, "images": images_function(context.images)}
                client = stack.enter_context(rpc.rpc_to_driver({**calls, **files}))
                context = replace(context, images=on_driver(context.images, client))
                if out.is_local:
                    context = replace(context, out=rpc.DriverFolder(out.filesystem, out.path, out.aside, client=client))
            if outside:
                calls = {name: partial(client, name) for name in calls}
                calls["stop"] = Throttled(calls["stop"])
                rpc.run_on_head(run_tune, run, context, DriverCalls(**calls))
            else:
                run_tune(run, context, DriverCalls(**calls))

    def _show_each(self, store: Folder, progress: Progress, messages: Sequence[Mapping[str, Any]]) -> None:
        for message in messages:
            show(self.tracker, progress, message)
            if message["columns"] is not None and "state" in message["row"]:
                self.folding.add(store, message["job"])

    def _store_failures(
        self,
        plan: Plan,
        jobs: Mapping[str, Job],
        began: datetime,
        progress: Progress,
        failed: Sequence[str],
        error: str,
    ) -> None:
        """Store that jobs failed for the reason `error`, those of them that have not ended."""
        ended = ended_in_parts(plan.context.store, failed)  # by a worker that died before it said so
        for job_id in failed:
            if job_id in ended:
                continue
            progress.ended(job_id, "failed", error)
            columns = jobs[job_id].columns
            if columns is not None and jobs[job_id].stored is None:
                row = {**columns, "state": "failed", "error": error, "started": began, "ended": now()}
                self.tracker.ended(columns, {"state": "failed", "error": error})
                write_part(plan.context.store, row, [], None)
