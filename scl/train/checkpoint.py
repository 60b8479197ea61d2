"""Checkpoints and models as safetensors: no pickle is read, and checksums detect damaged files.

A checkpoint is `epoch-00007.safetensors`: tensors, and a JSON record in its metadata, with a SHA-256 of each. A trial
keeps its last two checkpoints, so that training can resume if the last one is damaged.
"""

from __future__ import annotations

import hashlib
import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from scl.errors import Damaged, UserError, first_line


class Files(Protocol):
    """The methods of `scl.store.files.Folder` that checkpoints need; training does not import pyarrow."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, content: bytes) -> None: ...
    def remove(self, name: str) -> None: ...
    def set_aside(self, name: str, reason: str) -> None: ...


def pack(tensors: dict[str, Tensor], record: dict[str, Any]) -> bytes:
    """The bytes of one safetensors file with tensors and a record of JSON values."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(record)
    return save_tensors(tensors, {"record": text, "record_sha256": _sha256(text), "sha256": _digest(tensors)})


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the record of bytes that `pack` made.

    Raises:
        Damaged: the bytes are not what `pack` made.
    """
    try:
        tensors = load_tensors(content)
        (length,) = struct.unpack("<Q", content[:8])
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        if metadata["sha256"] != _digest(tensors):
            raise Damaged("its checksum does not match")
        text = metadata["record"]
        if metadata.get("record_sha256", _sha256(text)) != _sha256(text):
            raise Damaged("the checksum of its record does not match")
        return tensors, json.loads(text)
    except (SafetensorError, ValueError, KeyError, struct.error) as error:
        raise Damaged(str(error)) from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_epoch(files: Files, epoch: int, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write the checkpoint of an epoch, keep the one before it, and delete older ones."""
    files.write(f"epoch-{epoch:05d}.safetensors", pack(tensors, record))
    for name in _epochs(files)[:-2]:
        files.remove(name)


def load_last_epoch(files: Files) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the record of the last intact checkpoint, or None. Damaged ones are set aside."""
    for name in reversed(_epochs(files)):
        try:
            return unpack(files.read(name))
        except FileNotFoundError:
            continue  # deleted since it was listed, by a worker that the run has given up but that still runs
        except Damaged as damage:
            files.set_aside(name, str(damage))
    return None


def drop_epochs(files: Files) -> None:
    """Delete all checkpoints."""
    for name in _epochs(files):
        files.remove(name)


def _epochs(files: Files) -> list[str]:
    return [name for name in files.names() if name.startswith("epoch-")]


def load_weights(path: str) -> dict[str, Tensor]:
    """The state dict in a user's file: safetensors, or a PyTorch file, read with `weights_only=True`.

    Raises:
        UserError: there is no such file, or it has neither format. No code in the file is executed.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"--teacher {path!r}: no such file")
    way_out = "give a .safetensors file, or torch.save(model.state_dict(), PATH)"
    with suppress(SafetensorError, ValueError):
        return _without_wrapper(load_tensors(file.read_bytes()))
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file can raise anything
        # torch's own message suggests to unpickle, which is unsafe for a file from elsewhere.
        objects = "weights_only" in str(error) or "Unsupported" in str(error)
        reason = "it holds Python objects other than tensors" if objects else first_line(error)[:200]
        raise UserError(
            f"--teacher {path!r} is not a checkpoint that can be read safely ({reason}); {way_out}"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"--teacher {path!r} contains no state dict of tensors; {way_out}")
    return _without_wrapper(state)


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without the prefix `module.`, which DataParallel adds to every name."""
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
