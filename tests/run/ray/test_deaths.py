"""What Ray's errors mean for a cohort."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle, exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext

from scl.errors import UserError
from scl.run.ray.deaths import Kind, death_of, death_of_trial

OUT_OF_MEMORY = (
    "Task was killed due to the node running low on memory.\nMemory on the node (IP: 10.0.0.1) was 15.2GB / 16.0GB "
    "(0.95), which exceeds the memory usage threshold of 0.95."
)
WORKER_DIED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
NODE_DIED = "The actor died because its node has died. Node Id: 1f. the actor's node was terminated unexpectedly"


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
    (raised(UserError("the loss 'mine' cannot compare")), Kind.RAISED),
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
