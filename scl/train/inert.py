"""Pickles from somebody else, read without making what they name.

A pickle is a program that names functions and calls them. Here nothing that a file names is imported or called: dicts,
lists, numbers and text are read, tensors become claims about bytes of the file, and everything else (an
argparse.Namespace, an optimiser, a whole network) becomes a `StandIn` that only remembers its name and its content.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import PurePosixPath
from typing import IO, Any, ClassVar

import torch

from scl.errors import UserError

# Functions by which PyTorch files make tensors that are no plain weights.
SPECIAL = {
    "_rebuild_sparse_tensor": "sparse tensors",
    "_rebuild_sparse_csr_tensor": "sparse tensors",
    "_rebuild_qtensor": "quantised tensors",
    "_rebuild_nested_tensor": "nested tensors",
    "_rebuild_meta_tensor_no_storage": "meta tensors, which have a shape and no data",
}
NUMBERS = {
    "f8": "d",
    "f4": "f",
    "f2": "e",
    "i8": "q",
    "i4": "i",
    "i2": "h",
    "i1": "b",
    "u1": "B",
    "b1": "?",
}  # of numpy
ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
MOST_OF_ARRAY = 100_000  # elements that are read
# Types of a storage's elements, as torch names its classes.
STORAGES = {
    "Untyped": torch.uint8, "Byte": torch.uint8, "Char": torch.int8, "Short": torch.int16, "Int": torch.int32,
    "Long": torch.int64, "Half": torch.float16, "BFloat16": torch.bfloat16, "Float": torch.float32,
    "Double": torch.float64, "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """Bytes of a file that tensors share: `count` elements of a type, under a key."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class Claim:
    """What a file says of a tensor. Its data is read only if it is asked for."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(eq=False)
class StandIn:
    """An object that was not made: the name of its class or function, and what the file would have given it."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        self.elements.append(value)

    extend = property(lambda self: self.elements.extend)
    add = append

    @property
    def is_network(self) -> bool:
        """Whether it is a pickled torch.nn.Module."""
        return isinstance(self.state, dict) and {"_modules", "_parameters"} <= self.state.keys()


class Reader(pickle._Unpickler):  # the one in Python: its steps can be replaced
    """Reads one pickle. Raises UserError for tensors of special kinds, and whatever a broken pickle raises."""

    stack: list[Any]

    def __init__(self, stream: IO[bytes], where: str) -> None:
        super().__init__(stream, encoding="latin1")
        self.where = where
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name in SPECIAL:
            raise UserError(f"{self.where} holds {SPECIAL[name]}")
        if module in ("torch", "torch.storage", "torch.cuda") and name.removesuffix("Storage") in STORAGES:
            return STORAGES[name.removesuffix("Storage")]
        if module == "torch" and isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        full = f"{module}.{name}"
        return MAKERS.get(full) or partial(_stand_in, full)

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # before PyTorch 1.6: the class of a network, with its source
            return pid[1]
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or type(count) is not int or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("a storage of no type or size")
        return self.storages.setdefault(str(key), Storage(str(key), dtype, count))

    def load_build(self) -> None:
        """The state of an object: Python would call its __setstate__, or set its attributes."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], StandIn):
            self.stack[-1].state = state

    def load_reduce(self) -> None:
        arguments, made = self.stack.pop(), self.stack.pop()
        if isinstance(made, StandIn):
            made = partial(_stand_in, made.name)
        if not isinstance(made, partial):  # only what find_class gave is called
            raise pickle.UnpicklingError("it calls what is no name")
        self.stack.append(made(*arguments))

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self.load_reduce()

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("it allocates before it reads")

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.REDUCE[0]: load_reduce,
        pickle.BYTEARRAY8[0]: _refuse,
    }


def _stand_in(name: str, *arguments: Any) -> StandIn:
    return StandIn(name, arguments)


def _tensor(storage: Storage, offset: int, shape: Any, stride: Any, *_: Any) -> Claim:
    return Claim(storage, storage.dtype, offset, tuple(shape), tuple(stride))


def _typed_tensor(
    storage: Storage, offset: int, shape: Any, stride: Any, _: Any, __: Any, dtype: Any, *___: Any
) -> Claim:
    return Claim(storage, dtype, offset, tuple(shape), tuple(stride))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _dict(*given: Any) -> dict[Any, Any]:
    return dict(*given[:1])


def _default_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _tuple(*given: Any) -> tuple[Any, ...]:
    return tuple(*given)


def _bytes(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1" if encoding == "latin1" else "utf-8")


def _number(kind: Any, content: Any = b"") -> Any:
    """A scalar of numpy: of its type's name and its bytes."""
    name = str(kind.arguments[0]) if isinstance(kind, StandIn) and kind.arguments else ""
    content = content.encode("latin1") if isinstance(content, str) else content
    if name not in NUMBERS or not isinstance(content, bytes) or len(content) != struct.calcsize(NUMBERS[name]):
        return StandIn(f"numpy.{name}", (content,))
    (value,) = struct.unpack(f"<{NUMBERS[name]}", content)
    return value


