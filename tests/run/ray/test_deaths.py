"""What Ray's errors mean for a cohort."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle, exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext

from scl.errors import UserError
from scl.run.ray.deaths import Kind, death_in_training, death_of, death_of_trial

OUT_OF_MEMORY = (
    "Task was killed due to the node running low on memory.\nMemory on the node (IP: 10.0.0.1) was 15.2GB / 16.0GB "
    "(0.95), which exceeds the memory usage threshold of 0.95."
)
WORKER_DIED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
NODE_DIED = "The actor died because its node has died. Node Id: 1f. the actor's node was terminated unexpectedly"


NOT_UNPICKLED = "Traceback (most recent call last):\n  File x, in __setstate__\nValueError: other class"
FROM_TRAINING = "\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=7, ip=::1)\nTraceback (most recent call last):"


class AcceleratorError(RuntimeError):
    """As torch's, which older versions lack."""


def actor_died(message: str) -> exceptions.RayError:
    return exceptions.ActorDiedError(
        ActorDiedErrorContext(class_name="ImplicitFunc", actor_id=bytes(16), error_message=message)
    )


def raised(cause: Exception) -> exceptions.RayTaskError:
    return exceptions.RayTaskError(
        "train", f"Traceback (most recent call last):\n{cause!r}", cause, "ray::train", 7, "::1"
    )


ERRORS: list[tuple[Any, Kind]] = [
    (exceptions.OutOfMemoryError(OUT_OF_MEMORY), Kind.MEMORY),
    (actor_died(OUT_OF_MEMORY), Kind.MEMORY),
    (actor_died(WORKER_DIED), Kind.CRASHED),
    (exceptions.WorkerCrashedError(), Kind.CRASHED),
    ("something new", Kind.CRASHED),
    (actor_died(NODE_DIED), Kind.LOST),
    (exceptions.NodeDiedError("The node died or is unreachable: node died"), Kind.LOST),
    (exceptions.ActorUnavailableError("socket closed", None), Kind.LOST),
    (exceptions.LocalRayletDiedError(), Kind.LOST),
    (exceptions.TaskCancelledError(None, "The task was cancelled"), Kind.LOST),
    (exceptions.ActorPlacementGroupRemoved(), Kind.LOST),
    (exceptions.TaskPlacementGroupRemoved(), Kind.LOST),
    (exceptions.ObjectLostError("ff", b"", ""), Kind.LOST),
    (exceptions.OwnerDiedError("ff", b"", ""), Kind.LOST),
    (raised(ConnectionResetError("reset")), Kind.LOST),
    (raised(exceptions.RpcError("deadline", 4)), Kind.LOST),
    (exceptions.RuntimeEnvSetupError("pip failed"), Kind.REFUSED),
    (exceptions.ActorUnschedulableError("no such node"), Kind.REFUSED),
    (exceptions.TaskUnschedulableError("no such node"), Kind.REFUSED),
    (exceptions.ActorDiedError(raised(ImportError("no module named mine"))), Kind.REFUSED),
    (raised(ArithmeticError("broken on purpose")), Kind.RAISED),
    (raised(ValueError("the node died, said the loss")), Kind.RAISED),
    (raised(UserError("the loss 'mine' cannot compare")), Kind.REFUSED),
    (raised(ModuleNotFoundError("No module named 'mine'")), Kind.REFUSED),
    (raised(exceptions.RaySystemError(ValueError("other class"), NOT_UNPICKLED)), Kind.REFUSED),
    (exceptions.RaySystemError(ValueError("other class"), NOT_UNPICKLED), Kind.REFUSED),
    (raised(exceptions.RaySystemError(ValueError("the raylet was killed"))), Kind.LOST),
    (f"{FROM_TRAINING}\nmine.Wrong: the node died, said the loss", Kind.RAISED),
    (f"{FROM_TRAINING}\nConnectionResetError: [Errno 104] Connection reset by peer", Kind.LOST),
    (f"{FROM_TRAINING}\nray.exceptions.OwnerDiedError: its owner has exited", Kind.LOST),
    (f"{FROM_TRAINING}\ntorch.AcceleratorError: CUDA error: device-side assert triggered", Kind.CRASHED),
    (raised(MemoryError()), Kind.CRASHED),
    (raised(AcceleratorError("CUDA error: device-side assert triggered")), Kind.CRASHED),
]


