"""The state dict in a file from somebody else: safetensors, or a PyTorch file whose objects are never made.

Names, types and shapes are read first, and compared with the length of the file; data stays on the disk until a tensor
is used. So a file that claims more than it holds is refused before anything is allocated.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from scl.errors import UserError
from scl.train.archive import Archive, open_archive
from scl.train.inert import Claim, StandIn, plain

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)  # counters and indices of a network
# Keys under which training scripts save a state dict, the likeliest first; another key serves if it is the only one.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
    "teacher",
)  # fmt: skip
AVERAGED = re.compile(r"(^|_)(ema|swa)(_|$)")  # in a key: weights averaged over training
# Keys of what training needs beside the network.
OF_TRAINING = re.compile("opt|optim.*|.*optimizer.*|.*scheduler.*|.*scaler.*|callbacks|loops|.*rng.*")
DEPTH = 4  # of wrappers in each other
MOST_LETTERS = 500  # characters of a tensor's name
MOST_SMALL = 64  # numbers of a tensor that may be a mean or a list of classes
POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
# Formats of other programs: where their first bytes are, what these are, and what the file is.
FOREIGN = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    (0, b"GGUF", "a GGUF file of a language model"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ET", "an ExecuTorch program"),
    (0, b"\x93NUMPY", "an array of numpy"),
    (0, b"\x1f\x8b", "compressed with gzip; unpack it"),
    (0, b"BZh", "compressed with bzip2; unpack it"),
    (0, b"\xfd7zXZ", "compressed with xz; unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it"),
    (0, b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (257, b"ustar", "a tar archive; unpack it"),
)
SUFFIXES = {  # of formats without first bytes of their own
    ".onnx": "an ONNX program, which does not hold the weights under the names of a network",
    ".pb": "a model of TensorFlow",
    ".h5": "a file of Keras",
    ".keras": "a file of Keras",
    ".tflite": "a TensorFlow Lite model",
    ".mlmodel": "a Core ML model",
    ".msgpack": "weights of Flax",
    ".engine": "a TensorRT engine",
}
WAY_OUT = "give a .safetensors file, or torch.save(model.state_dict(), PATH)"
FROM_NETWORK = "in the program that made it: torch.save(model.state_dict(), PATH)"


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
    for place, first, kind in FOREIGN:
        if head[place : place + len(first)] == first:
            return f"is {kind}: not weights that PyTorch can use"
    return ""


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    path: how it was given, for messages. shapes: of its network's tensors, by name; ordered: in the order in which the
    network registered them (safetensors sorts them). key: the keys under which the network stood, from the outermost.
    averaged: they are an average over training (EMA). beside: what else it holds, as plain data; of safetensors, its
    metadata. keys: of its outermost level, with what is under each, in words.
    """

    path: str
    shapes: Mapping[str, tuple[int, ...]]
    ordered: bool
    key: tuple[str, ...]
    averaged: bool
    beside: Mapping[str, Any]
    keys: Mapping[str, str]
    read: Callable[[], dict[str, Tensor]]

    def weights(self) -> dict[str, Tensor]:
        """The tensors by name, with their data. Raises UserError: the file cannot be read."""
        return _guarded(self.path, self.read)


def load_weights(path: str, flag: str = "--teacher") -> dict[str, Tensor]:
    """The state dict in a file, without the wrappers in which training scripts save it.

    Raises:
        UserError: see `open_checkpoint`.
    """
    return open_checkpoint(path, flag).weights()


def open_checkpoint(path: str, flag: str = "--teacher") -> Checkpoint:
    """What a file holds. Only names, shapes and what stands beside the tensors are read.

    Args:
        flag: how the file was given, for messages.

    Raises:
        UserError: there is no such file; it has neither format, or holds something other than plain tensors. No code in
            the file is executed.
    """
    file = regular_file(path, flag)
    where = f"{flag} {path!r}".strip()

    def opened() -> Checkpoint:
        with file.open("rb") as stream:
            head = stream.read(1024)
        if problem := no_weights(head):
            raise UserError(f"{where} {problem}; {WAY_OUT}")
        if _is_safetensors(head):
            return _safetensors(file, where)
        if head[:1] not in (b"\x80", b"P"):
            kind = SUFFIXES.get(file.suffix.lower(), "")
            kind = f"it is {kind}" if kind else "it begins as no format that scl knows"
            raise UserError(f"{where} is not a checkpoint that can be read safely ({kind}); {WAY_OUT}")
        return _pytorch(file, where)

    return _guarded(where, opened)


