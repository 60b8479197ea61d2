"""One cohort from the plan to the store, in this process: inline runs and Ray workers both do this."""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from scl.errors import UserError, first_line
from scl.masking import masked
from scl.plan.context import Job, RunContext, data_of
from scl.plan.teachers import load_teacher, save_teacher
from scl.run.fitting import Fitting, kind_of
from scl.store.files import Change
from scl.store.logits import LOGITS, pack_logits
from scl.store.merging import NOT_NUMBERS
from scl.store.networks import STUDENT
from scl.store.node import NodeFiles, node_files
from scl.store.parts import ended_in_parts, part_of
from scl.terminal import say
from scl.train import checkpoint
from scl.train.device_errors import BrokenDevice, is_broken, is_out_of_memory
from scl.train.loop import train_cohort
from scl.train.process import freed_memory_kept, threads
from scl.train.teacher import Teacher
from scl.train.types import EpochDone, Event, TrialEnded, TrialSpec

NO_MEMORY = (
    "it does not fit alone either: lower batch_size or width, or raise --gpus-per-trial so that fewer share a GPU"
)
BROKEN = (
    "the GPU can compute no more in this process ({}): a custom loss or network may index out of range, which "
    "CUDA_LAUNCH_BLOCKING=1 locates, or the GPU has a fault"
)


def execute(
    context: RunContext,
    job_ids: Sequence[str],
    stop: Callable[[], bool] = lambda: False,
    prune: Callable[[str, int, Mapping[str, Any]], bool] = lambda trial_id, epoch, row: False,
    crowded: Callable[[list[str]], None] = lambda job_ids: None,
) -> Iterator[Event]:
    """Train a cohort and store each result; yields the trainer's events.

    A cohort whose worker died is executed again: what had ended by then is skipped. A cohort that does not fit into
    the GPU's memory continues in halves, from its checkpoints; a trial that does not fit alone has failed. Later
    cohorts of such trials in this process start at the size that fitted.

    Args:
        crowded: hears which jobs did not fit side by side.

    Raises:
        BrokenDevice: the GPU can compute no more in this process.
    """
    trials, teacher = _load(context, job_ids)
    waiting = [trials] if trials else []
    device = torch.device(context.device)
    fitting = _fittings.setdefault((context.fingerprint, context.device), Fitting())
    with threads(context.threads), freed_memory_kept():
        while waiting and not stop():
            cohort, *rest = fitting.pieces(waiting.pop(0), lambda trial: kind_of(trial.config))
            waiting = rest + waiting
            ended: set[str] = set()
            no_memory = None
            try:
                for event in train_cohort(
                    cohort,
                    data_of(context),
                    teacher,
                    device,
                    context.deterministic,
                    stop,
                    prune,
                    context.checkpoint_every,
                    _kept(context, cohort, device),
                ):
                    if isinstance(event, TrialEnded):
                        event = _store_result(context, event)
                        ended.add(event.trial_id)
                    yield event
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    if is_broken(device):
                        raise BrokenDevice(BROKEN.format(first_line(error))) from error
                    raise
                no_memory = first_line(error)
            if no_memory is None:
                continue
            # Outside of the handler, because its traceback holds the cohort's tensors.
            _free_memory(device)
            left = [trial for trial in cohort if trial.id not in ended]
            if len(cohort) > 1:
                fitting.learn([kind_of(trial.config) for trial in left])
                crowded([trial.id for trial in left])
                say(f"a cohort of {len(cohort)} does not fit: {no_memory}; it continues in halves")
                waiting = ([left] if left else []) + waiting
            elif left:
                failed = TrialEnded(left[0].id, {"state": "failed", "error": f"{no_memory}; {NO_MEMORY}"}, [])
                _store_result(context, failed)
                yield failed


_fittings: dict[tuple[str, str], Fitting] = {}  # by data and device


def message_of(context: RunContext, event: Event) -> dict[str, Any]:
    """An event for people and trackers: the job, its columns that are known before training, and a row: of an epoch
    or, with a state, of the job's end."""
    row = event.row if isinstance(event, EpochDone) else event.metrics
    job = context.jobs[event.trial_id]
    columns = None if job.stored is not None else job.columns  # trackers have such a trial already
    return {"job": event.trial_id, "columns": columns, "row": row}


def _load(context: RunContext, job_ids: Sequence[str]) -> tuple[list[TrialSpec], Teacher | None]:
    """What of a cohort has not ended yet, and its teacher; None if the cohort trains teachers."""
    again = {i for i in job_ids if context.jobs[i].stored is not None}
    done = ended_in_parts(context.store, [i for i in job_ids if i not in again])
    done |= {i for i in again if all(context.files(i).exists(name) for name in _files_of(context, context.jobs[i]))}
    jobs = {i: context.jobs[i] for i in job_ids if i not in done}
    trials = [
        TrialSpec(i, job.config, job.seed, context.files(i), job.columns is not None, job.weights)
        if job.columns is not None
        else TrialSpec(i, job.config, job.seed, context.files(i), False, job.weights, context.teacher_inputs)
        for i, job in jobs.items()
    ]
    teacher_ids = {job.teacher_id for job in jobs.values()}
    if len(teacher_ids) > 1:
        raise ValueError("trials of a cohort share their teacher")
    teacher_id = teacher_ids.pop() if teacher_ids else None
    if teacher_id is None:
        return trials, None
    return trials, _teacher_of(context, teacher_id)


