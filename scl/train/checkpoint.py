"""Checkpoints and models as safetensors: no pickle is read, and checksums detect damaged files.

A checkpoint is `epoch-00007.safetensors`: tensors, and a JSON record in its metadata, with a SHA-256 of each. A trial
keeps its last two checkpoints, so that training can resume if the last one is damaged.
"""

from __future__ import annotations

import hashlib
import json
import struct
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from scl.errors import Damaged, first_line
from scl.terminal import say
from scl.train.weights import no_weights

EPOCH = "epoch-"  # prefix of the checkpoints of epochs


class Files(Protocol):
    """The methods of `scl.store.files.Folder` that checkpoints need; training does not import pyarrow."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, content: bytes) -> None: ...
    def rotate(self, name: str, content: bytes, prefix: str, keep: int) -> None: ...
    def thin(self, prefix: str, keep: int = 0) -> None: ...
    def set_aside(self, name: str, reason: str) -> None: ...


class Snapshot(NamedTuple):
    """The content of a checkpoint, in memory of its own, so that training may go on while it is written.

    record: JSON.
    """

    epoch: int
    tensors: dict[str, Tensor]
    record: str


def snapshot(epoch: int, tensors: dict[str, Tensor], record: dict[str, Any]) -> Snapshot:
    """Copies of tensors, on the CPU, and of a record of JSON values."""
    form = torch.contiguous_format
    copies = {n: tensor.detach().to("cpu", copy=True, memory_format=form) for n, tensor in tensors.items()}
    return Snapshot(epoch, copies, json.dumps(record))


def pack(tensors: dict[str, Tensor], record: dict[str, Any]) -> bytes:
    """The bytes of one safetensors file with tensors and a record of JSON values."""
    return _packed({n: tensor.detach().cpu().contiguous() for n, tensor in tensors.items()}, json.dumps(record))


def _packed(tensors: dict[str, Tensor], text: str) -> bytes:
    tensors = _apart(tensors)
    return save_tensors(tensors, {"record": text, "record_sha256": _sha256(text), "sha256": _digest(tensors)})


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with a copy of each that shares memory with one before it, as tied weights do: safetensors refuses
    those."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the record of bytes that `pack` made.

    Raises:
        Damaged: the bytes are not what `pack` made.
    """
    if problem := no_weights(content[:1024]):
        raise Damaged(f"it {problem}")
    try:
        tensors = load_tensors(content)
        (length,) = struct.unpack("<Q", content[:8])
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        if "record" not in metadata or "sha256" not in metadata:
            raise Damaged("it has no record of scl; for weights from elsewhere use --teacher")
        if metadata["sha256"] != _digest(tensors):
            raise Damaged("its checksum does not match")
        text = metadata["record"]
        if metadata.get("record_sha256", _sha256(text)) != _sha256(text):
            raise Damaged("the checksum of its record does not match")
        record = json.loads(text)
    except (Damaged, MemoryError):
        raise
    except RecursionError:
        raise Damaged("its record is nested too deeply") from None
    except Exception as error:  # a broken or hostile file can raise anything
        raise Damaged(first_line(error)[:200]) from None
    if not isinstance(record, dict):
        raise Damaged(f"its record is of type {type(record).__name__}, not an object")
    return tensors, record


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_epoch(files: Files, taken: Snapshot) -> None:
    """Write the checkpoint of an epoch, keep the one before it, and delete older ones."""
    name = f"{EPOCH}{taken.epoch:05d}.safetensors"
    files.rotate(name, _packed(taken.tensors, taken.record), EPOCH, keep=2)


class Writer:
    """Context manager: writes the checkpoints of a cohort on one thread, so that its steps go on meanwhile.

    What could not be written is raised by the next `settle`, or at the end. If another error ends the context, that
    one is raised, and the checkpoint is named on stderr.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "checkpoints")
        self.pending: list[Future[None]] = []

    def write(self, files: Files, taken: Snapshot) -> None:
        """Queue a checkpoint. The caller settles those of an epoch before it queues those of another, so that no more
        than one snapshot of each trial waits in memory."""
        self.pending.append(self.thread.submit(save_epoch, files, taken))

    def settle(self) -> None:
        """Wait until all checkpoints are written. Raises what the first that failed raised."""
        pending, self.pending = self.pending, []
        errors = [error for future in pending if (error := future.exception()) is not None]
        if errors:
            raise errors[0]

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.thread.shutdown()
        try:
            self.settle()
        except Exception as failed:
            if error is None:
                raise
            say(f"a checkpoint could not be written: {first_line(failed)}")


def load_last_epoch(files: Files) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the record of the last intact checkpoint, or None. Damaged ones are set aside."""
    for name in reversed([name for name in files.names() if name.startswith(EPOCH)]):
        try:
            return unpack(files.read(name))
        except FileNotFoundError:
            continue  # deleted since it was listed, by a worker that the run has given up but that still runs
        except Damaged as damage:
            files.set_aside(name, str(damage))
    return None


def drop_epochs(files: Files) -> None:
    """Delete all checkpoints."""
    files.thin(EPOCH)
