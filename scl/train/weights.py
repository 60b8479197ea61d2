"""The state dict in a file from somebody else: safetensors, or a PyTorch file whose objects are never made.

Names, types and shapes are read first, and compared with the length of the file; data stays on the disk until a tensor
is used. So a file that claims more than it holds is refused before anything is allocated.
"""

from __future__ import annotations

import errno
import os
import pickletools
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from scl.errors import UserError, first_line

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)  # counters and indices of a network
# Keys under which training scripts save a state dict, the likeliest first; another key serves if it is the only one.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
    "teacher",
)  # fmt: skip
DEPTH = 4  # of wrappers in each other
MOST_LETTERS = 500  # characters of a tensor's name
POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
# Functions by which PyTorch files make tensors that are no plain weights.
SPECIAL = {
    "_rebuild_sparse_tensor": "sparse tensors",
    "_rebuild_sparse_csr_tensor": "sparse tensors",
    "_rebuild_qtensor": "quantised tensors",
    "_rebuild_nested_tensor": "nested tensors",
    "_rebuild_meta_tensor_no_storage": "meta tensors, which have a shape and no data",
}
WAY_OUT = "give a .safetensors file, or torch.save(model.state_dict(), PATH)"


def regular_file(path: str, flag: str = "") -> Path:
    """The path of an existing regular file. Raises UserError: it is a folder, a pipe or a device, or not there."""
    file = Path(os.path.expanduser(path))
    name = f"{flag} {path!r}".strip()
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{name}: no such file ({error.strerror})") from None
        raise UserError(f"{name} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        kind = next((kind for test, kind in kinds if test(mode)), "a device")
        raise UserError(f"{name} is {kind}; name a file")
    return file


def no_weights(head: bytes) -> str:
    """What a file without weights is, by its first bytes; '' if it may hold some."""
    if not head:
        return "is empty; copy or download it again"
    if head.startswith(POINTERS):
        return "is a Git LFS pointer, not the weights; run `git lfs pull` in its repository"
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page, not the weights; download the file itself"
    return ""


def keeps_order(path: str) -> bool:
    """Whether a file's tensors have the order in which the network registered them: safetensors sorts them."""
    with regular_file(path).open("rb") as stream:
        return not _is_safetensors(stream.read(9))


def load_weights(path: str, flag: str = "--teacher") -> dict[str, Tensor]:
    """The state dict in a file, without the wrappers in which training scripts save it. Data is mapped from the disk.

    Args:
        flag: how the file was given, for messages.

    Raises:
        UserError: there is no such file; it has neither format, or holds something other than plain tensors. No code in
            the file is executed.
    """
    file = regular_file(path, flag)
    where = f"{flag} {path!r}".strip()
    try:
        with file.open("rb") as stream:
            head = stream.read(1024)
        if problem := no_weights(head):
            raise UserError(f"{where} {problem}")
        if _is_safetensors(head):
            state: dict[str, Tensor] = _safetensors(file, where)
        else:
            state = _pytorch(file, where)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a broken or hostile file can raise anything
        # torch's own message suggests to unpickle, which is unsafe for a file from elsewhere.
        objects = "weights_only" in str(error) or "Unsupported" in str(error)
        reason = "it holds Python objects other than tensors" if objects else first_line(error)[:200]
        raise UserError(f"{where} is not a checkpoint that can be read safely ({reason}); {WAY_OUT}") from None
    bare = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return bare if len(bare) == len(state) else state


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and not head.startswith(b"PK")


def _safetensors(file: Path, where: str) -> dict[str, Tensor]:
    # The library checks the header: it must describe the whole file, without gaps or overlaps.
    with safe_open(file, framework="pt") as opened:
        names = list(opened.keys())
        _check_names(names, where)
        kinds = {name: opened.get_slice(name).get_dtype() for name in names}
        for name, kind in kinds.items():
            if kind not in ("F16", "BF16", "F32", "F64", "U8", "I8", "I16", "I32", "I64"):
                raise UserError(f"{where}: {name} is {kind}; {_rule()}")
        if not names:
            raise UserError(f"{where} contains no tensors; {WAY_OUT}")
        return {name: opened.get_tensor(name) for name in names}


def _pytorch(file: Path, where: str) -> dict[str, Tensor]:
    with file.open("rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"  # as torch tells the formats apart
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if zipped:
            _check_archive(file, where)
            claimed = torch.load(file, map_location="meta", weights_only=True)
        else:
            from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC0415

            with file.open("rb") as stream:
                for _ in range(4):  # a magic number, a version, the machine, the state
                    _check_pickle(stream, where)
            # In the format before PyTorch 1.6 a storage is allocated before it is read, but not in this mode.
            with FakeTensorMode():
                claimed = torch.load(file, weights_only=True)
        _check_tensors(_state_dict(claimed, where), file.stat().st_size, where)
        return _state_dict(torch.load(file, map_location="cpu", weights_only=True, mmap=zipped or None), where)


def _check_archive(file: Path, where: str) -> None:
    """Raises UserError if an archive of PyTorch is compressed, or its pickle makes anything but plain tensors."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise UserError(f"{where} is a TorchScript program, not a state dict; {WAY_OUT}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UserError(f"{where} is a compressed archive, which PyTorch does not write; {WAY_OUT}")
        for member in members:
            if member.filename.endswith("/data.pkl"):
                with archive.open(member) as stream:
                    _check_pickle(stream, where)


def _check_pickle(stream: Any, where: str) -> None:
    """Raises UserError if a pickle names what makes special tensors. It is read as opcodes; nothing is made."""
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL" and (special := SPECIAL.get(str(argument).rpartition(" ")[2])):
                raise UserError(f"{where} holds {special}; {_rule()}")
    except (ValueError, struct.error):
        return  # torch says what is wrong with it


def _state_dict(found: Any, where: str) -> dict[str, Tensor]:
    """The state dict in what a training script has saved. Raises UserError: there is none, or which one is unclear."""
    state = _unwrapped(found, where, DEPTH)
    if state is None:
        wrong = [(k, v) for k, v in found.items() if not isinstance(v, Tensor)] if isinstance(found, Mapping) else []
        about = f" ({wrong[0][0]!s:.80} is of type {type(wrong[0][1]).__name__})" if wrong else ""
        raise UserError(f"{where} contains no state dict of tensors{about}; {WAY_OUT}")
    _check_names(state, where)
    return state


def _check_names(names: Iterable[str], where: str) -> None:
    longest = max(map(len, names), default=0)
    if longest > MOST_LETTERS:
        raise UserError(f"{where} has a tensor with a name of {longest} characters; names have {MOST_LETTERS} at most")


def _unwrapped(found: Any, where: str, depth: int) -> dict[str, Tensor] | None:
    if not isinstance(found, Mapping) or not found or not all(isinstance(name, str) for name in found):
        return None
    if all(isinstance(value, Tensor) for value in found.values()):
        return dict(found)
    inner = {name: _unwrapped(value, where, depth - 1) for name, value in found.items()} if depth else {}
    states = {name: state for name, state in inner.items() if state is not None}
    for name in WRAPPERS:
        if name in states:
            return states[name]
    if len(states) > 1:
        raise UserError(f"{where} contains several state dicts: {', '.join(states):.80}; save the teacher's alone")
    return next(iter(states.values()), None)


def _check_tensors(state: Mapping[str, Tensor], length: int, where: str) -> None:
    """Raises UserError if a tensor is of a type or a size that no weights in a file of `length` bytes have."""
    seen, total = set(), 0  # storages, which tensors may share, and their bytes
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise UserError(f"{where}: {name} is sparse or quantised; {_rule()}")
        if tensor.dtype not in (*FLOATS, *INTEGERS):
            raise UserError(f"{where}: {name} is {type_name(tensor.dtype)}; {_rule()}")
        storage = tensor.untyped_storage()
        total += 0 if storage._cdata in seen else storage.nbytes()
        seen.add(storage._cdata)
        if total > length:
            raise UserError(
                f"{where}: {name} {tuple(tensor.shape)} needs more data than the file's {length} bytes; the file is "
                "incomplete or was made by hand: copy or download it again"
            )


def difference(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """How stored weights differ from those of their network in names, shapes and types, or that they are not finite; ''
    if nothing is wrong. `wanted` may be meta tensors."""
    for name in (*wanted, *weights):
        if name not in weights:
            return f"{name} is absent"
        if name not in wanted:
            return f"{name} is one too many"
        mine, its = ((t.shape, type_name(t.dtype)) for t in (weights[name], wanted[name]))
        if mine != its:
            return f"{name} is {mine[1]} {tuple(mine[0])}, wanted {its[1]} {tuple(its[0])}"
        # A fresh network may hold infinities, such as a mask of attention.
        endless = not wanted[name].is_meta and not torch.isfinite(wanted[name]).all()
        if not endless and not torch.isfinite(weights[name]).all():
            return f"{name} has numbers that are not finite"
    return ""


def type_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _rule() -> str:
    return f"weights are plain tensors of {', '.join(map(type_name, FLOATS))}: {WAY_OUT}"
