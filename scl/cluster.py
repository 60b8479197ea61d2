"""Cohorts on Ray: a session of its own or a running cluster, and one Tune run a list of cohorts."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from scl import results
from scl.cli import Options
from scl.cohort import Job, World
from scl.config import UserError
from scl.own import is_users
from scl.plan import Plan, plan_cohorts, student_jobs
from scl.progress import Progress
from scl.search import Dialogue
from scl.stopping import Stop
from scl.storage import Folder
from scl.track import Tracker

MAX_FAILURES = 3  # of a worker, before its cohort's unfinished trials count as failed


@contextmanager
def ray_session(options: Options) -> Iterator[None]:
    """A local Ray that listens on 127.0.0.1 alone, or a connection to a running cluster."""
    # Set before Ray is imported: a driver under `uv run` would start each worker through uv, in a copy of the folder.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "3600"  # the store says what is finished, not Tune's state
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it prints a trace for each worker that is lost
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
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
            package = str(Path(__file__).parent)
            ray.init(address=options.address, runtime_env={"py_modules": [package]}, **quiet)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray's own would end the driver on SIGTERM before it has put anything away
    for module in users_modules():
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        ray.shutdown()


def users_modules() -> list[ModuleType]:
    """Modules that are the user's own files: workers have never seen them, so what a study file uses of them, such
    as a loss, travels by value, as what the study file itself defines does."""
    return [m for name, m in list(sys.modules.items()) if name == m.__name__ != "__main__" and is_users(m)]


def _no_cluster(address: str, reason: str) -> str:
    way_out = "start one with `ray start --head`, or leave --address out"
    return f"--address {address!r}: no Ray cluster answers ({reason}); {way_out}"


def check_answers(address: str) -> None:
    """Refuse an address behind which no cluster answers. A child asks, for Ray's own call cannot be interrupted."""
    if address.startswith("ray://"):
        # Through Ray's client Tune would run its part, and with it the callbacks and a search's dialogue, over there.
        raise UserError(
            f"--address {address!r}: Ray's client does not carry studies yet; run it on a machine of the cluster "
            "with --address auto or HOST:PORT, or send it there with `ray job submit`"
        )
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"--address {address!r}; valid: auto, HOST:PORT")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise UserError(_no_cluster(address, str(error))) from None
    if (Path.home() / ".ray" / "auth_token").exists():
        # A head started here wants this token, and drivers with an explicit address send it only when told to.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    ask = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"
    try:
        child = subprocess.run([sys.executable, "-c", ask, address], capture_output=True, text=True, timeout=15)
    except subprocess.TimeoutExpired:
        raise UserError(_no_cluster(address, "no answer in 15 s")) from None
    if child.returncode:
        raise UserError(_no_cluster(address, (child.stderr.strip().splitlines() or ["?"])[-1]))


def train_on_ray(
    plan: Plan,
    stop: Stop,
    title: str,
    chosen: list[list[str]],
    labels: Mapping[str, str],
    jobs: Mapping[str, Job],
) -> None:
    """One Tune run over cohorts that are known."""
    from ray import tune

    world = replace(plan.world, jobs={**plan.world.jobs, **jobs})
    progress = Progress(title, labels, {i: world.jobs[i].config.total_epochs for i in labels})
    slots = slots_of_cluster(plan)
    if jobs and plan.options.cohort_size is None and slots != plan.slots:
        # On a cluster the slots are known only now.
        todo = [c for c in plan.cells if c.trial_id in labels]
        chosen = [[c.trial_id for c in cohort] for cohort in plan_cohorts(replace(plan, slots=slots), todo)]

    space = {"cohort": tune.grid_search(chosen)}
    _fit(plan, world, stop, title, progress, space, world.jobs, max_concurrent_trials=slots)


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

    how = {"search_alg": trainable.Suggest(dialogue, ask, desk, stop), "num_samples": -1}
    _fit(plan, plan.world, stop, title, progress, {}, jobs, desk, max_concurrent_trials=slots_of_cluster(plan), **how)


def slots_of_cluster(plan: Plan) -> int:
    """Cohorts that run at once on the cluster this driver is connected to. Raises UserError where none fits."""
    import ray

    options, available, gpus = plan.options, ray.cluster_resources(), gpus_of_cohort(plan)
    slots = int(available.get("CPU", 1) // options.cpus_per_trial)
    if gpus:
        slots = min(slots, int(available.get("GPU", 0) / gpus))
    if slots < 1:
        raise UserError(
            f"a cohort wants {options.cpus_per_trial} CPUs and {gpus:g} GPUs, the cluster has "
            f"{available.get('CPU', 0):g} and {available.get('GPU', 0):g}; lower --cpus-per-trial or --gpus-per-trial"
        )
    return min(slots, options.max_concurrent or slots)


def gpus_of_cohort(plan: Plan) -> float:
    wanted = plan.options.gpus_per_trial
    return wanted if wanted is not None else float(plan.world.device == "cuda")


def _fit(
    plan: Plan,
    world: World,
    stop: Stop,
    title: str,
    progress: Progress,
    space: dict[str, Any],
    jobs: Mapping[str, Job],
    desk: Any = None,
    **how: Any,
) -> None:
    """Run Tune to its end. `jobs`: every job that a cohort may name; those of a search join while it runs."""
    from ray import tune

    from scl import trainable

    began = results.now()
    with tempfile.TemporaryDirectory(prefix="scl-tune-") as scratch, progress:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trainable.train, world=world, desk=desk),
                {"cpu": plan.options.cpus_per_trial, "gpu": gpus_of_cohort(plan)},
            ),
            param_space=space,
            tune_config=tune.TuneConfig(reuse_actors=True, **how),
            run_config=tune.RunConfig(
                name=title,
                storage_path=scratch,
                stop=trainable.Stopper(stop),
                callbacks=[trainable.Draw(progress, plan.tracker)],
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                verbose=0,
            ),
        )
        grid = tuner.fit()
    for result in grid:
        if result.error is not None and not stop():
            _mark_failed(world.store, jobs, result.config["cohort"], str(result.error), began, progress, plan.tracker)


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