@pytest.mark.parametrize(("error", "kind"), ERRORS, ids=lambda value: value.name if isinstance(value, Kind) else None)
def test_each_error_of_ray_has_a_kind_and_its_reason_is_kept(error: Any, kind: Kind) -> None:
    death = death_of(error)
    assert death.kind is kind
    text = str(error.cause) if isinstance(getattr(error, "cause", None), UserError) else str(error)
    assert text.strip() in death.reason
    if kind in (Kind.MEMORY, Kind.CRASHED):
        assert "memory" in death.reason.splitlines()[-1]


def test_a_mistake_of_the_user_has_no_trace() -> None:
    assert death_of(raised(UserError("the loss cannot compare"))).reason == "the loss cannot compare"


class NeedsTwo(Exception):
    """Neither copied nor unpickled: Ray would show a TypeError in its place."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class HoldsAFile(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.file = open(os.devnull, encoding="utf-8")  # noqa: SIM115


class Textless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NeedsTwoUser(UserError):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class NotPickled(Exception):
    def __reduce__(self) -> Any:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("error", "kind", "last"),
    [
        (UserError("teacher 1f is missing"), Kind.REFUSED, "teacher 1f is missing"),
        (NeedsTwoUser("left", "right"), Kind.REFUSED, "left and right"),
        (ModuleNotFoundError("No module named 'mine'"), Kind.REFUSED, "ModuleNotFoundError: No module named 'mine'"),
        (ValueError("wrong"), Kind.RAISED, "ValueError: wrong"),
        (NeedsTwo("left", "right"), Kind.RAISED, "tests.run.ray.test_deaths.NeedsTwo: left and right"),
        (HoldsAFile("open"), Kind.RAISED, "tests.run.ray.test_deaths.HoldsAFile: open"),
        (Textless(), Kind.RAISED, "tests.run.ray.test_deaths.Textless: <exception str() failed>"),
        (NotPickled("x"), Kind.RAISED, "tests.run.ray.test_deaths.NotPickled: x"),
        (KeyError("column"), Kind.RAISED, "KeyError: 'column'"),
        (PermissionError(13, "denied"), Kind.RAISED, "PermissionError: [Errno 13] denied"),
        (RecursionError("deep"), Kind.RAISED, "RecursionError: deep"),
        (AssertionError(), Kind.RAISED, "AssertionError"),
        (SystemExit(3), Kind.RAISED, "SystemExit: 3"),
        (ConnectionResetError("gone"), None, ""),
        (exceptions.OwnerDiedError("ff", b"", ""), None, ""),
        (MemoryError(), None, ""),
        (AcceleratorError("CUDA error"), None, ""),
        (KeyboardInterrupt(), None, ""),
    ],
)
def test_what_a_worker_raises_is_told_as_text(error: BaseException, kind: Kind | None, last: str) -> None:
    death = death_in_training(error)
    assert (death.kind if death else None) is kind
    if death is not None:
        assert death.reason.strip().splitlines()[-1] == last


def trial(folder: Path, error: Exception | None, text: str | None) -> Any:
    (folder / "error.pkl").write_bytes(b"damaged" if error is None else cloudpickle.dumps(error))
    (folder / "error.txt").write_text(text or "")
    return SimpleNamespace(
        pickled_error_file=folder / "error.pkl", error_file=None if text is None else folder / "error.txt"
    )


@pytest.mark.parametrize(
    ("error", "text", "kind", "reason"),
    [
        (exceptions.RayActorError(None, NODE_DIED), "Failure # 1 (a)\nfirst\n", Kind.LOST, "its node has died"),
        (None, f"Failure # 1 (a)\nfirst\nFailure # 2 (b)\n{OUT_OF_MEMORY}\n", Kind.MEMORY, "running low on memory"),
        (None, "Failure # 1 (a)\nfirst\nFailure # 2 (b)\nsecond\n", Kind.CRASHED, "second"),
        (None, None, Kind.CRASHED, "Ray gives no reason"),
    ],
)
def test_the_last_death_is_read_from_tunes_files(
    error: Exception | None, text: str | None, kind: Kind, reason: str, tmp_path: Path
) -> None:
    death = death_of_trial(trial(tmp_path, error, text))
    assert death.kind is kind
    assert reason in death.reason
    assert "first" not in death.reason