def _array(state: Any) -> list[Any] | None:
    """The elements of a small array of numpy, without its shape; None for what cannot be told."""
    try:
        _, shape, dtype, _, content = state
        kind = str(dtype.arguments[0])
        big_endian = isinstance(dtype.state, tuple) and dtype.state[1:2] == (">",)
    except (TypeError, ValueError, AttributeError, IndexError):
        return None
    if isinstance(content, list):  # of objects
        return content[:MOST_OF_ARRAY]
    content = content.encode("latin1") if isinstance(content, str) else content
    if (
        big_endian
        or not isinstance(content, bytes)
        or (isinstance(shape, tuple) and max(shape, default=0) != prod(shape))
    ):
        return None  # of several axes, the order of the elements may be another
    if kind in NUMBERS:
        size, code = struct.calcsize(NUMBERS[kind]), NUMBERS[kind]
        return [struct.unpack_from(f"<{code}", content, at)[0] for at in _starts(content, size)]
    if kind[:1] == "U" and kind[1:].isdecimal() and int(kind[1:]):
        size = 4 * int(kind[1:])
        return [content[at : at + size].decode("utf-32-le").rstrip("\0") for at in _starts(content, size)]
    return None


def _starts(content: bytes, size: int) -> range:
    """Where elements of so many bytes begin."""
    return range(0, min(len(content) // size, MOST_OF_ARRAY) * size, size)


def _path(*parts: str) -> str:
    return str(PurePosixPath(*map(str, parts)))


# What is made, by functions of this module: plain data alone.
MAKERS: Mapping[str, Any] = {
    **dict.fromkeys(("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"), partial(_tensor)),
    "torch._utils._rebuild_tensor_v3": partial(_typed_tensor),
    "torch._utils._rebuild_parameter": partial(_parameter),
    "torch._utils._rebuild_parameter_with_state": partial(_parameter),
    "torch.Size": partial(_tuple),
    "collections.OrderedDict": partial(_dict),
    "collections.defaultdict": partial(_default_dict),
    "_codecs.encode": partial(_bytes),
    **{f"{m}.multiarray.scalar": partial(_number) for m in ("numpy.core", "numpy._core")},
    **{f"pathlib.{name}": partial(_path) for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")},
    **{f"pathlib._local.{name}": partial(_path) for name in ("PosixPath", "WindowsPath")},
    **{f"{m}.set": partial(_tuple) for m in ("builtins", "__builtin__")},
}


def plain(value: Any, depth: int = 6) -> Any:
    """What was read as plain data: the fields of a Namespace and of other stand-ins as a dict; None for what is none.

    Tensors stay claims.
    """
    if depth == 0:
        return None
    if isinstance(value, StandIn) and value.name in ARRAYS:
        return plain(_array(value.state), depth)
    if isinstance(value, StandIn):
        state = value.state if isinstance(value.state, dict) else {}
        return plain({**state, **value.items}, depth) or ([plain(e, depth - 1) for e in value.elements] or None)
    if isinstance(value, Mapping):
        return {k: plain(v, depth - 1) for k, v in value.items() if isinstance(k, str | int)}
    if isinstance(value, list | tuple):
        return [plain(v, depth - 1) for v in value]
    return value if isinstance(value, str | int | float | bool | Claim) else None
