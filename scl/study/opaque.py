"""What cannot be part of an id: random streams, trainable parameters, and what code reads from outside of itself."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from types import CodeType, ModuleType
from typing import Any

from scl.study import bytecode

# What these give is not in the code that calls them. Full names, as Python resolves them.
OPAQUE = {
    **dict.fromkeys(("eval", "exec", "compile", "globals", "input"), "runs or reads what is not in its code"),
    **dict.fromkeys(("__import__", "importlib.import_module"), "imports a module whose name is not in its code"),
    **dict.fromkeys(("os.environ", "os.getenv", "os.environb"), "reads environment variables"),
    **dict.fromkeys(
        (
            *("open", "io.open", "os.open", "json.load", "pickle.load", "torch.load", "torch.serialization.load"),
            *("torch.jit.load", "torch.hub.load", "torch.from_file", "safetensors.torch.load_file"),
            *("numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap", "PIL.Image.open"),
            *("pandas.read_csv", "pandas.read_parquet", "pandas.read_json", "pyarrow.parquet.read_table"),
            *(
                "urllib.request.urlopen",
                "socket.socket",
                "sqlite3.connect",
                "subprocess.run",
                "subprocess.check_output",
            ),
        ),
        "reads from outside of its code",
    ),
}
STREAMS = ("torch._C.Generator", "numpy.random._generator.Generator", "numpy.random.mtrand.RandomState")
READING_METHODS = ("read_text", "read_bytes")


def why_opaque(value: Any) -> str | None:
    """Why an object cannot be part of an id; None if it can."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, random.Random) or kind in STREAMS:
        return "is a random stream of its own; draw with torch.rand, random.random or numpy.random, seeded each step"
    if kind == "os._Environ":
        return OPAQUE["os.environ"]
    torch = sys.modules.get("torch")
    trains = torch is not None and (
        (isinstance(value, torch.Tensor) and value.requires_grad)
        or (isinstance(value, torch.nn.Module) and any(p.requires_grad for p in value.parameters()))
    )
    way_out = "build it in the __init__ of a loss that is a class, or freeze it with .requires_grad_(False)"
    return f"has parameters that would not train; {way_out}" if trains else None


def opaque_reads(code: CodeType, variables: Mapping[str, Any]) -> dict[str, str]:
    """What the code reads that is not in any code → why it cannot be followed."""
    attributes = bytecode.attributes_read(code)
    read = {".".join(chain): _full_names(chain, variables) for chain in bytecode.chains(code)}
    for _, module, wanted in bytecode.imports(code):
        read |= {f"{module}.{name}": {f"{module}.{name}"} for name in (*wanted, *attributes)}
    found = {name: OPAQUE[full] for name, fulls in read.items() for full in fulls if full in OPAQUE}
    return found | {f".{name}()": "reads a file" for name in attributes.intersection(READING_METHODS)}


def _full_names(chain: tuple[str, ...], variables: Mapping[str, Any]) -> set[str]:
    """The names, as Python resolves them, of what a chain reads through modules: np.load is numpy.load."""
    root, *attributes = chain
    if root not in variables:
        return {root}  # built in
    value, full = variables[root], ""
    for attribute in attributes:
        if not isinstance(value, ModuleType):
            break
        full = f"{value.__name__}.{attribute}"
        value = vars(value).get(attribute)
    name = getattr(value, "__qualname__", None)
    return {full, f"{getattr(value, '__module__', '')}.{name}"} if isinstance(name, str) else {full}


def is_shared_stream(owner: Any) -> bool:
    """True for the global random streams of Python and numpy, which are seeded each step."""
    shared = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
    return owner is random._inst or owner is shared