def _guarded(where: str, work: Callable[[], Any]) -> Any:
    """The result of work on a file of somebody else, whose errors become messages."""
    try:
        return work()
    except UserError as error:
        way_out = "" if WAY_OUT in str(error) or FROM_NETWORK in str(error) or "again" in str(error) else f"; {WAY_OUT}"
        raise UserError(f"{error}{way_out}") from None
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror or error}") from None
    except Exception:  # a broken or hostile file can raise anything, and its text says nothing to people
        raise UserError(
            f"{where} is not a checkpoint that can be read safely (it is cut, or was changed); copy or download it "
            f"again, or {WAY_OUT}"
        ) from None


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and not head.startswith(b"PK")


def _safetensors(file: Path, where: str) -> Checkpoint:
    # The library checks the header: it must describe the whole file, without gaps or overlaps.
    with safe_open(file, framework="pt") as opened:
        names = list(opened.keys())
        _check_names(names, where)
        kinds = {name: opened.get_slice(name) for name in names}
        metadata = opened.metadata() or {}
    for name, kind in kinds.items():
        if kind.get_dtype() not in ("F16", "BF16", "F32", "F64", "U8", "I8", "I16", "I32", "I64"):
            raise UserError(f"{where}: {name} is {kind.get_dtype()}; {_rule()}")
    if not names:
        raise UserError(f"{where} contains no tensors")
    shapes = {name: tuple(kind.get_shape()) for name, kind in kinds.items()}

    def read() -> dict[str, Tensor]:
        with safe_open(file, framework="pt") as opened:
            return _bare({name: opened.get_tensor(name) for name in shapes})

    beside = {name: _from_json(text) for name, text in metadata.items()}
    order = beside["scl"].get("order") if isinstance(beside.get("scl"), dict) else None
    ordered = isinstance(order, list) and sorted(map(str, order)) == sorted(names)  # as `scl import-teacher` writes it
    if isinstance(order, list) and ordered:
        shapes = {name: shapes[name] for name in order}
    keys = {name: f"text, {len(text):,} characters" for name, text in metadata.items()}
    return Checkpoint(where, _bare(shapes), ordered, (), False, beside, keys, read)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _pytorch(file: Path, where: str) -> Checkpoint:
    archive = open_archive(file, where)
    if isinstance(archive.tree, StandIn) and archive.tree.is_network:
        raise UserError(
            f"{where} is a whole network with its code ({archive.tree.name}), and scl runs no code of a file; "
            f"{FROM_NETWORK}"
        )
    key, state, averaged = _chosen(archive.tree, where)
    _check_names(state, where)
    for name, claim in state.items():
        if claim.dtype not in (*FLOATS, *INTEGERS):
            raise UserError(f"{where}: {name} is {type_name(claim.dtype)}; {_rule()}")
    archive.check(state)
    top = archive.tree if key else {}
    beside = {
        k: _small(archive, plain(v))
        for k, v in top.items()
        if k != key[0] and not OF_TRAINING.fullmatch(str(k)) and not _is_network(v)
    }
    return Checkpoint(
        where,
        _bare({name: claim.shape for name, claim in state.items()}),
        True,
        key,
        averaged,
        beside,
        {str(k): _in_words(v) for k, v in top.items()},
        lambda: _bare(archive.tensors(state)),
    )


