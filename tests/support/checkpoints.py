"""Files that somebody hands in as a checkpoint: right ones, and a table of those that must be refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from scl.models.build import build_model
from scl.train import checkpoint

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 346789012\n"
ESCAPES = "\x1b[31mred\x1b[0m\x9b2J\u202e\x07"
State = dict[str, Any]


def state() -> State:
    """Weights of the teacher of the ablation on digits."""
    return build_model("plain11", 10, 1, 0.25).state_dict()


def pytorch(content: object, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def changed(tensor: Tensor, name: str = "classifier.weight") -> State:
    return {**state(), name: tensor}


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str = "F32", shape: tuple[object, ...] = (1,), offsets: tuple[int, int] = (0, 4)) -> object:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def claiming(size: tuple[int, ...], stride: tuple[int, ...] | None = None, legacy: bool = False) -> bytes:
    """A PyTorch file whose tensor claims a size; its storage holds one number."""
    tensor = Claim(size, stride or (1,) * len(size))
    return pytorch({**state(), "classifier.weight": tensor}, _use_new_zipfile_serialization=not legacy)


class Claim:
    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.size, self.stride = size, stride

    def __reduce__(self) -> tuple[object, ...]:
        storage = torch.zeros(1)._typed_storage()  # type: ignore[no-untyped-call]
        return torch._utils._rebuild_tensor_v2, (storage, 0, self.size, self.stride, False, {})


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch executed",)


def rezipped(content: bytes, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A PyTorch archive with its members changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def nested(depth: int) -> bytes:
    """A checkpoint of scl whose record is nested."""
    text = "[" * depth + "]" * depth
    tensors = {"w": torch.zeros(1)}
    metadata = {"record": text, "sha256": checkpoint._digest(tensors)}
    return save(tensors, metadata)


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def quantised() -> Tensor:
    return torch.quantize_per_tensor(torch.ones(10, 128), 0.1, 0, torch.qint8)


W = (10, 128)  # the shape of classifier.weight
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    # no weights at all
    "empty": (lambda: b"", "is empty"),
    "text": (lambda: b"hello", "not a checkpoint"),
    "zeros": (lambda: bytes(4096), "not a checkpoint"),
    "a pointer": (lambda: POINTER, "git lfs pull"),
    "a web page": (lambda: b"<!DOCTYPE html><html>404</html>", "a web page"),
    "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(99), "is a picture"),
    "a program": (script, "TorchScript"),
    "numpy": (lambda: _npz(), "not a checkpoint"),
    # PyTorch: cut, changed, other content
    "cut": (lambda: pytorch(state())[:-1000], "not a checkpoint"),
    "half": (lambda: pytorch(state())[:4000], "not a checkpoint"),
    "cut, old": (lambda: pytorch(state(), _use_new_zipfile_serialization=False)[:-99], "not a checkpoint|more data"),
    "code": (lambda: pickle.dumps(Hostile()), "not a checkpoint"),
    "code inside": (lambda: pytorch({**state(), "x": Hostile()}), "Python objects"),
    "code inside, old": (lambda: pytorch({"x": Hostile()}, _use_new_zipfile_serialization=False), "Python objects"),
    "a network": (lambda: pytorch(nn.Linear(2, 2)), r"a whole network with its code"),
    "a number": (lambda: pytorch(3), "no state dict"),
    "a tensor": (lambda: pytorch(torch.ones(3)), "no state dict"),
    "a list": (lambda: pytorch([torch.ones(3)]), "no state dict"),
    "nothing in it": (lambda: pytorch({}), "no state dict"),
    "numbers": (lambda: pytorch({"a": 1}), "a is of type int"),
    "numbered": (lambda: pytorch({0: torch.ones(1)}), "no state dict"),
    "two networks": (lambda: pytorch({"one": state(), "two": state()}), "several state dicts: one, two"),
    "compressed": (lambda: rezipped(pytorch(state()), lambda _, c: c, zipfile.ZIP_DEFLATED), "compressed"),
    "cut storages": (lambda: rezipped(pytorch(state()), lambda n, c: c[:4] if "/data/" in n else c), "."),
    # tensors of other kinds
    "sparse": (lambda: pytorch(changed(torch.ones(W).to_sparse())), "sparse"),
    "sparse rows": (lambda: pytorch(changed(torch.ones(W).to_sparse_csr())), "sparse"),
    "quantised": (lambda: pytorch(changed(quantised())), "quantised"),
    "meta": (lambda: pytorch(changed(torch.empty(W, device="meta"))), "meta"),
    "meta, old": (
        lambda: pytorch(changed(torch.empty(W, device="meta")), _use_new_zipfile_serialization=False), "meta",
    ),
    "complex": (lambda: pytorch(changed(torch.ones(W, dtype=torch.complex64))), "complex64"),
    "int8": (lambda: pytorch(changed(torch.ones(W, dtype=torch.int8))), "int8"),
    "int64": (lambda: pytorch(changed(torch.ones(W, dtype=torch.int64))), "int64"),
    "bool": (lambda: pytorch(changed(torch.ones(W, dtype=torch.bool))), "bool"),
    "float8": (lambda: pytorch(changed(torch.ones(W).to(torch.float8_e4m3fn))), "float8"),
    "nan": (lambda: pytorch(changed(torch.full(W, float("nan")))), "not finite"),
    "inf": (lambda: pytorch(changed(torch.full(W, float("-inf")))), "not finite"),
    "beyond float32": (lambda: pytorch(changed(torch.full(W, 1e300, dtype=torch.float64))), "not finite"),
    "nan in a counter": (lambda: pytorch(_every(lambda t: t if t.ndim else torch.tensor(float("nan")))), "not finite"),
    "negative variance": (lambda: pytorch(_every(lambda t: -t - 1 if t.ndim == 1 else t)), "not finite"),
    # sizes
    "other shape": (lambda: pytorch(changed(torch.ones(10, 127))), "does not fit"),
    "transposed": (lambda: pytorch(changed(torch.ones(128, 10))), "does not fit"),
    "one too many": (lambda: pytorch({**state(), "x": torch.ones(1)}), "one too many"),
    "one too few": (lambda: pytorch(dict(list(state().items())[:-1])), "is absent"),
    "another network": (lambda: pytorch(build_model("plain5", 10, 1).state_dict()), "does not fit"),
    "expanded": (lambda: pytorch(changed(torch.zeros(1).expand(10**11))), "does not fit"),
    "huge": (lambda: claiming((80_000_000_000,)), "more data than the file"),
    "huge, old": (lambda: claiming((80_000_000_000,), legacy=True), "more data than the file"),
    "past its storage": (lambda: claiming((10**6, 128), (128, 1)), "more data than the file"),
    "negative": (lambda: claiming((-1, 5)), "more data than the file"),
    "overflow": (lambda: claiming((2**62, 2**62)), "more data than the file"),
    # safetensors
    "header cut": (lambda: save(state())[:100], "not a checkpoint"),
    "data cut": (lambda: save(state())[:-1], "not a checkpoint"),
    "header of 2^63": (lambda: safetensors(entry(), bytes(4), 2**63), "not a checkpoint"),
    "no JSON": (lambda: safetensors(b"{nonsense", bytes(4)), "not a checkpoint"),
    "deep header": (lambda: safetensors(b'{"a":' * 99999, bytes(4)), "not a checkpoint"),
    "no tensors": (lambda: safetensors({}), "no tensors"),
    "shape and data differ": (lambda: safetensors(entry(shape=(9,)), bytes(4)), "not a checkpoint"),
    "negative shape": (lambda: safetensors(entry(shape=(-1,)), bytes(4)), "not a checkpoint"),
    "huge shape": (lambda: safetensors(entry(shape=(2**63, 2**63)), bytes(4)), "not a checkpoint"),
    "text as a shape": (lambda: safetensors(entry(shape=("1",)), bytes(4)), "not a checkpoint"),
    "an unknown type": (lambda: safetensors(entry("Q4_K"), bytes(4)), "not a checkpoint"),
    "complex, safetensors": (lambda: save(changed(torch.ones(W, dtype=torch.complex64))), "C64"),
    "float8, safetensors": (lambda: save(changed(torch.ones(W).to(torch.float8_e5m2))), "F8_E5M2"),
    "int8, safetensors": (lambda: save(changed(torch.ones(W, dtype=torch.int8))), "int8"),
    "nan, safetensors": (lambda: save(changed(torch.full(W, float("nan")))), "not finite"),
    "other names, safetensors": (lambda: save(_renamed()), "names must match"),
    # names of strangers
    "escapes": (lambda: pytorch({**state(), ESCAPES: torch.ones(1)}), "one too many"),
    "escapes, safetensors": (lambda: save({**state(), ESCAPES: torch.ones(1)}), "one too many"),
    "escapes in a type": (lambda: safetensors(entry(ESCAPES), bytes(4)), "not a checkpoint"),
    "a long name": (lambda: pytorch({**state(), "x" * 10**6: torch.ones(1)}), "a name of 1000000 characters"),
    "a long name, safetensors": (lambda: save({"x" * 10**6: torch.ones(1)}), "a name of 1000000 characters"),
    "a long key": (lambda: pytorch({"x" * 10**6: 1}), "no state dict"),
    "escapes in a key": (lambda: pytorch({ESCAPES: 1}), "no state dict"),
}  # fmt: skip


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    return buffer.getvalue()


def _every(change: Callable[[Tensor], Tensor]) -> State:
    return {name: change(tensor) for name, tensor in state().items()}


def _renamed() -> State:
    return {f"z{i}": tensor for i, tensor in enumerate(state().values())}


def _prefixed(prefix: str, write: Callable[[State], bytes]) -> bytes:
    return write({f"{prefix}{name}": tensor for name, tensor in state().items()})


def _wrapped(key: str) -> bytes:
    return pytorch({key: state(), "epoch": 3})


PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.", "net.", "module._orig_mod.", "a.b.c.")
GOOD: dict[str, Callable[[], bytes]] = {
    **{f"wrapped in {k}": partial(_wrapped, k)
       for k in ("state_dict", "model", "net", "model_state_dict", "network", "weights", "any other")},
    "wrapped twice": lambda: pytorch({"net": {"state_dict": state()}}),
    "beside objects": lambda: pytorch({"model": state(), "best": np.float64(0.7), "x": Hostile()}),
    "beside an optimiser": lambda: pytorch({"net": state(), "optimizer": _optimiser()}),
    "beside averaged weights": lambda: pytorch({"model": state(), "ema": _every(torch.zeros_like)}),
    **{f"prefix {p}": partial(_prefixed, p, pytorch) for p in PREFIXES},
    **{f"prefix {p}, safetensors": partial(_prefixed, p, save) for p in PREFIXES},
    "the old format": lambda: pytorch(state(), _use_new_zipfile_serialization=False),
    "parameters": lambda: pytorch(dict(build_model("plain11", 10, 1, 0.25).state_dict(keep_vars=True))),
    "float16": lambda: pytorch(_every(lambda t: t.half() if t.is_floating_point() else t)),
    "bfloat16, safetensors": lambda: save(_every(lambda t: t.bfloat16() if t.is_floating_point() else t)),
    "float64": lambda: pytorch(_every(lambda t: t.double())),
    "not contiguous": lambda: pytorch(_every(lambda t: t.t().contiguous().t() if t.ndim == 2 else t)),
    "views of one storage": lambda: pytorch(_views()),
    "other names": lambda: pytorch(_renamed()),
}  # fmt: skip


def _optimiser() -> object:
    network = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


def _views() -> State:
    """All weights in one flat tensor, as some trainers keep them."""
    every = state()
    flat = torch.cat([t.reshape(-1).float() for t in every.values()])
    parts = torch.split(flat, [t.numel() for t in every.values()])
    return {name: part.view(t.shape) for (name, t), part in zip(every.items(), parts, strict=True)}


def special_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is no regular file."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "dangling").symlink_to(folder / "absent")
    return {
        "a pipe": (folder / "pipe", "is a pipe"),
        "a folder": (folder / "folder", "is a folder"),
        "a device": (Path("/dev/zero"), "is a device"),
        "absent": (folder / "absent", "no such file"),
        "in no folder": (Path(__file__) / "x", "no such file"),
        "a loop": (folder / "loop", "no such file"),
        "dangling": (folder / "dangling", "no such file"),
        "a long name": (folder / ("x" * 300), "no such file"),
        "a zero": (folder / "a\0b", "no such file"),
    }