def _kept(context: RunContext, cohort: Sequence[TrialSpec], device: torch.device) -> NodeFiles | None:
    """Where this machine keeps what the cohort's teacher gives for its batches; None if no other cohort needs it."""
    if not context.sharing or (teacher_id := context.jobs[cohort[0].id].teacher_id) is None:
        return None
    stream = cohort[0].config.stream(cohort[0].seed)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return node_files(context.sharing, teacher_id, [*map(str, stream)], name)


_last: list[tuple[Any, str, Teacher]] = []  # the images of a run, which say whose it is, and its last teacher


def _teacher_of(context: RunContext, teacher_id: str) -> Teacher:
    """A teacher of this run, read and checked once if the cohorts of this process share it."""
    if not _last or _last[0][0] is not context.images or _last[0][1] != teacher_id:
        _last.clear()
        found = load_teacher(context, teacher_id, context.jobs[teacher_id].config)
        if found is None:
            place = context.out / "teachers"
            raise UserError(f"teacher {teacher_id[:12]} is missing from {place}; run the study again")
        _last.append((context.images, teacher_id, found[0]))
    return _last[0][2]


def _free_memory(device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.is_available():
        torch.cuda.synchronize()  # streams may still use what is freed now
    gc.collect()
    torch.cuda.empty_cache()


def _store_result(context: RunContext, ended: TrialEnded) -> TrialEnded:
    """Write the network, then the row, and drop the checkpoints last: wherever this is killed, a trial can be resumed
    or is complete. Returns the event; of a trial whose row is stored, failed if its network is not that of the row."""
    job, files = context.jobs[ended.trial_id], context.files(ended.trial_id)
    completed = ended.metrics["state"] == "completed"
    plain = {k: v for k, v in ended.metrics.items() if isinstance(v, (str, int, float))}
    if job.columns is None:
        if completed:
            assert ended.test_logits is not None
            save_teacher(files, ended.weights, ended.test_logits, {"metrics": plain})
            checkpoint.drop_epochs(files)
        return ended
    predicted, sizes, changes = None, dict[str, int](), list[Change]()
    if job.stored is not None and (other := _other_numbers(ended, job.stored)):
        checkpoint.drop_epochs(files)
        return TrialEnded(ended.trial_id, {"state": "failed", "error": other}, [])
    if completed:
        assert ended.test_logits is not None
        predicted = ended.test_logits.argmax(1).numpy()
        record = {
            **{name: job.columns[name] for name in ("trial_id", "study", "arm", "seed")},
            "config": json.loads(job.columns["config_json"]),
            "test_acc": plain["test_acc"],
            # What it takes to build the network again and to preprocess its images.
            "classes": list(context.class_names),
            "image_shape": list(context.images["train"].shape[1:]),
            "mean": context.mean.tolist(),
            "std": context.std.tolist(),
            "preprocessing": dataclasses.asdict(context.preprocessing) if context.preprocessing else None,
        }
        if job.stored is None or not files.exists(STUDENT):  # a network that is intact stays
            changes.append((files, "write", (STUDENT, checkpoint.pack(ended.weights, record), True)))
        if LOGITS in _files_of(context, job):
            logits = _packed_logits(context, ended)
            sizes["logits_bytes"] = len(logits)
            changes.append((files, "write", (LOGITS, logits, True)))
    if job.stored is None:
        error = ended.metrics.get("error")
        told = {"error": masked(error)} if error else {}  # a driver's message may hold the URL of its server
        row = {**job.columns, **ended.metrics, **sizes, **told}
        changes.append(part_of(context.store, row, ended.epochs, predicted))
    files.apply([*changes, (files, "thin", (checkpoint.EPOCH,))])
    return ended


def _files_of(context: RunContext, job: Job) -> list[str]:
    """The files that a completed trial leaves: its network, and its logits if they are stored or were."""
    wanted = context.logits if job.stored is None else not pd.isna(job.stored.get("logits_bytes"))
    return [STUDENT, *([LOGITS] if wanted else [])]


def _packed_logits(context: RunContext, ended: TrialEnded) -> bytes:
    """The file of the logits of a completed trial."""
    by_part = {"test": ended.test_logits, "val": ended.val_logits}
    return pack_logits({p: (of.numpy(), context.labels[p]) for p, of in by_part.items() if of is not None})


def _other_numbers(ended: TrialEnded, stored: Mapping[str, Any]) -> str:
    """How a trial that was trained again differs from its row; empty if every number is the same."""
    if ended.metrics["state"] != "completed":
        return (
            f"trained again, it {ended.metrics['state']} ({ended.metrics['error'] or 'stopped early'}); its row stays"
        )
    for name, value in ended.metrics.items():
        before = stored.get(name)
        if name not in NOT_NUMBERS and not pd.isna(before) and value is not None and value != before:
            return (
                f"trained again, its {name} is {value}, and {before} in the results, as on another type of processor, "
                f"with other versions or --cpus-per-trial; its row stays, and this network is not kept"
            )
    return ""
