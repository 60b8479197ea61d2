"""Cohorts on Ray: a session of its own or a running cluster, and one Tune run a list of cohorts."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from scl import nodes, results
from scl.cli import Options
from scl.cohort import Job, World
from scl.config import UserError
from scl.own import is_users
from scl.plan import Plan, gpus_of_cohort, plan_cohorts, student_jobs
from scl.progress import Progress
from scl.search import Dialogue
from scl.stopping import Stop
from scl.storage import Folder
from scl.track import Tracker

if TYPE_CHECKING:
    from scl.trainable import Fit

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the store says what is finished, not Tune's state
    "RAY_AIR_NEW_OUTPUT": "0",
}
MAX_FAILURES = 3  # of a worker, before its cohort's unfinished trials count as failed


@contextmanager
def ray_session(options: Options) -> Iterator[None]:
    """A local Ray that listens on 127.0.0.1 alone, or a connection to a running cluster."""
    # Set before Ray is imported: a driver under `uv run` would start each worker through uv, in a copy of the folder.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ |= QUIET
    if options.address is None:
        # Ray takes 127.0.0.1 for a mistake on Linux and listens on all addresses instead, unless told that there will
        # be no cluster: what it does by itself on the systems that the name speaks of.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it prints a trace for each worker that is lost
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        try:
            if options.address is None:
                ray.init(
                    address="local",
                    num_cpus=max(len(os.sched_getaffinity(0)), options.cpus_per_trial),
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
            else:
                # The code travels with the job: the package, what a node lacks of small things, the study by value.
                sent = nodes.to_send(nodes.survey(options.address))
                nodes.connect(options.address, runtime_env={"py_modules": sent, "env_vars": dict(QUIET)}, **quiet)
        finally:
            # Ray's own would end the driver on SIGTERM before it has put anything away.
            for number, handler in handlers.items():
                signal.signal(number, handler)
        for module in users_modules():
            ray.cloudpickle.register_pickle_by_value(module)
        yield
    finally:
        _shut_down(local=options.address is None)


def _shut_down(local: bool) -> None:
    """End Ray. What a local raylet has started last may not have noticed it yet, and would wait a minute for it."""
    import psutil  # which Ray brings
    import ray

    below = [
        child
        for process in (psutil.Process().children() if local else [])
        if process.name() == "raylet"
        for child in process.children(recursive=True)
    ]
    ray.shutdown()
    for process in psutil.wait_procs(below, timeout=2)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def users_modules() -> list[ModuleType]:
    """Modules that are the user's own files: workers have never seen them, so what a study file uses of them, such
    as a loss, travels by value, as what the study file itself defines does."""
    return [m for name, m in list(sys.modules.items()) if name == m.__name__ != "__main__" and is_users(m)]


def train_on_ray(
    plan: Plan,
    stop: Stop,
    title: str,
    chosen: list[list[str]],
    labels: Mapping[str, str],
    jobs: Mapping[str, Job],
) -> None:
    """One Tune run over cohorts that are known."""
    from scl.trainable import Fit

    world = replace(plan.world, jobs={**plan.world.jobs, **jobs})
    progress = Progress(title, labels, {i: world.jobs[i].config.total_epochs for i in labels})
    slots = slots_of_cluster(plan, stop)
    if jobs and plan.options.cohort_size is None and slots != plan.slots:
        # On a cluster the slots are known only now.
        todo = [c for c in plan.cells if c.trial_id in labels]
        chosen = [[c.trial_id for c in cohort] for cohort in plan_cohorts(replace(plan, slots=slots), todo)]

    _fit(plan, world, stop, progress, world.jobs, Fit(title, chosen, slots, *resources(plan)))


def search_on_ray(plan: Plan, stop: Stop, title: str, dialogue: Dialogue) -> None:
    """One Tune run whose searcher is a dialogue with Optuna: a Tune trial is a batch of its suggestions."""
    import ray

    from scl import trainable

    progress = Progress(title, {}, {}, expected=dialogue.to_go)
    desk = ray.remote(num_cpus=0)(trainable.Desk).remote()
    jobs: dict[str, Job] = {}

    def ask(size: int) -> list[str]:
        batch = [] if stop() else dialogue.ask(size)
        if batch:
            new = student_jobs(plan, batch, dialogue.numbers)
            jobs.update(new)
            ray.get(desk.put.remote(new))
            for cell in batch:
                progress.add(cell.trial_id, dialogue.label(cell), cell.config.total_epochs)
        return [cell.trial_id for cell in batch]

    how = trainable.Fit(title, [], slots_of_cluster(plan, stop), *resources(plan), batch=dialogue.batch)
    told: dict[str, Any] = {"ask": ask, "epoch": dialogue.epoch, "ended": dialogue.ended, "lost": dialogue.lost}
    _fit(plan, plan.world, stop, progress, jobs, how, desk, **told)


def slots_of_cluster(plan: Plan, stop: Stop) -> int:
    """Cohorts that run at once on the cluster this driver is connected to. Nodes that have gone since the cluster was
    asked what it has are waited for. Raises UserError where no cohort fits."""
    options, gpus = plan.options, gpus_of_cohort(plan.options, plan.world.device)

    def room(there: Sequence[nodes.Node]) -> int:
        return nodes.slots(there, options.cpus_per_trial, gpus)

    there = living()
    if options.address and not room(there) and room(nodes.survey(options.address)):
        print(f"waiting for nodes: those of {options.address} that had room are gone", file=sys.stderr)
        until = time.monotonic() + nodes.PATIENCE
        while not room(there) and not stop() and time.monotonic() < until:
            time.sleep(1)
            there = living()
    if not room(there) and not stop():
        have = [f"{n.resources.get('CPU', 0):g} and {n.resources.get('GPU', 0):g}" for n in there]
        raise UserError(
            f"a cohort wants {options.cpus_per_trial} CPUs and {gpus:g} GPUs of one node, the nodes have "
            f"{', '.join(have)}; lower --cpus-per-trial or --gpus-per-trial, or start more nodes"
        )
    slots = max(1, room(there))
    return min(slots, options.max_concurrent or slots)


def living() -> list[nodes.Node]:
    import ray

    return [nodes.Node(n["NodeManagerAddress"], n["Resources"], {}) for n in ray.nodes() if n["Alive"]]


def resources(plan: Plan) -> tuple[int, float, int]:
    """CPUs and GPUs of a cohort, and how often its worker may die."""
    return plan.options.cpus_per_trial, gpus_of_cohort(plan.options, plan.world.device), MAX_FAILURES


def _fit(
    plan: Plan,
    world: World,
    stop: Stop,
    progress: Progress,
    jobs: Mapping[str, Job],
    how: Fit,
    desk: Any = None,
    **dialogue: Callable[..., Any],
) -> None:
    """Run Tune to its end. `jobs`: every job that a cohort may name; those of a search join while it runs."""
    from scl import relay, trainable

    def tell(result: dict[str, Any]) -> None:
        if "said" in result:
            print(result["said"], file=sys.stderr)
        elif "state" in result:
            plan.tracker.ended(*result["seen"])
            progress.ended(result["job"], result["state"], result["error"])
        else:
            plan.tracker.epoch(*result["seen"])
            progress.epoch(result["job"], result["epoch"], result["val_acc"])

    began = results.now()
    calls: dict[str, Any] = {"tell": tell, "stop": stop, "halt": stop.halt, **dialogue}
    client = (plan.options.address or "").startswith(nodes.CLIENT)
    with ExitStack() as stack:
        stack.enter_context(progress)
        if client or (world.out.is_local and others_hosts()):
            folder = relay.folder_answer(world.out, f"{world.out.path}/teachers")
            line = stack.enter_context(relay.line_to_here({**calls, "folder": folder}))
            if world.out.is_local:
                world = replace(world, out=relay.at_home(world.out, line))
        if client:
            calls = {name: partial(line, name) for name in calls}
            calls["stop"] = trainable.Seldom(calls["stop"])
            failed = relay.on_head(trainable.fit, how, world, trainable.Driver(**calls), desk)
        else:
            failed = trainable.fit(how, world, trainable.Driver(**calls), desk)
    for cohort, error in failed:
        if not stop():
            _mark_failed(plan.world.store, jobs, cohort, error, began, progress, plan.tracker)


def others_hosts() -> bool:
    """Whether the cluster has a host that is not this one, so that no folder here is surely seen there."""
    import ray

    here = ray.util.get_node_ip_address()
    return any(node.host != here for node in living())


def _mark_failed(
    store: Folder,
    jobs: Mapping[str, Job],
    cohort: Sequence[str],
    error: str,
    began: datetime,
    progress: Progress,
    tracker: Tracker,
) -> None:
    """A cohort whose worker died too often: what has not ended in this run is failed, with the reason."""
    rows = results.read_trials(store)
    ended = set(rows.loc[rows["state"].isin(["completed", "pruned"]) | (rows["ended"] >= began), "trial_id"])
    for job_id in cohort:
        if job_id in ended:
            continue
        progress.ended(job_id, "failed", error)
        columns = jobs[job_id].columns
        if columns is not None:
            row = {**columns, "state": "failed", "error": error, "started": began, "ended": results.now()}
            tracker.ended(columns, {"state": "failed", "error": error})
            results.write_part(store, row, [], None)
