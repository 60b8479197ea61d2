"""Why a cohort's worker ended before its trials did, as Ray says it, and what that means for the cohort."""

from __future__ import annotations

import builtins
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import ray.exceptions as of_ray
from ray import cloudpickle

from scl.errors import UserError


class Kind(Enum):
    """What an end means for the cohort.

    REFUSED: the same would happen again to all of its trials, so these have failed.
    RAISED, CRASHED, MEMORY: one of its trials may be the cause, so the cohort continues in parts until that trial is
    alone. What was RAISED is not tried again then.
    LOST: no trial is the cause, so the cohort continues as it is.
    """

    REFUSED = "the worker could not run this"
    RAISED = "the training raised an error"
    CRASHED = "the worker died (killed, out of memory, or crashed in native code)"
    MEMORY = "the worker was killed because its node ran out of memory"
    LOST = "the node of the worker, or the connection to it, was lost"


@dataclass(frozen=True)
class Death:
    """An end of a worker. reason: for the rows of trials that it ends; without kind and advice it is Ray's own."""

    kind: Kind
    reason: str


ADVICE = {
    Kind.CRASHED: "a loss may crash or fill the memory: run this arm with --inline to see where",
    Kind.MEMORY: "lower batch_size or width, or train fewer cohorts at once with --max-concurrent",
    Kind.LOST: "see the logs of the cluster",
}

# Ray wraps in a system error what a worker raises while it unpickles the function, or what this is called with.
UNREADABLE = "\ntraceback: Traceback (most recent call last)"
# How the text of an error begins that the training raised, and that could not be unpickled here.
FROM_TRAINING = re.compile(r"ray::\w+\.train\(\)")
# Tune keeps the text alone of most errors, so kinds are recognised by what Ray writes. The first that occurs counts.
PHRASES: Sequence[tuple[Kind, Sequence[str]]] = (
    (Kind.MEMORY, ("low on memory", "memory usage threshold", "killed due to memory pressure")),
    (
        Kind.REFUSED,
        (
            "raised in its creation task",
            UNREADABLE,
            "Failed to set up runtime environment",
            "is not schedulable",
            "invalid authentication token",
        ),
    ),
    (
        Kind.LOST,
        (
            "node has died",
            "node was terminated",
            "node is dead",
            "node died",
            "node has been drained",
            "preempted",
            "is unavailable",
            "local raylet died",
            "placement group corresponding",
            "was cancelled",
            "RPC error",
            "Failed to retrieve object",
            "owner has exited",
            "was killed by `ray.kill`",
            "Connection reset",
        ),
    ),
)
# What a worker raises and does not mean its work: the process or its connections are broken, another may do better.
BROKEN_PROCESS = ("AcceleratorError", "BrokenDevice", "MemoryError", "OutOfMemoryError")
BROKEN_CONNECTION = (ConnectionError, TimeoutError, of_ray.RayError)


def death_of(error: BaseException | str) -> Death:
    """The death that an error of Ray stands for; an error that Ray's text does not explain counts as a crash."""
    if isinstance(error, of_ray.RayTaskError) and error.cause is not None:
        return _raised(error.cause, str(error))
    text = str(error)
    if FROM_TRAINING.search(text) and UNREADABLE not in text:
        name = text.strip().rpartition("\n")[2].partition(":")[0].rpartition(".")[2]
        known: Any = getattr(of_ray, name, None) or getattr(builtins, name, None)
        broken = name in BROKEN_PROCESS or (isinstance(known, type) and issubclass(known, BROKEN_CONNECTION))
        if not broken:
            return Death(Kind.RAISED, text)
    kind = next((kind for kind, phrases in PHRASES if any(phrase in text for phrase in phrases)), Kind.CRASHED)
    return Death(kind, _reason(kind, text))


def _raised(cause: BaseException, text: str) -> Death:
    """What a worker's own exception means. `text`: with its traceback."""
    if isinstance(cause, UserError):
        return Death(Kind.REFUSED, str(cause))
    if isinstance(cause, ImportError) or (isinstance(cause, of_ray.RayError) and UNREADABLE in str(cause)):
        return Death(Kind.REFUSED, text)
    if any(kind.__name__ in BROKEN_PROCESS for kind in type(cause).__mro__):
        return Death(Kind.CRASHED, _reason(Kind.CRASHED, text))
    if isinstance(cause, BROKEN_CONNECTION):
        return Death(Kind.LOST, _reason(Kind.LOST, text))
    return Death(Kind.RAISED, text)


def death_in_training(error: BaseException) -> Death | None:
    """The death that an error stands for, where it was raised; None if the process or its connections are broken, or if
    Ray ends the worker. A worker reports such a death as text, because Ray copies and pickles what is raised, and many
    exceptions cannot be copied or pickled: the cause would be lost."""
    if isinstance(error, BaseException) and not isinstance(error, (Exception, SystemExit)):
        return None
    death = _raised(error, "".join(traceback.format_exception(error)))
    return death if death.kind in (Kind.REFUSED, Kind.RAISED) else None


def _reason(kind: Kind, text: str) -> str:
    """Ray's text with what it means before it, and what to do about it in the last line, which terminals show."""
    if kind is Kind.REFUSED:
        return text.strip()
    return f"{kind.value}: {text.strip()}\n{kind.value}; {ADVICE[kind]}"


def death_of_trial(trial: Any) -> Death:
    """The last death of a Tune trial, from the files that Tune writes about it on this machine."""
    if trial.pickled_error_file is not None:
        try:
            return death_of(cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()))
        except Exception:  # its classes may be missing here, so the text must do
            pass
    if trial.error_file is None:
        return death_of("Ray gives no reason")
    text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    last = text[max(0, text.rfind("Failure # ")) :]
    return death_of(last.partition("\n")[2].strip() or last)