def _is_network(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 4 and all(isinstance(v, Claim) for v in value.values())


def _small(archive: Archive, value: Any) -> Any:
    """Plain data with small tensors as lists, and without large ones."""
    if isinstance(value, Claim):
        if not 0 < torch.Size(value.shape).numel() <= MOST_SMALL:
            return None
        numbers = archive.tensors({"": value})[""]
        # As decimals: 0.3, not the nearest float32.
        return json.loads(json.dumps(numbers.tolist()), parse_float=lambda text: float(f"{float(text):.7g}"))
    if isinstance(value, dict):
        return {k: _small(archive, v) for k, v in value.items()}
    return [_small(archive, v) for v in value] if isinstance(value, list) else value


def _in_words(value: Any) -> str:
    """What is under a key of a checkpoint."""
    if isinstance(value, partial):
        return f"the name of {(*value.args, 'a class')[0]}"
    if isinstance(value, StandIn):
        return f"an object of {value.name}, which was not made"
    if isinstance(value, Claim):
        return f"a tensor {value.shape}"
    if isinstance(value, Mapping):
        tensors = sum(isinstance(v, Claim) for v in value.values())
        return f"{tensors} tensors" if tensors == len(value) > 0 else f"{len(value)} entries"
    if isinstance(value, list | tuple):
        return f"{len(value)} entries"
    return f"{value!r:.80}"


def _bare(state: dict[str, Any]) -> dict[str, Any]:
    """Names without what wrappers for several GPUs and for averages add: `module.`, and their counter."""
    state = {name: value for name, value in state.items() if name != "n_averaged" or len(state) == 1}
    bare = {name.removeprefix("module."): value for name, value in state.items()}
    return bare if len(bare) == len(state) else state


def _chosen(tree: Any, where: str) -> tuple[tuple[str, ...], dict[str, Claim], bool]:
    """The network's state dict in what a training script has saved: its keys, it, and whether it is an average.

    Raises:
        UserError: there is none, or which one is unclear.
    """
    found = _unwrapped(tree, where, DEPTH)
    if found is None:
        others = [(k, v) for k, v in tree.items() if not isinstance(v, Claim)] if isinstance(tree, Mapping) else []
        if any(isinstance(v, StandIn) and v.is_network for _, v in others):
            raise UserError(
                f"{where} holds a whole network with its code, and scl runs no code of a file; {FROM_NETWORK}"
            )
        if isinstance(tree, StandIn) or any(isinstance(v, StandIn) for _, v in others):
            raise UserError(
                f"{where} is not a checkpoint that can be read safely (it holds Python objects other than tensors)"
            )
        about = f" ({others[0][0]!s:.80} is of type {type(others[0][1]).__name__})" if others else ""
        raise UserError(f"{where} contains no state dict of tensors{about}")
    return found


def _check_names(names: Iterable[str], where: str) -> None:
    longest = max(map(len, names), default=0)
    if longest > MOST_LETTERS:
        raise UserError(f"{where} has a tensor with a name of {longest} characters; names have {MOST_LETTERS} at most")


def _unwrapped(found: Any, where: str, depth: int) -> tuple[tuple[str, ...], dict[str, Claim], bool] | None:
    if not isinstance(found, Mapping) or not found or not all(isinstance(name, str) for name in found):
        return None
    state = {k: v for k, v in found.items() if not k.endswith("_extra_state")}
    if state and all(isinstance(value, Claim) for value in state.values()):
        return (), state, False
    inner = {
        name: _unwrapped(value, where, depth - 1)
        for name, value in (found.items() if depth else ())
        if not OF_TRAINING.fullmatch(name)
    }
    states = {name: state for name, state in inner.items() if state is not None}
    averages = [name for name in states if AVERAGED.search(name)]
    usual = [name for name in WRAPPERS if name in states] or [name for name in states if name not in averages]
    if len(usual) > 1 and usual[0] not in WRAPPERS:
        raise UserError(f"{where} contains several state dicts: {', '.join(states):.80}; save the teacher's alone")
    # An average of parameters alone lacks the statistics of batch norm.
    whole = [
        name for name in averages if not usual or _bare(states[name][1]).keys() >= _bare(states[usual[0]][1]).keys()
    ]
    name = next(iter([*whole, *usual]), None)
    if name is None:
        return None
    keys, state, averaged = states[name]
    return (name, *keys), state, averaged or name in averages


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
